//! A delivery that waits on the disk: what the dispatcher and a queue's parking say to each other about it.

use std::time::Duration;

use super::{Account, Item, Receipt};

/// A delivery on its way into the parking.
#[derive(Debug, Clone)]
pub struct ToPark {
    pub account: Account,
    pub item: Item,
    /// How long it has waited for its partner.
    pub waited: Duration,
    /// It goes behind this place of its account's line: what was parked up to there is, or was, in memory.
    pub after: i64,
    /// It was in memory, and so is older than all that is parked behind that place: it goes before that. Else behind it.
    pub older: bool,
}

/// The place in front of all others.
pub const START: i64 = i64::MIN;

/// How it ended for one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// It is on the disk, at that place of its account's line.
    At(i64),
    /// It was parked before, and stays where it is: parking twice is one row.
    Already,
    /// There is no room for it, or there was none for one before it: what is newer must not stay in memory while it is parked.
    Full,
}

/// What of one account is to come back.
#[derive(Debug, Clone)]
pub struct Want {
    pub account: Account,
    /// Behind this place.
    pub after: i64,
    /// At most so many.
    pub rows: usize,
}

/// What came back for one [`Want`], oldest first. It stays parked until it is deleted.
#[derive(Debug)]
pub struct Unparked {
    pub account: Account,
    pub rows: Vec<Row>,
    /// Whether anything is parked behind these.
    pub more: bool,
}

/// One parked delivery.
#[derive(Debug, Clone)]
pub struct Row {
    /// With which it is deleted.
    pub receipt: Receipt,
    pub place: i64,
    /// The message's body stays on the disk: no partner needs it.
    pub item: Item,
    /// How long it has waited for its partner, before it was parked and since.
    pub waited: Duration,
}
