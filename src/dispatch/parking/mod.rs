//! Parking: the deliveries that leave memory for the disk, and their way back.
//!
//! A bucket's deliveries that leave memory go to the disk one by one, and their message is acked once all of its open
//! deliveries are there or settled otherwise. While anything of a bucket is parked, every new delivery for it is parked
//! behind it. Parked deliveries come back account by account, oldest first, as rows of a queue of their own in the same
//! ledger. They are settled like any copy, and only then deleted from the disk. A row that has to leave memory again is
//! forgotten here and read again in its turn.
//!
//! `park` is the way in, `unpark` the way back, `transfer` what is on its way between one queue and its disk, and `lot`
//! what one bucket has there. `in_memory` counts the rows that came back, and `make_place` has some of them leave again.

mod in_memory;
mod lot;
mod make_place;
mod park;
mod transfer;
mod unpark;

pub use self::lot::Lot;
pub use self::transfer::Transfer;
