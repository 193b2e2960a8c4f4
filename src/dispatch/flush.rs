//! The flushes of a turn: the buckets to which something happened are looked at one by one, and each that has no obstacle
//! is flushed. [`Dispatcher::obstacle`] determines what keeps one from it.

use std::sync::Arc;
use std::time::Instant;

use super::Dispatcher;
use super::bucket::Bucket;
use super::event::Command;
use super::keys::{BucketKey, FlushId};
use super::obstacle::{Obstacle, Wait};
use super::partner::Partner;
use super::waiting::Slip;

impl Dispatcher {
    /// Flushes the next bucket that can be flushed; returns false if there is none. Only one bucket is
    /// flushed per call, so that an answer that is available at once is processed while everything about it
    /// is still in the processor's cache.
    pub(super) fn flush_next(&mut self) -> bool {
        while let Some(key) = self.next_listed() {
            let flush = match self.obstacle(key) {
                None => self.flush(key),
                Some(obstacle) => {
                    self.partners.wait_for(key, obstacle, self.now, &mut self.due);
                    None
                }
            };
            match flush {
                Some(flush) => {
                    self.send(flush);
                    return true;
                }
                None if self.phase.is_stopping() => self.return_what_cannot_leave(key),
                None => {}
            }
        }
        false
    }

    /// Returns the next bucket to look at before the turn ends. If a bucket that waits for a delivery thread may
    /// have one, all listed buckets that need nothing but a thread join the line first; else the buckets come in the
    /// order in which something happened to them.
    fn next_listed(&mut self) -> Option<BucketKey> {
        let serves = self.partners.line_moves();
        while let Some(key) = self.partners.pop_listed() {
            if serves && self.lacks_only_a_thread(key) {
                self.partners.wait_for(key, Obstacle::Thread, self.now, &mut self.due);
            } else if self.partners.is_preceded(key) {
                self.partners.list(key);
            } else {
                return Some(key);
            }
        }
        if serves { self.partners.next_in_line() } else { None }
    }

    fn lacks_only_a_thread(&self, key: BucketKey) -> bool {
        self.partners.needs_thread(key) && matches!(self.obstacle(key), None | Some(Obstacle::Thread))
    }

    /// Composes a batch of the bucket, without what may not be sent any more, and puts it on the wire; `None`: nothing is left.
    fn flush(&mut self, key: BucketKey) -> Option<FlushId> {
        let queue = self.queues.get(self.partners.bucket(key)?.queue)?;
        let may_be_sent = |ticket| self.ledger.sendable(ticket).is_some();
        self.partners.begin_flush(key, self.now, &queue.rules.name, &mut self.due, may_be_sent)
    }

    fn send(&mut self, flush: FlushId) {
        let Some(flight) = self.partners.flight(flush) else { return };
        for slip in &flight.parcel.slips {
            if let Some(held) = self.ledger.get_mut(slip.ticket) {
                held.took_off();
            }
        }
        let (batch, medium) = (Arc::clone(&flight.parcel.batch), flight.medium);
        self.commands.push_back(Command::Flush { flush, batch, medium });
    }

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
        let sendable = |slip: &Slip| self.ledger.sendable(slip.ticket);
        let mut sent_next = bucket.oldest_first().filter_map(sendable).take(partner.batch_limit());
        sent_next.any(|held| held.leased_until <= self.now && !held.is_row())
    }

    /// Returns until when the bucket lingers, unless its deliveries fill a batch, or nothing may linger: the engine stops,
    /// or an operator asked for a flush after its oldest delivery had entered.
    fn lingers_until(&self, partner: &Partner, bucket: &Bucket, oldest: Instant) -> Option<Instant> {
        let linger = partner.rules.linger;
        let hurry = self.phase.is_stopping() || partner.hurried_at.is_some_and(|at| oldest <= at);
        if linger.is_zero() || hurry {
            return None;
        }
        Some(oldest + linger).filter(|at| *at > self.now && !bucket.fills(partner.bounds()))
    }
}
