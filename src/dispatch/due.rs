//! What falls due when: one ordered set of moments, so that serving them costs O(due), whatever the number of buckets.

use std::collections::BTreeSet;
use std::time::Instant;

/// Moments, each with what it is for. The same pair is kept once.
#[derive(Debug)]
pub struct Due<K: Ord + Copy> {
    moments: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Default for Due<K> {
    fn default() -> Self {
        Self { moments: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Due<K> {
    pub fn add(&mut self, at: Instant, key: K) {
        self.moments.insert((at, key));
    }

    pub fn remove(&mut self, at: Instant, key: K) {
        self.moments.remove(&(at, key));
    }

    /// The earliest moment.
    pub fn next(&self) -> Option<Instant> {
        self.moments.first().map(|&(at, _)| at)
    }

    /// Takes the earliest of those that are due at `now`; equal moments in the order of their keys.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let &(at, _) = self.moments.first()?;
        if at > now {
            return None;
        }
        self.moments.pop_first().map(|(_, key)| key)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.moments.len()
    }
}

/// A moment that is in [`Due`] at most once. Moving it later is free: it is looked at again when the earlier moment comes.
#[derive(Debug, Default, Clone, Copy)]
pub struct Alarm {
    set_for: Option<Instant>,
}

impl Alarm {
    /// Makes sure that `key` comes up at `at` or earlier.
    pub fn by<K: Ord + Copy>(&mut self, due: &mut Due<K>, at: Instant, key: K) {
        match self.set_for {
            Some(set) if set <= at => {}
            Some(set) => {
                due.remove(set, key);
                due.add(at, key);
                self.set_for = Some(at);
            }
            None => {
                due.add(at, key);
                self.set_for = Some(at);
            }
        }
    }

    /// To be called when the key came up.
    pub fn rang(&mut self) {
        self.set_for = None;
    }

    /// Takes the moment out of `due`, for an owner that goes away.
    pub fn cancel<K: Ord + Copy>(&mut self, due: &mut Due<K>, key: K) {
        if let Some(set) = self.set_for.take() {
            due.remove(set, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn comes_up_in_order_of_time_then_key_and_not_before() {
        let start = crate::dispatch::tests::start();
        let mut due = Due::default();
        due.add(start + Duration::from_secs(2), 1);
        due.add(start + Duration::from_secs(1), 9);
        due.add(start + Duration::from_secs(1), 3);
        assert_eq!(due.pop(start), None);
        assert_eq!(due.next(), Some(start + Duration::from_secs(1)));
        let later = start + Duration::from_secs(5);
        assert_eq!([due.pop(later), due.pop(later), due.pop(later), due.pop(later)], [Some(3), Some(9), Some(1), None]);
    }

    #[test]
    fn an_alarm_is_kept_once_and_moves_only_forward_in_the_queue() {
        let start = crate::dispatch::tests::start();
        let mut due = Due::default();
        let mut alarm = Alarm::default();
        alarm.by(&mut due, start + Duration::from_secs(5), ());
        alarm.by(&mut due, start + Duration::from_secs(9), ());
        assert_eq!((due.len(), due.next()), (1, Some(start + Duration::from_secs(5))));
        alarm.by(&mut due, start + Duration::from_secs(2), ());
        assert_eq!((due.len(), due.next()), (1, Some(start + Duration::from_secs(2))));
        alarm.cancel(&mut due, ());
        assert_eq!(due.len(), 0);
    }
}
