//! Which bucket flushes next, and which delivery thread it may use.

use std::sync::Arc;
use std::time::Instant;

use crate::dispatch::bucket::{Bounds, Bucket};
use crate::dispatch::due::Due;
use crate::dispatch::flights::Flight;
use crate::dispatch::health::PATIENCE;
use crate::dispatch::keys::{BucketKey, FlushId, PartnerKey, Ticket};
use crate::dispatch::partner::{Access, Wait};
use crate::dispatch::rules::Medium;
use crate::dispatch::threads::ThreadWait;
use crate::dispatch::timer::Timer;

use super::Partners;

/// How a bucket is to be flushed.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Whether to flush without lingering, since the engine stops.
    pub hurry: bool,
    /// Whether only one flush may be on the wire, whatever `parallel` is set to: the bucket's queue is a FIFO queue.
    pub fifo: bool,
}

impl Partners {
    /// Returns whether another bucket of the same partner is also listed in this turn and has an older delivery: that
    /// bucket comes first, in case the partner takes only one of them.
    fn is_preceded(&self, key: BucketKey) -> bool {
        let Some(bucket) = self.buckets.get(key.0) else { return false };
        let Some(partner) = self.partners.get(bucket.partner.0).filter(|partner| partner.buckets.are_several()) else {
            return false;
        };
        let own = (bucket.oldest(), key);
        partner.buckets.in_use().iter().any(|other| {
            let bucket = self.buckets.get(other.0).filter(|bucket| bucket.listed && !bucket.is_empty());
            bucket.is_some_and(|bucket| (bucket.oldest(), *other) < own)
        })
    }

    /// Returns the next bucket to look at before the turn ends. If a bucket that waits for a delivery thread may
    /// have one, all listed buckets that need nothing but a thread join the line first; else the buckets come in the
    /// order in which something happened to them.
    pub fn next_listed(&mut self, now: Instant, due: &mut Due<Timer>) -> Option<BucketKey> {
        let serves = self.threads.can_serve();
        while let Some(key) = self.listed.pop_front() {
            if serves && self.wait_for_thread(key, now, due) {
                continue;
            }
            if !self.is_preceded(key) {
                return Some(key);
            }
            self.listed.push_back(key);
        }
        let key = if serves { self.threads.next()? } else { return None };
        if let Some(bucket) = self.buckets.get_mut(key.0) {
            bucket.thread_wait = None;
        }
        Some(key)
    }

    /// Makes the bucket wait for a delivery thread, in the order of its oldest delivery. Returns false for
    /// a bucket that needs no thread, holds nothing in memory, or may not flush now.
    fn wait_for_thread(&mut self, key: BucketKey, now: Instant, due: &mut Due<Timer>) -> bool {
        let Some(bucket) = self.buckets.get_mut(key.0) else { return true };
        let Some(partner) = self.partners.get(bucket.partner.0) else { return true };
        let (medium, class) = (partner.rules.medium, partner.health.class());
        let Some(since) = bucket.oldest() else { return false };
        if medium == Medium::Inline || partner.access(Some(bucket), now) != Access::Open {
            return false;
        }
        bucket.listed = false;
        if let Some(give_up_after) = partner.rules.give_up_after {
            bucket.alarm.by(due, since + give_up_after, Timer::Bucket(key));
        }
        if bucket.thread_wait.is_none() {
            let wait = ThreadWait { medium, class, since };
            bucket.thread_wait = Some(wait);
            self.threads.enlist(key, wait);
        }
        true
    }

    /// Returns whether any flush is on the wire.
    pub fn any_on_wire(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Returns until when the bucket leaves its turn to another bucket of its partner. It does so while all that it has
    /// is a front that may be at fault, since each failed attempt makes all buckets of the partner wait. It has one
    /// attempt per `max_backoff` nevertheless, however much the others hold.
    pub fn yields_until(&self, key: BucketKey, now: Instant) -> Option<Instant> {
        let bucket = self.buckets.get(key.0).filter(|bucket| bucket.is_only_a_doubtful_front())?;
        let partner = self.partners.get(bucket.partner.0)?;
        let until = bucket.active_at + partner.rules.max_backoff;
        let may_go = |other: &Bucket| !other.is_empty() && !other.is_only_a_doubtful_front() && other.gate.wait(now).is_none();
        let mut others = partner.buckets.in_use().iter().filter(|other| **other != key);
        let others_first = others.any(|other| self.buckets.get(other.0).is_some_and(may_go));
        (others_first && now < until).then_some(until)
    }

    /// Flushes the bucket if a flush may start now; else makes sure that the bucket is looked at once it may.
    /// Returns the flush that started.
    pub fn try_flush(
        &mut self,
        key: BucketKey,
        now: Instant,
        Manner { hurry, fifo }: Manner,
        queue_name: &Arc<str>,
        due: &mut Due<Timer>,
        held: impl Fn(Ticket) -> bool,
    ) -> Option<FlushId> {
        // Deliveries that are no longer held are dropped while the batch is composed.
        self.touch(self.bucket(key)?.partner);
        let yields_until = self.yields_until(key, now);
        let bucket = self.buckets.get_mut(key.0)?;
        bucket.listed = false;
        let partner_key = bucket.partner;
        let partner = self.partners.get_mut(partner_key.0)?;
        let oldest = bucket.oldest()?;
        if let Some(give_up_after) = partner.rules.give_up_after {
            bucket.alarm.by(due, oldest + give_up_after, Timer::Bucket(key));
        }
        match partner.access(Some(bucket), now) {
            // A group stays in order over failures only if no second flush of it is on the wire.
            Access::Open if fifo && bucket.in_flight > 0 => return None,
            Access::Open => {}
            Access::Busy | Access::Paused => return None,
            Access::At(at, Wait::Endpoint) => {
                bucket.alarm.by(due, at, Timer::Bucket(key));
                return None;
            }
            Access::At(at, _) => {
                partner.alarm.by(due, at, Timer::Partner(partner_key));
                return None;
            }
        }
        if let Some(until) = yields_until {
            bucket.alarm.by(due, until, Timer::Bucket(key));
            return None;
        }
        let bounds = Bounds { count: partner.batch_limit(), bytes: partner.rules.max_batch_bytes };
        let linger = partner.rules.linger;
        let hurry = hurry || partner.hurried_at.is_some_and(|at| oldest <= at);
        if !linger.is_zero() && !hurry && now < oldest + linger && !bucket.fills(bounds) {
            bucket.alarm.by(due, oldest + linger, Timer::Bucket(key));
            return None;
        }
        let (medium, class) = (partner.rules.medium, partner.health.class());
        if !self.threads.has_thread(medium, class) {
            self.wait_for_thread(key, now, due);
            return None;
        }
        let probe = partner.is_open().then(|| bucket.compose_probe(&partner.account, queue_name, &held)).flatten();
        let parcel = probe.or_else(|| bucket.compose(bounds, &partner.account, queue_name, held))?;
        let deliveries = parcel.slips.len();
        bucket.in_flight += 1;
        bucket.active_at = now;
        let has_more = !bucket.is_empty();
        if let (Some(give_up_after), Some(oldest)) = (partner.rules.give_up_after, bucket.oldest()) {
            // A delivery may be older than the one before it: the disk and another receive have ages of their own.
            bucket.alarm.by(due, oldest + give_up_after, Timer::Bucket(key));
        }
        self.threads.take(medium, class);
        let flush = self.flights.begin(Flight { bucket: key, partner: partner_key, parcel, medium, began: now }, due);
        partner.flushes(flush, now);
        partner.on_wire += deliveries;
        if partner.flights.len() < partner.rules.parallel {
            if has_more {
                self.list(key);
            } else {
                // Another bucket of the partner may have left its turn to this one.
                self.list_all_of(partner_key);
            }
        }
        Some(flush)
    }

    pub fn flight(&self, flush: FlushId) -> Option<&Flight> {
        self.flights.get(flush)
    }

    /// Takes a flush off the wire. Its bucket and the other buckets of its partner are looked at before
    /// the turn ends. The caller then applies the answer to the partner and calls [`Partners::judge`].
    /// Returns `None` for an unknown flush.
    pub fn landed(&mut self, flush: FlushId, now: Instant) -> Option<Flight> {
        let flight = self.flights.land(flush)?;
        if let Some(bucket) = self.buckets.get_mut(flight.bucket.0) {
            bucket.in_flight = bucket.in_flight.saturating_sub(1);
            bucket.active_at = now;
        }
        if let Some(partner) = self.partners.get_mut(flight.partner.0) {
            partner.lands(flush);
            partner.on_wire = partner.on_wire.saturating_sub(flight.parcel.slips.len());
            self.threads.give_back(flight.medium, partner.health.class());
        }
        self.touch(flight.partner);
        self.list_all_of(flight.partner);
        Some(flight)
    }

    /// Judges the partners whose flushes have been on the wire for long: they may be slow.
    pub fn watch(&mut self, now: Instant, due: &mut Due<Timer>) {
        self.flights.alarm_rang();
        while let Some(partner) = self.flights.next_old(now, due) {
            self.judge(partner, now, due);
        }
    }

    /// Determines the partner's class after a flush has landed or has been on the wire for long. If the class changes,
    /// so does that of its flushes on the wire and of its buckets that wait for a thread.
    pub fn judge(&mut self, key: PartnerKey, now: Instant, due: &mut Due<Timer>) {
        let Some(partner) = self.partners.get_mut(key.0) else { return };
        let oldest = partner.flights.first().and_then(|flush| self.flights.began(*flush));
        if let Some(began) = oldest {
            // A younger flush is watched without a timer of its partner.
            let slow_at = began + partner.health.patience();
            if began + PATIENCE <= now && slow_at > now {
                partner.alarm.by(due, slow_at, Timer::Partner(key));
            }
        }
        let Some(before) = partner.health.judge(oldest, now) else { return };
        self.touch(key);
        let Some(partner) = self.partners.get(key.0) else { return };
        let class = partner.health.class();
        // Each flush counts in its own medium: the partner may have been given another one since the flush began.
        for flight in partner.flights.iter().filter_map(|flush| self.flights.get(*flush)) {
            self.threads.reclass(flight.medium, 1, before, class);
        }
        for key in partner.buckets.iter() {
            let Some(bucket) = self.buckets.get_mut(key.0) else { continue };
            if let Some(wait) = &mut bucket.thread_wait {
                self.threads.leave(key, *wait);
                wait.class = class;
                self.threads.enlist(key, *wait);
            }
        }
    }

    /// Returns when the bucket may flush next, `None` if it waits for nothing that has a time. A pause has no known
    /// end, and counts as the longest back-off.
    pub fn next_attempt(&self, key: BucketKey, now: Instant) -> Option<Instant> {
        match self.access(key, now)? {
            Access::Open | Access::Busy => None,
            Access::At(at, _) => Some(at),
            Access::Paused => {
                let partner = self.partner(self.bucket(key)?.partner)?;
                Some(now + partner.rules.max_backoff)
            }
        }
    }
}
