//! The dispatcher's brain: time and events in, commands out.
//!
//! The whole surface is [`Dispatcher::handle`], then [`Dispatcher::poll_command`] until it gives `None`, and
//! [`Dispatcher::next_deadline`]. Owned by the thread `dispatch`, whose shell is in `engine`.
//!
//! Architecture invariant: nothing in this folder knows a channel, a clock, a log, a configuration file, a queue or a sink. That makes
//! every rule testable without waiting, and lets a simulator run months of faults in seconds.
//!
//! The way of a message: `arrive` (ledger, handler, order) → `partners` (bucket, gate, thread, flush) → `land` (verdict) → `leave`
//! (delete, return, dead letter). Where the room is short, `make_room` decides what leaves memory unsent, `part` where it goes, `show`
//! when it is wanted back, `parking` what waits on the disk, and `bury` what becomes of it where it can neither stay nor go. `suspects`
//! are messages that may end the process: each goes to its handler alone. `reload` changes the rules and the queues, `operate` is what
//! people do to it, `status` and `why` what they see, `stop` ends it all.

mod ages;
mod arrive;
mod blame;
mod bucket;
mod bury;
mod counts;
mod due;
mod event;
mod facts;
mod flights;
mod hidden;
mod histogram;
mod intake;
mod keys;
mod known;
mod land;
mod leases;
mod leave;
mod ledger;
mod make_room;
mod operate;
mod order;
mod parking;
mod part;
mod partner;
mod partners;
mod pause;
mod progress;
mod reload;
mod room;
mod rules;
mod settling;
mod show;
mod slab;
mod status;
mod stop;
mod summary;
mod survey;
mod suspects;
mod tally;
mod threads;
mod verdict;
mod waiting;
mod why;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;

use crate::message::settle::Facts;

use self::due::{Alarm, Due};
use self::hidden::Hidden;
use self::intake::Intake;
use self::keys::{BucketKey, PartnerKey};
use self::known::Known;
use self::ledger::{Held, Ledger, Stage};
use self::order::{Order, Release};
use self::parking::Line;
use self::partners::Partners;
use self::reload::Life;
use self::room::Room;
use self::settling::{Hide, Settling};
use self::stop::Phase;
use self::summary::Summary;
use self::threads::DeliveryThreads;

pub use self::counts::QueueCounts;
pub use self::event::{Command, Demand, Event, Fault, Handled, Job, Note, Work};
pub use self::histogram::{Histogram, TURN};
pub use self::intake::{QUICK, SLOW, WAITS_WITH, jobs_ahead};
pub use self::keys::{FlushId, QueueIndex, Ticket};
pub use self::operate::{Action, Refusal, RequestId};
pub use self::parking::ParkingRules;
pub use self::partner::PartnerState;
pub use self::progress::{Kind, Progress};
pub use self::reload::{NewQueue, QueueChanges};
pub use self::rules::{PartnerRules, PartnerTable, QueueRules, Rules};
pub use self::status::{Cost, Failing, PartnerCounts, QueueStatus, Status, Times, WaitingPartner};
pub use self::survey::{FoundPartner, Search, Survey};
pub use self::tally::{ByWord, Tally};
pub use self::threads::Medium;
pub use self::verdict::{Gate, History, Verdict, verdict};
pub use self::why::{BucketReport, PartnerReport, RateReport};

/// What falls due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A partner's wait ends, or its oldest flush is slow from now on.
    Partner(PartnerKey),
    /// A flush is on the wire for long.
    Flights,
    /// A bucket's linger, its own gate, its oldest delivery's patience or its idle time ends.
    Bucket(BucketKey),
    /// A lease needs to be extended.
    Lease(QueueIndex),
    /// A slow handler is overtaken.
    Order(QueueIndex),
    /// A queue may be asked again.
    Intake(QueueIndex),
    /// A queue may be told again.
    Settling(QueueIndex),
    /// What happened often is to be said.
    Summary(QueueIndex),
    /// What was given back shows by itself.
    Hidden,
    /// A parking may be asked again.
    Parking(QueueIndex),
    /// The queues may be counted again.
    Count,
    /// One that retires may have nothing parked any more.
    Retiring,
    /// The drain ends.
    Stop,
}

/// See the [module's](self) text.
#[derive(Debug)]
pub struct Dispatcher {
    now: Instant,
    queues: Vec<QueueState>,
    /// Those that are not gone.
    living: Vec<QueueIndex>,
    room: Room,
    ledger: Ledger,
    partners: Partners,
    hidden: Hidden,
    hidden_alarm: Alarm,
    due: Due<Timer>,
    random: Rng,
    commands: VecDeque<Command>,
    /// Events came since the last time that everything was looked at.
    turn_open: bool,
    phase: Phase,
    times: Times,
    /// A moment by both clocks. `None`: nobody told the wall clock, and messages have no age.
    wall: Option<(Instant, SystemTime)>,
    /// Kept for their memory.
    released: Vec<Release>,
    ahead: Vec<Option<BucketKey>>,
}

/// Everything that belongs to one queue.
#[derive(Debug)]
struct QueueState {
    name: Arc<str>,
    life: Life,
    intake: Intake,
    order: Order,
    settling: Settling,
    /// The way to its parking, where it has one.
    parking: Option<Box<Line>>,
    /// It is the parking of that queue: what comes of it are rows.
    parks_for: Option<QueueIndex>,
    facts: Facts,
    /// What is settled of messages that may come back.
    known: Known,
    counts: QueueCounts,
    tally: Tally,
    /// Whether the service has answered anything yet.
    reached: bool,
    failing: Vec<Failing>,
    dead_letters: Summary,
    leases_lost: Summary,
    given_back: Summary,
    parked: Summary,
    summary_alarm: Alarm,
    lease_alarm: Alarm,
    order_alarm: Alarm,
    intake_alarm: Alarm,
    settling_alarm: Alarm,
}

impl QueueState {
    fn new(rules: QueueRules, known: usize) -> Self {
        Self {
            name: Arc::clone(&rules.name),
            life: Life::Serving,
            order: Order::new(rules.fifo, rules.order_wait),
            settling: Settling::new(&rules),
            parking: None,
            parks_for: None,
            intake: Intake::new(rules),
            facts: Facts::default(),
            known: Known::new(known),
            counts: QueueCounts::default(),
            tally: Tally::default(),
            reached: false,
            failing: Vec::new(),
            dead_letters: Summary::default(),
            leases_lost: Summary::default(),
            given_back: Summary::default(),
            parked: Summary::default(),
            summary_alarm: Alarm::default(),
            lease_alarm: Alarm::default(),
            order_alarm: Alarm::default(),
            intake_alarm: Alarm::default(),
            settling_alarm: Alarm::default(),
        }
    }
}

impl Dispatcher {
    pub fn new(rules: Rules, now: Instant) -> Self {
        let max_in_flight = rules.max_in_flight;
        let mut queues: Vec<_> = rules.queues.into_iter().map(|rules| QueueState::new(rules, max_in_flight)).collect();
        // Rows of a parking take the places of the queue whose deliveries they are.
        let room = Room::new(rules.max_in_flight, rules.max_in_flight_bytes, queues.len());
        let mut found = Vec::with_capacity(rules.parkings.len());
        for parking in rules.parkings {
            let rows = queues.len();
            if let Some(queue) = queues.get_mut(parking.of) {
                queue.parking = Some(Box::new(Line::new(rows)));
            }
            queues.push(QueueState { parks_for: Some(parking.of), ..QueueState::new(QueueRules::of_parking(&parking), 0) });
            found.push((parking.of, parking.found));
        }
        let mut dispatcher = Self {
            now,
            room,
            ledger: Ledger::new(queues.iter().map(|queue| queue.intake.rules.visibility_timeout)),
            partners: Partners::new(rules.partners, DeliveryThreads::new(rules.delivery_threads, rules.disk_threads)),
            hidden: Hidden::new(queues.len()),
            hidden_alarm: Alarm::default(),
            due: Due::default(),
            random: Rng::with_seed(rules.seed),
            commands: VecDeque::new(),
            turn_open: true,
            phase: Phase::running(rules.until_empty, queues.iter().map(|queue| &queue.intake.rules)),
            times: Times::default(),
            wall: None,
            released: Vec::new(),
            ahead: Vec::new(),
            living: (0..queues.len()).collect(),
            queues,
        };
        for (queue, found) in found {
            dispatcher.found_parked(queue, found);
        }
        dispatcher
    }

    /// Takes an event in. Whatever else is due at `now` is served first, so that a busy inbox cannot starve it.
    pub fn handle(&mut self, now: Instant, event: Event) {
        // Threads read the clock on their own: a step back of a few microseconds is none.
        self.now = self.now.max(now);
        self.turn_open = true;
        self.serve_due();
        match event {
            Event::Received { queue, poller, messages, leased_until, demand_used } => {
                self.received(queue, poller, messages, leased_until, demand_used);
            }
            Event::Facts { queue, facts } => self.learnt(queue, facts),
            Event::ReceiveFailed { queue, poller, demand_used, fault } => self.receive_failed(queue, poller, demand_used, fault),
            Event::Handled { queue, done, left, slowest } => self.handled(queue, done, left, slowest),
            Event::Answered { flush, answer } => self.answered(flush, &answer),
            Event::Settled { queue, acker, results } => self.settled(queue, acker, results),
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

    /// Says what the wall clock shows at `now`: messages carry when they were sent by it. To be told now and then, since it is set.
    pub fn set_wall_clock(&mut self, now: Instant, wall: SystemTime) {
        self.wall = Some((now, wall));
    }

    /// The next thing to do; `None` when there is nothing more until the next event or [`Dispatcher::next_deadline`].
    pub fn poll_command(&mut self) -> Option<Command> {
        loop {
            if let Some(command) = self.commands.pop_front() {
                return Some(command);
            }
            if !self.turn_open {
                return None;
            }
            if !self.flush_next() {
                self.close_turn();
                // What left memory may have been what another bucket has left its turn to.
                self.turn_open = self.partners.lists_any();
            }
        }
    }

    /// When something falls due: the shell makes a turn then, at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Once all events of a turn are in and what can be is flushed: tells the queues, asks for more.
    fn close_turn(&mut self) {
        self.make_room();
        for place in 0..self.living.len() {
            let Some(&queue) = self.living.get(place) else { break };
            self.start_jobs(queue);
            self.write_parked(queue);
            self.read_parked(queue);
            self.tell(queue);
            self.ask(queue);
        }
        self.look_for_gone();
        self.look_for_the_end();
    }

    /// Flushes the next bucket that can be. `false`: there is none. One at a time, so that an answer that is there at once is taken in
    /// while all that it is about is still in the processor's cache.
    fn flush_next(&mut self) -> bool {
        let hurry = self.phase.is_stopping();
        while let Some(key) = self.partners.next_listed() {
            self.wants_rows(key);
            let Some(bucket) = self.partners.bucket(key) else { continue };
            let Some(queue) = self.queues.get(bucket.queue) else { continue };
            let ledger = &self.ledger;
            let held = |ticket| ledger.get(ticket).is_some_and(Held::may_be_sent);
            let Some(flush) = self.partners.look(key, self.now, hurry, &queue.name, &mut self.due, held) else {
                if hurry {
                    self.return_what_cannot_leave(key);
                }
                continue;
            };
            let Some(flight) = self.partners.flight(flush) else { continue };
            for slip in &flight.parcel.slips {
                if let Some(held) = self.ledger.get_mut(slip.ticket) {
                    held.on_wire += 1;
                }
            }
            let (batch, medium) = (Arc::clone(&flight.parcel.batch), flight.medium);
            self.commands.push_back(Command::Flush { flush, batch, medium });
            return true;
        }
        false
    }

    /// Gives the queue's handler what it has places for, and the bytes have room for.
    fn start_jobs(&mut self, index: QueueIndex) {
        loop {
            let full = self.room.is_full_of_bytes();
            if full && !self.is_stuck() {
                break;
            }
            let Some(queue) = self.queues.get_mut(index) else { return };
            let Some(mut jobs) = queue.intake.next_job(self.now, full) else { break };
            jobs.retain(|job| {
                // Some may have left while they waited: their lease was lost.
                let Some(held) = self.ledger.get(job.ticket).filter(|held| held.stage() == Stage::Pending) else {
                    queue.intake.suspects.left(job.ticket);
                    return false;
                };
                queue.order.started(held.sequence, self.now);
                self.ledger.advance(job.ticket, Stage::Handling);
                true
            });
            if jobs.is_empty() {
                queue.intake.job_ended(None);
                continue;
            }
            let threads = queue.intake.threads();
            self.commands.push_back(Command::Handle { queue: index, jobs, threads });
        }
        let Some(queue) = self.queues.get_mut(index) else { return };
        if let Some(at) = queue.order.next_overtaking() {
            queue.order_alarm.by(&mut self.due, at, Timer::Order(index));
        }
    }

    /// Whether nothing that is held would ever make room unless a handler starts: all of it waits for one, or for the outcome of a
    /// message that does.
    fn is_stuck(&self) -> bool {
        !self.ledger.any_departs() && self.queues.iter().all(|queue| queue.intake.running() == 0)
    }

    /// Gives free ackers what there is to tell the queue.
    fn tell(&mut self, index: QueueIndex) {
        let hurry = self.phase.is_stopping();
        let Some(queue) = self.queues.get_mut(index) else { return };
        let stops = hurry || !queue.is_serving();
        let keep_returns = stops && !self.phase.is_forced() && queue.intake.is_asking();
        while let Some((acker, work)) = queue.settling.next(self.now, hurry, keep_returns, &mut self.ledger) {
            queue.counts.requests += 1;
            self.commands.push_back(Command::Settle { queue: index, acker, work });
        }
        if let Some(at) = queue.settling.next_look(self.now) {
            queue.settling_alarm.by(&mut self.due, at, Timer::Settling(index));
        }
    }

    /// Gives pollers demand for what there is room for.
    fn ask(&mut self, index: QueueIndex) {
        if self.phase.is_stopping() {
            return;
        }
        let Some(queue) = self.queues.get_mut(index).filter(|queue| queue.parks_for.is_none() && queue.is_serving()) else {
            return;
        };
        while let Some((poller, demand)) = queue.intake.demand(index, self.now, &mut self.room) {
            self.commands.push_back(Command::Receive { queue: index, poller, demand });
        }
        if let Some(at) = queue.intake.next_look()
            && at > self.now
        {
            queue.intake_alarm.by(&mut self.due, at, Timer::Intake(index));
        }
    }

    fn serve_due(&mut self) {
        while let Some(timer) = self.due.pop(self.now) {
            match timer {
                Timer::Partner(key) => {
                    if let Some(partner) = self.partners.partner_mut(key) {
                        partner.alarm.rang();
                    }
                    self.partners.judge(key, self.now, &mut self.due);
                    self.partners.list_all_of(key);
                    self.partners.touch(key);
                    self.partners.forget_if_done(key, self.now, &mut self.due);
                }
                Timer::Flights => self.partners.watch(self.now, &mut self.due),
                Timer::Bucket(key) => {
                    if let Some(bucket) = self.partners.bucket_mut(key) {
                        bucket.alarm.rang();
                    }
                    self.give_up(key);
                    self.partners.list(key);
                    self.partners.reclaim(key, self.now, &mut self.due);
                }
                Timer::Lease(index) => {
                    self.alarm_rang(index, |queue| &mut queue.lease_alarm);
                    self.extend_leases(index);
                }
                Timer::Order(index) => self.overtake(index),
                Timer::Intake(index) => self.alarm_rang(index, |queue| &mut queue.intake_alarm),
                Timer::Settling(index) => self.alarm_rang(index, |queue| &mut queue.settling_alarm),
                Timer::Summary(index) => {
                    self.alarm_rang(index, |queue| &mut queue.summary_alarm);
                    self.say_sums(index, false);
                }
                Timer::Hidden => {
                    self.hidden_alarm.rang();
                    self.forget_shown();
                }
                Timer::Parking(index) => {
                    if let Some(line) = self.queues.get_mut(index).and_then(|queue| queue.parking.as_deref_mut()) {
                        line.alarm.rang();
                    }
                }
                Timer::Count => self.phase.count_again(),
                // The turn looks at its end.
                Timer::Retiring => {}
                Timer::Stop => self.stop_is_due(),
            }
        }
    }

    fn alarm_rang(&mut self, index: QueueIndex, alarm: impl FnOnce(&mut QueueState) -> &mut Alarm) {
        if let Some(queue) = self.queues.get_mut(index) {
            alarm(queue).rang();
        }
    }

    /// Has the leases extended of which no more than half is left; what was held for too long is returned.
    fn extend_leases(&mut self, index: QueueIndex) {
        while let Some(tickets) = self.ledger.due_leases(index, self.now) {
            for ticket in tickets {
                let Some(held) = self.ledger.get(ticket) else { continue };
                if !self.ledger.is_held_too_long(held, self.now) {
                    if let Some(queue) = self.queues.get_mut(index) {
                        queue.settling.hide(ticket, Hide::Extend);
                    }
                } else if !held.is_leaving() {
                    self.held_too_long(ticket);
                }
            }
        }
        self.let_go();
        self.watch_leases(index);
    }

    /// Makes sure that the leases of the queue are looked after in time.
    fn watch_leases(&mut self, index: QueueIndex) {
        if let Some(at) = self.ledger.next_lease(index)
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.lease_alarm.by(&mut self.due, at, Timer::Lease(index));
        }
    }

    /// A kind of call fails, until it is [`Dispatcher::mended`].
    fn fails(&mut self, index: QueueIndex, doing: &'static str, fault: Fault, retry_in: Duration) {
        self.mended(index, doing);
        if let Some(queue) = self.queues.get_mut(index) {
            queue.failing.push(Failing { doing, reason: fault.reason.clone() });
        }
        self.note(Note::QueueFailing { queue: index, doing, fault, retry_in });
    }

    fn mended(&mut self, index: QueueIndex, doing: &'static str) {
        if let Some(queue) = self.queues.get_mut(index) {
            queue.failing.retain(|failing| failing.doing != doing);
        }
    }

    fn note(&mut self, note: Note) {
        self.commands.push_back(Command::Note(note));
    }

    fn stray(&mut self, what: &'static str) {
        self.note(Note::Stray { what });
    }
}

#[cfg(test)]
pub(crate) mod tests;
