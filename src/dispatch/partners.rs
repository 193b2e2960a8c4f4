//! All partners and their buckets: who may flush, in which order, and what is on the wire.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use slotmap::{DefaultKey, SlotMap};

use crate::message::{Account, Item};

use super::Timer;
use super::bucket::{Bounds, Bucket, Parcel, Slip, Spot};
use super::due::Due;
use super::keys::{BucketKey, FlushId, PartnerKey, QueueIndex, Ticket};
use super::partner::{Access, Partner};
use super::rules::PartnerTable;
use super::threads::{DeliveryThreads, Medium};

/// A bucket in use is not looked at for idleness more often.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Partners {
    table: PartnerTable,
    by_account: HashMap<Account, PartnerKey, RandomState>,
    partners: SlotMap<DefaultKey, Partner>,
    buckets: SlotMap<DefaultKey, Bucket>,
    flights: SlotMap<DefaultKey, Flight>,
    threads: DeliveryThreads,
    /// Buckets to look at before the turn ends, in the order in which something happened to them.
    listed: VecDeque<BucketKey>,
}

/// One flush on the wire.
#[derive(Debug)]
pub struct Flight {
    pub bucket: BucketKey,
    pub parcel: Parcel,
    medium: Medium,
}

impl Partners {
    pub fn new(table: PartnerTable, threads: DeliveryThreads) -> Self {
        Self {
            table,
            by_account: HashMap::default(),
            partners: SlotMap::new(),
            buckets: SlotMap::new(),
            flights: SlotMap::new(),
            threads,
            listed: VecDeque::new(),
        }
    }

    /// Puts a delivery at the end of its bucket. Gives where it waits.
    pub fn enter(&mut self, queue: QueueIndex, account: Account, slip: Slip, item: Item, due: &mut Due<Timer>) -> Option<Spot> {
        let partner = match self.by_account.get(&account) {
            Some(partner) => *partner,
            None => {
                let key = PartnerKey(self.partners.insert(Partner::new(account.clone(), self.table.of(&account))));
                self.by_account.insert(account, key);
                key
            }
        };
        let found = self.partners.get_mut(partner.0)?;
        let buckets = &self.buckets;
        let of_queue = |key: &&BucketKey| buckets.get(key.0).is_some_and(|bucket| bucket.queue == queue);
        let key = match found.buckets.iter().find(of_queue) {
            Some(key) => *key,
            None => {
                let mut bucket = Bucket::new(partner, queue, slip.since);
                let idle = slip.since + found.rules.idle_timeout;
                let key = self.buckets.insert_with_key(|key| {
                    bucket.alarm.by(due, idle, Timer::Bucket(BucketKey(key)));
                    bucket
                });
                found.buckets.push(BucketKey(key));
                BucketKey(key)
            }
        };
        let bucket = self.buckets.get_mut(key.0)?;
        bucket.active_at = slip.since;
        if !bucket.listed {
            bucket.listed = true;
            self.listed.push_back(key);
        }
        Some(Spot { bucket: key, place: bucket.enter(slip, item) })
    }

    /// Takes out what waits there of the message, with its account. Nothing where it has left already.
    pub fn take(&mut self, spot: Spot, ticket: Ticket) -> Option<(Account, Item)> {
        let bucket = self.buckets.get_mut(spot.bucket.0)?;
        let account = self.partners.get(bucket.partner.0)?.account.clone();
        Some((account, bucket.take(spot.place, ticket)?))
    }

    pub fn bucket(&self, key: BucketKey) -> Option<&Bucket> {
        self.buckets.get(key.0)
    }

    pub fn bucket_mut(&mut self, key: BucketKey) -> Option<&mut Bucket> {
        self.buckets.get_mut(key.0)
    }

    pub fn partner(&self, key: PartnerKey) -> Option<&Partner> {
        self.partners.get(key.0)
    }

    pub fn partner_mut(&mut self, key: PartnerKey) -> Option<&mut Partner> {
        self.partners.get_mut(key.0)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Partner> {
        self.partners.values()
    }

    pub fn buckets(&self) -> impl Iterator<Item = (BucketKey, &Bucket)> {
        self.buckets.iter().map(|(key, bucket)| (BucketKey(key), bucket))
    }

    /// Has the bucket looked at before the turn ends.
    pub fn list(&mut self, key: BucketKey) {
        if let Some(bucket) = self.buckets.get_mut(key.0)
            && !bucket.listed
        {
            bucket.listed = true;
            self.listed.push_back(key);
        }
    }

    /// Has all buckets of the partner in which something waits looked at.
    pub fn list_all_of(&mut self, partner: PartnerKey) {
        let Some(partner) = self.partners.get(partner.0) else { return };
        for key in &partner.buckets {
            if let Some(bucket) = self.buckets.get_mut(key.0)
                && !bucket.listed
                && !bucket.is_empty()
            {
                bucket.listed = true;
                self.listed.push_back(*key);
            }
        }
    }

    /// Whether another bucket of the same partner is to be looked at in this turn, and waits for longer: it is first where the partner
    /// takes only one of them.
    fn is_preceded(&self, key: BucketKey) -> bool {
        let Some(bucket) = self.buckets.get(key.0) else { return false };
        let Some(partner) = self.partners.get(bucket.partner.0).filter(|partner| partner.buckets.len() > 1) else { return false };
        let own = (bucket.oldest(), key);
        partner.buckets.iter().any(|other| {
            let bucket = self.buckets.get(other.0).filter(|bucket| bucket.listed && !bucket.is_empty());
            bucket.is_some_and(|bucket| (bucket.oldest(), *other) < own)
        })
    }

    /// The next bucket to look at before the turn ends. Where some wait for a delivery thread and one is free, all stand in one line,
    /// the longest-waiting first; else in the order in which something happened to them.
    pub fn next_listed(&mut self) -> Option<BucketKey> {
        if !self.threads.can_serve() {
            while let Some(key) = self.listed.pop_front() {
                if !self.is_preceded(key) {
                    return Some(key);
                }
                self.listed.push_back(key);
            }
            return None;
        }
        while let Some(key) = self.listed.pop_front() {
            let Some(bucket) = self.buckets.get_mut(key.0) else { continue };
            bucket.listed = false;
            if let (None, Some(oldest)) = (bucket.ready_since, bucket.oldest()) {
                bucket.ready_since = Some(oldest);
                let medium = self.partners.get(bucket.partner.0).map(|partner| partner.rules.medium).unwrap_or_default();
                self.threads.wait(medium, oldest, key);
            }
        }
        let key = self.threads.next()?;
        if let Some(bucket) = self.buckets.get_mut(key.0) {
            bucket.ready_since = None;
        }
        Some(key)
    }

    /// Flushes the bucket if it can be now; else makes sure that it is looked at when it may be.
    pub fn look(
        &mut self,
        key: BucketKey,
        now: Instant,
        hurry: bool,
        queue_name: &Arc<str>,
        due: &mut Due<Timer>,
        held: impl Fn(Ticket) -> bool,
    ) -> Option<FlushId> {
        let bucket = self.buckets.get_mut(key.0)?;
        bucket.listed = false;
        let partner = self.partners.get_mut(bucket.partner.0)?;
        let oldest = bucket.oldest()?;
        if let Some(give_up_after) = partner.rules.give_up_after {
            bucket.alarm.by(due, oldest + give_up_after, Timer::Bucket(key));
        }
        if bucket.in_flight >= partner.rules.parallel {
            return None;
        }
        if let Some(until) = bucket.until.filter(|until| *until > now) {
            bucket.alarm.by(due, until, Timer::Bucket(key));
            return None;
        }
        match partner.access(now) {
            Access::Open => {}
            Access::Busy => return None,
            Access::At(at, _) => {
                partner.alarm.by(due, at, Timer::Partner(bucket.partner));
                return None;
            }
        }
        let bounds = Bounds { count: partner.batch_limit(), bytes: partner.rules.max_batch_bytes };
        let linger = partner.rules.linger;
        if !linger.is_zero() && !hurry && now < oldest + linger && !bucket.fills(bounds) {
            bucket.alarm.by(due, oldest + linger, Timer::Bucket(key));
            return None;
        }
        let medium = partner.rules.medium;
        if !self.threads.has_thread(medium) {
            if bucket.ready_since.is_none() {
                bucket.ready_since = Some(oldest);
                self.threads.wait(medium, oldest, key);
            }
            return None;
        }
        let parcel = bucket.compose(bounds, &partner.account, queue_name, held)?;
        bucket.in_flight += 1;
        bucket.active_at = now;
        partner.flushes(now);
        if !bucket.is_empty() && bucket.in_flight < partner.rules.parallel {
            bucket.listed = true;
            self.listed.push_back(key);
        }
        self.threads.take(medium);
        Some(FlushId(self.flights.insert(Flight { bucket: key, parcel, medium })))
    }

    pub fn flight(&self, flush: FlushId) -> Option<&Flight> {
        self.flights.get(flush.0)
    }

    /// The flush is off the wire; its bucket, and the others of its partner, are looked at before the turn ends.
    pub fn landed(&mut self, flush: FlushId, now: Instant) -> Option<Flight> {
        let flight = self.flights.remove(flush.0)?;
        self.threads.give_back(flight.medium);
        let Some(bucket) = self.buckets.get_mut(flight.bucket.0) else { return Some(flight) };
        bucket.in_flight = bucket.in_flight.saturating_sub(1);
        bucket.active_at = now;
        let key = bucket.partner;
        if let Some(partner) = self.partners.get_mut(key.0) {
            partner.in_flight = partner.in_flight.saturating_sub(1);
        }
        self.list_all_of(key);
        Some(flight)
    }

    /// The bucket goes away if it was idle for long enough; else it is looked at again then.
    pub fn reclaim(&mut self, key: BucketKey, now: Instant, due: &mut Due<Timer>) {
        let Some(bucket) = self.buckets.get_mut(key.0) else { return };
        let partner_key = bucket.partner;
        let Some(partner) = self.partners.get_mut(partner_key.0) else { return };
        let idle_timeout = partner.rules.idle_timeout;
        // A gate outlives the idle time: a new bucket would know nothing of it.
        let idle_at = bucket.until.map_or(bucket.active_at + idle_timeout, |until| until.max(bucket.active_at + idle_timeout));
        if idle_at > now {
            bucket.alarm.by(due, idle_at, Timer::Bucket(key));
            return;
        }
        if !bucket.is_empty() || bucket.in_flight > 0 {
            bucket.alarm.by(due, now + idle_timeout.max(SHORTEST_IDLE), Timer::Bucket(key));
            return;
        }
        bucket.alarm.cancel(due, Timer::Bucket(key));
        partner.buckets.retain(|other| *other != key);
        self.buckets.remove(key.0);
        self.forget_if_done(partner_key, now, due);
    }

    /// A partner without buckets goes away once nothing of it needs to be remembered.
    pub fn forget_if_done(&mut self, key: PartnerKey, now: Instant, due: &mut Due<Timer>) {
        let Some(partner) = self.partners.get_mut(key.0) else { return };
        if !partner.buckets.is_empty() || partner.in_flight > 0 {
            return;
        }
        if let Some(until) = partner.remembered_until().filter(|until| *until > now) {
            partner.alarm.by(due, until, Timer::Partner(key));
            return;
        }
        partner.alarm.cancel(due, Timer::Partner(key));
        if let Some(partner) = self.partners.remove(key.0) {
            self.by_account.remove(&partner.account);
        }
    }

    pub fn len(&self) -> usize {
        self.partners.len()
    }
}
