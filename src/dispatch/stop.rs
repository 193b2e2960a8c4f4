//! The end: a drain that finishes what can be finished, a stop that returns the rest, and the search for "everything is empty".

use std::time::{Duration, Instant};

use crate::message::settle::Count;

use super::event::{Command, Fault};
use super::exits::settling::Kind;
use super::keys::{QueueIndex, Ticket};
use super::parking::Transfer;
use super::rules::QueueRules;
use super::timer::Timer;
use super::{Dispatcher, QueueState};

/// What is left for returning messages once everything is stopped; leases that could not be given back by then lapse.
const GRACE: Duration = Duration::from_secs(5);

/// How far the engine is on its way.
#[derive(Debug)]
pub struct Phase {
    until_empty: bool,
    deadline: Option<Instant>,
    /// Stopped by force: what could not be returned by then is left to its lease.
    ends_at: Option<Instant>,
    finished: bool,
    census: Census,
}

/// Whether all queues are empty, as far as it is known.
#[derive(Debug)]
struct Census {
    /// By queue: what was counted since the census began. `None`: not counted yet.
    counts: Vec<Option<Count>>,
    under_way: bool,
    /// Censuses in a row that found nothing, of those that are needed.
    empty: u32,
    needed: u32,
    apart: Duration,
    not_before: Option<Instant>,
    /// A message came since the census began: what was counted means nothing.
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

    /// One more queue. A census that is under way knows nothing of it.
    pub(super) fn add_queue(&mut self) {
        self.census.disturbed = true;
        self.census.counts.push(Some(Count::default()));
    }

    /// A census takes what the queue's rules ask for.
    pub(super) fn census_of(&mut self, rules: &QueueRules) {
        self.census.needed = self.census.needed.max(rules.zero_counts);
        self.census.apart = self.census.apart.max(rules.recount);
    }

    pub(super) fn finish_when_empty(&mut self) {
        self.until_empty = true;
    }

    /// No further message is received.
    pub fn is_stopping(&self) -> bool {
        self.deadline.is_some()
    }

    /// No further flush starts.
    pub fn is_forced(&self) -> bool {
        self.ends_at.is_some()
    }

    /// When the drain ends, once there is one.
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
    /// Stops receiving. What waits may leave until the deadline; what its partner will not take by then is returned now.
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
        // Nearly all of a million are bare, and those need no look.
        let buckets: Vec<_> = self.partners.buckets().filter(|(_, bucket)| !bucket.is_bare()).map(|(key, _)| key).collect();
        for key in buckets {
            self.return_what_cannot_leave(key);
            self.partners.list(key);
        }
    }

    /// The drain's deadline has come, or the end of what followed it. A moment that was set before the other came earlier is none.
    pub(super) fn stop_is_due(&mut self) {
        match (self.phase.ends_at, self.phase.deadline) {
            (Some(ends_at), _) if ends_at <= self.now => self.finish(),
            (None, Some(deadline)) if deadline <= self.now => self.stop(),
            _ => {}
        }
    }

    /// Returns everything that is not on the wire. The second time: ends.
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
        // Last first, so that a FIFO group stays locked until the first of it is returned.
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

    /// At the end of each turn: is there anything left to wait for?
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
            let only_on_wire = self.phase.is_forced() && self.ledger.iter().all(|(_, held)| held.on_wire > 0);
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
        // What is left on a queue that was taken away is nobody's here; what is parked of it is ours.
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

    pub(super) fn counted(&mut self, index: QueueIndex, acker: usize, count: Result<Count, Fault>) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("the count of an unknown queue") };
        if !queue.settling.counted(acker) {
            return self.stray("the count of an idle acker");
        }
        // Not known is not empty.
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
        let found_none =
            |queue: &QueueState| queue.intake.rules.zero_counts <= 1 || queue.intake.found_none() || !queue.is_serving();
        if census.empty >= census.needed && self.queues.iter().all(found_none) {
            self.drain(self.now + GRACE);
        } else {
            let at = self.now + census.apart;
            census.not_before = Some(at);
            self.due.add(at, Timer::Count);
        }
    }
}
