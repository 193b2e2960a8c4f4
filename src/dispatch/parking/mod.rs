//! Parking: what leaves memory and has a place on the disk, and how it comes back.
//!
//! A bucket's deliveries that leave memory go to the disk, each by itself, and their message is acked once all of it that was open is
//! there, or settled otherwise. While anything of a bucket is parked, everything new for it is parked behind it. What is parked comes
//! back account by account, oldest first, as rows of a queue of its own in the same ledger: settled like any copy, and deleted from the
//! disk only then. A row that has to leave memory again is forgotten here, and read again in its turn.

mod lot;
mod park;
mod transfer;
mod unpark;

pub use self::lot::Lot;
pub use self::transfer::Transfer;
