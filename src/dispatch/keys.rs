//! The names of what the dispatcher keeps. The name of something that left names nothing, also when its place is taken again.

use slotmap::DefaultKey;

use super::slab::Name;

/// An index into the dispatcher's queues: those of its start, their parkings, then what reloads add. Never used again.
pub type QueueIndex = usize;

/// One held copy of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub(super) place: u32,
    pub(super) version: u32,
}

/// One partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartnerKey(pub(super) Name);

/// One bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey(pub(super) Name);

/// One flush in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushId(pub(super) DefaultKey);
