//! A bucket: the waiting deliveries of one queue for one partner, which leave in the order in which they entered. Part
//! of the dispatcher's state machine.
//!
//! `gate` stops one bucket alone, and `head` finds out whether the batch at its front is at fault.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::message::{Account, Batch, Item};

use super::due::Alarm;
use super::keys::{PartnerKey, QueueIndex, Ticket};
use super::parking::Lot;
use super::standing::Standing;
use super::threads::ThreadWait;
use super::waiting::{Slip, Waiting};

use self::head::Doubt;

pub use self::gate::BucketGate;

mod gate;
pub mod head;

/// The waiting deliveries of one queue for one partner.
#[derive(Debug)]
pub struct Bucket {
    /// The partner that the deliveries are for.
    pub partner: PartnerKey,
    /// The queue that the deliveries come from.
    pub queue: QueueIndex,
    /// The composed batches that are to be sent again, oldest first. They go before `waiting`.
    pub parcels: VecDeque<Parcel>,
    /// The deliveries that were never composed.
    pub waiting: Waiting,
    /// The number of flushes of this bucket on the wire.
    pub in_flight: usize,
    /// The number of deliveries of these flushes.
    pub on_wire: usize,
    /// What stops this bucket alone.
    pub gate: BucketGate,
    /// The bucket's rank among those that hold more than their share, while it is a holder of its own.
    pub standing: Option<Box<Standing>>,
    /// What the bucket has in the parking. `None`: nothing was ever parked.
    pub lot: Option<Box<Lot>>,
    /// When something last entered or left.
    pub active_at: Instant,
    /// When the last flush began; `None`: there was none.
    pub tried_at: Option<Instant>,
    /// The timer that looks at the bucket again.
    pub alarm: Alarm,
    /// Whether the bucket is in the list of those to look at before the turn ends.
    pub listed: bool,
    /// Whether the bucket is among those of its partner that are in use.
    pub counts_as_used: bool,
    /// Set while the bucket could flush, but no delivery thread is free.
    pub thread_wait: Option<ThreadWait>,
    /// The number of flushes that were accepted; it may wrap around.
    pub accepted: u32,
    /// The number of culprits (deliveries at fault) in a row, without an accepted flush of the bucket between them.
    pub culprits: u32,
    /// The number of deliveries that ever left [`Bucket::waiting`] for a batch.
    composed: u64,
}

/// A batch with the slips of its deliveries, in the same order; never empty.
#[derive(Debug)]
pub struct Parcel {
    /// The batch, as its partner receives it.
    pub batch: Arc<Batch>,
    /// The slip of each delivery.
    pub slips: SmallVec<[Slip; 2]>,
    /// The number of deliveries of the bucket that were composed before the first one here: the
    /// parcel's place in the order.
    place: u64,
    /// The number of deliveries of the batch that this one is a part of, since it was halved; else of this one.
    pub within: usize,
    /// The number of answers of 409 that the batch has drawn in a row.
    pub conflicts: u32,
    /// What is known of the batch after refusals.
    pub doubt: Doubt,
}

/// The bounds of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most deliveries.
    pub count: usize,
    /// The most bytes of payload; a single larger delivery goes alone.
    pub bytes: usize,
}

impl Bucket {
    /// Creates an empty bucket.
    pub fn new(partner: PartnerKey, queue: QueueIndex, now: Instant) -> Self {
        Self {
            partner,
            queue,
            parcels: VecDeque::new(),
            waiting: Waiting::default(),
            in_flight: 0,
            on_wire: 0,
            gate: BucketGate::default(),
            standing: None,
            lot: None,
            active_at: now,
            tried_at: None,
            alarm: Alarm::default(),
            listed: false,
            counts_as_used: false,
            thread_wait: None,
            accepted: 0,
            culprits: 0,
            composed: 0,
        }
    }

    /// Adds a delivery at the end, and returns its place.
    pub fn enter(&mut self, slip: Slip, item: Item) -> u64 {
        self.waiting.push_back(slip, item)
    }

    /// Takes out the delivery of this message that waits at `place`. A composed batch that it is taken out of becomes a
    /// new batch. `None`: the delivery has left already.
    pub fn take(&mut self, place: u64, ticket: Ticket) -> Option<Item> {
        if let Some(item) = self.waiting.remove(place) {
            return Some(item);
        }
        for n in (0..self.parcels.len()).rev() {
            let parcel = self.parcels.get(n)?;
            let Some(at) = parcel.slips.iter().rposition(|slip| slip.ticket == ticket) else { continue };
            let parcel = self.parcels.remove(n)?;
            let item = parcel.batch.items.get(at).cloned();
            if let Some(rest) = parcel.without(at) {
                self.parcels.insert(n, rest);
            }
            return item;
        }
        None
    }

    /// Returns the number of deliveries that are on the disk but not in memory, or on their way to the disk.
    pub fn parked(&self) -> u64 {
        self.lot.as_deref().map_or(0, Lot::deliveries)
    }

    /// Returns whether no delivery waits in memory. Flushes on the wire do not count.
    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty() && self.waiting.is_empty()
    }

    /// Returns the slips of all deliveries that are not on the wire, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Slip> {
        let composed = self.parcels.iter().rev().flat_map(|parcel| parcel.slips.iter().rev());
        self.waiting.newest_first().chain(composed)
    }

    /// Returns the slips of all deliveries that are not on the wire, oldest first.
    pub fn oldest_first(&self) -> impl Iterator<Item = &Slip> {
        let composed = self.parcels.iter().flat_map(|parcel| &parcel.slips);
        composed.chain(self.waiting.iter().map(|(slip, _)| slip))
    }

    /// Returns whether no delivery waits, neither in memory nor in the parking.
    pub fn is_bare(&self) -> bool {
        self.is_empty() && self.lot.is_none()
    }

    /// Returns whether there is anything of the bucket in memory, on the wire or in the parking, or was until its standing
    /// is determined again.
    pub fn is_in_use(&self) -> bool {
        !self.is_bare() || self.in_flight > 0 || self.standing.is_some()
    }

    /// Returns the number of deliveries that wait or are on the wire.
    pub fn holds(&self) -> usize {
        self.waits() + self.on_wire
    }

    /// Returns whether the delivery of this message still waits.
    pub fn has(&self, place: u64, ticket: Ticket) -> bool {
        let composed = || self.parcels.iter().any(|parcel| parcel.slips.iter().any(|slip| slip.ticket == ticket));
        self.waiting.has(place) || composed()
    }

    /// Returns the slip of the delivery that has waited for the longest time.
    pub fn first(&self) -> Option<&Slip> {
        match self.parcels.front() {
            Some(parcel) => parcel.slips.first(),
            None => self.waiting.front().map(|(slip, _)| slip),
        }
    }

    /// Returns when the newest waiting delivery entered.
    pub fn newest(&self) -> Option<Instant> {
        self.newest_first().next().map(|slip| slip.since)
    }

    /// Returns when the oldest waiting delivery entered.
    pub fn oldest(&self) -> Option<Instant> {
        self.first().map(|slip| slip.since)
    }

    /// Returns the number of deliveries that are not on the wire.
    pub fn waits(&self) -> usize {
        self.waiting.len() + self.parcels.iter().map(|parcel| parcel.slips.len()).sum::<usize>()
    }

    /// Returns whether the waiting deliveries fill a batch.
    pub fn fills(&self, bounds: Bounds) -> bool {
        if !self.parcels.is_empty() || self.waiting.len() >= bounds.count {
            return true;
        }
        let mut bytes = 0;
        self.waiting.iter().any(|(_, item)| {
            bytes += item.payload.len();
            bytes >= bounds.bytes
        })
    }

    /// Takes out the next batch: a composed one that is to be sent again, else the oldest deliveries that fit.
    /// Deliveries of messages that may not be sent any more are dropped; a composed batch that loses some becomes a new
    /// one. `None`: nothing waits.
    pub fn compose(
        &mut self,
        bounds: Bounds,
        account: &Account,
        queue: &Arc<str>,
        may_be_sent: impl Fn(Ticket) -> bool,
    ) -> Option<Parcel> {
        while let Some(parcel) = self.parcels.pop_front() {
            match parcel.retain(&may_be_sent) {
                Some(parcel) if parcel.slips.len() > bounds.count => {
                    // The partner was found to take fewer at once since this batch was composed.
                    let (front, back) = parcel.split_at(bounds.count);
                    self.parcels.push_front(back);
                    return Some(front);
                }
                Some(parcel) => return Some(parcel),
                None => {}
            }
        }
        self.compose_waiting(bounds, account, queue, may_be_sent)
    }

    /// Composes a batch of the oldest deliveries that were never composed.
    fn compose_waiting(
        &mut self,
        bounds: Bounds,
        account: &Account,
        queue: &Arc<str>,
        may_be_sent: impl Fn(Ticket) -> bool,
    ) -> Option<Parcel> {
        let most = self.waiting.len().min(bounds.count);
        let (mut items, mut slips, mut bytes) = (SmallVec::with_capacity(most), SmallVec::with_capacity(most), 0);
        while let Some((_, item)) = self.waiting.front() {
            let size = item.payload.len();
            if !items.is_empty() && (items.len() >= bounds.count || bytes + size > bounds.bytes) {
                break;
            }
            let Some((slip, item)) = self.waiting.pop_front() else { break };
            if may_be_sent(slip.ticket) {
                bytes += size;
                items.push(item);
                slips.push(slip);
            }
        }
        if items.is_empty() {
            return None;
        }
        let batch = Batch { account: account.clone(), queue: Arc::clone(queue), items, bytes };
        let place = self.composed;
        self.composed += slips.len() as u64;
        Some(Parcel { batch: Arc::new(batch), within: slips.len(), slips, place, conflicts: 0, doubt: Doubt::default() })
    }

    /// Puts back a batch that was not accepted, before everything that came later. Of several batches on the
    /// wire, any may land first.
    pub fn put_back(&mut self, parcel: Parcel) {
        let before = self.parcels.partition_point(|other| other.place < parcel.place);
        self.parcels.insert(before, parcel);
    }

    /// Puts a batch back as two halves, which are new batches.
    pub fn put_back_halved(&mut self, parcel: Parcel) {
        let middle = parcel.slips.len().div_ceil(2);
        let (front, back) = parcel.split_at(middle);
        self.put_back(back);
        self.put_back(front);
    }

    /// Takes out all waiting deliveries, in order.
    pub fn drain(&mut self) -> Vec<Ticket> {
        let parcels = self.parcels.drain(..).flat_map(|parcel| parcel.slips);
        parcels.chain(self.waiting.drain().map(|(slip, _)| slip)).map(|slip| slip.ticket).collect()
    }

    /// Takes out, in order, the deliveries that entered at `before` or earlier.
    pub fn expire(&mut self, before: Instant) -> Vec<(Ticket, Item)> {
        let mut expired = Vec::new();
        while let Some(parcel) = self.parcels.pop_front() {
            let late = parcel.slips.iter().take_while(|slip| slip.since <= before).count();
            let pairs = parcel.slips.iter().zip(&parcel.batch.items).take(late);
            expired.extend(pairs.map(|(slip, item)| (slip.ticket, item.clone())));
            if late < parcel.slips.len() {
                let rest = if late == 0 { parcel } else { parcel.split_at(late).1 };
                self.parcels.push_front(rest);
                return expired;
            }
        }
        while self.waiting.front().is_some_and(|(slip, _)| slip.since <= before)
            && let Some((slip, item)) = self.waiting.pop_front()
        {
            expired.push((slip.ticket, item));
        }
        expired
    }
}

impl Parcel {
    /// Splits the deliveries before `middle` from those behind; both parts are new batches.
    fn split_at(self, middle: usize) -> (Self, Self) {
        let part = |items: &[Item], slips: &[Slip], before: usize| Self {
            place: self.place + before as u64,
            within: self.within,
            ..self.part(items.iter().cloned().collect(), slips.into())
        };
        let (front, back) = self.batch.items.split_at(middle.min(self.batch.items.len()));
        let (front_slips, back_slips) = self.slips.split_at(middle.min(self.slips.len()));
        (part(front, front_slips, 0), part(back, back_slips, middle))
    }

    /// Splits the deliveries whose places are in `accepted` from all others. Both are new batches; `None`: that one would
    /// be empty.
    pub fn split_by(&self, accepted: &[usize]) -> (Option<Self>, Option<Self>) {
        let side = |wanted: bool| {
            let chosen = self.slips.iter().zip(&self.batch.items).enumerate().filter(|(at, _)| accepted.contains(at) == wanted);
            let (slips, items): (SmallVec<[Slip; 2]>, SmallVec<[Item; 1]>) =
                chosen.map(|(_, (slip, item))| (*slip, item.clone())).unzip();
            (!slips.is_empty()).then(|| self.part(items, slips))
        };
        (side(true), side(false))
    }

    /// Returns itself if all messages may still be sent, else a new batch of those that may. `None`: none may.
    fn retain(self, may_be_sent: impl Fn(Ticket) -> bool) -> Option<Self> {
        if self.slips.iter().all(|slip| may_be_sent(slip.ticket)) {
            return Some(self);
        }
        let pairs = self.slips.iter().zip(&self.batch.items).filter(|(slip, _)| may_be_sent(slip.ticket));
        let (slips, items): (SmallVec<[Slip; 2]>, SmallVec<[Item; 1]>) = pairs.map(|(slip, item)| (*slip, item.clone())).unzip();
        (!slips.is_empty()).then(|| self.part(items, slips))
    }

    /// Returns a new batch without the delivery at this place. `None`: there was no other.
    fn without(&self, at: usize) -> Option<Self> {
        let (mut items, mut slips) = (self.batch.items.clone(), self.slips.clone());
        items.remove(at);
        slips.remove(at);
        (!slips.is_empty()).then(|| self.part(items, slips))
    }

    /// Creates a new batch of some of the deliveries, with the same place in the order.
    fn part(&self, items: SmallVec<[Item; 1]>, slips: SmallVec<[Slip; 2]>) -> Self {
        let bytes = items.iter().map(|item| item.payload.len()).sum();
        let batch = Batch { account: self.batch.account.clone(), queue: Arc::clone(&self.batch.queue), items, bytes };
        let doubt = self.doubt.of_a_part(slips.len());
        let within = slips.len();
        Self { batch: Arc::new(batch), slips, place: self.place, within, conflicts: 0, doubt }
    }
}
