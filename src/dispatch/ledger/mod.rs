//! The ledger: every copy of a message that is held, from its receive until its queue has confirmed that the copy
//! is deleted, returned or set aside. Part of the dispatcher's state machine: whatever other part forgets a
//! message, the ledger does not.
//!
//! Each copy ends in exactly one [`Exit`], decided when it leaves.
//!
//! `held` is one copy, `deliveries` what becomes of its deliveries, and `slots` where the copies lie.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use smallvec::SmallVec;

use crate::message::{Message, Receipt};

use super::exits::reason::ReturnReason;
use super::keys::{QueueIndex, Ticket};

mod ages;
mod deliveries;
mod held;
pub(super) mod leases;
mod slots;

use self::ages::Ages;
use self::held::Special;
use self::leases::Leases;
use self::slots::Slots;

#[cfg(test)]
pub use self::deliveries::DELIVERY_BYTES;
pub use self::deliveries::Freed;
pub use self::held::{Arrival, Exit, Held, RowOnDisk, Stage};

/// How much less than the service's longest time (12 hours on SQS) a message is hidden for at most, since calls take
/// time.
const MARGIN: Duration = Duration::from_secs(60);

/// How long before that longest time a message is returned, while its visibility timeout may still be changed: 11.5
/// hours after its receive on SQS.
const BEFORE: Duration = Duration::from_secs(1800);

/// For how long a queue hides a message.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// The lease: how long, from a receive or an extension on.
    lease: Duration,
    /// The longest time in all, from the receive on, extensions included. `None`: there is no limit.
    longest: Option<Duration>,
}

impl Terms {
    /// Returns the moment up to which the service may be asked to hide the message. `None`: there is no limit.
    fn end(&self, renewed_at: Instant) -> Option<Instant> {
        Some(renewed_at + self.longest?.saturating_sub(MARGIN))
    }

    /// Returns when a message that is still held is to be returned. `None`: never.
    fn return_at(&self, renewed_at: Instant) -> Option<Instant> {
        Some(renewed_at + self.longest?.saturating_sub(BEFORE))
    }

    /// Returns when a lease that ends at `leased_until` has to be looked after.
    fn look_at(&self, leased_until: Instant, renewed_at: Instant) -> Instant {
        let half = leased_until.checked_sub(self.lease / 2).unwrap_or(leased_until);
        match (self.end(renewed_at), self.return_at(renewed_at)) {
            // The lease cannot be extended any further.
            (Some(end), Some(return_at)) if leased_until >= end => return_at,
            (_, return_at) => return_at.map_or(half, |at| half.min(at)),
        }
    }
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Ledger {
    /// The held copies.
    held: Slots<Held>,
    /// The tickets of the held copies, by queue, message id and delivery index.
    by_id: HashTable<Ticket>,
    hasher: RandomState,
    /// When the leases have to be looked after.
    leases: Leases,
    /// For how long each queue hides a message.
    terms: Vec<Terms>,
    /// When the held copies of each queue arrived.
    ages: Vec<Ages>,
    /// The copies on the stage [`Stage::Leaving`].
    leaving: Leaving,
    /// The deliveries on their way to the disk, and the copies of which all open deliveries are.
    parking: Leaving,
}

/// Places and bytes of the room that are taken by what is on its way out, so that they are as good as free.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// The number of messages.
    pub messages: usize,
    /// The number of bytes.
    pub bytes: u64,
}

impl Ledger {
    /// Creates an empty ledger. `leases` yields, for each queue, how long a received or extended message is hidden.
    pub fn new(leases: impl Iterator<Item = Duration>) -> Self {
        let terms: Vec<_> = leases.map(|lease| Terms { lease, longest: None }).collect();
        Self {
            held: Slots::new(),
            by_id: HashTable::new(),
            hasher: RandomState::default(),
            leases: Leases::new(terms.len()),
            ages: terms.iter().map(|_| Ages::default()).collect(),
            terms,
            leaving: Leaving::default(),
            parking: Leaving::default(),
        }
    }

    /// Adds a queue that hides a received or extended message for `lease`.
    pub fn add_queue(&mut self, lease: Duration) {
        self.terms.push(Terms { lease, longest: None });
        self.ages.push(Ages::default());
        self.leases.add_queue();
    }

    /// Sets for how long the queue hides messages that are received or extended from now on.
    pub fn set_lease(&mut self, queue: QueueIndex, lease: Duration) {
        if let Some(terms) = self.terms.get_mut(queue) {
            terms.lease = lease;
        }
    }

    /// Returns the number of held copies.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Sets for how long the queue's service hides a message at most, extensions included. `None`: there is no limit.
    pub fn set_longest_lease(&mut self, queue: QueueIndex, longest: Option<Duration>) {
        if let Some(terms) = self.terms.get_mut(queue) {
            terms.longest = longest;
        }
    }

    /// Returns for how much longer the queue may be asked to hide the copy, at most `wanted`.
    pub fn hiding(&self, held: &Held, wanted: Duration, now: Instant) -> Duration {
        let end = self.terms.get(held.queue).and_then(|terms| terms.end(held.renewed_at()));
        end.map_or(wanted, |end| wanted.min(end.saturating_duration_since(now)))
    }

    /// Returns whether the copy was held for so long that it should be returned while its queue still allows that.
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

    /// Returns the copy if its deliveries in buckets [may be sent](Held::may_be_sent).
    pub fn sendable(&self, ticket: Ticket) -> Option<&Held> {
        self.get(ticket).filter(|held| held.may_be_sent())
    }

    /// Reads these copies and their messages once, so that they are in the processor's cache when they are needed.
    pub fn look_ahead(&self, tickets: impl Iterator<Item = Ticket>) {
        // Of each copy, some fields that are far from each other.
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

    /// Moves the copy on to a stage.
    pub fn advance(&mut self, ticket: Ticket, stage: Stage) {
        let Some(held) = self.held.get_mut(ticket) else { return };
        let was_leaving = held.is_leaving();
        held.stage = stage;
        if held.is_leaving() && !was_leaving {
            self.leaving.messages += 1;
            self.leaving.bytes += held.bytes as u64;
        }
    }

    /// Returns what is on its way out: the copies on the stage [`Stage::Leaving`], and the deliveries
    /// on their way to the disk.
    pub fn leaving(&self) -> Leaving {
        let (leaving, parking) = (self.leaving, self.parking);
        Leaving { messages: leaving.messages + parking.messages, bytes: leaving.bytes + parking.bytes }
    }

    /// Records that a delivery of the copy, of this many bytes, is on its way to the disk. Returns false
    /// if the copy is not held.
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

    /// Records that such a delivery has reached the disk, or will not.
    pub fn went_to_disk(&mut self, ticket: Ticket, bytes: usize) {
        self.parking.bytes = self.parking.bytes.saturating_sub(bytes as u64);
        let Some(held) = self.get_mut(ticket) else { return };
        let special = held.special_mut();
        special.parking = special.parking.saturating_sub(1);
        if special.parking == 0 && std::mem::replace(&mut special.leaves_for_disk, false) {
            self.parking.messages = self.parking.messages.saturating_sub(1);
        }
    }

    /// Returns all held copies, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Held)> {
        self.held.iter()
    }

    /// Returns when the oldest held copy of the queue was received, up to a tenth of a second too
    /// early. `None`: none is held.
    pub fn oldest(&self, queue: QueueIndex) -> Option<Instant> {
        self.ages.get(queue)?.oldest()
    }

    /// Returns the held copy of a message, or with `index` the held row of a parked delivery.
    pub fn find(&self, queue: QueueIndex, id: &str, index: Option<u16>) -> Option<Ticket> {
        let hash = self.hash(queue, id, index);
        let same = |key: &Ticket| self.get(*key).is_some_and(|held| held.is(queue, id, index));
        self.by_id.find(hash, same).copied()
    }

    /// Returns the hash that a copy is found by.
    pub fn hash(&self, queue: QueueIndex, id: &str, index: Option<u16>) -> u64 {
        self.hasher.hash_one((queue, id, index))
    }

    /// Takes a copy in and returns its ticket. If a copy of the same message is held, returns that one's ticket and the
    /// receipt of the new copy instead.
    pub fn insert(&mut self, arrival: Arrival<'_>, now: Instant) -> Result<Ticket, (Ticket, Receipt)> {
        let Arrival { queue, message, row, receipt, sequence, hash, sent_before_ms, leased_until } = arrival;
        let held = &self.held;
        let (ticket, index) = (held.next(), row.and_then(|row| row.index));
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
            bytes: message.weight(),
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
            lost: false,
            hiding: false,
            several: None,
            special: row.map(Special::of_row),
        });
        if let Some(ages) = self.ages.get_mut(queue) {
            ages.enter(now);
        }
        Ok(ticket)
    }

    /// Replaces receipt and lease of a held copy by those of a newer copy of the same message.
    pub fn renew(&mut self, ticket: Ticket, receipt: Receipt, receives: u32, now: Instant, leased_until: Instant) {
        if let Some(held) = self.get_mut(ticket) {
            held.receipt = receipt;
            held.receives = held.receives.max(receives);
            held.special_mut().renewed_at = Some(now);
            if std::mem::replace(&mut held.lost, false) {
                // Deliveries whose turn came while the lease was lost are in
                // no bucket any more: the message has to come back for them.
                let special = held.special_mut();
                special.withdrawn.get_or_insert(now);
                special.return_reason.get_or_insert(ReturnReason::Elsewhere);
            }
            held.renewals = held.renewals.wrapping_add(1);
        }
        self.extended(ticket, leased_until);
    }

    /// Takes out a copy that is no longer held. `None`: it has left before.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Held> {
        let held = self.held.remove(ticket)?;
        if let Some(group) = held.lease {
            self.leases.leave(group);
        }
        if let Some(ages) = self.ages.get_mut(held.queue) {
            ages.leave(held.received_at);
        }
        if held.is_leaving() {
            self.leaving.messages = self.leaving.messages.saturating_sub(1);
            self.leaving.bytes = self.leaving.bytes.saturating_sub(held.bytes as u64);
        }
        if let Ok(entry) = self.by_id.find_entry(held.hash, |key| *key == ticket) {
            entry.remove();
        }
        Some(held)
    }

    /// Returns when a lease of the queue has to be looked after next.
    pub fn next_lease(&self, queue: QueueIndex) -> Option<Instant> {
        self.leases.next(queue)
    }

    /// Returns some of the copies whose leases have to be looked after now, the earliest first. They are not returned
    /// again until they are [`Ledger::extended`]. `None`: there are no more.
    pub fn due_leases(&mut self, queue: QueueIndex, now: Instant) -> Option<Vec<Ticket>> {
        let (group, mut tickets) = self.leases.take_due(queue, now)?;
        // Some of the group have left, or moved on to another group.
        tickets.retain(|ticket| {
            let held = self.held.get_mut(*ticket).filter(|held| held.lease == Some(group));
            held.map(|held| held.lease = None).is_some()
        });
        Some(tickets)
    }

    /// Records that the lease ends at `until` now, and has it looked after in time.
    pub fn extended(&mut self, ticket: Ticket, until: Instant) {
        self.let_lapse(ticket);
        if let Some(held) = self.get_mut(ticket) {
            held.leased_until = until;
        }
        self.watch(ticket);
    }

    /// Records that all leases end earlier by this much, and that the longest time for which a message may be hidden has run
    /// on by it. Not where the lease has ended with it: only the queue knows then whether the message is still ours, and it
    /// is if the wall clock was set. Rows of a parking have no lease that could end.
    pub fn lose_time(&mut self, by: Duration, now: Instant) {
        let leased = self.held.iter().filter(|(_, held)| !held.is_row());
        for ticket in leased.map(|(ticket, _)| ticket).collect::<Vec<_>>() {
            let Some(held) = self.held.get_mut(ticket) else { continue };
            let until = held.leased_until.checked_sub(by).unwrap_or(held.received_at);
            held.leased_until = until;
            if until > now {
                held.special_mut().renewed_at = held.renewed_at().checked_sub(by);
            }
            if held.lease.is_some() {
                self.extended(ticket, until);
            }
        }
    }

    /// Stops looking after the lease, until it is [`Ledger::extended`].
    pub fn let_lapse(&mut self, ticket: Ticket) {
        if let Some(group) = self.get_mut(ticket).and_then(|held| held.lease.take()) {
            self.leases.leave(group);
        }
    }

    /// Schedules the next look at the copy's lease.
    fn watch(&mut self, ticket: Ticket) {
        let Some(held) = self.held.get_mut(ticket) else { return };
        let Some(terms) = self.terms.get(held.queue) else { return };
        let at = terms.look_at(held.leased_until, held.renewed_at());
        held.lease = self.leases.join(held.queue, at, ticket);
    }

    /// Returns whether what is kept beside the held copies is of them alone: their names, their ages and their leases.
    #[cfg(test)]
    pub fn adds_up(&self) -> bool {
        let mut groups: Vec<_> = self.iter().filter_map(|(_, held)| held.lease).collect();
        groups.sort_unstable();
        let ages: usize = self.ages.iter().map(Ages::len).sum();
        (self.by_id.len(), ages) == (self.len(), self.len()) && self.leases.are_of(&groups)
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
            row: None,
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
        ledger.advance(ticket, Stage::Leaving(Exit::Acked));
        let bytes = message.weight() as u64;
        assert_eq!(ledger.leaving(), Leaving { messages: 1, bytes }, "what is to be deleted is as good as gone");
        ledger.remove(ticket);
        assert!(!ledger.goes_to_disk(ticket, 10));
        assert_eq!(ledger.leaving(), Leaving::default());
    }
}
