//! The jobs of one queue that are with its handler, and which of them are blocked by a slow message.
//!
//! A message that takes longer than [`SLOW`] blocks the thread of its job, and there is no telling for how long. The
//! messages behind it in the same job are taken back for other threads, and the job counts as blocked. A blocked job
//! takes up one of the queue's threads, as given by its `concurrency`, but none of the few that quick jobs share.

use std::time::{Duration, Instant};

use crate::dispatch::keys::Ticket;

/// A handler is quick if the slowest message of its last job took less than this. Then as many threads as there are
/// cores keep up, and jobs may wait until they are full.
pub const QUICK: Duration = Duration::from_micros(200);

/// If the slowest message of a handler's last job took longer than this, the handler gets one message a job. A message
/// that takes longer blocks its job.
pub const SLOW: Duration = Duration::from_millis(10);

/// The jobs of one queue that are with its handler.
#[derive(Debug, Default)]
pub struct Jobs {
    /// The jobs, in the order in which they were handed over.
    running: Vec<Running>,
    /// The number of running jobs that a slow message blocks.
    blocked: usize,
}

#[derive(Debug)]
struct Running {
    /// The first message of the job, which names it.
    job: Ticket,
    messages: u32,
    /// When the job counts as slow: [`SLOW`] after it was handed over, and [`QUICK`] later for each of its messages, so
    /// that many quick messages are not mistaken for a slow one.
    late_at: Instant,
    blocked: bool,
}

impl Jobs {
    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Returns the number of jobs that a slow message blocks.
    pub fn blocked(&self) -> usize {
        self.blocked
    }

    /// Returns whether there is a job that has not been slow for this long.
    pub fn any_late_by_less(&self, time: Duration, now: Instant) -> bool {
        self.running.iter().any(|running| now < running.late_at + time)
    }

    /// Records that a job of this many messages was handed over.
    pub fn started(&mut self, job: Ticket, messages: usize, now: Instant) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.running.push(Running { job, messages, late_at: now + Running::patience(messages), blocked: false });
    }

    /// Records that the job ended.
    pub fn ended(&mut self, job: Ticket) {
        if let Some(at) = self.running.iter().position(|running| running.job == job) {
            let ended = self.running.remove(at);
            self.blocked -= usize::from(ended.blocked);
        }
    }

    /// Returns the next job that has become slow; it counts as blocked from now on. `alone`: jobs of a single
    /// message are looked at too.
    pub fn next_blocked(&mut self, now: Instant, alone: bool) -> Option<Ticket> {
        let takes_long = |running: &&mut Running| running.may_block(alone) && running.late_at <= now;
        let running = self.running.iter_mut().find(takes_long)?;
        running.blocked = true;
        self.blocked += 1;
        Some(running.job)
    }

    /// Records that no thread has begun with the job yet, so that it blocks none.
    pub fn not_begun(&mut self, job: Ticket, now: Instant) {
        if let Some(running) = self.running.iter_mut().find(|running| running.job == job && running.blocked) {
            (running.blocked, running.late_at) = (false, now + Running::patience(running.messages));
            self.blocked -= 1;
        }
    }

    /// Returns when the next job becomes slow.
    pub fn next_look(&self, alone: bool) -> Option<Instant> {
        self.running.iter().filter(|running| running.may_block(alone)).map(|running| running.late_at).min()
    }
}

impl Running {
    /// Returns after what time a job of this many messages counts as slow.
    fn patience(messages: u32) -> Duration {
        SLOW + QUICK * messages
    }

    fn may_block(&self, alone: bool) -> bool {
        !self.blocked && (alone || self.messages > 1)
    }
}
