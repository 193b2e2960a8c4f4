//! The keys of what the dispatcher keeps. A stale key finds nothing, even after its place was used again.

use slotmap::DefaultKey;

use super::slab::Name;

/// An index into the dispatcher's queues: first those configured at the start, then their parkings, then what reloads
/// add. An index is never used again.
pub type QueueIndex = usize;

/// The key of one held copy of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The index of the copy's slot in the ledger.
    pub(super) place: u32,
    /// How many copies had left that slot before this one came.
    pub(super) version: u32,
}

/// The key of one partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartnerKey(pub(super) Name);

/// The key of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey(pub(super) Name);

/// The key of one flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushId(pub(super) DefaultKey);
