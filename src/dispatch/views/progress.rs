//! Work that is due and not started, for the watchdog that checks whether the engine advances. A stated wait is not
//! due: work that waits for a partner that is away, for a rate, for a queue that fails, or for room.

use std::time::Duration;

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::QueueIndex;
use crate::dispatch::rules::Medium;

/// A kind of work that other threads do for the dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// Receiving: demand that a poller has not used up.
    Receive,
    /// Handling: messages that no handler has begun with.
    Handle,
    /// Calling the queue: calls that wait for an acker while all ackers are busy.
    Call,
    /// Delivering: buckets of partners that take, which wait for nothing but a thread of this medium.
    Deliver(Medium),
}

/// How far one kind of work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The kind of work.
    pub kind: WorkKind,
    /// The queue that the work belongs to; `None`: all queues.
    pub queue: Option<QueueIndex>,
    /// The number of pieces of work that could be done now and are not begun.
    pub due: usize,
    /// A number that changes whenever some of the work is done.
    pub done: u64,
    /// How long the work may rightly make no progress.
    pub patience: Duration,
}

impl Dispatcher {
    /// Returns how far each kind of work has come. O(queues).
    pub fn progress(&self) -> Vec<Progress> {
        let mut all = Vec::with_capacity(3 * self.queues.len() + 3);
        for (index, queue) in self.queues.iter().enumerate().filter(|(_, queue)| !queue.is_gone()) {
            let (intake, counts) = (&queue.intake, &queue.counts);
            let mut add = |kind, due, done, patience| all.push(Progress { kind, queue: Some(index), due, done, patience });
            let receives = usize::from(intake.is_asking());
            add(WorkKind::Receive, receives, intake.reports(), queue.rules.wait_time);
            // If no handler runs for want of room, the wait is for whatever makes room, not for a handler.
            let waits_for_room = self.room.fit_at_handler(index, 1) == 0 && !self.handles_one_anyway(index);
            let waiting = if waits_for_room && intake.running() == 0 { 0 } else { intake.waiting() };
            add(WorkKind::Handle, waiting, counts.handled, Duration::ZERO);
            add(WorkKind::Call, queue.calls.overdue(), queue.calls.ended(), Duration::ZERO);
        }
        for medium in [Medium::Wire, Medium::Disk, Medium::Pipe] {
            let (due, done) = self.partners.threads_progress(medium);
            all.push(Progress { kind: WorkKind::Deliver(medium), queue: None, due, done, patience: Duration::ZERO });
        }
        all
    }
}
