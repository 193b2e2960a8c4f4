//! What the dispatcher has itself woken for.

use super::keys::{BucketKey, PartnerKey, QueueIndex};

/// What falls due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A partner's wait ends, or its oldest flush is slow from now on.
    Partner(PartnerKey),
    /// A flush is on the wire for long.
    Flights,
    /// A bucket's linger, its own gate, its oldest delivery's patience or its idle time ends.
    Bucket(BucketKey),
    /// A lease needs to be extended.
    Lease(QueueIndex),
    /// A slow handler is overtaken.
    Order(QueueIndex),
    /// A queue may be asked again.
    Intake(QueueIndex),
    /// A queue may be told again.
    Settling(QueueIndex),
    /// What happened often is to be said.
    Summary(QueueIndex),
    /// What was given back shows by itself.
    Hidden,
    /// A parking may be asked again.
    Parking(QueueIndex),
    /// The queues may be counted again.
    Count,
    /// One that retires may have nothing parked any more.
    Retiring,
    /// The drain ends.
    Stop,
}
