//! The end of the service: a drain that finishes what can be finished, and a stop that returns the rest.

use std::time::{Duration, Instant};

use super::Dispatcher;
use super::bucket::Bucket;
use super::census::Census;
use super::event::Command;
use super::keys::{BucketKey, Ticket};
use super::queue_state::QueueState;
use super::rules::QueueRules;
use super::timer::Timer;

/// The time left for returning messages once everything is stopped. A lease that cannot be returned by then lapses.
const GRACE: Duration = Duration::from_secs(5);

/// How far the engine is on its way to its end.
#[derive(Debug)]
pub struct Phase {
    stage: Stage,
    pub(super) census: Census,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Messages are received.
    Running {
        /// Whether to finish once every queue is empty.
        until_empty: bool,
    },
    /// Nothing more is received. Waiting deliveries may leave until the deadline.
    Draining { deadline: Instant },
    /// No further flush starts. A message that is not returned by `ends_at` is left to its lease.
    Forced { ends_at: Instant },
    /// [`Command::Finish`] was issued.
    Finished,
}

impl Phase {
    pub fn running<'a>(until_empty: bool, queues: impl Iterator<Item = &'a QueueRules>) -> Self {
        Self { stage: Stage::Running { until_empty }, census: Census::new(queues) }
    }

    pub(super) fn finish_when_empty(&mut self) {
        if let Stage::Running { until_empty } = &mut self.stage {
            *until_empty = true;
        }
    }

    /// Returns whether no further message is received.
    pub fn is_stopping(&self) -> bool {
        !matches!(self.stage, Stage::Running { .. })
    }

    /// Returns whether nothing more of the queue goes to its handler: the engine stops, or a reload took the queue away.
    pub fn winds_down(&self, queue: &QueueState) -> bool {
        self.is_stopping() || !queue.is_serving()
    }

    /// Returns whether no further flush starts.
    pub fn is_forced(&self) -> bool {
        matches!(self.stage, Stage::Forced { .. } | Stage::Finished)
    }

    /// Returns when the drain ends; `None` if there is none, or it is over.
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Draining { deadline } => Some(deadline),
            Stage::Running { .. } | Stage::Forced { .. } | Stage::Finished => None,
        }
    }

    pub fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }
}

impl Dispatcher {
    /// Stops receiving. Waiting deliveries may leave until the deadline; those that their partner will not take by then
    /// are returned now, and those that parked ones wait behind are parked, too.
    pub(super) fn drain(&mut self, deadline: Instant) {
        if self.phase.is_stopping() {
            return;
        }
        self.phase.stage = Stage::Draining { deadline };
        self.due.add(deadline, Timer::Stop);
        for queue in self.living.clone() {
            self.commands.push_back(Command::Interrupt { queue });
            self.return_pending(queue);
        }
        // Nearly all of a million buckets hold nothing, and need no look.
        let buckets: Vec<_> = self.partners.buckets().filter(|(_, bucket)| !bucket.is_bare()).map(|(key, _)| key).collect();
        for key in buckets {
            self.park_before_the_end(key);
            self.return_what_cannot_leave(key);
            self.partners.list(key);
        }
    }

    /// Ends the run since every queue is empty.
    pub(super) fn end_as_empty(&mut self) {
        self.drain(self.now + GRACE);
    }

    /// Acts if the drain's deadline has passed, or the grace time after it. A timer that was set for a later moment
    /// than the one that now applies is ignored.
    pub(super) fn stop_is_due(&mut self) {
        match self.phase.stage {
            Stage::Draining { deadline } if deadline <= self.now => self.stop(),
            Stage::Forced { ends_at } if ends_at <= self.now => self.finish(),
            Stage::Running { .. } | Stage::Draining { .. } | Stage::Forced { .. } | Stage::Finished => {}
        }
    }

    /// Returns everything that is not on the wire. A second call finishes at once.
    pub(super) fn stop(&mut self) {
        if self.phase.is_forced() {
            self.finish();
            return;
        }
        if !self.phase.is_stopping() {
            self.drain(self.now);
        }
        let ends_at = self.now + GRACE;
        self.phase.stage = Stage::Forced { ends_at };
        self.due.add(ends_at, Timer::Stop);
        let buckets: Vec<_> = self.partners.buckets().map(|(key, _)| key).collect();
        for key in buckets {
            if let Some(bucket) = self.partners.bucket_mut(key) {
                bucket.drain();
            }
        }
        let held = self.ledger.iter().filter(|(_, held)| !held.is_leaving());
        let mut held: Vec<(u64, Ticket)> = held.map(|(ticket, held)| (held.sequence, ticket)).collect();
        // The last message goes first, so that a FIFO group stays locked until its first message is returned.
        held.sort_unstable();
        for (_, ticket) in held.into_iter().rev() {
            self.leave_by_return(ticket, self.now);
        }
        for index in 0..self.queues.len() {
            let letters = self.queues.get_mut(index).map(|queue| queue.calls.failing_letters());
            for letter in letters.into_iter().flatten().rev() {
                self.abandon_letter(index, &letter);
            }
        }
        self.act_on_released();
    }

    fn finish(&mut self) {
        if std::mem::replace(&mut self.phase.stage, Stage::Finished) != Stage::Finished {
            for queue in 0..self.queues.len() {
                self.say_sums(queue, true);
            }
            self.commands.push_back(Command::Finish);
        }
    }

    /// Finishes if nothing is left to wait for. Called at the end of each turn.
    pub(super) fn look_for_the_end(&mut self) {
        match self.phase.stage {
            Stage::Running { until_empty } => {
                if until_empty && self.ledger.is_empty() {
                    self.take_census();
                }
            }
            Stage::Draining { .. } | Stage::Forced { .. } => {
                let calls_done = self.queues.iter().all(QueueState::has_no_calls);
                let quiet = self.queues.iter().all(|queue| queue.intake.is_empty());
                let nothing_held = self.ledger.is_empty();
                let only_on_wire = self.phase.is_forced() && self.ledger.iter().all(|(_, held)| held.on_wire() > 0);
                if calls_done && ((quiet && nothing_held) || only_on_wire) {
                    self.finish();
                }
            }
            Stage::Finished => {}
        }
    }

    /// Returns whether the bucket's partner takes nothing more of it before the drain's deadline.
    fn leaves_too_late(&self, key: BucketKey) -> bool {
        let next = self.partners.next_attempt(key, self.now);
        next.zip(self.phase.deadline()).is_some_and(|(at, deadline)| at >= deadline)
    }

    /// Returns whether what waits in the bucket most likely still waits at the end of the drain: its partner takes nothing
    /// of it now, or nothing more before the deadline.
    pub(super) fn stays_to_the_end(&self, key: BucketKey) -> bool {
        let is_away = |bucket: &Bucket| self.partners.is_away_for(bucket.partner, bucket.queue);
        self.leaves_too_late(key) || self.partners.bucket(key).is_some_and(is_away)
    }

    /// During a stop, parks what most likely stays in a bucket to the end, and returns the messages of one whose partner
    /// will take nothing more before the deadline.
    pub(super) fn return_what_cannot_leave(&mut self, key: BucketKey) {
        let is_too_late = self.leaves_too_late(key);
        // A partner that is away is tried until the deadline, and most likely fails until then. What waits for it goes to
        // the disk now, since later there is no time for that.
        if self.stays_to_the_end(key) {
            self.park_before_the_end(key);
        }
        if !is_too_late {
            return;
        }
        let waiting = self.partners.bucket_mut(key).map(|bucket| bucket.drain()).unwrap_or_default();
        for ticket in waiting.into_iter().rev() {
            self.give_back(ticket, self.now);
        }
        self.act_on_released();
    }
}
