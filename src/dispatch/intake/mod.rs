//! What comes in from one queue: the demand given to its pollers, and the jobs for its handler.
//!
//! Demand flows against the messages: a poller receives only what it was given places for, and a place is given only where the room
//! and the handler's backlog have one.

pub(super) mod jobs;
pub(super) mod suspects;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::message::settle::Ask;

use crate::dispatch::event::{Demand, ToHandle};
use crate::dispatch::intake::jobs::{Jobs, QUICK, SLOW};
use crate::dispatch::intake::suspects::{Suspects, is_suspect};
use crate::dispatch::keys::{QueueIndex, Ticket};
use crate::dispatch::pause::Pause;
use crate::dispatch::room::Room;
use crate::dispatch::rules::QueueRules;

/// Messages of one job, where the handler is quick: enough that handing it over costs little for each, few enough that the pool's
/// threads share a receive.
pub const JOB: usize = 64;

/// Jobs that a quick handler is given ahead, for each of its threads: one that is done finds the next without waiting for the dispatcher.
const AHEAD: usize = 1;

/// Demand of one poller at most, where a receive takes no more; what it holds is reserved for it. Enough to keep pollers, handlers and
/// the dispatcher busy at once, and little enough that what is on its way stays in the processor's cache: 1,024 cost up to 8% more CPU.
const WIDEST: usize = 256;

/// Demand of a poller that waits for what may come: what one receive of SQS gives. It is kept from all others meanwhile.
pub const WAITS_WITH: usize = 10;

/// Fewer places than a request is worth are asked for after all when they have been free for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between tries of a queue that fails. The longest is short: one request in it costs nothing, and nothing flows before the next one finds
/// that an outage has ended.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Jobs of a queue that may be with its handler, or wait for it, where that handles so many messages at once.
pub fn jobs_ahead(concurrency: usize) -> usize {
    2 * concurrency + 10
}

#[derive(Debug)]
pub struct Intake {
    pub rules: QueueRules,
    /// Outstanding demand of each poller.
    asked: Vec<usize>,
    /// Times that a poller told how a receive went.
    reports: u64,
    /// Pollers that may have demand now.
    active: usize,
    /// Demand that one poller gets now.
    window: usize,
    /// Some places are free, but too few for a request, since then.
    few_since: Option<Instant>,
    pause: Pause,
    /// Received, and waiting for a place in the handler.
    pending: VecDeque<ToHandle>,
    /// Of these, those that came so often that they wait apart.
    pub suspects: Suspects,
    jobs: Jobs,
    slow: bool,
    quick: bool,
    /// The last receive found nothing.
    found_none: bool,
    /// It brought half of what was asked for, or more: there may be others.
    found_much: bool,
}

impl Intake {
    pub fn new(rules: QueueRules) -> Self {
        let asked = vec![0; rules.pollers.max(1)];
        let window = rules.receive_limit.min(WAITS_WITH);
        Self {
            rules,
            asked,
            reports: 0,
            active: 1,
            window,
            few_since: None,
            pause: Pause::new(MIN_BACKOFF, MAX_BACKOFF),
            pending: VecDeque::new(),
            suspects: Suspects::default(),
            jobs: Jobs::default(),
            // Until the first job says otherwise, a handler is taken to block.
            slow: true,
            quick: false,
            found_none: false,
            found_much: false,
        }
    }

    /// Other rules from now on.
    pub fn set_rules(&mut self, rules: QueueRules) {
        let pollers = rules.pollers.max(1);
        // No place goes: whoever has demand still tells what came of it.
        self.asked.resize(self.asked.len().max(pollers), 0);
        self.active = self.active.min(pollers);
        self.window = rules.receive_limit.min(WAITS_WITH);
        self.few_since = None;
        self.rules = rules;
    }

    /// A poller used up some of its demand, or gave it back. Gives how many places that frees, those of the messages that came included.
    pub fn reported(&mut self, poller: usize, received: usize, used: usize) -> usize {
        self.reports += 1;
        let Some(asked) = self.asked.get_mut(poller) else { return 0 };
        let freed = used.min(*asked);
        *asked -= freed;
        let left = *asked;
        self.found_none = received == 0;
        self.found_much = received > 0 && received >= used / 2;
        let widest = WIDEST.max(self.rules.receive_limit);
        if received == 0 {
            self.active = 1;
            self.window = self.rules.receive_limit.min(WAITS_WITH);
        } else if received >= used && (left == 0 || received >= self.rules.receive_limit) {
            self.active = (self.active + 1).min(self.rules.pollers.max(1));
            // Where a request has its price, more pollers come instead of wider demand: a long poll reserves what it may bring.
            if self.rules.ask_at_least <= 1 {
                self.window = (self.window * 2).min(widest);
            }
        }
        freed
    }

    /// A receive went well. Gives whether that ends a failure.
    pub fn recovered(&mut self) -> bool {
        self.pause.succeeded()
    }

    /// A receive failed. Gives the wait, and whether it is the first failure in a row.
    pub fn failed(&mut self, now: Instant, transient: bool, random: &mut Rng) -> (Duration, bool) {
        (self.found_none, self.found_much) = (false, false);
        self.pause.failed(now, transient, random)
    }

    pub fn found_none(&self) -> bool {
        self.found_none
    }

    /// Whether any poller still has demand: it may yet report messages.
    pub fn is_asking(&self) -> bool {
        self.asked.iter().any(|asked| *asked > 0)
    }

    /// Whether nothing of the queue is on its way, nor waits for the handler.
    pub fn is_idle(&self) -> bool {
        self.waiting() == 0 && !self.is_asking()
    }

    /// Outstanding demand.
    pub fn asked_for(&self) -> usize {
        self.asked.iter().sum()
    }

    /// Gives a poller demand, where there is room and reason. `None`: nothing now; [`Intake::next_look`] says when to look again.
    pub fn demand(&mut self, queue: QueueIndex, now: Instant, room: &mut Room) -> Option<(usize, Demand)> {
        if !self.pause.is_over(now) {
            return None;
        }
        let depth = jobs_ahead(self.rules.concurrency);
        let backlog = if self.slow { depth } else { depth * JOB };
        if !self.found_much && self.is_asking() {
            // One poller is enough to wait with.
            return None;
        }
        let free = if self.found_much { room.free(queue) } else { room.free_to_wait(queue) };
        let free = free.min(backlog.saturating_sub(self.waiting() + self.asked_for()));
        // Where a request has its price, demand is not topped up: what is left of it is asked for first.
        let low = if self.rules.ask_at_least > 1 { 0 } else { self.window / 2 };
        let poller = self.asked.iter().take(self.active).position(|asked| *asked <= low)?;
        let asked = self.asked.get(poller).copied().unwrap_or(0);
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
        self.few_since = None;
        if let Some(asked) = self.asked.get_mut(poller) {
            *asked += messages;
        }
        room.reserve(queue, messages);
        let ask = Ask { max: self.rules.receive_limit, wait: self.rules.wait_time, lease: self.rules.visibility_timeout };
        Some((poller, Demand { messages, ask }))
    }

    /// When demand may be possible that is not now, for reasons of time; a moment that is over means nothing.
    pub fn next_look(&self) -> Option<Instant> {
        let asks = self.pause.until().max(self.few_since.map(|since| since + PATIENCE));
        asks.into_iter().chain(self.suspects.next_look()).chain(self.jobs.next_look(self.quick)).min()
    }

    pub fn push(&mut self, one: ToHandle) {
        if self.is_suspect(&one) { self.suspects.push(one) } else { self.pending.push_back(one) }
    }

    fn is_suspect(&self, one: &ToHandle) -> bool {
        is_suspect(one.message.receives, self.rules.max_receives)
    }

    /// What a job left undone comes first again.
    pub fn put_back(&mut self, undone: Vec<ToHandle>) {
        for one in undone.into_iter().rev() {
            if self.is_suspect(&one) { self.suspects.put_back(one) } else { self.pending.push_front(one) }
        }
    }

    /// The next job, where the handler has a place; `single`: of one message, however quick the handler is.
    pub fn next_job(&mut self, now: Instant, single: bool) -> Option<Vec<ToHandle>> {
        let (threads, blocked) = (self.threads(), self.jobs.blocked());
        let free = threads.saturating_sub(blocked);
        let at_once = blocked + if self.quick { free * (1 + AHEAD) } else { free };
        if self.jobs.len() >= at_once {
            return None;
        }
        let others = !self.jobs.is_empty() || !self.pending.is_empty();
        if let Some(suspect) = self.suspects.next(now, self.rules.max_receives, others) {
            return Some(vec![suspect]);
        }
        if self.pending.is_empty() {
            return None;
        }
        // One that waits in the line before the handler may as well wait here, and grow.
        if self.jobs.len() >= threads && self.pending.len() < JOB {
            return None;
        }
        self.suspects.other_started();
        let size = if self.slow || single { 1 } else { JOB.min(self.pending.len()) };
        Some(self.pending.drain(..size).collect())
    }

    /// Threads of the pool that the queue's jobs may have at once: where the handler is quick, as many as there are cores beside those
    /// that it blocks.
    pub fn threads(&self) -> usize {
        let wanted = if self.quick { self.rules.cores + self.jobs.blocked() } else { self.rules.concurrency };
        wanted.min(self.rules.concurrency).max(1)
    }

    /// The next job that a message of it blocks, from now on: what is left of it is to be taken back. Where every job is of one message
    /// and has a thread of its own, none is looked for.
    pub fn next_blocked(&mut self, now: Instant) -> Option<Ticket> {
        self.jobs.next_blocked(now, self.quick)
    }

    /// A job that was taken for blocked waits for a thread.
    pub fn not_begun(&mut self, job: Ticket, now: Instant) {
        self.jobs.not_begun(job, now);
    }

    /// A job of so many messages is given to the handler.
    pub fn job_started(&mut self, job: Ticket, messages: usize, now: Instant) {
        self.jobs.started(job, messages, now);
    }

    /// A job ended; `slowest` is `None` where it did nothing.
    pub fn job_ended(&mut self, job: Ticket, slowest: Option<Duration>) {
        self.jobs.ended(job);
        if let Some(slowest) = slowest {
            self.slow = slowest > SLOW;
            self.quick = slowest < QUICK;
        }
    }

    /// How often a poller has told how a receive went.
    pub fn reports(&self) -> u64 {
        self.reports
    }

    /// Messages that no handler has begun with.
    pub fn waiting(&self) -> usize {
        self.pending.len() + self.suspects.len()
    }

    /// Jobs that are with the handler.
    pub fn running(&self) -> usize {
        self.jobs.len()
    }

    /// Takes out everything that no handler has seen yet.
    pub fn drain(&mut self) -> Vec<ToHandle> {
        self.pending.drain(..).chain(self.suspects.drain()).collect()
    }
}
