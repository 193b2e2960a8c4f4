//! Whether others need the room: for whom the latest messages were.

/// Of so many messages.
const WINDOW: usize = 1000;

/// One in so many must have been for a partner that holds less than its share.
const ONE_IN: usize = 50;

const WORDS: usize = WINDOW.div_ceil(64);

/// Of the latest messages, those that were for a partner below its share.
#[derive(Debug, Default)]
pub struct Lately {
    bits: [u64; WORDS],
    /// Where the next is noted.
    next: usize,
    below: usize,
}

impl Lately {
    pub fn saw(&mut self, below: bool) {
        let (place, bit) = (self.next / 64, 1 << (self.next % 64));
        let Some(word) = self.bits.get_mut(place) else { return };
        self.below = self.below + usize::from(below) - usize::from(*word & bit != 0);
        *word = if below { *word | bit } else { *word & !bit };
        self.next = if self.next + 1 < WINDOW { self.next + 1 } else { 0 };
    }

    /// Whether enough of them were that what waits for a partner that takes may be given up for them.
    pub fn others_need_room(&self) -> bool {
        self.below * ONE_IN >= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_fifty_of_the_last_thousand() {
        let mut lately = Lately::default();
        for _ in 0..19 {
            lately.saw(true);
        }
        assert!(!lately.others_need_room());
        lately.saw(true);
        assert!(lately.others_need_room());
        for _ in 0..WINDOW - 20 {
            lately.saw(false);
        }
        assert!(lately.others_need_room(), "they are among the last thousand still");
        lately.saw(false);
        assert!(!lately.others_need_room());
    }
}
