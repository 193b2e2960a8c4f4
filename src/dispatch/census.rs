//! The census: all queues are counted to find out whether they are empty, once nothing is held, and some of them more
//! than once, since SQS counts approximately.

use std::time::{Duration, Instant};

use crate::message::service::Count;

use super::Dispatcher;
use super::event::Fault;
use super::exits::calls::CallKind;
use super::keys::QueueIndex;
use super::queue_state::QueueState;
use super::rules::QueueRules;
use super::timer::Timer;

/// The count of all queues, to find out whether they are empty.
#[derive(Debug)]
pub struct Census {
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

impl Census {
    /// Prepares the census of queues with these rules.
    pub fn new<'a>(queues: impl Iterator<Item = &'a QueueRules>) -> Self {
        let mut census = Self {
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
            census.adapt_to(rules);
        }
        census
    }

    /// Adds a queue. A census that is under way does not include it, and is void.
    pub fn add_queue(&mut self) {
        self.disturbed = true;
        self.counts.push(Some(Count::default()));
    }

    /// Counts as often, and as far apart, as the rules of a queue demand.
    pub fn adapt_to(&mut self, rules: &QueueRules) {
        self.needed = self.needed.max(rules.zero_counts);
        self.apart = self.apart.max(rules.recount);
    }

    /// Records that messages came: counts from before mean nothing.
    pub fn received(&mut self, messages: usize) {
        if messages > 0 {
            self.disturbed = true;
            self.empty = 0;
        }
    }
}

impl Dispatcher {
    /// Begins a census, unless one is under way or the last one was a moment ago.
    pub(super) fn take_census(&mut self) {
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
                queue.calls.count();
            }
        }
        for queue in self.living.clone() {
            self.start_calls(queue);
        }
    }

    /// Takes in the count of one queue. The last count of a census decides whether the end has come.
    pub(super) fn counted(&mut self, index: QueueIndex, acker: usize, count: Result<Count, Fault>) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("the count of an unknown queue") };
        if !queue.calls.counted(acker) {
            return self.stray("the count of an idle acker");
        }
        // A count that failed is not a count of zero.
        let (count, fault) =
            count.map_or_else(|fault| (Count { visible: 1, ..Count::default() }, Some(fault)), |count| (count, None));
        self.call_ended(index, CallKind::Count, fault);
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
            self.end_as_empty();
        } else {
            let at = self.now + census.apart;
            census.not_before = Some(at);
            self.due.add(at, Timer::Count);
        }
    }
}
