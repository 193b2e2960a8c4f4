//! Timers in order of time, so that serving them costs O(timers due), whatever the number of buckets. Part of the
//! dispatcher's state machine; reads no clock.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Moments, each with a key that says what falls due then.
///
/// Most are added in order of time: a new bucket's idle check is due after those of all others. Those stand in a plain
/// list, where a million of them cost half of the memory and a fifth of the time that they cost in a tree.
#[derive(Debug)]
pub struct Due<K: Ord + Copy> {
    /// The moments that were added in order: ascending by time, then by key. The first and the last entry are live.
    line: VecDeque<Entry<K>>,
    /// The number of entries of the line that were removed.
    gone: usize,
    /// All other moments.
    between: BTreeSet<(Instant, K)>,
}

#[derive(Debug)]
struct Entry<K> {
    at: Instant,
    /// `None`: this moment was removed.
    key: Option<K>,
}

/// Up to this many removed entries are not worth a pass over the line.
const GONE: usize = 64;

/// Returns a moment that comes earlier by this much; the same one if no clock goes that far back.
pub fn earlier(at: Instant, by: Duration) -> Instant {
    at.checked_sub(by).unwrap_or(at)
}

impl<K: Ord + Copy> Default for Due<K> {
    fn default() -> Self {
        Self { line: VecDeque::new(), gone: 0, between: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Due<K> {
    /// Adds a moment. Adding one that is already there has no effect.
    pub fn add(&mut self, at: Instant, key: K) {
        match self.line.back().map(|last| (last.at, last.key).cmp(&(at, Some(key)))) {
            None | Some(Ordering::Less) => self.line.push_back(Entry { at, key: Some(key) }),
            Some(Ordering::Equal) => {}
            Some(Ordering::Greater) => _ = self.between.insert((at, key)),
        }
    }

    /// Removes a moment, if it is there. Costs O(log n), and an occasional pass over the line.
    pub fn remove(&mut self, at: Instant, key: K) {
        if self.between.remove(&(at, key)) {
            return;
        }
        let equal = self.line.partition_point(|entry| entry.at < at);
        let found = self.line.range_mut(equal..).take_while(|entry| entry.at == at).find(|entry| entry.key == Some(key));
        let Some(found) = found else { return };
        found.key = None;
        self.gone += 1;
        self.move_up();
        if self.gone > self.line.len() / 2 + GONE {
            self.line.retain(|entry| entry.key.is_some());
            self.gone = 0;
        }
    }

    /// Drops removed entries from both ends of the line.
    fn move_up(&mut self) {
        while self.line.pop_front_if(|entry| entry.key.is_none()).is_some()
            || self.line.pop_back_if(|entry| entry.key.is_none()).is_some()
        {
            self.gone -= 1;
        }
    }

    /// Returns the first moment of the line.
    fn first(&self) -> Option<(Instant, K)> {
        let first = self.line.front()?;
        Some((first.at, first.key?))
    }

    /// Returns the earliest moment.
    pub fn next(&self) -> Option<Instant> {
        let between = self.between.first().map(|&(at, _)| at);
        self.first().map(|(at, _)| at).into_iter().chain(between).min()
    }

    /// Takes out the earliest moment that is due at `now`, and returns its key; equal moments come in the order of
    /// their keys. `None`: nothing is due.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let (line, between) = (self.first(), self.between.first().copied());
        let (at, key) = line.into_iter().chain(between).min()?;
        if at > now {
            return None;
        }
        if line == Some((at, key)) {
            self.line.pop_front();
            self.move_up();
        } else {
            self.between.pop_first();
        }
        Some(key)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.line.len() - self.gone + self.between.len()
    }
}

/// A moment that is in [`Due`] at most once. Moving it later costs nothing: it comes up at the earlier moment, and
/// its owner sets it again.
#[derive(Debug, Default, Clone, Copy)]
pub struct Alarm {
    /// The moment at which the key comes up, if it is in [`Due`].
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

    /// Returns when the key comes up, if it does.
    #[cfg(test)]
    pub fn at(&self) -> Option<Instant> {
        self.set_for
    }

    /// Records that the key came up. To be called whenever it does.
    pub fn rang(&mut self) {
        self.set_for = None;
    }

    /// Removes the moment from `due`, for an owner that goes away.
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
    fn says_the_same_as_a_sorted_list_whatever_comes_and_goes() {
        let (start, mut random) = (crate::dispatch::tests::start(), fastrand::Rng::with_seed(5));
        let (mut due, mut sorted, mut now) = (Due::default(), BTreeSet::new(), start);
        for step in 0..50_000u32 {
            match random.u8(0..4) {
                0 | 1 => {
                    // Mostly in order, and many at the same moment.
                    let at = now + Duration::from_millis(if random.u8(0..4) > 0 { 600 } else { random.u64(0..600) });
                    sorted.insert((at, step ^ 7));
                    due.add(at, step ^ 7);
                }
                2 => {
                    let some = sorted.iter().nth(random.usize(0..50.min(sorted.len()).max(1))).copied();
                    let (at, key) = some.unwrap_or((now, 0));
                    due.remove(at, key);
                    sorted.remove(&(at, key));
                }
                _ => {
                    now += Duration::from_millis(random.u64(0..3));
                    let first = sorted.first().copied().filter(|(at, _)| *at <= now);
                    assert_eq!(due.pop(now), first.map(|(_, key)| key));
                    first.map(|first| sorted.remove(&first));
                }
            }
            assert_eq!((due.next(), due.len()), (sorted.first().map(|(at, _)| *at), sorted.len()));
            assert!(due.gone <= due.line.len() / 2 + GONE, "what is gone is bounded by what stands");
        }
    }

    #[test]
    fn what_is_removed_from_the_middle_does_not_stay() {
        let (start, mut due) = (crate::dispatch::tests::start(), Due::default());
        let at = |number: u32| start + Duration::from_millis(number.into());
        (0..1000).for_each(|number| due.add(at(number), number));
        for number in 1..999 {
            due.remove(at(number), number);
            assert!(due.gone <= due.line.len() / 2 + GONE, "what is gone is bounded by what stands");
        }
        assert!(due.line.len() <= 2 * GONE + 4, "{}", due.line.len());
        assert_eq!([due.pop(at(1000)), due.pop(at(1000)), due.pop(at(1000))], [Some(0), Some(999), None]);
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
