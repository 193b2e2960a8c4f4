//! Whether other partners need the room: which partners the latest messages were for.

/// The number of latest messages that are looked at.
const WINDOW: usize = 1000;

/// One in this number of messages must have been for a partner that holds less than its share.
const ONE_IN: usize = 50;

const WORDS: usize = WINDOW.div_ceil(64);

/// The latest messages, and which of them were for a partner below its share.
#[derive(Debug, Default)]
pub struct Lately {
    bits: [u64; WORDS],
    /// The index at which the next message is recorded.
    next: usize,
    /// The number of messages in the window that were for a partner below its share.
    below: usize,
}

impl Lately {
    /// Records whether the latest message was for a partner below its share.
    pub fn saw(&mut self, below: bool) {
        let (place, bit) = (self.next / 64, 1 << (self.next % 64));
        let Some(word) = self.bits.get_mut(place) else { return };
        self.below = self.below + usize::from(below) - usize::from(*word & bit != 0);
        *word = if below { *word | bit } else { *word & !bit };
        self.next = if self.next + 1 < WINDOW { self.next + 1 } else { 0 };
    }

    /// Returns whether enough of the messages were for partners below their share, so that deliveries of partners that
    /// take may be shed for them.
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
