//! What keeps a bucket from being flushed: one type, and the one function that determines it.
//!
//! [`Partner::obstacle`] knows what the partner itself decides: pause, gates, `parallel`, rate. [`Dispatcher::obstacle`]
//! adds what also depends on the bucket, its queue and the other partners. Whoever wants to know whether a bucket may be
//! flushed asks here, flushing and `why` alike, so that what is shown is what is done.
//!
//! A rule of flow control is a check in one of these two functions, a variant of [`Obstacle`] or [`Wait`], the one who
//! has the bucket looked at again ([`Partners::wait_for`]), and its words in `views::why`; the compiler asks for the last
//! three.
//!
//! [`Partner::obstacle`]: super::partner::Partner::obstacle
//! [`Partners::wait_for`]: super::partners::Partners::wait_for

use std::time::Instant;

use super::Dispatcher;
use super::bucket::{Bounds, Bucket};
use super::keys::BucketKey;
use super::ledger::Held;
use super::partner::Partner;
use super::waiting::Slip;

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

impl Dispatcher {
    /// Returns what keeps the bucket from being flushed now: of several obstacles the one that weighs most. `None`: it may
    /// be flushed. If the bucket holds nothing in memory, only its partner can be the obstacle.
    pub(super) fn obstacle(&self, key: BucketKey) -> Option<Obstacle> {
        let bucket = self.partners.bucket(key)?;
        let partner = self.partners.partner(bucket.partner)?;
        let of_partner = partner.obstacle(Some(bucket), self.now);
        let Some(oldest) = bucket.oldest().filter(|_| of_partner.is_none()) else { return of_partner };
        if self.queues.get(bucket.queue).is_some_and(|queue| queue.rules.fifo) {
            if bucket.in_flight > 0 {
                return Some(Obstacle::InOrder);
            }
            if self.lacks_lease(partner, bucket) {
                return Some(Obstacle::Lease);
            }
        }
        if let Some(until) = self.partners.yields_until(key, self.now) {
            return Some(Obstacle::Turn { until });
        }
        if let Some(at) = self.lingers_until(partner, bucket, oldest) {
            return Some(Obstacle::Until(at, Wait::Linger));
        }
        (!self.partners.has_thread(partner)).then_some(Obstacle::Thread)
    }

    /// Returns whether the lease of a delivery that would be sent next has ended.
    fn lacks_lease(&self, partner: &Partner, bucket: &Bucket) -> bool {
        let held = |slip: &Slip| self.ledger.get(slip.ticket).filter(|held| held.may_be_sent());
        let mut sent_next = bucket.oldest_first().filter_map(held).take(partner.batch_limit());
        sent_next.any(|held: &Held| held.leased_until <= self.now && held.special().row.is_none())
    }

    /// Returns until when the bucket lingers, unless its deliveries fill a batch, or nothing may linger: the engine stops,
    /// or an operator asked for a flush after its oldest delivery had entered.
    fn lingers_until(&self, partner: &Partner, bucket: &Bucket, oldest: Instant) -> Option<Instant> {
        let linger = partner.rules.linger;
        let hurry = self.phase.is_stopping() || partner.hurried_at.is_some_and(|at| oldest <= at);
        if linger.is_zero() || hurry {
            return None;
        }
        let bounds = Bounds { count: partner.batch_limit(), bytes: partner.rules.max_batch_bytes };
        Some(oldest + linger).filter(|at| *at > self.now && !bucket.fills(bounds))
    }
}
