//! How many deliveries a partner accepts in one flush, learned from its answers of 413.
//!
//! A partner limits the bytes of a request rather than the number of deliveries, and one delivery alone may be too
//! large. So a size that was refused is tried again: soon in steps towards the smallest refused size, and after many
//! accepted flushes beyond it.

/// The number of full flushes in a row that are accepted before a larger one is tried, below what was refused.
const GROW_AFTER: u32 = 16;

/// The same before the refused size is tried again. At worst one flush in some hundred is refused then.
const RETRY_AFTER: u32 = 1_000;

/// See the [module documentation](self). Nothing is allocated for a partner that never found a flush too large, as most.
#[derive(Debug, Default)]
pub struct BatchSize(Option<Box<Learned>>);

#[derive(Debug)]
struct Learned {
    /// The largest number of deliveries in one flush.
    limit: usize,
    /// The smallest number that was refused at this limit or above.
    refused: usize,
    /// The largest number that was accepted since.
    accepted: usize,
    /// The number of full flushes that were accepted in a row.
    in_a_row: u32,
}

impl BatchSize {
    /// Returns the largest number of deliveries in one flush, if it is less than `max_batch`.
    pub fn learned(&self, max_batch: usize) -> Option<usize> {
        self.0.as_ref().map(|learned| learned.limit).filter(|limit| *limit < max_batch)
    }

    /// Records that a flush of this many deliveries was too large.
    pub fn refused(&mut self, deliveries: usize) {
        let Some(learned) = &mut self.0 else {
            let (limit, refused) = ((deliveries / 2).max(1), deliveries);
            self.0 = Some(Box::new(Learned { limit, refused, accepted: 0, in_a_row: 0 }));
            return;
        };
        // A larger flush may have left before the limit was as low.
        learned.in_a_row = 0;
        learned.refused = learned.refused.min(deliveries);
        if learned.accepted >= deliveries {
            learned.accepted = 0;
        }
        learned.limit = (deliveries / 2).max(learned.accepted).clamp(1, learned.limit);
    }

    /// Records that a flush of this many deliveries was accepted.
    pub fn accepted(&mut self, deliveries: usize, max_batch: usize) {
        let Some(learned) = &mut self.0 else { return };
        learned.accepted = learned.accepted.max(deliveries);
        if deliveries < learned.limit {
            return;
        }
        learned.in_a_row += 1;
        let is_next_refused = learned.limit + 1 >= learned.refused;
        if learned.in_a_row < if is_next_refused { RETRY_AFTER } else { GROW_AFTER } {
            return;
        }
        if is_next_refused {
            (learned.limit, learned.refused) = (learned.limit * 2, learned.limit * 2 + 1);
        } else {
            learned.limit = usize::midpoint(learned.limit, learned.refused);
        }
        learned.in_a_row = 0;
        if learned.limit >= max_batch {
            self.0 = None;
        }
    }

    /// Records that a single delivery was too large, which was first refused in a flush of `within` deliveries: that
    /// flush was refused for its sake, and says nothing about others.
    pub fn culprit_found(&mut self, within: usize) {
        if let Some(learned) = &mut self.0
            && learned.limit < within
        {
            **learned = Learned { limit: within, refused: within + 1, accepted: 0, in_a_row: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has a partner that accepts `most` deliveries in one flush get this many full flushes. Returns the limit that is
    /// learned then, and the number of flushes that were refused.
    fn play(size: &mut BatchSize, most: usize, flushes: usize) -> (Option<usize>, usize) {
        let mut refusals = 0;
        for _ in 0..flushes {
            let deliveries = size.learned(100).unwrap_or(100);
            if deliveries > most {
                refusals += 1;
                size.refused(deliveries);
            } else {
                size.accepted(deliveries, 100);
            }
        }
        (size.learned(100), refusals)
    }

    #[test]
    fn the_largest_accepted_size_is_found() {
        for most in [1, 2, 3, 7, 20, 33, 50, 64, 99] {
            let mut size = BatchSize::default();
            let (found, refusals) = play(&mut size, most, 200);
            assert!(found == Some(most) && refusals <= 12, "{most}: {found:?}, {refusals} refused");
        }
        assert_eq!(play(&mut BatchSize::default(), 100, 1_000), (None, 0));
    }

    #[test]
    fn a_refused_size_is_tried_again_but_seldom() {
        let mut size = BatchSize::default();
        play(&mut size, 20, 200);
        let (_, refusals) = play(&mut size, 20, 20_000);
        assert!((1..300).contains(&refusals), "{refusals} of 20,000");
        play(&mut size, 100, 20_000);
        assert_eq!(size.learned(100), None, "the partner accepts all by now");
    }

    #[test]
    fn a_partner_that_takes_less_than_before_is_found_out() {
        let mut size = BatchSize::default();
        play(&mut size, 20, 200);
        let (found, refusals) = play(&mut size, 5, 200);
        assert!(found == Some(5) && refusals <= 12, "{found:?}, {refusals} refused");
    }

    #[test]
    fn a_larger_flush_that_lands_late_does_not_raise_the_limit() {
        let mut size = BatchSize::default();
        for (refused, limit) in [(8, 4), (2, 1), (8, 1)] {
            size.refused(refused);
            assert_eq!(size.learned(100), Some(limit));
        }
    }

    #[test]
    fn a_delivery_that_is_too_large_alone_does_not_lower_the_limit_of_others() {
        let mut size = BatchSize::default();
        for refused in [100, 50, 25, 12, 6, 3] {
            size.refused(refused);
        }
        assert_eq!(size.learned(100), Some(1));
        size.culprit_found(100);
        assert_eq!(size.learned(100), None);
        // Nor does it raise a limit that was learned before.
        play(&mut size, 20, 200);
        [20, 10, 5, 2].into_iter().for_each(|refused| size.refused(refused));
        size.culprit_found(20);
        assert_eq!(size.learned(100), Some(20));
    }
}
