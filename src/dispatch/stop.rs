//! The end of the service: a drain that finishes what can be finished, a stop that returns the rest, and the census
//! that finds out whether every queue is empty.

use std::time::{Duration, Instant};

use crate::message::settle::Count;

use super::event::{Command, Fault};
use super::exits::settling::Kind;
use super::keys::{QueueIndex, Ticket};
use super::parking::Transfer;
use super::rules::QueueRules;
use super::timer::Timer;
use super::{Dispatcher, QueueState};

/// The time left for returning messages once everything is stopped. A lease that cannot be returned by then lapses.
const GRACE: Duration = Duration::from_secs(5);

/// How far the engine is on its way to its end.
#[derive(Debug)]
pub struct Phase {
    /// Whether to finish once every queue is empty.
    until_empty: bool,
    /// When the drain ends; `None` while the engine is running.
    deadline: Option<Instant>,
    /// When the engine finishes after a forced stop, at the latest. A message that is not
    /// returned by then is left to its lease.
    ends_at: Option<Instant>,
    /// Whether [`Command::Finish`] was issued.
    finished: bool,
    census: Census,
}

/// The count of all queues, to find out whether they are empty.
#[derive(Debug)]
struct Census {
    /// The counts since the census began, by queue index. `None`: not counted yet.
    counts: Vec<Option<Count>>,
    /// Whether counts of this census are still to come.
    under_way: bool,
    /// The number of censuses in a row that found nothing.
    empty: u32,
    /// The number of such censuses that are needed.
    needed: u32,
    /// The time between two censuses.
    apart: Duration,
    /// When the next census may begin; `None`: now.
    not_before: Option<Instant>,
    /// Whether a message came since the census began, so that its counts mean nothing.
    disturbed: bool,
}

impl Phase {
    pub fn running<'a>(until_empty: bool, queues: impl Iterator<Item = &'a QueueRules>) -> Self {
        let mut census = Census {
            counts: Vec::new(),
            under_way: false,
            empty: 0,
            needed: 1,
            apart: Duration::ZERO,
            not_before: None,
            disturbed: false,
        };
        for rules in queues {
            census.counts.push(None);
            census.needed = census.needed.max(rules.zero_counts);
            census.apart = census.apart.max(rules.recount);
        }
        Self { until_empty, deadline: None, ends_at: None, finished: false, census }
    }

    /// Adds a queue. A census that is under way does not include it, and is void.
    pub(super) fn add_queue(&mut self) {
        self.census.disturbed = true;
        self.census.counts.push(Some(Count::default()));
    }

    /// Adapts the census to the rules of a queue.
    pub(super) fn census_of(&mut self, rules: &QueueRules) {
        self.census.needed = self.census.needed.max(rules.zero_counts);
        self.census.apart = self.census.apart.max(rules.recount);
    }

    pub(super) fn finish_when_empty(&mut self) {
        self.until_empty = true;
    }

    /// Returns whether no further message is received.
    pub fn is_stopping(&self) -> bool {
        self.deadline.is_some()
    }

    /// Returns whether no further flush starts.
    pub fn is_forced(&self) -> bool {
        self.ends_at.is_some()
    }

    /// Returns when the drain ends; `None` if there is none.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn received(&mut self, messages: usize) {
        if messages > 0 {
            self.census.disturbed = true;
            self.census.empty = 0;
        }
    }

    pub(super) fn count_again(&mut self) {
        self.census.not_before = None;
    }
}

impl Dispatcher {
    /// Stops receiving. Waiting deliveries may leave until the deadline; those that their partner will not
    /// take by then are returned now.
    pub(super) fn drain(&mut self, deadline: Instant) {
        if self.phase.is_stopping() {
            return;
        }
        self.phase.deadline = Some(deadline);
        self.due.add(deadline, Timer::Stop);
        for queue in self.living.clone() {
            self.commands.push_back(Command::Interrupt { queue });
            self.return_pending(queue);
        }
        // Nearly all of a million buckets hold nothing, and need no look.
        let buckets: Vec<_> = self.partners.buckets().filter(|(_, bucket)| !bucket.is_bare()).map(|(key, _)| key).collect();
        for key in buckets {
            self.return_what_cannot_leave(key);
            self.partners.list(key);
        }
    }

    /// Acts if the drain's deadline has passed, or the grace time after it. A timer that was set for a later moment
    /// than the one that now applies is ignored.
    pub(super) fn stop_is_due(&mut self) {
        match (self.phase.ends_at, self.phase.deadline) {
            (Some(ends_at), _) if ends_at <= self.now => self.finish(),
            (None, Some(deadline)) if deadline <= self.now => self.stop(),
            _ => {}
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
        self.phase.ends_at = Some(ends_at);
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
            let letters = self.queues.get_mut(index).map(|queue| queue.settling.failing_letters());
            for letter in letters.into_iter().flatten().rev() {
                self.give_up_letter(index, &letter);
            }
        }
        self.let_go();
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.phase.finished, true) {
            for queue in 0..self.queues.len() {
                self.say_sums(queue, true);
            }
            self.commands.push_back(Command::Finish);
        }
    }

    /// Finishes if nothing is left to wait for. Called at the end of each turn.
    pub(super) fn look_for_the_end(&mut self) {
        if self.phase.finished {
            return;
        }
        if self.phase.is_stopping() {
            let told = self
                .queues
                .iter()
                .all(|queue| queue.settling.is_idle() && queue.parking.as_deref().is_none_or(Transfer::is_idle));
            let quiet = self.queues.iter().all(|queue| !queue.intake.is_asking() && queue.intake.running() == 0);
            let nothing_held = self.ledger.is_empty();
            let only_on_wire = self.phase.is_forced() && self.ledger.iter().all(|(_, held)| held.on_wire() > 0);
            if told && ((quiet && nothing_held) || only_on_wire) {
                self.finish();
            }
        } else if self.phase.until_empty && self.ledger.is_empty() {
            self.take_census();
        }
    }

    fn take_census(&mut self) {
        let census = &mut self.phase.census;
        if census.under_way || census.not_before.is_some_and(|at| at > self.now) {
            return;
        }
        census.under_way = true;
        census.disturbed = false;
        // Messages left on a queue that was taken away are no longer ours to count; its parked deliveries are.
        let counts = |queue: &QueueState| queue.is_serving() || (queue.parks_for.is_some() && !queue.is_gone());
        for (count, queue) in census.counts.iter_mut().zip(&mut self.queues) {
            *count = if counts(queue) { None } else { Some(Count::default()) };
            if count.is_none() {
                queue.settling.count();
            }
        }
        for queue in self.living.clone() {
            self.tell(queue);
        }
    }

    /// Takes in the count of one queue. The last count of a census decides whether the end has come.
    pub(super) fn counted(&mut self, index: QueueIndex, acker: usize, count: Result<Count, Fault>) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("the count of an unknown queue") };
        if !queue.settling.counted(acker) {
            return self.stray("the count of an idle acker");
        }
        // A count that failed is not a count of zero.
        let (count, fault) =
            count.map_or_else(|fault| (Count { visible: 1, ..Count::default() }, Some(fault)), |count| (count, None));
        self.call_ended(index, Kind::Count, fault);
        let census = &mut self.phase.census;
        if let Some(counted) = census.counts.get_mut(index) {
            *counted = Some(count);
        }
        if census.counts.iter().any(Option::is_none) {
            return;
        }
        census.under_way = false;
        let all_empty = census.counts.iter().flatten().all(Count::is_empty) && !census.disturbed && self.ledger.is_empty();
        census.empty = if all_empty { census.empty + 1 } else { 0 };
        let found_none = |queue: &QueueState| queue.rules.zero_counts <= 1 || queue.intake.found_none() || !queue.is_serving();
        if census.empty >= census.needed && self.queues.iter().all(found_none) {
            self.drain(self.now + GRACE);
        } else {
            let at = self.now + census.apart;
            census.not_before = Some(at);
            self.due.add(at, Timer::Count);
        }
    }
}
