//! Rows that are hidden until a stated time, found by row or by time in constant time each.
//!
//! At millions of messages a second an ordered set of times would cost more than all else together. Rows hidden in one call share their
//! time, so the ordered map is by time, with all rows of that time under it; a row that leaves early stays in that list as a stale
//! entry until its time comes, or stale ones outnumber the others.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::rows::Row;

/// A hidden row.
pub(super) struct Lease {
    pub row: Row,
    /// ms since 1970.
    pub until: i64,
    /// Hidden since it was sent, not by a receive.
    pub delayed: bool,
}

#[derive(Default)]
pub(super) struct Leases {
    by_number: HashMap<u64, Lease, RandomState>,
    by_time: BTreeMap<i64, Due>,
    delayed: u64,
}

/// The rows of one time.
#[derive(Default)]
struct Due {
    /// In the order of hiding; some may be stale.
    numbers: Vec<u64>,
    /// How many are not stale.
    live: usize,
}

/// Fewer stale entries than this are not worth a walk.
const STALE: usize = 64;

impl Leases {
    pub(super) fn insert(&mut self, number: u64, lease: Lease) {
        self.delayed += u64::from(lease.delayed);
        let due = self.by_time.entry(lease.until).or_default();
        due.numbers.push(number);
        due.live += 1;
        self.by_number.insert(number, lease);
    }

    pub(super) fn get(&self, number: u64) -> Option<&Lease> {
        self.by_number.get(&number)
    }

    /// Takes the row out if it is hidden, and as `wanted` says.
    pub(super) fn remove_if(&mut self, number: u64, wanted: impl FnOnce(&Lease) -> bool) -> Option<Lease> {
        let Entry::Occupied(entry) = self.by_number.entry(number) else { return None };
        if !wanted(entry.get()) {
            return None;
        }
        let lease = entry.remove();
        self.delayed -= u64::from(lease.delayed);
        if let Some(due) = self.by_time.get_mut(&lease.until) {
            due.live -= 1;
            if due.live == 0 {
                self.by_time.remove(&lease.until);
            } else if due.numbers.len() > 2 * due.live + STALE {
                // The row may be back under the same time, and then it is listed twice: harmless, the second is stale once it is taken.
                due.numbers.retain(|number| self.by_number.get(number).is_some_and(|other| other.until == lease.until));
            }
        }
        Some(lease)
    }

    /// Takes out the rows whose time is at or before `now`.
    pub(super) fn lapsed(&mut self, now: i64) -> Vec<(u64, Lease)> {
        let mut lapsed = Vec::new();
        while let Some(due) = self.by_time.first_entry()
            && *due.key() <= now
        {
            let (until, due) = due.remove_entry();
            for number in due.numbers {
                let Entry::Occupied(entry) = self.by_number.entry(number) else { continue };
                if entry.get().until == until {
                    let lease = entry.remove();
                    self.delayed -= u64::from(lease.delayed);
                    lapsed.push((number, lease));
                }
            }
        }
        lapsed
    }

    /// How many rows are hidden, those with a delay included.
    pub(super) fn len(&self) -> u64 {
        self.by_number.len() as u64
    }

    /// How many are hidden since they were sent.
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
        assert!(leases.by_time[&10].numbers.len() <= 2 + STALE + 1);
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
