//! The ledger: every copy of a message that is held, from its receive until its queue confirmed that it is deleted, returned or set
//! aside. Whatever else forgets a message, the ledger does not.
//!
//! Each copy ends in exactly one [`Exit`], decided when it leaves.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use smallvec::SmallVec;

use crate::message::{Message, Receipt};

use super::ages::Ages;
use super::keys::{QueueIndex, Ticket};
use super::leases::Leases;

mod held;
mod slots;

use self::held::Special;
use self::slots::Slots;

pub use self::held::{Arrival, Exit, Held, Several, Stage};

/// Where a service hides a message for a longest time (12 hours on SQS), it is not asked for the last of it: calls take their time.
const MARGIN: Duration = Duration::from_secs(60);

/// So long before that a message is returned, while its visibility timeout may still be changed: 11.5 hours after its receive on SQS.
const BEFORE: Duration = Duration::from_secs(1800);

/// How long a queue hides a message.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// From a receive or an extension on.
    lease: Duration,
    /// From the receive on, in all. `None`: for as long as it is extended.
    longest: Option<Duration>,
}

impl Terms {
    /// When the service would not hide it any longer, whatever it is asked.
    fn end(&self, renewed_at: Instant) -> Option<Instant> {
        Some(renewed_at + self.longest?.saturating_sub(MARGIN))
    }

    /// When it is to be returned.
    fn return_at(&self, renewed_at: Instant) -> Option<Instant> {
        Some(renewed_at + self.longest?.saturating_sub(BEFORE))
    }

    /// When a lease that ends then has to be looked after.
    fn look_at(&self, leased_until: Instant, renewed_at: Instant) -> Instant {
        let half = leased_until.checked_sub(self.lease / 2).unwrap_or(leased_until);
        match (self.end(renewed_at), self.return_at(renewed_at)) {
            // It may not be extended any further.
            (Some(end), Some(return_at)) if leased_until >= end => return_at,
            (_, return_at) => return_at.map_or(half, |at| half.min(at)),
        }
    }
}

#[derive(Debug)]
pub struct Ledger {
    held: Slots<Held>,
    by_id: HashTable<Ticket>,
    hasher: RandomState,
    leases: Leases,
    /// Of each queue.
    terms: Vec<Terms>,
    /// Of each queue.
    ages: Vec<Ages>,
    /// Copies whose deliveries are in buckets, and those that are leaving.
    departing: usize,
    leaving: Leaving,
    /// Deliveries on their way to the disk, and copies of which all that is open is.
    parking: Leaving,
}

/// Places and bytes of the room that are as good as free: what they are taken by is on its way out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    pub messages: usize,
    pub bytes: u64,
}

impl Ledger {
    /// `leases`: of each queue, how long it hides a message that was received or extended.
    pub fn new(leases: impl Iterator<Item = Duration>) -> Self {
        let terms: Vec<_> = leases.map(|lease| Terms { lease, longest: None }).collect();
        Self {
            held: Slots::new(),
            by_id: HashTable::new(),
            hasher: RandomState::default(),
            leases: Leases::new(terms.len()),
            ages: terms.iter().map(|_| Ages::default()).collect(),
            terms,
            departing: 0,
            leaving: Leaving::default(),
            parking: Leaving::default(),
        }
    }

    /// One more queue.
    pub fn add_queue(&mut self, lease: Duration) {
        self.terms.push(Terms { lease, longest: None });
        self.ages.push(Ages::default());
        self.leases.add_queue();
    }

    /// The queue hides a message that is received or extended for so long from now on.
    pub fn set_lease(&mut self, queue: QueueIndex, lease: Duration) {
        if let Some(terms) = self.terms.get_mut(queue) {
            terms.lease = lease;
        }
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// The queue's service hides a message for so long from its receive on, extensions included.
    pub fn set_longest_lease(&mut self, queue: QueueIndex, longest: Option<Duration>) {
        if let Some(terms) = self.terms.get_mut(queue) {
            terms.longest = longest;
        }
    }

    /// How much longer the queue may be asked to hide it, at most `wanted`.
    pub fn hiding(&self, held: &Held, wanted: Duration, now: Instant) -> Duration {
        let end = self.terms.get(held.queue).and_then(|terms| terms.end(held.renewed_at()));
        end.map_or(wanted, |end| wanted.min(end.saturating_duration_since(now)))
    }

    /// Whether it was held for so long that it should be returned while its queue still allows that.
    pub fn is_held_too_long(&self, held: &Held, now: Instant) -> bool {
        self.terms.get(held.queue).and_then(|terms| terms.return_at(held.renewed_at())).is_some_and(|at| at <= now)
    }

    pub fn is_empty(&self) -> bool {
        self.held.len() == 0
    }

    pub fn get(&self, ticket: Ticket) -> Option<&Held> {
        self.held.get(ticket)
    }

    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Held> {
        self.held.get_mut(ticket)
    }

    /// Looks once at these copies and their messages, so that they are near when they are needed.
    pub fn look_ahead(&self, tickets: impl Iterator<Item = Ticket>) {
        // Of each some fields that are far from each other.
        let mut seen = 0;
        let messages: SmallVec<[&Message; 64]> = tickets
            .filter_map(|ticket| {
                let held = self.get(ticket)?;
                seen += held.bytes + usize::from(held.on_wire) + usize::from(held.several.is_some());
                Some(&*held.message)
            })
            .collect();
        std::hint::black_box(seen + messages.iter().map(|message| message.body.len()).sum::<usize>());
    }

    /// Whether anything held makes room without any handler's help.
    pub fn any_departs(&self) -> bool {
        self.departing > 0
    }

    /// The copy goes on to that stage.
    pub fn advance(&mut self, ticket: Ticket, stage: Stage) {
        let Some(held) = self.held.get_mut(ticket) else { return };
        let was_leaving = held.is_leaving();
        let before = std::mem::replace(&mut held.stage, stage);
        self.departing = self.departing + usize::from(stage.departs()) - usize::from(before.departs());
        if held.is_leaving() && !was_leaving {
            self.leaving.messages += 1;
            self.leaving.bytes += held.bytes as u64;
        }
    }

    /// What its queue was told to take back or delete, and has not confirmed yet, and what is on its way to the disk.
    pub fn leaving(&self) -> Leaving {
        let (told, parking) = (self.leaving, self.parking);
        Leaving { messages: told.messages + parking.messages, bytes: told.bytes + parking.bytes }
    }

    /// A delivery of the copy, of so many bytes, is on its way to the disk. `false`: the copy is not held.
    pub fn goes_to_disk(&mut self, ticket: Ticket, bytes: usize) -> bool {
        let Some(held) = self.held.get_mut(ticket) else { return false };
        let open = held.open;
        let special = held.special_mut();
        special.parking += 1;
        self.parking.bytes += bytes as u64;
        if special.parking >= open && !std::mem::replace(&mut special.leaves_for_disk, true) {
            self.parking.messages += 1;
        }
        true
    }

    /// It is there, or will not be.
    pub fn went_to_disk(&mut self, ticket: Ticket, bytes: usize) {
        self.parking.bytes = self.parking.bytes.saturating_sub(bytes as u64);
        let Some(held) = self.get_mut(ticket) else { return };
        let special = held.special_mut();
        special.parking = special.parking.saturating_sub(1);
        if special.parking == 0 && std::mem::replace(&mut special.leaves_for_disk, false) {
            self.parking.messages = self.parking.messages.saturating_sub(1);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Held)> {
        self.held.iter()
    }

    /// When the oldest held copy of the queue was received, to a tenth of a second.
    pub fn oldest(&self, queue: QueueIndex) -> Option<Instant> {
        self.ages.get(queue)?.oldest()
    }

    /// The held copy of that message, or the held row of that delivery.
    pub fn find(&self, queue: QueueIndex, id: &str, index: Option<u16>) -> Option<Ticket> {
        let hash = self.hash(queue, id, index);
        let same = |key: &Ticket| self.get(*key).is_some_and(|held| held.is(queue, id, index));
        self.by_id.find(hash, same).copied()
    }

    /// What a copy is found by.
    pub fn hash(&self, queue: QueueIndex, id: &str, index: Option<u16>) -> u64 {
        self.hasher.hash_one((queue, id, index))
    }

    /// Takes a copy in, or says which held copy is the same message, and gives the receipt back.
    pub fn insert(&mut self, arrival: Arrival<'_>, now: Instant) -> Result<Ticket, (Ticket, Receipt)> {
        let Arrival { queue, message, index, receipt, sequence, hash, sent_before_ms, leased_until } = arrival;
        let held = &self.held;
        let ticket = held.next();
        let same = |key: &Ticket| held.get(*key).is_some_and(|held| held.is(queue, &message.id, index));
        let rehash = |key: &Ticket| held.get(*key).map_or(0, |held| held.hash);
        match self.by_id.entry(hash, same, rehash) {
            Entry::Occupied(entry) => return Err((*entry.get(), receipt)),
            Entry::Vacant(entry) => _ = entry.insert(ticket),
        }
        let look_at = self.terms.get(queue).map(|terms| terms.look_at(leased_until, now));
        self.held.insert(Held {
            queue,
            message: Arc::clone(message),
            receipt,
            sequence,
            received_at: now,
            leased_until,
            spot: None,
            bytes: message.body.len(),
            lease: look_at.and_then(|at| self.leases.join(queue, at, ticket)),
            hash,
            receives: message.receives,
            sent_before_ms,
            renewals: 0,
            open: 0,
            accepted: 0,
            dead: 0,
            on_wire: 0,
            stage: Stage::Pending,
            is_partial: message.open.is_some(),
            lost: false,
            hiding: false,
            several: None,
            special: index.map(Special::of_row),
        });
        if let Some(ages) = self.ages.get_mut(queue) {
            ages.enter(now);
        }
        Ok(ticket)
    }

    /// A copy of a held message arrived: its receipt and lease replace the held ones.
    pub fn renew(&mut self, ticket: Ticket, receipt: Receipt, receives: u32, now: Instant, leased_until: Instant) {
        if let Some(held) = self.get_mut(ticket) {
            held.receipt = receipt;
            held.receives = held.receives.max(receives);
            held.special_mut().renewed_at = Some(now);
            held.lost = false;
            held.renewals = held.renewals.wrapping_add(1);
        }
        self.extended(ticket, leased_until);
    }

    /// The copy is held no more.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Held> {
        let held = self.held.remove(ticket)?;
        if let Some(group) = held.lease {
            self.leases.leave(group);
        }
        if let Some(ages) = self.ages.get_mut(held.queue) {
            ages.leave(held.received_at);
        }
        self.departing -= usize::from(held.stage.departs());
        if held.is_leaving() {
            self.leaving.messages = self.leaving.messages.saturating_sub(1);
            self.leaving.bytes = self.leaving.bytes.saturating_sub(held.bytes as u64);
        }
        if let Ok(entry) = self.by_id.find_entry(held.hash, |key| *key == ticket) {
            entry.remove();
        }
        Some(held)
    }

    /// When a lease of the queue has to be looked after next.
    pub fn next_lease(&self, queue: QueueIndex) -> Option<Instant> {
        self.leases.next(queue)
    }

    /// Some of the copies whose leases have to be looked after now, the earliest first; none of them is looked after again until it is
    /// [`Ledger::extended`]. `None`: no more.
    pub fn due_leases(&mut self, queue: QueueIndex, now: Instant) -> Option<Vec<Ticket>> {
        let (group, mut tickets) = self.leases.take_due(queue, now)?;
        // Some have left, or went on to another group.
        tickets.retain(|ticket| {
            let held = self.held.get_mut(*ticket).filter(|held| held.lease == Some(group));
            held.map(|held| held.lease = None).is_some()
        });
        Some(tickets)
    }

    /// The lease ends at that moment now.
    pub fn extended(&mut self, ticket: Ticket, until: Instant) {
        self.let_lapse(ticket);
        if let Some(held) = self.get_mut(ticket) {
            held.leased_until = until;
        }
        self.watch(ticket);
    }

    /// The lease is not looked after until it is [`Ledger::extended`].
    pub fn let_lapse(&mut self, ticket: Ticket) {
        if let Some(group) = self.get_mut(ticket).and_then(|held| held.lease.take()) {
            self.leases.leave(group);
        }
    }

    fn watch(&mut self, ticket: Ticket) {
        let Some(held) = self.held.get_mut(ticket) else { return };
        let Some(terms) = self.terms.get(held.queue) else { return };
        let at = terms.look_at(held.leased_until, held.renewed_at());
        held.lease = self.leases.join(held.queue, at, ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::{message, start};

    #[test]
    fn a_copy_frees_its_place_once_all_of_it_that_is_open_goes_to_the_disk() {
        let (mut ledger, now, message) =
            (Ledger::new([Duration::from_secs(60)].into_iter()), start(), Arc::new(message("a", None)));
        let arrival = Arrival {
            queue: 0,
            message: &message,
            index: None,
            receipt: Receipt::Row { row: 1, receive: 1 },
            sequence: 0,
            hash: ledger.hash(0, "a", None),
            sent_before_ms: 0,
            leased_until: now,
        };
        let ticket = ledger.insert(arrival, now).unwrap();
        ledger.get_mut(ticket).unwrap().open = 3;
        let seen = [(); 3].map(|()| {
            assert!(ledger.goes_to_disk(ticket, 10));
            (ledger.leaving().messages, ledger.leaving().bytes)
        });
        assert_eq!(seen, [(0, 10), (0, 20), (1, 30)]);
        let seen = [(); 3].map(|()| {
            ledger.went_to_disk(ticket, 10);
            (ledger.leaving().messages, ledger.leaving().bytes)
        });
        assert_eq!(seen, [(1, 20), (1, 10), (0, 0)]);
        ledger.remove(ticket);
        assert!(!ledger.goes_to_disk(ticket, 10));
        assert_eq!(ledger.leaving(), Leaving::default());
    }
}
