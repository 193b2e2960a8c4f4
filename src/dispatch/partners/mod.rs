//! All partners and their buckets: what enters a bucket, which buckets are looked at, and when a bucket or partner is
//! forgotten. [`flushing`] keeps those that wait for a flush and those on the wire, [`holders`] tells who holds what and how
//! much it may hold, and [`crowd`] knows who holds too much.
//!
//! `directory` finds a partner by its account, `lately` says whether others need the room, `longest` which delivery has
//! waited for the longest, and `remembered` keeps those that have nothing left.

mod crowd;
mod directory;
mod flushing;
mod holders;
mod lately;
mod longest;
mod remembered;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::message::{Account, Item};

use crate::dispatch::bucket::Bucket;
use crate::dispatch::due::Due;
use crate::dispatch::flights::Flights;
use crate::dispatch::keys::{BucketKey, PartnerKey, QueueIndex, Ticket};
use crate::dispatch::parking::Lot;
use crate::dispatch::partner::{Partner, PartnerState};
use crate::dispatch::rules::{Medium, PartnerTable};
use crate::dispatch::slab::Slab;
use crate::dispatch::standing::Holder;
use crate::dispatch::threads::DeliveryThreads;
use crate::dispatch::timer::Timer;
use crate::dispatch::waiting::{Slip, Spot};

use self::crowd::Crowd;
use self::directory::{Directory, Tag};
use self::remembered::Remembered;

pub use self::crowd::{Overfull, PART_OF_AWAY};

/// The shortest time after which a bucket in use is looked at again for idleness.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);

/// The bucket that is looked for, by queue and account, and the place at which its partner may be.
type Guess<'a> = (QueueIndex, &'a Account, u32);

/// All partners and buckets, with the flushes on the wire and the delivery threads.
#[derive(Debug)]
pub struct Partners {
    table: PartnerTable,
    directory: Directory,
    partners: Slab<Partner>,
    /// All partners, each at [`Partner::place`], for walks that stop and go on.
    roll: Vec<PartnerKey>,
    buckets: Slab<Bucket>,
    flights: Flights,
    threads: DeliveryThreads,
    /// Buckets to look at before the turn ends, in the order in which something happened to them.
    listed: VecDeque<BucketKey>,
    /// Partners whose standing is to be determined when room is next made: at the end of the turn, or of the next one for
    /// those to whom something happens after that.
    touched: Vec<PartnerKey>,
    crowd: Crowd,
    remembered: Remembered,
}

impl Partners {
    pub fn new(table: PartnerTable, threads: DeliveryThreads) -> Self {
        Self {
            table,
            directory: Directory::default(),
            partners: Slab::default(),
            roll: Vec::new(),
            buckets: Slab::default(),
            flights: Flights::default(),
            threads,
            listed: VecDeque::new(),
            touched: Vec::new(),
            crowd: Crowd::default(),
            remembered: Remembered::default(),
        }
    }

    /// Replaces the rules of every partner. All buckets with waiting deliveries are looked at again: a shorter wait,
    /// another medium or a larger batch counts at once. What is known about a partner (its back-off, its breaker, the
    /// batch size that it takes) stays.
    pub fn set_rules(&mut self, table: PartnerTable, now: Instant, due: &mut Due<Timer>) {
        self.table = table;
        for (_, partner) in self.partners.iter_mut() {
            partner.set_rules(self.table.of(&partner.account), now);
        }
        let keys: Vec<PartnerKey> = self.roll.clone();
        keys.into_iter().for_each(|key| self.touch(key));
        for (key, bucket) in self.buckets.iter_mut() {
            let key = BucketKey(key);
            if let Some(wait) = bucket.thread_wait.take() {
                self.threads.leave(key, wait);
            }
            let idle = self.partners.get(bucket.partner.0).map_or(Duration::ZERO, |partner| partner.rules.idle_timeout);
            bucket.alarm.by(due, now.max(bucket.active_at + idle), Timer::Bucket(key));
            if !bucket.listed && !bucket.is_bare() {
                bucket.listed = true;
                self.listed.push_back(key);
            }
        }
    }

    /// Returns the bucket of this queue for this account, and creates it if there is none.
    pub fn bucket_for(&mut self, queue: QueueIndex, account: Account, now: Instant, due: &mut Due<Timer>) -> Option<BucketKey> {
        let partner = self.find_or_add(account);
        let found = self.partners.get_mut(partner.0)?;
        if let Some(key) = found.buckets.of_queue(queue) {
            return Some(key);
        }
        let mut bucket = Bucket::new(partner, queue, now);
        let idle = now + found.rules.idle_timeout;
        let key = BucketKey(self.buckets.next());
        bucket.alarm.by(due, idle, Timer::Bucket(key));
        self.buckets.insert(bucket);
        found.buckets.add(queue, key);
        self.remembered.leave(partner);
        Some(key)
    }

    /// Finds the existing buckets of these queues for these accounts, and reads them and their partners, so that they
    /// are in the processor's cache when they are needed.
    pub fn look_ahead<'a>(
        &self,
        wanted: impl Iterator<Item = Option<(QueueIndex, &'a Account)>>,
        found: &mut Vec<Option<BucketKey>>,
    ) {
        let guess = |(queue, account): (QueueIndex, &'a Account)| {
            Some((queue, account, self.directory.guess(self.directory.tag(account))?))
        };
        let partners: SmallVec<[Option<Guess>; 64]> = wanted.map(|wanted| wanted.and_then(guess)).collect();
        // Reads some fields of each that are far apart in memory.
        let mut seen = 0;
        found.extend(partners.iter().map(|wanted| {
            let (queue, account, place) = (*wanted)?;
            let (_, partner) = self.partners.at(place).filter(|(_, partner)| partner.account == *account)?;
            seen += partner.on_wire + partner.flights.len() + usize::from(partner.is_away());
            partner.buckets.of_queue(queue)
        }));
        for bucket in found.iter().filter_map(|key| self.bucket((*key)?)) {
            seen += bucket.waits() + usize::from(bucket.listed);
        }
        std::hint::black_box(seen);
    }

    /// Returns whether anything of the bucket is parked, or was.
    pub fn has_lot(&self, key: BucketKey) -> bool {
        self.bucket(key).is_some_and(|bucket| bucket.lot.is_some())
    }

    /// Puts a delivery at the end of the bucket. Returns where it waits.
    pub fn enter_into(&mut self, key: BucketKey, slip: Slip, item: Item) -> Option<Spot> {
        let partner = self.bucket(key)?.partner;
        self.touch(partner);
        self.list(key);
        let bucket = self.buckets.get_mut(key.0)?;
        bucket.active_at = bucket.active_at.max(slip.since);
        Some(Spot { bucket: key, place: bucket.enter(slip, item) })
    }

    /// Puts a delivery back at the spot where it was taken out.
    pub fn put_back(&mut self, spot: Spot, slip: Slip, item: Item) {
        let Some(bucket) = self.buckets.get_mut(spot.bucket.0) else { return };
        bucket.waiting.put_back(spot.place, slip, item);
        let partner = bucket.partner;
        self.touch(partner);
        self.list(spot.bucket);
    }

    /// Takes the message's delivery out of this spot, and returns it with its account. Returns `None` if
    /// the delivery has left already.
    pub fn take(&mut self, spot: Spot, ticket: Ticket) -> Option<(Account, Item)> {
        let bucket = self.buckets.get_mut(spot.bucket.0)?;
        let (partner, item) = (bucket.partner, bucket.take(spot.place, ticket)?);
        self.touch(partner);
        if self.partner(partner)?.buckets.are_several() {
            // Another one may have left its turn to this one because of the delivery that was taken.
            self.list_all_of(partner);
        }
        Some((self.partner(partner)?.account.clone(), item))
    }

    /// Returns the partner of this account, and adds it if it is not known yet.
    pub fn find_or_add(&mut self, account: Account) -> PartnerKey {
        let tag = self.directory.tag(&account);
        if let Some(partner) = self.find_by(tag, &account) {
            return partner;
        }
        let rules = self.table.of(&account);
        let mut partner = Partner::new(account, rules);
        partner.place = self.roll.len();
        let key = PartnerKey(self.partners.insert(partner));
        self.roll.push(key);
        self.directory.insert(tag, key.0.place());
        key
    }

    pub fn find(&self, account: &str) -> Option<PartnerKey> {
        self.find_by(self.directory.tag(account), account)
    }

    fn find_by(&self, tag: Tag, account: &str) -> Option<PartnerKey> {
        let is = |place| self.partners.at(place).is_some_and(|(_, partner)| partner.account == account);
        let place = self.directory.find(tag, is)?;
        Some(PartnerKey(self.partners.at(place)?.0))
    }

    /// Returns a new partner for an account of which nothing is known. The partner is not added.
    pub fn stranger(&self, account: &str) -> Partner {
        Partner::new(account.into(), self.table.of(account))
    }

    /// Returns when the partner's oldest flush on the wire began.
    pub fn flushes_since(&self, partner: &Partner) -> Option<Instant> {
        self.flights.began(*partner.flights.first()?)
    }

    /// Returns the partner's state: the worst over all its buckets.
    pub fn state(&self, partner: &Partner, now: Instant) -> PartnerState {
        let shut = self.buckets_of(partner).find(|bucket| bucket.gate.is_shut());
        partner.state(shut, now)
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

    /// Returns the partner's buckets, one for each queue that has sent it something.
    pub fn buckets_of(&self, partner: &Partner) -> impl Iterator<Item = &Bucket> {
        partner.buckets.iter().filter_map(|key| self.bucket(key))
    }

    /// Returns those of the partner's buckets that have something in memory, on the wire or parked.
    pub fn buckets_in_use_of(&self, partner: &Partner) -> impl Iterator<Item = &Bucket> {
        partner.buckets.in_use().iter().filter_map(|key| self.bucket(*key))
    }

    /// Returns what the bucket has in the parking, for something that is about to be there.
    pub fn lot_for(&mut self, key: BucketKey) -> Option<&mut Lot> {
        self.use_bucket(key);
        Some(self.buckets.get_mut(key.0)?.lot.get_or_insert_default())
    }

    /// Counts the bucket among those of its partner that are in use.
    fn use_bucket(&mut self, key: BucketKey) {
        if let Some(bucket) = self.buckets.get_mut(key.0)
            && !bucket.counts_as_used
            && let Some(partner) = self.partners.get_mut(bucket.partner.0)
        {
            bucket.counts_as_used = true;
            partner.buckets.begin_use(key);
        }
    }

    pub fn buckets(&self) -> impl Iterator<Item = (BucketKey, &Bucket)> {
        self.buckets.iter().map(|(key, bucket)| (BucketKey(key), bucket))
    }

    /// Returns the partner with this number, counted from 0. When a partner is forgotten,
    /// the last one takes its number.
    pub fn nth(&self, number: usize) -> Option<&Partner> {
        self.partner(*self.roll.get(number)?)
    }

    /// Returns the number of buckets of healthy partners that wait for nothing but a thread of this medium, and the
    /// number of flushes that have landed so far.
    pub fn threads_progress(&self, medium: Medium) -> (usize, u64) {
        self.threads.progress(medium)
    }

    /// Lists the bucket to be looked at before the turn ends, because something has entered it or may leave it.
    pub fn list(&mut self, key: BucketKey) {
        self.use_bucket(key);
        if let Some(bucket) = self.buckets.get_mut(key.0)
            && !bucket.listed
        {
            bucket.listed = true;
            self.listed.push_back(key);
        }
    }

    /// Returns whether a bucket is still to be looked at before the turn ends.
    pub fn lists_any(&self) -> bool {
        !self.listed.is_empty()
    }

    /// Lists all buckets of the partner that have something in memory or parked.
    pub fn list_all_of(&mut self, partner: PartnerKey) {
        let Some(partner) = self.partners.get_mut(partner.0) else { return };
        partner.buckets.look_over(|key| {
            let Some(bucket) = self.buckets.get_mut(key.0) else { return false };
            if !bucket.listed && !bucket.is_bare() {
                bucket.listed = true;
                self.listed.push_back(key);
            }
            bucket.counts_as_used = bucket.is_in_use();
            bucket.counts_as_used
        });
    }

    /// Removes the bucket if it has been idle for long enough; else sets its alarm to look again.
    pub fn reclaim(&mut self, key: BucketKey, now: Instant, due: &mut Due<Timer>) {
        let Some(bucket) = self.buckets.get_mut(key.0) else { return };
        let partner_key = bucket.partner;
        let Some(partner) = self.partners.get_mut(partner_key.0) else { return };
        let idle_timeout = partner.rules.idle_timeout;
        let idle_at = bucket.gate.remembered_until().max(Some(bucket.active_at + idle_timeout)).unwrap_or(now);
        if idle_at > now {
            bucket.alarm.by(due, idle_at, Timer::Bucket(key));
            return;
        }
        // Of what an endpoint that fails has hidden in its queue, no more than one is shown to try it with.
        let hides = bucket.gate.fails() && partner.hidden > 0;
        if !bucket.is_empty() || bucket.in_flight > 0 || hides || bucket.lot.as_deref().is_some_and(Lot::is_kept) {
            bucket.alarm.by(due, now + idle_timeout.max(SHORTEST_IDLE), Timer::Bucket(key));
            return;
        }
        bucket.alarm.cancel(due, Timer::Bucket(key));
        if let Some(wait) = bucket.thread_wait.take() {
            self.threads.leave(key, wait);
        }
        partner.buckets.remove(key);
        if let Some(mut standing) = self.buckets.remove(key.0).and_then(|bucket| bucket.standing) {
            self.crowd.leave(Holder::Bucket(key), &mut standing);
        }
        self.forget_if_done(partner_key, now, due);
    }

    /// Removes a partner without buckets once nothing of it needs to be remembered, or too many are.
    pub fn forget_if_done(&mut self, key: PartnerKey, now: Instant, due: &mut Due<Timer>) {
        self.remembered.leave(key);
        let Some(partner) = self.partners.get_mut(key.0).filter(|partner| partner.has_nothing()) else { return };
        // The messages that were returned to the queue because of this partner come back,
        // and must find its state as it is.
        let until = if partner.hidden > 0 {
            Some(now + partner.rules.idle_timeout.max(SHORTEST_IDLE))
        } else {
            partner.remembered_until()
        };
        let Some(until) = until.filter(|until| *until > now) else { return self.forget(key, due) };
        partner.alarm.by(due, until, Timer::Partner(key));
        if partner.hidden == 0 {
            self.remembered.keep(key, until);
        }
        while let Some(key) = self.remembered.one_too_many() {
            // One that was paused, or because of which something was hidden since, is not forgotten here.
            if self.partner(key).is_some_and(|partner| partner.has_nothing() && partner.hidden == 0) {
                self.forget(key, due);
            }
        }
    }

    fn forget(&mut self, key: PartnerKey, due: &mut Due<Timer>) {
        if let Some(mut partner) = self.partners.remove(key.0) {
            partner.alarm.cancel(due, Timer::Partner(key));
            self.crowd.leave(Holder::Partner(key), &mut partner.standing);
            self.directory.remove(self.directory.tag(&partner.account), key.0.place());
            self.roll.swap_remove(partner.place);
            if let Some(moved) = self.roll.get(partner.place).and_then(|moved| self.partners.get_mut(moved.0)) {
                moved.place = partner.place;
            }
        }
    }

    /// Returns whether each partner is found by its account and at its place, and each bucket stands where it waits.
    #[cfg(test)]
    pub fn adds_up(&self) -> bool {
        let is_found = |(number, key): (usize, &PartnerKey)| {
            self.partner(*key).is_some_and(|partner| partner.place == number && self.find(&partner.account) == Some(*key))
        };
        let mut line: Vec<_> = self.buckets().filter_map(|(key, bucket)| Some((key, bucket.thread_wait?))).collect();
        line.sort_unstable_by_key(|(key, _)| *key);
        let has_no_bucket = |key| self.partner(key).is_some_and(|partner| partner.buckets.is_empty());
        let class = |key: BucketKey| {
            self.bucket(key).and_then(|bucket| self.partner(bucket.partner)).map(|partner| partner.health.class())
        };
        self.roll.iter().enumerate().all(is_found)
            && (self.roll.len(), self.directory.len()) == (self.partners.len(), self.partners.len())
            && self.remembered.keys().all(has_no_bucket)
            && self.threads.line() == line
            && line.iter().all(|(key, wait)| class(*key) == Some(wait.class))
            && self.crowd_adds_up()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.partners.len()
    }
}
