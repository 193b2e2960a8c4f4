//! Who holds the deliveries in a bucket, how many it holds, and how many it may: see [`Holder`].

use std::time::Instant;

use crate::dispatch::bucket::Bucket;
use crate::dispatch::due::Due;
use crate::dispatch::keys::{BucketKey, PartnerKey, QueueIndex};
use crate::dispatch::partner::{LEAST, Partner};
use crate::dispatch::standing::Holder;
use crate::dispatch::timer::Timer;

use super::Partners;

impl Partners {
    /// Returns who holds what is in the bucket.
    pub fn holder_of(&self, key: BucketKey) -> Option<Holder> {
        let bucket = self.bucket(key)?;
        let partner = self.partner(bucket.partner)?;
        Some(if partner.fails_only_at(bucket) { Holder::Bucket(key) } else { Holder::Partner(bucket.partner) })
    }

    /// Returns the partner that the holder is, or is a part of.
    pub fn partner_of(&self, holder: Holder) -> Option<PartnerKey> {
        match holder {
            Holder::Partner(key) => Some(key),
            Holder::Bucket(key) => Some(self.bucket(key)?.partner),
        }
    }

    /// Returns the buckets with what the holder holds, of those that are in use.
    pub fn buckets_held_by(&self, holder: Holder) -> impl Iterator<Item = &Bucket> {
        let partner = self.partner_of(holder).and_then(|key| self.partner(key));
        let in_use = partner.map_or(&[][..], |partner| partner.buckets.in_use());
        in_use.iter().filter(move |key| self.holder_of(**key) == Some(holder)).filter_map(|key| self.bucket(*key))
    }

    /// Returns the number of deliveries that the holder has, waiting or on the wire.
    pub fn holds(&self, holder: Holder) -> usize {
        self.buckets_held_by(holder).map(Bucket::holds).sum()
    }

    /// Returns the number of deliveries that the holder may have before it is overfull.
    pub fn share(&self, holder: Holder) -> usize {
        let Some(partner) = self.partner_of(holder).and_then(|key| self.partner(key)) else { return 0 };
        if self.is_away(holder) { self.share_of_away(partner) } else { partner.drain.share(&partner.rules) }
    }

    fn share_of_away(&self, partner: &Partner) -> usize {
        self.crowd.away_share().min(partner.rules.max_waiting)
    }

    /// Returns whether who holds what is in the bucket holds less than its share.
    pub fn is_for_one_below(&self, key: BucketKey) -> bool {
        let Some(bucket) = self.bucket(key) else { return false };
        let Some(partner) = self.partner(bucket.partner) else { return false };
        if partner.fails_only_at(bucket) {
            return bucket.holds() < self.share_of_away(partner);
        }
        let own = self.buckets_in_use_of(partner).filter(|bucket| !partner.fails_only_at(bucket));
        let holds = own.map(Bucket::holds).sum::<usize>();
        if partner.is_away() {
            return holds < self.share_of_away(partner);
        }
        // This is asked for each delivery. No partner that takes has a share below `LEAST` or its own `max_waiting`, so
        // that most calls need no division.
        holds < LEAST.min(partner.rules.max_waiting) || holds < partner.drain.share(&partner.rules)
    }

    /// Returns when the longest-waiting of the holder's deliveries entered.
    pub fn oldest(&self, holder: Holder) -> Option<Instant> {
        self.buckets_held_by(holder).filter_map(Bucket::oldest).min()
    }

    /// Makes sure that where the holder stands is determined again at this moment.
    pub fn look_again(&mut self, holder: Holder, at: Instant, due: &mut Due<Timer>) {
        match holder {
            Holder::Partner(key) => {
                if let Some(partner) = self.partners.get_mut(key.0) {
                    partner.alarm.by(due, at, Timer::Partner(key));
                }
            }
            Holder::Bucket(key) => {
                if let Some(bucket) = self.buckets.get_mut(key.0) {
                    bucket.alarm.by(due, at, Timer::Bucket(key));
                }
            }
        }
    }

    /// Returns whether the holder is known and nothing is taken of it now.
    pub fn is_away(&self, holder: Holder) -> bool {
        match holder {
            Holder::Partner(key) => self.partner(key).is_some_and(Partner::is_away),
            Holder::Bucket(_) => true,
        }
    }

    /// Returns whether the partner takes nothing of this queue now.
    pub fn is_away_for(&self, key: PartnerKey, queue: QueueIndex) -> bool {
        let Some(partner) = self.partner(key) else { return false };
        let bucket = || partner.buckets.of_queue(queue).and_then(|key| self.bucket(key));
        partner.is_away() || bucket().is_some_and(|bucket| partner.fails_only_at(bucket))
    }

    /// Notes that the bucket's partner is to be looked at, if its endpoint fails: its alarm may have rung for its standing.
    pub fn touch_if_it_fails(&mut self, key: BucketKey) {
        if let Some(partner) = self.bucket(key).filter(|bucket| bucket.gate.fails()).map(|bucket| bucket.partner) {
            self.touch(partner);
        }
    }
}
