//! Counts for metrics that the status does not show: results by kind. All of them only grow.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::dispatch::exits::reason::ReturnReason;
use crate::message::Outcome;
use crate::message::dead::DeadKind;

/// A kind of call to a queue service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Receiving messages.
    Receive,
    /// Deleting messages.
    Delete,
    /// Extending leases, and returning messages.
    ChangeVisibility,
    /// Writing dead letters.
    SetAside,
    /// Counting the queue's messages.
    Count,
    /// A write into a parking.
    Park,
    /// A read from a parking.
    Unpark,
}

impl Operation {
    /// All operations, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Receive, Self::Delete, Self::ChangeVisibility, Self::SetAside, Self::Count, Self::Park, Self::Unpark];

    /// Returns the operation's name in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Delete => "delete",
            Self::ChangeVisibility => "change_visibility",
            Self::SetAside => "set_aside",
            Self::Count => "count",
            Self::Park => "park",
            Self::Unpark => "unpark",
        }
    }
}

impl fmt::Display for Operation {
    /// Writes the operation's name in log lines and status.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChangeVisibility => "change visibility",
            Self::SetAside => "set aside",
            other => other.word(),
        })
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The result of a call to a queue service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// The call succeeded.
    Ok,
    /// The call is a receive that found nothing.
    Empty,
    /// The call failed as a whole, or one of its entries did.
    Failed,
}

impl CallResult {
    pub const ALL: [Self; 3] = [Self::Ok, Self::Empty, Self::Failed];

    /// Returns the result's name in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Empty => "empty",
            Self::Failed => "failed",
        }
    }
}

/// The counts of one queue for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Handler runs, in the order of [`OUTCOMES`].
    outcomes: [u64; OUTCOMES.len()],
    /// Calls, by [`Operation`] and [`CallResult`].
    calls: [[u64; CallResult::ALL.len()]; Operation::ALL.len()],
    /// Messages returned, by reason.
    returned: BTreeMap<ReturnReason, u64>,
    /// Messages set aside of which no delivery was accepted, by reason.
    dead: BTreeMap<DeadKind, u64>,
    /// Dead letters written, those of single deliveries included, by reason.
    letters: BTreeMap<DeadKind, u64>,
}

/// The names of outcomes in metrics.
const OUTCOMES: [&str; 4] = ["deliver", "discard", "retry", "reject"];

impl Tally {
    /// Adds the counts of another queue.
    pub fn add(&mut self, other: &Self) {
        let Self { outcomes, calls, returned, dead, letters } = other;
        for (count, more) in self.outcomes.iter_mut().zip(outcomes) {
            *count += more;
        }
        for (count, more) in self.calls.iter_mut().flatten().zip(calls.iter().flatten()) {
            *count += more;
        }
        add_all(&mut self.returned, returned);
        add_all(&mut self.dead, dead);
        add_all(&mut self.letters, letters);
    }

    /// Counts a handler run that ended.
    pub fn handled(&mut self, outcome: &Outcome) {
        let [deliver, discard, retry, reject] = &mut self.outcomes;
        *match outcome {
            Outcome::Deliver(deliveries) if deliveries.is_empty() => discard,
            Outcome::Deliver(_) => deliver,
            Outcome::Discard => discard,
            Outcome::Retry { .. } => retry,
            Outcome::Reject { .. } => reject,
        } += 1;
    }

    /// Counts a message that was returned.
    pub fn returned(&mut self, reason: ReturnReason) {
        *self.returned.entry(reason).or_default() += 1;
    }

    /// Counts a message that was set aside, of which no delivery was accepted.
    pub fn dead(&mut self, kind: DeadKind) {
        *self.dead.entry(kind).or_default() += 1;
    }

    /// Counts a dead letter that was written.
    pub fn letter(&mut self, kind: DeadKind) {
        *self.letters.entry(kind).or_default() += 1;
    }

    /// Counts a call that ended.
    pub fn called(&mut self, operation: Operation, result: CallResult) {
        if let Some(count) = self.calls.get_mut(operation as usize).and_then(|results| results.get_mut(result as usize)) {
            *count += 1;
        }
    }

    /// Returns the number of handler runs by outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        OUTCOMES.into_iter().zip(self.outcomes)
    }

    /// Returns the number of returned messages by reason, without reasons that never occurred.
    pub fn returns(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.returned.iter().map(|(reason, count)| (reason.word(), *count))
    }

    /// Returns the number of dead messages by kind of reason, for all kinds: to an alert on an increase, a counter that
    /// begins with its first dead letters has not increased.
    pub fn deaths(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DeadKind::ALL.into_iter().map(|kind| (kind.word(), self.dead.get(&kind).copied().unwrap_or_default()))
    }

    /// Returns the number of dead letters by kind of reason, without kinds that never occurred.
    pub fn letters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.letters.iter().map(|(kind, count)| (kind.word(), *count))
    }

    /// Returns the number of calls by operation and result, without those that never happened.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        let rows = Operation::ALL.into_iter().zip(&self.calls);
        let cells = rows.flat_map(|(operation, results)| {
            CallResult::ALL.into_iter().zip(results).map(move |(result, count)| (operation.word(), result.word(), *count))
        });
        cells.filter(|(.., count)| *count > 0)
    }

    /// Returns the number of receives that ended, whatever they found.
    pub fn receives(&self) -> u64 {
        self.calls.get(Operation::Receive as usize).map_or(0, |results| results.iter().sum())
    }
}

fn add_all<K: Copy + Ord>(counts: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *counts.entry(*key).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_counted_under_its_words() {
        let mut tally = Tally::default();
        tally.called(Operation::Receive, CallResult::Empty);
        tally.called(Operation::Receive, CallResult::Ok);
        tally.called(Operation::Count, CallResult::Failed);
        let seen: Vec<_> = tally.calls().collect();
        assert_eq!(seen, [("receive", "ok", 1), ("receive", "empty", 1), ("count", "failed", 1)]);
        assert_eq!(tally.receives(), 2);
    }

    #[test]
    fn each_kind_of_death_is_shown_before_it_occurs() {
        let mut tally = Tally::default();
        let before: Vec<_> = tally.deaths().collect();
        assert_eq!((before.len(), before.iter().map(|(_, count)| count).sum()), (DeadKind::ALL.len(), 0));
        tally.dead(DeadKind::Expired);
        assert_eq!(tally.deaths().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [("expired", 1)]);
    }

    #[test]
    fn each_count_of_another_queue_is_added() {
        let mut other = Tally::default();
        other.handled(&Outcome::Discard);
        other.called(Operation::Delete, CallResult::Failed);
        other.returned(ReturnReason::Handler);
        other.dead(DeadKind::Expired);
        other.letter(DeadKind::Skipped);
        let mut sum = Tally::default();
        sum.add(&other);
        assert_eq!(sum, other);
        sum.add(&other);
        assert_eq!((sum.returns().next(), sum.letters().next()), (Some(("handler", 2)), Some(("skipped", 2))));
    }

    #[test]
    fn a_delivery_to_nobody_counts_as_discarded() {
        let mut tally = Tally::default();
        tally.handled(&Outcome::Deliver(Default::default()));
        tally.handled(&Outcome::deliver("acme", "{}"));
        let seen: Vec<_> = tally.outcomes().collect();
        assert_eq!(seen, [("deliver", 1), ("discard", 1), ("retry", 0), ("reject", 0)]);
    }
}
