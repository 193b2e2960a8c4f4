//! What comes in from one queue: the demand given to its pollers, and the jobs for its handler. Part of the
//! dispatcher's state machine.
//!
//! Demand flows against the messages: a poller receives only what it has demand for, and demand is given only for
//! places that the room and the handler's backlog have.
//!
//! `jobs` are those at the handler; `suspects` go alone.

pub(super) mod jobs;
pub(super) mod suspects;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::message::service::Ask;

use crate::dispatch::event::{Demand, ToHandle};
use crate::dispatch::intake::jobs::{Jobs, QUICK, SLOW};
use crate::dispatch::intake::suspects::{LONG, Suspects, is_suspect};
use crate::dispatch::keys::{QueueIndex, Ticket};
use crate::dispatch::pause::{Pause, backoff};
use crate::dispatch::room::Room;
use crate::dispatch::rules::QueueRules;

/// The messages of one job for a quick handler: enough that the cost of handing it over is small for each, few enough
/// that the threads of the pool share a receive.
pub const JOB: usize = 64;

/// The jobs that a quick handler is given ahead, for each of its threads: a thread that is done finds its next job
/// without waiting for the dispatcher.
const AHEAD: usize = 1;

/// The most demand of one poller, unless a single receive takes more; the places are reserved for that poller. Enough
/// to keep pollers, handlers and the dispatcher busy at once, and few enough that the messages on their way stay in the
/// processor's cache: with 1,024, the CPU time went up by as much as 8%.
const WIDEST: usize = 256;

/// The most demand of a poller that waits in a long poll: as much as one receive of SQS brings. The places are kept
/// from all other queues meanwhile.
pub const WAITS_WITH: usize = 10;

/// How long places have to be free before they are asked for, if they are too few to be worth a request.
const PATIENCE: Duration = Duration::from_secs(1);

/// The bounds of the pause after a failed receive. The longest is short: one request in ten seconds costs nothing, and
/// after an outage nothing flows until the next request finds that it has ended.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// The interval of asking after the first receive that found nothing; it doubles up to [`QueueRules::ask_interval`]. A
/// service that does not wait may have more messages in the next moment.
const FIRST_INTERVAL: Duration = Duration::from_millis(20);

/// How long a poller for which the system refused a thread gets no demand.
const NO_POLLER: Duration = Duration::from_secs(10);

/// Returns how many jobs of a queue may be with its handler or wait
/// for it, if the handler takes `concurrency` messages at once.
pub fn jobs_ahead(concurrency: usize) -> usize {
    2 * concurrency + 10
}

/// What comes in from one queue.
#[derive(Debug)]
pub struct Intake {
    rules: Arc<QueueRules>,
    /// The demand of each poller.
    asked: Vec<Asked>,
    /// The number of reports by pollers of how a receive went.
    reports: u64,
    /// The number of pollers that the load needs now.
    active: usize,
    /// The number of the first poller for which the system refused a
    /// thread, and until when it and those after it get no demand.
    few_pollers: Option<(usize, Instant)>,
    /// The most demand that one poller gets now, in messages.
    window: usize,
    /// Since when some places are free, but too few to be worth a request.
    few_since: Option<Instant>,
    /// When to ask again after a receive that found nothing; `None` if the last one found something.
    empty_until: Option<Instant>,
    /// The number of receives in a row that found nothing or failed.
    empties: u32,
    /// The pause after a failed receive.
    pause: Pause,
    /// The messages that were received and wait for a place in the handler, without the suspects.
    pending: VecDeque<ToHandle>,
    /// The messages that were received so often that they wait apart.
    pub suspects: Suspects,
    /// The jobs that are with the handler.
    jobs: Jobs,
    /// How long the handler takes, by its last job.
    speed: Speed,
    /// Whether the last receive found nothing.
    found_none: bool,
    /// Whether the last receive brought half of what was asked for, or more: there may be others.
    found_much: bool,
}

/// The demand of one poller.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    /// The messages that it may still bring.
    messages: usize,
    /// When the poller was last given demand; `None`: never.
    at: Option<Instant>,
}

/// How long a handler takes, by the slowest message of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speed {
    /// Less than [`QUICK`].
    Quick,
    /// In between.
    Middling,
    /// More than [`SLOW`].
    Slow,
}

impl Speed {
    fn of(slowest: Duration) -> Self {
        if slowest < QUICK {
            Self::Quick
        } else if slowest > SLOW {
            Self::Slow
        } else {
            Self::Middling
        }
    }
}

impl Intake {
    /// Creates the intake of a queue with these rules.
    pub fn new(rules: Arc<QueueRules>) -> Self {
        let pollers = rules.pollers.max(1);
        let window = rules.receive_limit.min(WAITS_WITH);
        Self {
            rules,
            asked: vec![Asked::default(); pollers],
            reports: 0,
            active: 1,
            few_pollers: None,
            window,
            few_since: None,
            empty_until: None,
            empties: 0,
            pause: Pause::new(MIN_BACKOFF, MAX_BACKOFF),
            pending: VecDeque::new(),
            suspects: Suspects::default(),
            jobs: Jobs::default(),
            // Until the first job has ended, a handler is taken to be slow.
            speed: Speed::Slow,
            found_none: false,
            found_much: false,
        }
    }

    /// Takes other rules.
    pub fn set_rules(&mut self, rules: Arc<QueueRules>) {
        let pollers = rules.pollers.max(1);
        // The list never shrinks: a poller that has demand will still report what came of it.
        self.asked.resize(self.asked.len().max(pollers), Asked::default());
        self.active = self.active.min(pollers);
        self.window = rules.receive_limit.min(WAITS_WITH);
        self.few_since = None;
        self.rules = rules;
    }

    /// Records what came of some demand of a poller: `used` of it is gone, and brought `received` messages. Returns how
    /// many reserved places that frees, those of the received messages included.
    pub fn reported(&mut self, poller: usize, received: usize, used: usize) -> usize {
        self.reports += 1;
        let Some(asked) = self.asked.get_mut(poller) else { return 0 };
        let freed = used.min(asked.messages);
        asked.messages -= freed;
        let (left, asked_at) = (asked.messages, asked.at);
        self.found_none = received == 0;
        self.found_much = received > 0 && received >= used / 2;
        let widest = WIDEST.max(self.rules.receive_limit);
        self.empty_until = None;
        self.empties = if received == 0 { self.empties.saturating_add(1) } else { 0 };
        if received == 0 {
            self.active = 1;
            self.window = self.rules.receive_limit.min(WAITS_WITH);
            // A service that did not wait for messages, as the settings or itself would have it, is not asked on and on.
            self.empty_until = asked_at.map(|at| at + backoff(FIRST_INTERVAL, self.rules.ask_interval, self.empties));
        } else if received >= used && (left == 0 || received >= self.rules.receive_limit) {
            self.active = (self.active + 1).min(self.rules.pollers.max(1));
            // Where requests have a price, more pollers are used instead of larger demand: a long poll reserves a place
            // for each message that it may bring.
            if self.rules.ask_at_least <= 1 {
                self.window = (self.window * 2).min(widest);
            }
        }
        freed
    }

    /// Takes back the demand of a poller for which the system refused a thread. That poller and those
    /// with higher numbers get no demand for [`NO_POLLER`]. Returns the number of places that this frees.
    pub fn no_poller(&mut self, poller: usize, demand: usize, now: Instant) -> usize {
        self.few_pollers = Some((poller, now + NO_POLLER));
        let Some(asked) = self.asked.get_mut(poller) else { return 0 };
        let freed = demand.min(asked.messages);
        asked.messages -= freed;
        freed
    }

    /// Returns the number of pollers that may have demand now.
    fn pollers(&self, now: Instant) -> usize {
        self.few_pollers.filter(|(_, until)| now < *until).map_or(self.active, |(pollers, _)| pollers.min(self.active))
    }

    /// Records that a receive succeeded. Returns whether that ends a failure.
    pub fn recovered(&mut self) -> bool {
        self.pause.succeeded()
    }

    /// Records that a receive failed. Returns how long the pause lasts, if this is the first failure in a row.
    pub fn failed(&mut self, now: Instant, transient: bool, random: &mut Rng) -> Option<Duration> {
        (self.found_none, self.found_much, self.empty_until) = (false, false, None);
        self.pause.failed(now, transient, random)
    }

    /// Returns whether the last receive found nothing.
    pub fn found_none(&self) -> bool {
        self.found_none
    }

    /// Returns whether any poller still has demand, so that it may report messages.
    pub fn is_asking(&self) -> bool {
        self.asked.iter().any(|asked| asked.messages > 0)
    }

    /// Returns whether no message of the queue is on its way, or waits for the handler.
    pub fn is_idle(&self) -> bool {
        self.waiting() == 0 && !self.is_asking()
    }

    /// Returns whether no message of the queue is on its way, waits for the handler or is with it.
    pub fn is_empty(&self) -> bool {
        self.is_idle() && self.jobs.is_empty()
    }

    /// Returns the outstanding demand of all pollers, in messages.
    pub fn asked_for(&self) -> usize {
        self.asked.iter().map(|asked| asked.messages).sum()
    }

    /// Returns demand for a poller, with the poller's number, and reserves room for it. `None`: there is no room or no
    /// reason for any now; [`Intake::next_look`] tells when to look again.
    pub fn demand(&mut self, queue: QueueIndex, now: Instant, room: &mut Room) -> Option<(usize, Demand)> {
        if !self.pause.is_over(now) {
            return None;
        }
        let depth = jobs_ahead(self.rules.concurrency);
        let backlog = if self.speed == Speed::Slow { depth } else { depth * JOB };
        if !self.found_much && self.is_asking() {
            // One poller is enough to wait for messages.
            return None;
        }
        let free = if self.found_much { room.free(queue) } else { room.free_to_wait(queue) };
        // Whatever fills the room may do so for days: a queue of which nothing is on its way to a bucket gets one message
        // at a time.
        let free = if free == 0 && self.is_empty() { room.one_more(queue) } else { free };
        // Suspects do not count: they go alone, however few they are, and other messages pass them. The room bounds them.
        let free = free.min(backlog.saturating_sub(self.pending.len() + self.asked_for()));
        // Where requests have a price, a poller uses up its demand before it gets more.
        let low = if self.rules.ask_at_least > 1 { 0 } else { self.window / 2 };
        let poller = self.asked.iter().take(self.pollers(now)).position(|asked| asked.messages <= low)?;
        let asked = self.asked.get(poller).map_or(0, |asked| asked.messages);
        let window = if self.found_much { self.window } else { self.window.min(WAITS_WITH) };
        let messages = free.min(window - asked);
        if messages == 0 {
            self.few_since = None;
            return None;
        }
        if messages < self.rules.ask_at_least.min(window) {
            let since = *self.few_since.get_or_insert(now);
            if now < since + PATIENCE {
                return None;
            }
        }
        if self.empty_until.is_some_and(|until| now < until) {
            return None;
        }
        self.few_since = None;
        if let Some(asked) = self.asked.get_mut(poller) {
            asked.messages += messages;
            asked.at = Some(now);
        }
        room.reserve(queue, messages);
        let ask = Ask {
            max: self.rules.receive_limit,
            wait: self.rules.wait_time,
            lease: self.rules.visibility_timeout,
            bytes: room.bytes_for(queue, messages),
        };
        Some((poller, Demand { messages, ask }))
    }

    /// Returns when demand or a job may become possible by the passing of time alone. A moment that is over means
    /// nothing.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        let asks = self.pause.until().max(self.few_since.map(|since| since + PATIENCE)).max(self.empty_until);
        let suspect = self.suspects.next_look(self.others(now));
        // A moment that has passed must not hide one that is to come.
        asks.into_iter().chain(suspect).chain(self.jobs.next_look(self.is_quick())).filter(|at| *at > now).min()
    }

    /// Takes in a message for the handler.
    pub fn push(&mut self, one: ToHandle, now: Instant) {
        if self.is_suspect(&one) { self.suspects.push(one, now) } else { self.pending.push_back(one) }
    }

    fn is_suspect(&self, one: &ToHandle) -> bool {
        is_suspect(one.message.receives, self.rules.max_receives)
    }

    /// Puts the messages that a job left undone first in line again.
    pub fn put_back(&mut self, undone: Vec<ToHandle>) {
        for one in undone.into_iter().rev() {
            if self.is_suspect(&one) { self.suspects.put_back(one) } else { self.pending.push_front(one) }
        }
    }

    /// Returns the messages of the next job, if the handler has a place for one: at most `most`, however quick the
    /// handler is.
    pub fn next_job(&mut self, now: Instant, most: usize) -> Option<Vec<ToHandle>> {
        let (threads, blocked) = (self.threads(), self.jobs.blocked());
        let free = threads.saturating_sub(blocked);
        let at_once = blocked + if self.is_quick() { free * (1 + AHEAD) } else { free };
        if self.jobs.len() >= at_once {
            return None;
        }
        if let Some(suspect) = self.suspects.next(now, self.rules.max_receives, self.others(now)) {
            return Some(vec![suspect]);
        }
        if self.pending.is_empty() {
            return None;
        }
        // All threads have a job. Another one would only wait before the handler, so it may as well
        // wait here until it is full.
        if self.jobs.len() >= threads && self.pending.len() < JOB {
            return None;
        }
        self.suspects.other_started();
        let size = if self.speed == Speed::Slow { 1 } else { JOB.min(self.pending.len()).min(most) };
        Some(self.pending.drain(..size).collect())
    }

    /// Returns whether suspects leave their turn to other messages, which wait for the handler or have not been with it for
    /// long.
    fn others(&self, now: Instant) -> bool {
        !self.pending.is_empty() || self.jobs.any_late_by_less(LONG, now)
    }

    fn is_quick(&self) -> bool {
        self.speed == Speed::Quick
    }

    /// Returns the number of the pool's threads that the queue's jobs may have at once. For a quick handler that is the
    /// number of cores, and one more for each blocked job.
    pub fn threads(&self) -> usize {
        let wanted = if self.is_quick() { self.rules.cores + self.jobs.blocked() } else { self.rules.concurrency };
        wanted.min(self.rules.concurrency).max(1)
    }

    /// Returns the next job that a slow message blocks; what is left of it is to be taken back. If the handler is not
    /// quick, jobs of a single message are not looked for, since each has a thread of its own.
    pub fn next_blocked(&mut self, now: Instant) -> Option<Ticket> {
        self.jobs.next_blocked(now, self.is_quick())
    }

    /// Records that a job that was taken to be blocked still waits for a thread.
    pub fn not_begun(&mut self, job: Ticket, now: Instant) {
        self.jobs.not_begun(job, now);
    }

    /// Records that a job of this many messages was given to the handler.
    pub fn job_started(&mut self, job: Ticket, messages: usize, now: Instant) {
        self.jobs.started(job, messages, now);
    }

    /// Records that a job ended. `slowest` is what its slowest message took, `None` if the job did nothing.
    pub fn job_ended(&mut self, job: Ticket, slowest: Option<Duration>) {
        self.jobs.ended(job);
        if let Some(slowest) = slowest {
            self.speed = Speed::of(slowest);
        }
    }

    /// Returns the number of reports by pollers of how a receive went.
    pub fn reports(&self) -> u64 {
        self.reports
    }

    /// Returns the number of messages that no handler has begun with.
    pub fn waiting(&self) -> usize {
        self.pending.len() + self.suspects.len()
    }

    /// Returns the number of jobs that are with the handler.
    pub fn running(&self) -> usize {
        self.jobs.len()
    }

    /// Takes out all messages that no handler has begun with.
    pub fn drain(&mut self) -> Vec<ToHandle> {
        self.pending.drain(..).chain(self.suspects.drain()).collect()
    }
}
