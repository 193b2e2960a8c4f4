//! When the held copies of one queue arrived, so that the age of the oldest is known without looking at any
//! copy. Owned by the ledger.
//!
//! Copies that arrived within a tenth of a second share a slot: a copy costs one increment when it arrives and one
//! decrement when it leaves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The width of a slot: a copy that arrives within this time of a slot's first copy counts as old as that one.
const WIDTH: Duration = Duration::from_millis(100);

/// Up to this many slots, the empty ones are not looked for.
const FEW: usize = 1024;

/// The arrival times of the held copies of one queue, in slots of [`WIDTH`].
#[derive(Debug, Default)]
pub struct Ages {
    /// The slots, oldest first. The first one is never empty; the others may be.
    slots: VecDeque<Slot>,
    /// The number of slots at which the empty ones are dropped (but see [`FEW`]).
    sweep_at: usize,
}

#[derive(Debug)]
struct Slot {
    /// When the first copy of the slot arrived.
    since: Instant,
    /// The number of copies of the slot that are still held.
    held: u32,
}

impl Ages {
    /// Counts a copy that arrives at `now`. Times must not go back from one call to the next.
    pub fn enter(&mut self, now: Instant) {
        if let Some(newest) = self.slots.back_mut().filter(|slot| now < slot.since + WIDTH) {
            newest.held += 1;
            return;
        }
        if self.slots.len() >= self.sweep_at.max(FEW) {
            self.slots.retain(|slot| slot.held > 0);
            self.sweep_at = 2 * self.slots.len();
        }
        self.slots.push_back(Slot { since: now, held: 1 });
    }

    /// Removes from the count a copy that arrived at `came`.
    pub fn leave(&mut self, came: Instant) {
        // The copy's slot is the last one that began at `came` or earlier. It holds the copy, so it was not dropped.
        let place = match self.slots.back() {
            Some(newest) if newest.since <= came => self.slots.len(),
            _ => self.slots.partition_point(|slot| slot.since <= came),
        };
        if let Some(slot) = place.checked_sub(1).and_then(|place| self.slots.get_mut(place)) {
            slot.held = slot.held.saturating_sub(1);
        }
        while self.slots.front().is_some_and(|slot| slot.held == 0) {
            self.slots.pop_front();
        }
    }

    /// Returns when the oldest copy that is still held arrived, at most [`WIDTH`] too early. `None`: no copy is held.
    pub fn oldest(&self) -> Option<Instant> {
        self.slots.front().map(|slot| slot.since)
    }

    /// Returns the number of copies that are counted.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slots.iter().map(|slot| slot.held as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::start;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn tells_the_oldest_that_is_left_in_whatever_order_they_leave() {
        let (mut ages, start) = (Ages::default(), start());
        let oldest = |ages: &Ages| ages.oldest().map(|at| (at - start).as_millis());
        for millis in [0, 99, 100, 5_000, 5_000] {
            ages.enter(start + at(millis));
        }
        for (leaves, left) in [(100, Some(0)), (0, Some(0)), (5_000, Some(0)), (99, Some(5_000)), (5_000, None)] {
            ages.leave(start + at(leaves));
            assert_eq!(oldest(&ages), left, "{leaves}");
        }
    }

    #[test]
    fn one_that_stays_does_not_keep_the_places_of_all_that_came_after_it() {
        let (mut ages, start) = (Ages::default(), start());
        ages.enter(start);
        for n in 1..100_000 {
            ages.enter(start + at(100 * n));
            ages.leave(start + at(100 * n));
        }
        assert!(ages.slots.len() <= 2 * FEW, "{}", ages.slots.len());
        assert_eq!(ages.oldest(), Some(start));
    }
}
