//! What keeps a bucket from being flushed, in one type.
//!
//! [`Partner::obstacle`] determines what the partner itself decides: pause, gates, `parallel`, rate.
//! [`Dispatcher::obstacle`] adds what also depends on the bucket, its queue and the other partners. Whoever wants to know
//! whether a bucket may be flushed asks these, flushing and `why` alike, so that what is shown is what is done.
//!
//! A rule of flow control is a check in one of these two functions, a variant of [`Obstacle`] or [`Wait`], the one who
//! has the bucket looked at again ([`Partners::wait_for`]), the state that its partner is in meanwhile
//! ([`Partner::state`]), and its words in `views::why`; the compiler asks for the last four. What the rule counts about
//! a partner has to outlive the partner's buckets for as long as it matters: [`Partner::remembered_until`].
//!
//! [`Dispatcher::obstacle`]: super::Dispatcher::obstacle
//! [`Partner::obstacle`]: super::partner::Partner::obstacle
//! [`Partner::state`]: super::partner::Partner::state
//! [`Partner::remembered_until`]: super::partner::Partner::remembered_until
//! [`Partners::wait_for`]: super::partners::Partners::wait_for

use std::time::Instant;

/// What keeps a bucket from being flushed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// An operator has paused the partner.
    Paused,
    /// As many flushes as `parallel` allows are on the wire.
    Parallel,
    /// A probe is on the wire, of a partner that failed or of an endpoint that refused.
    Probe,
    /// A flush of the bucket is on the wire, and its queue is a FIFO queue: a group stays in order over failures only if
    /// one flush of it is on the wire at a time.
    InOrder,
    /// The lease of a delivery that would be sent next has ended and is not extended yet, and its queue is a FIFO queue:
    /// another instance may have the message, and the rest of its group.
    Lease,
    /// All that the bucket has is a front that may be at fault, and other buckets of the partner go first; it has its own
    /// attempt then at the latest.
    Turn {
        /// When the bucket no longer leaves its turn to the others.
        until: Instant,
    },
    /// Not before this moment, for this reason.
    Until(Instant, Wait),
    /// No delivery thread is free for a partner of its class.
    Thread,
}

/// The reason for a wait whose end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The partner asked for the wait (`Retry-After`).
    Asked,
    /// The partner failed.
    Backoff,
    /// The partner failed too often in a row, or its set-up is wrong.
    Breaker,
    /// The partner's endpoint for this queue is set up wrongly.
    Endpoint,
    /// The partner's rate limit is reached.
    Rate,
    /// The bucket lingers for a fuller batch.
    Linger,
}

impl Obstacle {
    /// Returns when the obstacle is gone; `None`: that depends on an event.
    pub fn ends_at(self) -> Option<Instant> {
        match self {
            Self::Until(at, _) => Some(at),
            Self::Paused | Self::Parallel | Self::Probe | Self::InOrder | Self::Lease | Self::Turn { .. } | Self::Thread => None,
        }
    }
}
