//! When the held copies of one queue came: how old the oldest is can be told without looking at any.
//!
//! Copies that came within a tenth of a second share a slot, so that a copy costs a count when it comes and one when it leaves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What comes within that time of a slot's first is said to be as old as that.
const WIDTH: Duration = Duration::from_millis(100);

/// Slots that are not worth a look for those of which all have left.
const FEW: usize = 1024;

#[derive(Debug, Default)]
pub struct Ages {
    /// The oldest first. The first one holds something; between others all may have left.
    slots: VecDeque<Slot>,
    /// With so many slots the empty ones are dropped.
    sweep_at: usize,
}

#[derive(Debug)]
struct Slot {
    since: Instant,
    held: u32,
}

impl Ages {
    /// A copy came; never before one that came earlier.
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

    /// A copy that came then has left.
    pub fn leave(&mut self, came: Instant) {
        // Its own slot is the last that is not younger: it holds the copy, so it is there.
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

    /// When the oldest came that is still held, at most [`WIDTH`] too early.
    pub fn oldest(&self) -> Option<Instant> {
        self.slots.front().map(|slot| slot.since)
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
