//! The thread `dispatch`: it selects, reads the clock once, feeds the dispatcher, and carries its commands
//! out. This is the main loop.
//!
//! The thread decides nothing and waits for nothing but its inbox. Every hand-over is a `try_send` into a channel that
//! has space, or a push onto a [pile](super::pile) that has; a full one ends the engine with a reason.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select_biased, tick};

use crate::dispatch::{Command, Dispatcher, Event, Medium, QueueIndex, Status};
use crate::log_limit::LogLimit;
use crate::message::Answer;
use crate::sink::{Sink, Sinks};

use super::cost::cost;
use super::deliver::Deliverers;
use super::duty::Duty;
use super::edge::{Around, Edge, NoThread};
use super::error::{Death, StartError};
use super::health::{self, EngineHealth, Pulse};
use super::inquiries::Inquiries;
use super::lane::Lane;
use super::notes::NoteLog;
use super::parker::Errand;
use super::pool::Pool;
use super::threads::Crew;

mod control;
mod lanes;

pub use self::control::{Applied, Control, Reload, Requests, Unstarted};

/// The largest number of partners' answers that one turn takes in. Batches thus form under load,
/// and no turn becomes long.
const ANSWERS_A_TURN: usize = 256;

/// The number of messages from pollers, handlers and ackers with which a turn has enough; more than the largest batch.
/// The messages are then still in the processor's cache when they are flushed, and the handlers get their next jobs
/// before they run out of work.
const MESSAGES_A_TURN: usize = 128;

/// The length from which a turn is logged as long, since partners wait for it.
const LONG_TURN: Duration = Duration::from_millis(100);

/// What the watchdog and other observers see of the dispatcher.
pub struct Watched {
    pub pulse: Arc<Pulse>,
    pub health: EngineHealth,
    /// When the engine started.
    pub since: Instant,
}

/// The numbers of threads.
pub struct Threads {
    /// The size of the handler pool.
    pub handlers: usize,
    /// The largest number of delivery threads.
    pub deliverers: usize,
}

/// The state of the thread `dispatch`.
pub struct Shell {
    dispatcher: Dispatcher,
    lanes: Vec<Lane>,
    sinks: Arc<Sinks>,
    crew: Crew,
    pool: Pool,
    deliverers: Deliverers,
    /// The threads around each queue, by index, as are `lanes`.
    edges: Vec<Edge>,
    /// The events of pollers, handlers, ackers and parkers.
    inbox: Receiver<Event>,
    to_inbox: Sender<Event>,
    /// The answers of partners.
    results: Receiver<Event>,
    inquiries: Inquiries,
    started: Instant,
    /// Whether a stop was asked for.
    stopping: bool,
    /// Whether the dispatcher has finished.
    finished: bool,
    notes: NoteLog,
    /// Of log lines that the system refuses a thread.
    refusals: LogLimit,
    health: EngineHealth,
    pulse: Arc<Pulse>,
    /// When the pulse next gets a report of how far all work is.
    tell_at: Instant,
}

impl Shell {
    /// Starts the handler pool and the thread that starts delivery threads. An error means that the
    /// system refuses a thread.
    pub(super) fn new(
        dispatcher: Dispatcher,
        lanes: Vec<Lane>,
        sinks: Arc<Sinks>,
        threads: Threads,
        crew: Crew,
        watched: Watched,
    ) -> Result<Self, StartError> {
        let (to_inbox, inbox) = bounded(1024);
        let delivery_threads = threads.deliverers.max(1);
        let (to_results, results) = bounded(delivery_threads);
        let pool = Pool::new(threads.handlers, &lanes, &to_inbox, &crew)?;
        let around = |(index, lane)| Around { index, lane, inbox: &to_inbox, crew: &crew };
        let edges = lanes.iter().enumerate().map(|lane| Edge::start(around(lane))).collect::<Result<_, _>>()?;
        let deliverers = Deliverers::new(Arc::clone(&sinks), delivery_threads, to_results, &crew)
            .map_err(|why| StartError::Thread { name: "deliver-start".into(), why: why.to_string() })?;
        let (stopping, finished) = (false, false);
        Ok(Self {
            dispatcher,
            lanes,
            sinks,
            crew,
            pool,
            deliverers,
            edges,
            inbox,
            to_inbox,
            results,
            inquiries: Inquiries::new(),
            started: watched.since,
            stopping,
            finished,
            notes: NoteLog::default(),
            refusals: LogLimit::default(),
            health: watched.health,
            pulse: watched.pulse,
            tell_at: watched.since,
        })
    }

    /// Runs the main loop until the dispatcher has nothing left to wait for. An error ends the
    /// process with that reason.
    #[expect(clippy::disallowed_methods, reason = "the one clock of the dispatcher, read once a turn")]
    pub fn run(mut self, requests: Requests, interval: Duration, duty: &Duty) -> Result<Status, Death> {
        let Requests { mut controls, mut questions } = requests;
        let ticker = tick(interval);
        self.tell_the_time(self.started);
        self.turn(self.started, Event::Tick)?;
        while !self.finished {
            // A moment that has passed is due at once.
            let due = if self.inquiries.is_busy() { Some(self.started) } else { self.dispatcher.next_deadline() };
            let due = due.map_or_else(never, at);
            // Deaths, controls and questions come first, since a turn takes in everything else that waits, whatever woke it.
            let event = select_biased! {
                recv(self.crew.deaths()) -> death => return Err(death.unwrap_or_else(|_| Death::broken("nobody reports panics"))),
                recv(controls) -> control => {
                    if control.is_err() {
                        // A disconnected channel is always ready, which would starve the arms behind it.
                        controls = never();
                    }
                    self.controlled(control.ok())?
                }
                recv(questions) -> inquiry => match inquiry {
                    Ok(inquiry) => self.inquiries.take(inquiry, &self.dispatcher),
                    Err(_) => {
                        questions = never();
                        Event::Tick
                    }
                },
                recv(self.results) -> event => event.map_err(|_| Death::broken("the deliver threads are gone"))?,
                recv(self.inbox) -> event => event.map_err(|_| Death::broken("the inbox is gone"))?,
                recv(due) -> _ => Event::Tick,
                recv(ticker) -> _ => Event::Tick,
            };
            let start = Instant::now();
            self.tell_the_time(start);
            duty.begin_at(start, "makes a turn", "");
            self.turn(start, event)?;
            self.inquire(start);
            let end = Instant::now();
            duty.rest_at(end);
            self.show_progress(end);
            let took = end.saturating_duration_since(start);
            self.inquiries.turned(took);
            if took > LONG_TURN {
                log::warn!("a turn of the dispatcher took long: took_ms={} held={}", took.as_millis(), self.dispatcher.held());
            }
        }
        Ok(self.complete(self.dispatcher.status()))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "messages carry wall-clock times, and only the wall clock shows that the machine slept"
    )]
    fn tell_the_time(&mut self, now: Instant) {
        self.dispatcher.set_wall_clock(now, SystemTime::now());
    }

    /// Makes one turn: takes in the events that have come, then carries out the commands that follow.
    #[expect(clippy::disallowed_methods, reason = "the clock again, where the turn's beginning would be too early")]
    fn turn(&mut self, began: Instant, first: Event) -> Result<(), Death> {
        let mut now = began;
        let mut taken_in = first.weight();
        self.hear(now, first);
        for _ in 0..ANSWERS_A_TURN {
            let Ok(event) = self.results.try_recv() else { break };
            // The answer came after the turn began, and a pause that it asks for is counted in full from now.
            if matches!(&event, Event::Answered { answer, .. } if *answer != Answer::Accepted) {
                now = Instant::now();
            }
            self.hear(now, event);
        }
        while taken_in < MESSAGES_A_TURN {
            let Ok(event) = self.inbox.try_recv() else { break };
            taken_in += event.weight();
            self.hear(now, event);
        }
        while let Some(command) = self.dispatcher.poll_command() {
            self.carry_out(now, command)?;
        }
        Ok(())
    }

    /// Works on the next parts of unanswered requests, if there are any, in the turn that began then.
    fn inquire(&mut self, began: Instant) {
        if self.inquiries.is_busy() {
            let (lanes, uptime) = (&self.lanes, self.started.elapsed());
            self.inquiries.go_on(&self.dispatcher, began.elapsed(), |status| completed(status, lanes, uptime));
        }
    }

    /// Shows the watchdog that a turn has ended, and once per [`health::LOOK_INTERVAL`] what is waiting.
    fn show_progress(&mut self, now: Instant) {
        self.pulse.beat();
        if now >= self.tell_at {
            self.tell_at = now + health::LOOK_INTERVAL;
            self.pulse.tell(self.dispatcher.progress(), &self.lanes, &self.deliverers);
            self.notes.say_sum(now, false);
        }
    }

    fn complete(&self, status: Status) -> Status {
        completed(status, &self.lanes, self.started.elapsed())
    }

    /// Passes an event from another thread to the dispatcher.
    fn hear(&mut self, now: Instant, event: Event) {
        if matches!(event, Event::Answered { .. }) {
            self.deliverers.answered();
        }
        self.dispatcher.handle(now, event);
    }

    fn carry_out(&mut self, now: Instant, command: Command) -> Result<(), Death> {
        match command {
            Command::Receive { queue, poller, demand } => {
                let (edge, around) = self.edge(queue)?;
                if let Some(none) = edge.receive(around, poller, demand)? {
                    self.lacks_threads(now, &none);
                    self.dispatcher.handle(now, Event::NoPoller { queue, poller, demand: demand.messages });
                }
                Ok(())
            }
            Command::Handle { queue, messages, threads } => self.pool.start(queue, messages, threads),
            Command::TakeBack { queue, job, threads } => {
                let back = self.pool.take_back(queue, job, threads)?;
                self.dispatcher.handle(now, Event::TakenBack { queue, job, back });
                Ok(())
            }
            Command::Flush { flush, batch, medium: Medium::Inline } => {
                let answer = self.sinks.deliver(&batch);
                drop(batch);
                self.dispatcher.handle(now, Event::Answered { flush, answer });
                Ok(())
            }
            Command::Flush { flush, batch, .. } => self.deliverers.hand_over(now, flush, batch),
            Command::CallQueue { queue, acker, call } => {
                let (edge, around) = self.edge(queue)?;
                if let Some(none) = edge.call(around, now, acker, call)? {
                    self.lacks_threads(now, &none);
                }
                Ok(())
            }
            Command::Park { queue, deliveries } => {
                let (edge, around) = self.edge(queue)?;
                edge.run_errand(around, Errand::Park(deliveries))
            }
            Command::Unpark { queue, wants } => {
                let (edge, around) = self.edge(queue)?;
                edge.run_errand(around, Errand::Unpark(wants))
            }
            Command::Interrupt { queue } => {
                if let (Some(edge), Some(lane)) = (self.edges.get(queue), self.lanes.get(queue)) {
                    edge.interrupt(lane);
                }
                Ok(())
            }
            Command::Close { queue } => {
                self.close(queue);
                Ok(())
            }
            Command::Reply { request, result } => {
                self.inquiries.operated(request, result);
                Ok(())
            }
            Command::Note(note) => {
                self.notes.say(now, &note, &self.lanes, &self.health);
                Ok(())
            }
            Command::Finish => {
                self.notes.say_sum(now, true);
                self.finished = true;
                Ok(())
            }
        }
    }

    /// Logs, though not each time, that a queue has fewer pollers or ackers than it could use.
    fn lacks_threads(&mut self, now: Instant, none: &NoThread) {
        if self.refusals.allows(now) {
            log::warn!(
                "{none}; its queue goes on with the threads that it has, and tries again; raise the limits on tasks (TasksMax, ulimit -u) and on memory"
            );
        }
    }

    /// Returns the queue's threads, and what a new one is created with.
    fn edge(&mut self, queue: QueueIndex) -> Result<(&mut Edge, Around<'_>), Death> {
        let (edge, lane) = self
            .edges
            .get_mut(queue)
            .zip(self.lanes.get(queue))
            .ok_or_else(|| Death::broken(format!("no queue has the number {queue}")))?;
        Ok((edge, Around { index: queue, lane, inbox: &self.to_inbox, crew: &self.crew }))
    }
}

/// Adds to the dispatcher's status what only the engine knows: the kind of source of each queue, its handler, and
/// the cost of its requests.
fn completed(mut status: Status, lanes: &[Lane], uptime: Duration) -> Status {
    for queue in &mut status.queues {
        let Some(lane) = lanes.get(queue.index) else { continue };
        queue.source = lane.source;
        queue.handler.clone_from(&lane.handler_name);
        queue.cost = cost(queue, lane.limits, uptime);
    }
    status
}

#[cfg(test)]
mod tests;
