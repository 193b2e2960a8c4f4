//! What a bucket has in the parking, as far as the dispatcher knows: the disk has the last word.

use std::time::Instant;

use crate::message::park::START;

/// The parked deliveries of one bucket.
#[derive(Debug)]
pub struct Lot {
    /// The place behind which no row is in memory.
    after: i64,
    /// The number of rows on the disk behind that place.
    stored: u64,
    /// The number of deliveries on their way to the disk.
    entering: usize,
    /// The number of these that are older than the parked rows.
    older: usize,
    /// Whether rows are being read.
    asking: bool,
    /// Whether, since that read began, a row has left memory that belongs in front of its result.
    rewound: bool,
    /// The number of rows in memory.
    in_memory: u64,
    /// Whether the bucket is in the line of buckets that want rows.
    stands: bool,
    /// Since when the first row on the disk has waited for the partner, at the earliest. `None`: not known, as of one that was
    /// parked before the start.
    since: Option<Instant>,
}

impl Default for Lot {
    fn default() -> Self {
        Self {
            after: START,
            stored: 0,
            entering: 0,
            older: 0,
            asking: false,
            rewound: false,
            in_memory: 0,
            stands: false,
            since: None,
        }
    }
}

impl Lot {
    /// Returns the lot of a bucket with this many rows on the disk from before the start.
    pub fn found(rows: u64) -> Self {
        Self { stored: rows, ..Self::default() }
    }

    /// Returns whether anything is parked that is not in memory: new deliveries then go behind it.
    pub fn is_open(&self) -> bool {
        self.stored > 0 || self.entering > 0 || self.asking
    }

    /// Returns whether the lot must be known although the bucket is empty.
    pub fn is_kept(&self) -> bool {
        self.is_open() || self.in_memory > 0
    }

    /// Counts a row that is now in memory.
    pub fn remembers(&mut self) {
        self.in_memory += 1;
    }

    /// Counts a row that is no longer in memory.
    pub fn forgets(&mut self) {
        self.in_memory = self.in_memory.saturating_sub(1);
    }

    /// Returns the number of deliveries on the disk that are not in memory, and those on their way there.
    pub fn deliveries(&self) -> u64 {
        self.stored + self.entering as u64
    }

    /// Returns the place behind which no row is in memory.
    pub fn after(&self) -> i64 {
        self.after
    }

    /// Returns whether older deliveries may be sent to the disk. Not while rows are being read: these would be in
    /// memory before the older deliveries.
    pub fn takes_older(&self) -> bool {
        !self.asking
    }

    /// Returns whether rows may be read.
    pub fn may_ask(&self) -> bool {
        self.stored > 0 && !self.asking && self.older == 0
    }

    /// Counts a delivery that is on its way to the disk.
    pub fn enters(&mut self, older: bool) {
        self.entering += 1;
        self.older += usize::from(older);
    }

    /// Ends the way of a delivery to the disk: it has arrived, or will not.
    pub fn entered(&mut self, older: bool) {
        self.entering = self.entering.saturating_sub(1);
        self.older = self.older.saturating_sub(usize::from(older));
    }

    /// Returns since when the first row on the disk has waited, at the earliest; `None` if that is not known.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Counts a row that is on the disk at this place and not in memory. `since`: since when it has waited for the partner, if
    /// that is known. One that was in memory may have waited for longer than those behind it, which are not read yet.
    pub fn stores(&mut self, place: i64, since: Option<Instant>) {
        self.since = if self.stored == 0 { since } else { self.since.min(since) };
        self.stored += 1;
        self.rewound |= self.asking && place <= self.after;
        self.after = self.after.min(place.saturating_sub(1));
    }

    /// Begins a read of rows.
    pub fn asks(&mut self) {
        self.asking = true;
        self.rewound = false;
    }

    /// Ends a read that failed.
    pub fn heard_nothing(&mut self) {
        self.asking = false;
    }

    /// Ends a read that looked at this many rows, the last of them at `last`; `more`: there are others behind it, which
    /// have waited since `since` at the earliest. Returns whether the rows are to be taken in: not if older ones have left
    /// memory meanwhile.
    pub fn heard(&mut self, rows: usize, last: Option<i64>, more: bool, since: Option<Instant>) -> bool {
        self.asking = false;
        if self.rewound {
            return false;
        }
        self.after = self.after.max(last.unwrap_or(START));
        self.since = since.or(self.since);
        self.stored = if more { self.stored.saturating_sub(rows as u64).max(1) } else { 0 };
        true
    }

    /// Marks the bucket as standing in the line for rows. Returns false if it stood there already.
    pub fn stand(&mut self) -> bool {
        !std::mem::replace(&mut self.stands, true)
    }

    /// Marks the bucket as no longer standing in the line for rows.
    pub fn stands_no_more(&mut self) {
        self.stands = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dispatch::tests::start;

    #[test]
    fn is_open_from_the_first_on_its_way_to_the_last_that_came_back() {
        let mut lot = Lot::default();
        assert!(!lot.is_open() && !lot.may_ask());
        lot.enters(true);
        assert!(lot.is_open() && !lot.may_ask(), "nothing is there yet");
        lot.entered(true);
        lot.stores(100, None);
        lot.enters(true);
        assert!(!lot.may_ask(), "an older one is on its way");
        lot.entered(true);
        assert!(lot.is_open() && lot.may_ask());
        lot.asks();
        assert!(!lot.may_ask() && !lot.takes_older());
        lot.heard(1, Some(100), false, None);
        assert!(!lot.is_open() && lot.takes_older());
        assert_eq!(lot.after(), 100);
    }

    #[test]
    fn what_leaves_memory_again_is_read_again_from_its_place() {
        let mut lot = Lot::found(3);
        lot.asks();
        lot.heard(3, Some(30), false, None);
        lot.stores(30, None);
        lot.stores(20, None);
        assert_eq!((lot.after(), lot.deliveries()), (19, 2));
        lot.asks();
        lot.heard(1, Some(20), true, None);
        assert_eq!((lot.after(), lot.deliveries()), (20, 1));
    }

    #[test]
    fn rows_that_come_after_older_ones_left_are_read_again() {
        let mut lot = Lot::found(9);
        lot.asks();
        assert!(lot.heard(3, Some(30), true, None));
        lot.asks();
        lot.stores(30, None);
        lot.stores(100, None);
        assert!(!lot.heard(2, Some(50), false, None));
        assert_eq!((lot.after(), lot.may_ask()), (29, true));
        lot.asks();
        lot.stores(110, None);
        assert!(lot.heard(9, Some(110), false, None), "what came behind them is among them");
        assert!(!lot.is_open());
    }

    #[test]
    fn has_waited_since_its_first_row_has_or_it_is_not_known() {
        let (mut lot, start) = (Lot::default(), start());
        let later = start + Duration::from_secs(1);
        lot.stores(100, Some(later));
        assert_eq!(lot.since(), Some(later));
        lot.stores(90, Some(start));
        assert_eq!(lot.since(), Some(start));
        let mut found = Lot::found(1);
        found.stores(100, Some(start));
        assert_eq!(found.since(), None);
    }

    #[test]
    fn the_disk_knows_better_how_much_there_is() {
        let mut purged = Lot::found(50);
        purged.asks();
        purged.heard(0, None, false, None);
        assert!(!purged.is_open());
        let mut more = Lot::found(1);
        more.asks();
        more.heard(5, Some(5), true, None);
        assert!(more.may_ask());
    }
}
