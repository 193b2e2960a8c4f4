//! Counts for metrics that status does not show: what became of what, in words. All of them only grow.

use crate::message::Outcome;

/// How often each word was said. The words are written in the code, so there are few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByWord(Vec<(&'static str, u64)>);

impl ByWord {
    pub fn add(&mut self, word: &'static str) {
        match self.0.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => self.0.push((word, 1)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }

    fn add_all(&mut self, other: &Self) {
        for (word, times) in other.iter() {
            match self.0.iter_mut().find(|(known, _)| *known == word) {
                Some((_, count)) => *count += times,
                None => self.0.push((word, times)),
            }
        }
    }
}

/// A call to a queue service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Receive,
    Delete,
    ChangeVisibility,
    SetAside,
    Count,
}

impl Operation {
    pub const ALL: [Self; 5] = [Self::Receive, Self::Delete, Self::ChangeVisibility, Self::SetAside, Self::Count];

    pub fn word(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Delete => "delete",
            Self::ChangeVisibility => "change_visibility",
            Self::SetAside => "set_aside",
            Self::Count => "count",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    Ok,
    /// A receive that found nothing.
    Empty,
    /// As a whole, or one of its entries.
    Failed,
}

impl CallResult {
    pub const ALL: [Self; 3] = [Self::Ok, Self::Empty, Self::Failed];

    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Empty => "empty",
            Self::Failed => "failed",
        }
    }
}

/// Of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Handler runs by [`OUTCOMES`].
    outcomes: [u64; 4],
    /// Calls by [`Operation`] and [`CallResult`].
    calls: [[u64; 3]; 5],
    /// Messages returned, by why.
    pub returned: ByWord,
    /// Messages set aside of which nothing was accepted, by why.
    pub dead: ByWord,
    /// Dead letters written, those of single deliveries included, by why.
    pub letters: ByWord,
}

/// The words of outcomes.
const OUTCOMES: [&str; 4] = ["deliver", "discard", "retry", "reject"];

impl Tally {
    /// What was counted of another queue is counted with it.
    pub fn add(&mut self, other: &Self) {
        let Self { outcomes, calls, returned, dead, letters } = other;
        for (count, more) in self.outcomes.iter_mut().zip(outcomes) {
            *count += more;
        }
        for (count, more) in self.calls.iter_mut().flatten().zip(calls.iter().flatten()) {
            *count += more;
        }
        self.returned.add_all(returned);
        self.dead.add_all(dead);
        self.letters.add_all(letters);
    }

    /// A handler run ended.
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

    /// A call ended.
    pub fn called(&mut self, operation: Operation, result: CallResult) {
        if let Some(count) = self.calls.get_mut(operation as usize).and_then(|results| results.get_mut(result as usize)) {
            *count += 1;
        }
    }

    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        OUTCOMES.into_iter().zip(self.outcomes)
    }

    /// Those that happened.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        let rows = Operation::ALL.into_iter().zip(&self.calls);
        let cells = rows.flat_map(|(operation, results)| {
            CallResult::ALL.into_iter().zip(results).map(move |(result, count)| (operation.word(), result.word(), *count))
        });
        cells.filter(|(.., count)| *count > 0)
    }

    /// Receives that came back, found what they may.
    pub fn receives(&self) -> u64 {
        self.calls.first().map_or(0, |results| results.iter().sum())
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
    fn a_delivery_to_nobody_counts_as_discarded() {
        let mut tally = Tally::default();
        tally.handled(&Outcome::Deliver(Default::default()));
        tally.handled(&Outcome::deliver("acme", "{}"));
        let seen: Vec<_> = tally.outcomes().collect();
        assert_eq!(seen, [("deliver", 1), ("discard", 1), ("retry", 0), ("reject", 0)]);
    }
}
