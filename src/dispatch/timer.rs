//! The reasons for which the dispatcher has itself woken.

use super::keys::{BucketKey, PartnerKey, QueueIndex};

/// A reason to wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A partner is looked at: a wait of it ends, its oldest flush becomes slow, it may be asked to shed or a message that is
    /// hidden because of it may be shown, or nothing of it needs to be remembered any more.
    Partner(PartnerKey),
    /// A flush has been on the wire for long.
    Flights,
    /// A bucket is looked at: its linger, its own gate, the `give_up_after` of its oldest delivery or of its first row, or its
    /// idle time ends, its turn comes, or it is a holder of its own, as a partner is.
    Bucket(BucketKey),
    /// A lease must be extended.
    Lease(QueueIndex),
    /// A message in a slow handler is overtaken.
    Order(QueueIndex),
    /// A queue may be asked for messages again.
    Intake(QueueIndex),
    /// Another call to a queue about its copies may be made.
    Calls(QueueIndex),
    /// A kind of call that failed now and then may have gone well for long enough.
    Trouble(QueueIndex),
    /// Events that happened often are to be logged as a sum.
    Summary(QueueIndex),
    /// A message that was returned to its queue becomes visible by itself.
    Hidden,
    /// A parking may be read again.
    Parking(QueueIndex),
    /// The queues may be counted again.
    Count,
    /// A retiring queue may have nothing parked any more.
    Retiring,
    /// The drain ends.
    Stop,
}
