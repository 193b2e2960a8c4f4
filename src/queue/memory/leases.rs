//! The hidden rows of the queue in memory. Rows are found by number, or by the time at
//! which they become visible, in constant time each. All calls run under the queue's lock.
//!
//! At millions of messages a second, an ordered set of times or a hash of each row would cost more
//! than everything else together. So the rows are in [`Pages`]. Rows hidden in one call share their
//! time, so the ordered map is by time, with a list of all rows of that time. A row that leaves
//! early stays in that list as a stale entry until its time comes, or until most entries are stale.

use std::collections::BTreeMap;

use super::pages::Pages;
use super::row::Row;

/// A hidden row.
pub(super) struct Lease {
    pub row: Row,
    /// When the row becomes visible, in ms since 1970.
    pub until: i64,
    /// Whether the row is hidden since it was sent, not by a receive.
    pub delayed: bool,
}

#[derive(Default)]
pub(super) struct Leases {
    rows: Pages<Lease>,
    /// The rows of each time, in the order of hiding; some entries are stale.
    by_time: BTreeMap<i64, Vec<u64>>,
    /// The number of entries in the lists of `by_time`.
    listed: u64,
    delayed: u64,
}

/// The number of stale entries below which a walk through the lists is not
/// worth it. Nor is it worth it before three of four entries are stale.
const MAX_STALE: u64 = 64;

impl Leases {
    pub(super) fn insert(&mut self, number: u64, lease: Lease) {
        self.delayed += u64::from(lease.delayed);
        self.by_time.entry(lease.until).or_default().push(number);
        self.listed += 1;
        self.rows.insert(number, lease);
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&Lease> {
        self.rows.get(number)
    }

    /// Takes the row out if it is hidden and `wanted` returns `true` for it.
    pub(super) fn remove_if(&mut self, number: u64, wanted: impl FnOnce(&Lease) -> bool) -> Option<Lease> {
        let lease = self.rows.remove_if(number, wanted)?;
        self.delayed -= u64::from(lease.delayed);
        if self.listed > 4 * self.rows.len() + MAX_STALE {
            self.strike_stale();
        }
        Some(lease)
    }

    /// Takes out all rows whose time is at or before `now`.
    pub(super) fn lapsed(&mut self, now: i64) -> Vec<(u64, Lease)> {
        let mut lapsed = Vec::new();
        while let Some(due) = self.by_time.first_entry()
            && *due.key() <= now
        {
            let (until, numbers) = due.remove_entry();
            self.listed -= numbers.len() as u64;
            for number in numbers {
                let Some(lease) = self.rows.remove_if(number, |lease| lease.until == until) else { continue };
                self.delayed -= u64::from(lease.delayed);
                lapsed.push((number, lease));
            }
        }
        lapsed
    }

    /// Removes the stale entries. A row that is hidden again until the same time may be listed
    /// twice; this is harmless, because the second entry is stale once the first is taken.
    fn strike_stale(&mut self) {
        let rows = &mut self.rows;
        self.by_time.retain(|until, numbers| {
            numbers.retain(|number| rows.get(*number).is_some_and(|lease| lease.until == *until));
            !numbers.is_empty()
        });
        self.listed = self.by_time.values().map(|numbers| numbers.len() as u64).sum();
    }

    /// Returns how many rows are hidden, including those sent with a delay.
    pub(super) fn len(&self) -> u64 {
        self.rows.len()
    }

    /// Returns how many rows are hidden since they were sent.
    pub(super) fn delayed(&self) -> u64 {
        self.delayed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(until: i64) -> Lease {
        Lease { row: Row::default(), until, delayed: false }
    }

    fn numbers(lapsed: Vec<(u64, Lease)>) -> Vec<u64> {
        lapsed.into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn rows_lapse_at_their_time_and_not_before() {
        let mut leases = Leases::default();
        leases.insert(1, hidden(20));
        leases.insert(2, hidden(10));
        leases.insert(3, hidden(20));
        assert!(leases.lapsed(9).is_empty());
        assert_eq!(numbers(leases.lapsed(19)), [2]);
        assert_eq!(numbers(leases.lapsed(20)), [1, 3]);
        assert_eq!(leases.len(), 0);
    }

    #[test]
    fn a_row_that_left_or_moved_does_not_lapse_at_its_old_time() {
        let mut leases = Leases::default();
        for number in 1..=3 {
            leases.insert(number, hidden(10));
        }
        leases.remove_if(1, |_| true);
        leases.remove_if(2, |_| true);
        leases.insert(2, hidden(30));
        assert_eq!(numbers(leases.lapsed(10)), [3]);
        assert_eq!(numbers(leases.lapsed(30)), [2]);
    }

    #[test]
    fn a_row_that_moved_away_and_back_lapses_once() {
        let mut leases = Leases::default();
        leases.insert(1, hidden(10));
        leases.insert(2, hidden(10));
        leases.remove_if(1, |_| true);
        leases.insert(1, hidden(10));
        assert_eq!(numbers(leases.lapsed(10)), [1, 2]);
        assert!(leases.by_time.is_empty());
    }

    #[test]
    fn one_long_held_row_does_not_keep_the_entries_of_those_that_left() {
        let mut leases = Leases::default();
        for number in 0..100_000 {
            leases.insert(number, hidden(10));
            if number > 0 {
                leases.remove_if(number, |_| true);
            }
        }
        assert!(leases.listed <= 4 + MAX_STALE + 1);
        assert_eq!(numbers(leases.lapsed(10)), [0]);
    }

    #[test]
    fn delayed_rows_are_counted_apart() {
        let mut leases = Leases::default();
        leases.insert(1, Lease { delayed: true, ..hidden(10) });
        leases.insert(2, Lease { delayed: true, ..hidden(20) });
        leases.insert(3, hidden(20));
        assert_eq!((leases.len(), leases.delayed()), (3, 2));
        leases.remove_if(1, |_| true);
        assert_eq!(leases.delayed(), 1);
        leases.lapsed(20);
        assert_eq!((leases.len(), leases.delayed()), (0, 0));
    }
}
