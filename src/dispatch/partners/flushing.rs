//! How a bucket waits for its flush, in the list of the turn, behind an alarm or in the line for a delivery thread; and the
//! flushes on the wire, from their beginning until they have landed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dispatch::bucket::Bucket;
use crate::dispatch::due::Due;
use crate::dispatch::flights::Flight;
use crate::dispatch::health::PATIENCE;
use crate::dispatch::keys::{BucketKey, FlushId, PartnerKey, Ticket};
use crate::dispatch::obstacle::{Obstacle, Wait};
use crate::dispatch::partner::Partner;
use crate::dispatch::rules::Medium;
use crate::dispatch::threads::ThreadWait;
use crate::dispatch::timer::Timer;

use super::Partners;

/// How long until a bucket of a FIFO queue whose lease has ended is looked at again.
const LEASE_LOOK: Duration = Duration::from_secs(1);

impl Partners {
    /// Returns whether another bucket of the same partner is also listed in this turn and has an older delivery: that
    /// bucket comes first, in case the partner takes only one of them. While the partner fails, its buckets are tried in
    /// turn instead: what fails may be the endpoint for one queue, and each probe with the oldest delivery would go there.
    pub fn is_preceded(&self, key: BucketKey) -> bool {
        let Some(bucket) = self.buckets.get(key.0) else { return false };
        let Some(partner) = self.partners.get(bucket.partner.0).filter(|partner| partner.buckets.are_several()) else {
            return false;
        };
        let fails = partner.failures() > 0;
        let rank = |bucket: &Bucket, key| (bucket.tried_at.filter(|_| fails), bucket.oldest(), key);
        let own = rank(bucket, key);
        partner.buckets.in_use().iter().any(|other| {
            let bucket = self.buckets.get(other.0).filter(|bucket| bucket.listed && !bucket.is_empty());
            bucket.is_some_and(|bucket| rank(bucket, *other) < own)
        })
    }

    /// Takes the first bucket off the list of those to look at before the turn ends.
    pub fn pop_listed(&mut self) -> Option<BucketKey> {
        let key = self.listed.pop_front()?;
        if let Some(bucket) = self.buckets.get_mut(key.0) {
            bucket.listed = false;
        }
        Some(key)
    }

    /// Returns whether a bucket that waits for a delivery thread may have one.
    pub fn line_moves(&self) -> bool {
        self.threads.can_serve()
    }

    /// Takes the next bucket that may have a delivery thread out of the line.
    pub fn next_in_line(&mut self) -> Option<BucketKey> {
        let key = self.threads.next()?;
        if let Some(bucket) = self.buckets.get_mut(key.0) {
            bucket.thread_wait = None;
        }
        Some(key)
    }

    /// Returns whether the bucket holds something in memory that only a delivery thread can send.
    pub fn needs_thread(&self, key: BucketKey) -> bool {
        let partner = self.bucket(key).filter(|bucket| !bucket.is_empty()).and_then(|bucket| self.partner(bucket.partner));
        partner.is_some_and(|partner| partner.rules.medium != Medium::Inline)
    }

    /// Returns whether a delivery thread is free for a flush of this partner, or it needs none.
    pub fn has_thread(&self, partner: &Partner) -> bool {
        self.threads.has_thread(partner.rules.medium, partner.health.class())
    }

    /// Makes sure that the bucket is looked at again once the obstacle is gone.
    pub fn wait_for(&mut self, key: BucketKey, obstacle: Obstacle, now: Instant, due: &mut Due<Timer>) {
        self.watch_age(key, due);
        let Some(bucket) = self.buckets.get_mut(key.0) else { return };
        match obstacle {
            // A flush that lands, and an operator who resumes, have all buckets of the partner looked at.
            Obstacle::Paused | Obstacle::Parallel | Obstacle::Probe | Obstacle::InOrder => {}
            Obstacle::Lease => bucket.alarm.by(due, now + LEASE_LOOK, Timer::Bucket(key)),
            Obstacle::Turn { until: at } | Obstacle::Until(at, Wait::Endpoint | Wait::Linger) => {
                bucket.alarm.by(due, at, Timer::Bucket(key));
            }
            Obstacle::Until(at, Wait::Asked | Wait::Backoff | Wait::Breaker | Wait::Rate) => {
                let partner = bucket.partner;
                if let Some(found) = self.partners.get_mut(partner.0) {
                    found.alarm.by(due, at, Timer::Partner(partner));
                }
            }
            Obstacle::Thread => self.join_line(key),
        }
    }

    /// Has the bucket looked at when its oldest delivery is to be given up.
    fn watch_age(&mut self, key: BucketKey, due: &mut Due<Timer>) {
        let Some(bucket) = self.buckets.get_mut(key.0) else { return };
        let give_up_after = self.partners.get(bucket.partner.0).and_then(|partner| partner.rules.give_up_after);
        if let (Some(give_up_after), Some(oldest)) = (give_up_after, bucket.oldest()) {
            bucket.alarm.by(due, oldest + give_up_after, Timer::Bucket(key));
        }
    }

    /// Puts the bucket in the line for a delivery thread, in the order of its oldest delivery.
    fn join_line(&mut self, key: BucketKey) {
        let Some(bucket) = self.buckets.get_mut(key.0) else { return };
        let Some(partner) = self.partners.get(bucket.partner.0) else { return };
        let Some(since) = bucket.oldest().filter(|_| bucket.thread_wait.is_none()) else { return };
        let wait = ThreadWait { medium: partner.rules.medium, class: partner.health.class(), since };
        bucket.thread_wait = Some(wait);
        self.threads.enlist(key, wait);
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
        let is_free = |other: &Bucket| other.gate.wait(now).is_none() && other.gate.rest(now).is_none();
        let may_go = |other: &Bucket| !other.is_empty() && !other.is_only_a_doubtful_front() && is_free(other);
        let mut others = partner.buckets.in_use().iter().filter(|other| **other != key);
        let others_first = others.any(|other| self.buckets.get(other.0).is_some_and(may_go));
        (others_first && now < until).then_some(until)
    }

    /// Composes a batch of the bucket and puts it on the wire; what may not be sent any more is dropped. The caller has
    /// found no obstacle. `None`: nothing is left to be sent.
    pub fn begin_flush(
        &mut self,
        key: BucketKey,
        now: Instant,
        queue_name: &Arc<str>,
        due: &mut Due<Timer>,
        may_be_sent: impl Fn(Ticket) -> bool,
    ) -> Option<FlushId> {
        let partner_key = self.bucket(key)?.partner;
        self.touch(partner_key);
        let bucket = self.buckets.get_mut(key.0)?;
        let partner = self.partners.get_mut(partner_key.0)?;
        let bounds = partner.bounds();
        let probe =
            partner.tries_what_is_behind().then(|| bucket.compose_probe(&partner.account, queue_name, &may_be_sent)).flatten();
        let parcel = probe.or_else(|| bucket.compose(bounds, &partner.account, queue_name, may_be_sent))?;
        let (medium, deliveries) = (partner.rules.medium, parcel.slips.len());
        bucket.in_flight += 1;
        bucket.on_wire += deliveries;
        (bucket.active_at, bucket.tried_at) = (now, Some(now));
        let has_more = !bucket.is_empty();
        self.threads.take(medium, partner.health.class());
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
        // A delivery may be older than the one before it: the disk and another receive have ages of their own.
        self.watch_age(key, due);
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
            bucket.on_wire = bucket.on_wire.saturating_sub(flight.parcel.slips.len());
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
            // During a stop, what waits for one that is slow leaves its bucket.
            self.list_all_of(partner);
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

    /// Returns when the partner can be tried next with what this bucket holds; `None` if it waits for nothing that has a
    /// time. A pause has no known end, and counts as the longest back-off.
    pub fn next_attempt(&self, key: BucketKey, now: Instant) -> Option<Instant> {
        let bucket = self.bucket(key)?;
        let partner = self.partner(bucket.partner)?;
        match partner.obstacle(Some(bucket), now)? {
            Obstacle::Paused => Some(now + partner.rules.max_backoff),
            obstacle => obstacle.ends_at(),
        }
    }
}
