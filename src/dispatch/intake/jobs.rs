//! The jobs of one queue that are with its handler, and which of them it blocks.
//!
//! A message that takes longer than [`SLOW`] blocks its job's thread, for how long nobody knows. What stands behind it in the same job is
//! taken back for others, and the job counts as blocked: it takes a place of the queue's concurrency, and none of the few that quick jobs
//! share.

use std::time::{Duration, Instant};

use crate::dispatch::keys::Ticket;

/// A handler whose slowest message took less is quick: as many threads as there are cores keep up, and its jobs may wait to become full.
pub const QUICK: Duration = Duration::from_micros(200);

/// A handler that took longer for its last job's slowest message gets one message a job; a message that takes longer blocks its job.
pub const SLOW: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub struct Jobs {
    /// In the order in which they were given away.
    running: Vec<Running>,
    blocked: usize,
}

#[derive(Debug)]
struct Running {
    /// Its first message, which names it.
    job: Ticket,
    messages: u32,
    /// It takes long from then on, even where every message but one takes as long as is quick.
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

    /// Jobs whose message takes long.
    pub fn blocked(&self) -> usize {
        self.blocked
    }

    /// A job of so many messages is given away.
    pub fn started(&mut self, job: Ticket, messages: usize, now: Instant) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.running.push(Running { job, messages, late_at: now + Running::patience(messages), blocked: false });
    }

    pub fn ended(&mut self, job: Ticket) {
        if let Some(at) = self.running.iter().position(|running| running.job == job) {
            let ended = self.running.remove(at);
            self.blocked -= usize::from(ended.blocked);
        }
    }

    /// The next job that takes long, which counts as blocked from now on; `alone`: also one of a single message.
    pub fn next_blocked(&mut self, now: Instant, alone: bool) -> Option<Ticket> {
        let takes_long = |running: &&mut Running| running.may_block(alone) && running.late_at <= now;
        let running = self.running.iter_mut().find(takes_long)?;
        running.blocked = true;
        self.blocked += 1;
        Some(running.job)
    }

    /// No thread has begun with the job yet: it blocks none.
    pub fn not_begun(&mut self, job: Ticket, now: Instant) {
        if let Some(running) = self.running.iter_mut().find(|running| running.job == job && running.blocked) {
            (running.blocked, running.late_at) = (false, now + Running::patience(running.messages));
            self.blocked -= 1;
        }
    }

    /// When the next one takes long.
    pub fn next_look(&self, alone: bool) -> Option<Instant> {
        self.running.iter().filter(|running| running.may_block(alone)).map(|running| running.late_at).min()
    }
}

impl Running {
    fn patience(messages: u32) -> Duration {
        SLOW + QUICK * messages
    }

    fn may_block(&self, alone: bool) -> bool {
        !self.blocked && (alone || self.messages > 1)
    }
}
