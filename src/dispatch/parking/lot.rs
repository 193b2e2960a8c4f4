//! What of one bucket is parked, as far as it is known here: the disk has the last word.

use crate::message::park::START;

#[derive(Debug)]
pub struct Lot {
    /// What is parked behind this place is not in memory.
    after: i64,
    /// So many rows are.
    stored: u64,
    /// On their way to the disk.
    entering: usize,
    /// Of these, those that are older than what is parked.
    older: usize,
    /// Some are asked for.
    asking: bool,
    /// Since then a row left memory that comes before those.
    rewound: bool,
    /// Rows of it in memory.
    in_memory: u64,
    /// It stands in the line of those that want some.
    stands: bool,
}

impl Default for Lot {
    fn default() -> Self {
        Self { after: START, stored: 0, entering: 0, older: 0, asking: false, rewound: false, in_memory: 0, stands: false }
    }
}

impl Lot {
    /// With so many rows on the disk from before the start.
    pub fn found(rows: u64) -> Self {
        Self { stored: rows, ..Self::default() }
    }

    /// Whether anything is parked that is not in memory: then what is new goes behind it.
    pub fn is_open(&self) -> bool {
        self.stored > 0 || self.entering > 0 || self.asking
    }

    /// Whether it has to be known although the bucket is empty.
    pub fn is_kept(&self) -> bool {
        self.is_open() || self.in_memory > 0
    }

    /// A row is in memory.
    pub fn remembers(&mut self) {
        self.in_memory += 1;
    }

    /// A row that was in memory is not there any more.
    pub fn forgets(&mut self) {
        self.in_memory = self.in_memory.saturating_sub(1);
    }

    /// Deliveries on the disk that are not in memory, and those on their way.
    pub fn deliveries(&self) -> u64 {
        self.stored + self.entering as u64
    }

    /// The place behind which nothing is in memory.
    pub fn after(&self) -> i64 {
        self.after
    }

    /// Whether older deliveries may be sent to the disk: while rows are on their way back, those would come before them.
    pub fn takes_older(&self) -> bool {
        !self.asking
    }

    /// Whether rows may be asked for.
    pub fn may_ask(&self) -> bool {
        self.stored > 0 && !self.asking && self.older == 0
    }

    /// A delivery is on its way to the disk.
    pub fn enters(&mut self, older: bool) {
        self.entering += 1;
        self.older += usize::from(older);
    }

    /// It has arrived, or will not.
    pub fn entered(&mut self, older: bool) {
        self.entering = self.entering.saturating_sub(1);
        self.older = self.older.saturating_sub(usize::from(older));
    }

    /// A row is on the disk, at that place, and not in memory.
    pub fn holds(&mut self, place: i64) {
        self.stored += 1;
        self.rewound |= self.asking && place <= self.after;
        self.after = self.after.min(place.saturating_sub(1));
    }

    pub fn asks(&mut self) {
        self.asking = true;
        self.rewound = false;
    }

    /// Nothing came: it could not be read.
    pub fn heard_nothing(&mut self) {
        self.asking = false;
    }

    /// So many rows came back, the last at that place; `more`: there are others behind it. Gives whether they are to be taken in: not
    /// where older ones have left memory meanwhile.
    pub fn heard(&mut self, rows: usize, last: Option<i64>, more: bool) -> bool {
        self.asking = false;
        if self.rewound {
            return false;
        }
        self.after = self.after.max(last.unwrap_or(START));
        self.stored = if more { self.stored.saturating_sub(rows as u64).max(1) } else { 0 };
        true
    }

    /// Puts it into the line of those that want rows; `false`: it stands there.
    pub fn stand(&mut self) -> bool {
        !std::mem::replace(&mut self.stands, true)
    }

    pub fn stands_no_more(&mut self) {
        self.stands = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_open_from_the_first_on_its_way_to_the_last_that_came_back() {
        let mut lot = Lot::default();
        assert!(!lot.is_open() && !lot.may_ask());
        lot.enters(true);
        assert!(lot.is_open() && !lot.may_ask(), "nothing is there yet");
        lot.entered(true);
        lot.holds(100);
        assert!(lot.is_open() && lot.may_ask());
        lot.asks();
        assert!(!lot.may_ask() && !lot.takes_older());
        lot.heard(1, Some(100), false);
        assert!(!lot.is_open() && lot.takes_older());
        assert_eq!(lot.after(), 100);
    }

    #[test]
    fn what_leaves_memory_again_is_read_again_from_its_place() {
        let mut lot = Lot::found(3);
        lot.asks();
        lot.heard(3, Some(30), false);
        lot.holds(30);
        lot.holds(20);
        assert_eq!((lot.after(), lot.deliveries()), (19, 2));
        lot.asks();
        lot.heard(1, Some(20), true);
        assert_eq!((lot.after(), lot.deliveries()), (20, 1));
    }

    #[test]
    fn rows_that_come_after_older_ones_left_are_read_again() {
        let mut lot = Lot::found(9);
        lot.asks();
        assert!(lot.heard(3, Some(30), true));
        lot.asks();
        lot.holds(30);
        lot.holds(100);
        assert!(!lot.heard(2, Some(50), false));
        assert_eq!((lot.after(), lot.may_ask()), (29, true));
        lot.asks();
        lot.holds(110);
        assert!(lot.heard(9, Some(110), false), "what came behind them is among them");
        assert!(!lot.is_open());
    }

    #[test]
    fn the_disk_knows_better_how_much_there_is() {
        let mut purged = Lot::found(50);
        purged.asks();
        purged.heard(0, None, false);
        assert!(!purged.is_open());
        let mut more = Lot::found(1);
        more.asks();
        more.heard(5, Some(5), true);
        assert!(more.may_ask());
    }
}
