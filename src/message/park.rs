//! A delivery that waits on the disk: the data that the dispatcher and a queue's parking exchange about it.

use std::time::Duration;

use super::{Account, Item, Receipt};

/// A delivery on its way into the parking.
#[derive(Debug, Clone)]
pub struct ToPark {
    /// The account that the delivery is for.
    pub account: Account,
    /// The delivery itself.
    pub item: Item,
    /// How long the delivery has waited for its partner.
    pub waited: Duration,
    /// The place in the account's line behind which the delivery goes. Every row up to this place is in memory, or was.
    pub after: i64,
    /// Whether the delivery was in memory and is therefore older than every row behind `after`: it then goes
    /// before those rows, else behind them.
    pub older: bool,
}

/// The place in front of all others.
pub const START: i64 = i64::MIN;

/// The result of parking one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// The delivery is on the disk, at this place of its account's line.
    At(i64),
    /// The delivery was parked before and stays where it is: parking it twice makes one row.
    Already,
    /// A delivery of the message with the same index is parked for another account, since another handler made the
    /// message's deliveries in another order. There is one row for both, and it stays what it is. Those behind it in
    /// the call are [`Parked::Full`].
    ForAnother,
    /// There is no room for the delivery, or there was none for one before it in the call: no delivery may be on the
    /// disk while a newer one stays in memory.
    Full,
}

/// A request for the parked rows of one account.
#[derive(Debug, Clone)]
pub struct Want {
    /// The account whose rows are wanted.
    pub account: Account,
    /// The place behind which the wanted rows are.
    pub after: i64,
    /// The largest number of rows to return.
    pub rows: usize,
}

/// The rows read for one [`Want`], oldest first. They stay parked until they are deleted.
#[derive(Debug)]
pub struct Unparked {
    /// The account whose rows these are.
    pub account: Account,
    /// The rows, oldest first.
    pub rows: Vec<Row>,
    /// What is wrong with the rows among these that were left out. They stay parked, and whoever asks for what is
    /// behind [`Unparked::last`] does not meet them again.
    pub unreadable: Vec<String>,
    /// The place of the last row that was looked at, `None` if there was none.
    pub last: Option<i64>,
    /// Whether more rows of the account are parked behind these.
    pub more: bool,
}

/// One parked delivery.
#[derive(Debug, Clone)]
pub struct Row {
    /// The receipt with which the row is deleted.
    pub receipt: Receipt,
    /// The row's place in its account's line.
    pub place: i64,
    /// The delivery. Its message has an empty body, since no partner needs the body: it stays on the disk.
    pub item: Item,
    /// How long the delivery has waited for its partner, before it was parked and since.
    pub waited: Duration,
}
