//! The dispatcher's brain: time and events in, commands out.
//! Owned by the thread `dispatch`, whose shell is in `engine`.
//!
//! A caller drives it with [`Dispatcher::handle`], then with [`Dispatcher::poll_command`] until that
//! returns `None`, and calls again at [`Dispatcher::next_deadline`] at the latest. [`Dispatcher::status`],
//! [`Dispatcher::survey`] and [`Dispatcher::partner`] look at it and change nothing.
//!
//! Architecture invariant: nothing in this folder knows a channel, a clock, a log, a configuration file, a queue or
//! a sink. That makes every rule testable without waiting, and lets a simulator run months of faults in seconds.
//!
//! # The way of a message
//!
//! | step | module |
//! |---|---|
//! | It is received because its poller was given demand. | `intake`, `room` |
//! | Its copy is in the ledger, which keeps the lease, until it leaves. | `arrive`, `ledger` (`leases`, `ages`), `extend` |
//! | A job takes it to its handler; one that may end the process goes alone. | `intake::jobs`, `intake::suspects` |
//! | Outcomes are put back into the order of receive. | `outcome`, `order` |
//! | Each delivery enters the bucket of its partner. | `outcome`, `partners`, `partner`, `bucket`, `waiting` |
//! | The bucket is flushed once nothing keeps it from that. | `obstacle`, `flush`, `partners::flushing`, `partner::gate` |
//! | A flush to the wire or the disk needs a delivery thread. | `threads`, `health` |
//! | The flush lands; a verdict says what its answer means. | `flights`, `land`, `verdict`, `blame` |
//! | The message is deleted, returned or set aside. | `exits` |
//!
//! If the room is short, `overflow` decides what leaves memory unsent, and `parking` keeps it on the disk meanwhile.
//! `serve` serves what is due by time (`due`, `timer`), and `turn` ends each turn. `reload` changes rules and
//! queues, `operate` is what operators do to a partner, `record` counts for them, `views` show it, and `stop` ends it
//! all. What belongs to one queue is in `queue_state`. The vocabulary is in `event`, the settings in `rules`, the keys in
//! `keys` (their values in `slab`). `facts` are what a queue's service does by itself, `standing` ranks the holders of
//! too much, `pause` computes waits after failures, and `census` finds out whether all queues are empty.
//!
//! # Words
//!
//! * A *copy* is one received copy of a message, with its receipt and its lease. It is *held*
//!   from its receive until the queue has confirmed how it left; its [`Ticket`] names it.
//! * A *delivery* is one payload for one partner. It waits in a *bucket* as a *slip* (its
//!   message's ticket and the moment) with its item; the place where it waits is its *spot*.
//! * A *parcel* is a composed batch with its slips: it is sent again as it is. A *flight* is a parcel on the wire.
//! * A partner is *away* if it is slow, fails, has asked for a wait, or is paused. A *holder* is a partner, or a bucket
//!   whose endpoint alone refuses or fails, which is away. Its *share* is what it may hold in memory; one that holds more is
//!   *overfull*, and its *standing* is its place in the ranking of those.
//! * The *room* is the number of messages and bytes that may be held. A *place* is one message's part of it; of a delivery,
//!   a row or an index, the place is its position among others.
//! * A *row* is a delivery in the parking, and a *lot* is what a bucket has there.
//! * A delivery is *settled* once it is accepted, on the disk of the parking or in a written dead letter. Once all of
//!   its message's deliveries are, the copy *leaves*: its queue is called to delete it. A copy also leaves if it is
//!   returned (hidden for some time), or set aside as a dead letter.
//! * To *shed* a delivery is to have it leave memory unsent because others need the room: to the parking, or with its
//!   message back to the queue. The *giver* is the partner that the delivery was to go to.

mod arrive;
mod blame;
mod bucket;
mod census;
mod due;
mod event;
mod exits;
mod extend;
mod facts;
mod flights;
mod flush;
mod health;
mod intake;
mod keys;
mod land;
mod ledger;
mod obstacle;
mod operate;
mod order;
mod outcome;
mod overflow;
mod parking;
mod partner;
mod partners;
mod pause;
mod queue_state;
mod record;
mod reload;
mod room;
mod rules;
mod serve;
mod slab;
mod standing;
mod stop;
mod threads;
mod timer;
mod turn;
mod verdict;
mod views;
mod waiting;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;

use self::due::{Alarm, Due};
use self::keys::BucketKey;
use self::ledger::Ledger;
use self::order::Release;
use self::overflow::hidden::Hidden;
use self::parking::Transfer;
use self::partners::Partners;
use self::queue_state::QueueState;
use self::room::Room;
use self::stop::Phase;
use self::threads::DeliveryThreads;
use self::timer::Timer;

pub use self::event::{Action, Command, Demand, Event, Fault, Handled, Note, QueueCall, Refusal, RequestId, TakenBack, ToHandle};
pub use self::exits::reason::ReturnReason;
pub use self::intake::jobs::{QUICK, SLOW};
pub use self::intake::{WAITS_WITH, jobs_ahead};
pub use self::keys::{FlushId, QueueIndex, Ticket};
pub use self::partner::PartnerState;
pub use self::queue_state::QueueStage;
pub use self::record::counts::QueueCounts;
pub use self::record::histogram::{Histogram, TURN};
pub use self::record::tally::{Operation, Tally};
pub use self::record::troubles::Failing;
pub use self::rules::{Medium, NewQueue, ParkingRules, PartnerRules, PartnerTable, QueueChanges, QueueRules, Rules};
pub use self::views::progress::{Progress, WorkKind};
pub use self::views::status::{Cost, EngineState, QueueStatus, Status, Times, WaitingPartner};
pub use self::views::survey::{FoundPartner, PartnerCounts, Search, Survey};
pub use self::views::why::{BucketReport, PartnerReport, RateReport};

/// A difference between two clocks that is no inaccuracy of one of them: the wall clock was set, or the machine slept, in
/// which time an [`Instant`] stands still on Linux.
const STEP: Duration = Duration::from_secs(1);

/// The dispatcher's state machine; see the [module documentation](self).
#[derive(Debug)]
pub struct Dispatcher {
    /// The latest time that the dispatcher was given; it never goes back.
    now: Instant,
    queues: Vec<QueueState>,
    /// The indices of the queues that are not gone.
    living: Vec<QueueIndex>,
    /// The first queue that found no place for what it wanted to ask for, when demand was last granted.
    lacked_a_place: Option<QueueIndex>,
    room: Room,
    ledger: Ledger,
    partners: Partners,
    hidden: Hidden,
    hidden_alarm: Alarm,
    /// When the next message may be shown for a try while the room is short; `None`: at any time.
    tries_at: Option<Instant>,
    due: Due<Timer>,
    random: Rng,
    commands: VecDeque<Command>,
    /// Whether there is anything left to do in this turn: an event came in, or a bucket was listed for a flush, since
    /// the last one was closed.
    turn_open: bool,
    phase: Phase,
    times: Times,
    /// The same moment by both clocks, from which the age of messages is computed. `None`: the wall clock was never
    /// set, and messages have no age.
    wall: Option<(Instant, SystemTime)>,
    /// Outcomes whose turn has come. Whatever may push to this list calls [`Dispatcher::act_on_released`] afterwards: it is
    /// empty at the end of each event. This list and `ahead` are kept for their allocations.
    released: Vec<Release>,
    ahead: Vec<Option<BucketKey>>,
}

impl Dispatcher {
    /// Creates a dispatcher with these rules, at the time `now`. The parkings become queues behind the configured ones.
    pub fn new(rules: Rules, now: Instant) -> Self {
        let max_in_flight = rules.max_in_flight;
        let mut queues: Vec<_> = rules.queues.into_iter().map(|rules| QueueState::new(rules, max_in_flight)).collect();
        // A parked row takes a place of the queue whose delivery it is, so that parkings have no part of the room.
        let room = Room::new(rules.max_in_flight, rules.max_in_flight_bytes, queues.len());
        let mut found = Vec::with_capacity(rules.parkings.len());
        for parking in rules.parkings {
            let rows = queues.len();
            if let Some(queue) = queues.get_mut(parking.of) {
                queue.parking = Some(Box::new(Transfer::new(rows)));
            }
            queues.push(QueueState { parks_for: Some(parking.of), ..QueueState::new(QueueRules::of_parking(&parking), 0) });
            found.push((parking.of, parking.found));
        }
        let mut dispatcher = Self {
            now,
            room,
            ledger: Ledger::new(queues.iter().map(|queue| queue.rules.visibility_timeout)),
            partners: Partners::new(rules.partners, DeliveryThreads::new(rules.delivery_threads, rules.disk_threads)),
            hidden: Hidden::new(queues.len()),
            hidden_alarm: Alarm::default(),
            tries_at: None,
            due: Due::default(),
            random: Rng::with_seed(rules.seed),
            commands: VecDeque::new(),
            turn_open: true,
            phase: Phase::running(rules.until_empty, queues.iter().map(|queue| &*queue.rules)),
            times: Times::default(),
            wall: None,
            released: Vec::new(),
            ahead: Vec::new(),
            living: (0..queues.len()).collect(),
            lacked_a_place: None,
            queues,
        };
        for (queue, found) in found {
            dispatcher.found_parked(queue, found);
        }
        dispatcher
    }

    /// Takes in an event that happened at `now`. First serves all other work that is due at `now`, so that a busy inbox
    /// cannot starve the timers. The commands that follow are returned by [`Dispatcher::poll_command`].
    pub fn handle(&mut self, now: Instant, event: Event) {
        // Threads read the clock on their own: a step back of a few microseconds is ignored.
        self.now = self.now.max(now);
        self.turn_open = true;
        self.serve_due();
        match event {
            Event::Received { queue, poller, messages, leased_until, demand_used } => {
                self.received(queue, poller, messages, leased_until, demand_used);
            }
            Event::Facts { queue, facts } => self.facts_received(queue, facts),
            Event::ReceiveFailed { queue, poller, demand_used, fault } => self.receive_failed(queue, poller, demand_used, fault),
            Event::NoPoller { queue, poller, demand } => self.no_poller(queue, poller, demand),
            Event::Handled { queue, job, done, undone, slowest } => self.handled(queue, job, done, undone, slowest),
            Event::TakenBack { queue, job, back } => self.taken_back(queue, job, back),
            Event::Answered { flush, answer } => self.answered(flush, &answer),
            Event::QueueAnswered { queue, acker, results } => self.queue_answered(queue, acker, results),
            Event::Counted { queue, acker, count } => self.counted(queue, acker, count),
            Event::Parked { queue, results } => self.parked(queue, results),
            Event::Unparked { queue, answers } => self.unparked(queue, answers),
            Event::Operate { request, account, action } => self.operate(request, account, action),
            Event::Reloaded { partners, queues } => self.reloaded(partners, queues),
            Event::FinishWhenEmpty => self.phase.finish_when_empty(),
            Event::Drain { deadline } => self.drain(deadline),
            Event::Stop => self.stop(),
            Event::Tick => {}
        }
    }

    /// Sets what the wall clock shows at `now`. Messages carry the wall-clock time at which they were sent, and a wall clock
    /// may be adjusted. To be called at the beginning of each turn: if the wall clock went ahead by more than `now` did since
    /// the last call, the machine may have slept, and leases ended meanwhile.
    pub fn set_wall_clock(&mut self, now: Instant, wall: SystemTime) {
        let expected = self.wall.map(|(at, wall)| wall + now.saturating_duration_since(at));
        let ahead = expected.and_then(|expected| wall.duration_since(expected).ok());
        if let Some(ahead) = ahead.filter(|ahead| *ahead >= STEP) {
            self.now = self.now.max(now);
            self.lose_time(ahead);
        }
        self.wall = Some((now, wall));
    }

    /// Returns the next thing to do, `None` if there is nothing until the next event or [`Dispatcher::next_deadline`].
    pub fn poll_command(&mut self) -> Option<Command> {
        debug_assert!(self.released.is_empty(), "an outcome was released and not acted upon");
        loop {
            if let Some(command) = self.commands.pop_front() {
                return Some(command);
            }
            if !self.turn_open {
                return None;
            }
            if !self.flush_next() {
                self.close_turn();
                // Closing the turn may have taken away the deliveries for which another bucket yielded its turn;
                // that bucket is listed again.
                self.turn_open = self.partners.lists_any();
            }
        }
    }

    /// Returns when the next timer falls due, `None` if none is set. The shell makes a turn then, at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.next()
    }

    fn note(&mut self, note: Note) {
        self.commands.push_back(Command::Note(note));
    }

    /// Logs that an event named something that the dispatcher does not know.
    fn stray(&mut self, what: &'static str) {
        self.note(Note::Stray { what });
    }
}

#[cfg(test)]
pub(crate) mod tests;
