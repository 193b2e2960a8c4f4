//! What is due and not started, for whoever watches that the engine advances. A stated wait is not due: what waits for a partner that is
//! away, for a rate, for a queue that fails, or for room.

use std::time::Duration;

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::QueueIndex;
use crate::dispatch::rules::Medium;

/// The kinds of work that other threads do for the dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Demand that a poller has not used up.
    Receive,
    /// Messages that no handler has begun with.
    Handle,
    /// What waits for an acker, all of which are busy.
    Settle,
    /// Buckets of partners that take, which wait for nothing but a thread.
    Deliver(Medium),
}

/// How far one kind of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub kind: Kind,
    /// `None`: it concerns all queues.
    pub queue: Option<QueueIndex>,
    /// Pieces of it that could be done now and are not begun.
    pub due: usize,
    /// Changes whenever some of it is done.
    pub done: u64,
    /// For so long it may rightly not move.
    pub patience: Duration,
}

impl Dispatcher {
    /// How far each kind of work is. O(queues).
    pub fn progress(&self) -> Vec<Progress> {
        let full = self.room.is_full_of_bytes();
        let mut all = Vec::with_capacity(3 * self.queues.len() + 2);
        for (index, queue) in self.queues.iter().enumerate().filter(|(_, queue)| !queue.is_gone()) {
            let (intake, counts) = (&queue.intake, &queue.counts);
            let mut add = |kind, due, done, patience| all.push(Progress { kind, queue: Some(index), due, done, patience });
            let receives = usize::from(intake.is_asking());
            add(Kind::Receive, receives, intake.reports(), intake.rules.wait_time);
            // Where no handler runs for want of room, it is partners that are waited for.
            let waiting = if full && intake.running() == 0 { 0 } else { intake.waiting() };
            add(Kind::Handle, waiting, counts.handled, Duration::ZERO);
            add(Kind::Settle, queue.settling.overdue(), queue.settling.ended(), Duration::ZERO);
        }
        for medium in [Medium::Wire, Medium::Disk] {
            let (due, done) = self.partners.threads_progress(medium);
            all.push(Progress { kind: Kind::Deliver(medium), queue: None, due, done, patience: Duration::ZERO });
        }
        all
    }
}
