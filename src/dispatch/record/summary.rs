//! Sums of events that may happen by the thousand: the first is logged, then a sum every ten seconds, so that a
//! storm is one line per interval.

use std::time::{Duration, Instant};

use compact_str::CompactString;

/// The time between two log lines about the same kind of event.
const INTERVAL: Duration = Duration::from_secs(10);

/// The events of one kind of one queue.
#[derive(Debug, Default)]
pub struct Summary {
    /// When the last line was logged.
    said_at: Option<Instant>,
    /// The sum of the events that are not logged yet.
    unsaid: Option<Sum>,
}

/// The content of one log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// The number of events.
    pub count: u64,
    /// The id of the latest message that the event happened to.
    pub example: CompactString,
    /// The reason of the latest event, if there is more to say.
    pub reason: String,
}

impl Summary {
    /// Counts one event. Returns the sum to log now, if this is the first event after a quiet interval; else it is
    /// logged by [`Summary::say_by`].
    pub fn add(&mut self, now: Instant, example: CompactString, reason: impl FnOnce() -> String) -> Option<Sum> {
        let count = self.unsaid.as_ref().map_or(0, |sum| sum.count) + 1;
        self.unsaid = Some(Sum { count, example, reason: reason() });
        self.due(now)
    }

    /// Returns the sum that is to be logged by now, if there is one.
    pub fn due(&mut self, now: Instant) -> Option<Sum> {
        if self.said_at.is_some_and(|at| now < at + INTERVAL) { None } else { self.last(now) }
    }

    /// Returns the sum of all events that are not logged yet, if there are any.
    pub fn last(&mut self, now: Instant) -> Option<Sum> {
        let sum = self.unsaid.take()?;
        self.said_at = Some(now);
        Some(sum)
    }

    /// Returns when the next sum must be logged, if there is one.
    pub fn say_by(&self) -> Option<Instant> {
        self.unsaid.as_ref().and(self.said_at).map(|at| at + INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::start;

    #[test]
    fn the_first_is_said_at_once_and_the_rest_in_a_sum() {
        let (mut summary, start) = (Summary::default(), start());
        let at = |seconds| start + Duration::from_secs(seconds);
        let sum = |count, example: &str| Some(Sum { count, example: example.into(), reason: "why".into() });
        let mut add = |seconds, id: &str| summary.add(at(seconds), id.into(), || "why".into());
        assert_eq!(add(0, "a"), sum(1, "a"));
        assert_eq!(add(1, "b"), None);
        assert_eq!(add(2, "c"), None);
        assert_eq!(summary.say_by(), Some(at(10)));
        assert_eq!(summary.due(at(9)), None);
        assert_eq!(summary.due(at(10)), sum(2, "c"));
        assert_eq!((summary.due(at(30)), summary.say_by()), (None, None), "nothing happened since");
        assert_eq!(summary.add(at(31), "d".into(), || "why".into()), sum(1, "d"));
    }

    #[test]
    fn what_is_unsaid_at_the_end_is_said() {
        let (mut summary, start) = (Summary::default(), start());
        summary.add(start, "a".into(), String::new);
        summary.add(start, "b".into(), String::new);
        assert_eq!(summary.last(start).map(|sum| sum.count), Some(1));
        assert_eq!(summary.last(start), None);
    }
}
