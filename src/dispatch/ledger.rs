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
use slotmap::{DefaultKey, SlotMap};
use smallvec::SmallVec;

use crate::message::{Message, Receipt};

use super::ages::Ages;
use super::bucket::Spot;
use super::keys::{PartnerKey, QueueIndex, Ticket};
use super::known::Settled;
use super::leases::{GroupKey, Leases};

/// How a copy left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Acked,
    Dead,
    Returned,
    Duplicate,
    LeaseLost,
}

/// Where a held copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waits for a place in its queue's handler.
    Pending,
    /// In its handler.
    Handling,
    /// Its outcome waits for those before it.
    Ordering,
    /// Its deliveries are in buckets or on the wire.
    Delivering,
    /// Its queue was told how it ends; the answer decides.
    Leaving(Exit),
}

/// One held copy.
#[derive(Debug)]
pub struct Held {
    pub queue: QueueIndex,
    pub message: Arc<Message>,
    /// Of a row of a parking: that of its delivery.
    index: Option<u16>,
    /// The newest: a copy that arrives while this one is held brings another.
    pub receipt: Receipt,
    pub sequence: u64,
    /// How often it was received; a copy that arrives while this one is held says more than its message does.
    pub receives: u32,
    /// Only some of its deliveries are open: [`Message::open`] says which, or [`Held::settled`] which are not. Told here, since the
    /// message itself is far away by the time that it counts.
    pub is_partial: bool,
    pub received_at: Instant,
    /// How old it was then, since it was sent, by the two clocks; in milliseconds. Told here since the message is far away when it leaves.
    pub sent_before_ms: u32,
    /// When the newest receipt came.
    pub renewed_at: Instant,
    pub leased_until: Instant,
    stage: Stage,
    /// Newer receipts that came: what a call did with an older one must be done again.
    pub renewals: u32,
    /// The queue said that the lease is gone while a delivery was on the wire.
    pub lost: bool,
    /// A call that changes how long it stays hidden is under way: a second one could end before the first.
    pub hiding: bool,
    /// It is to be returned until then, once what is on the wire has landed: nothing more of it is sent.
    pub withdrawn: Option<Instant>,
    /// Deliveries that are neither accepted nor dead.
    pub open: u16,
    pub accepted: u16,
    pub dead: u16,
    /// Of the open deliveries, those that are on the wire.
    pub on_wire: u16,
    /// Dead letters of single deliveries that are not confirmed yet: the message may not be deleted before they are.
    pub letters: u16,
    /// Deliveries on their way to the disk: neither may the message be deleted before they are there.
    pub parking: u16,
    /// It is a row of a parking, from that place of its account's line; its queue has no copy of it any more.
    pub row: Option<i64>,
    /// It goes back to its queue because this partner holds more than its share.
    pub given_up_by: Option<PartnerKey>,
    /// Where its delivery waits, or waited, if it has only one.
    pub spot: Option<Spot>,
    /// What is needed beyond that where it leads to several.
    pub several: Option<Box<Several>>,
    /// Bytes that count against the room: the body, and the open payloads.
    pub bytes: usize,
    /// Why it is returned, or became a dead letter, in a word for metrics.
    pub why: Option<&'static str>,
    /// With whom its lease has to be looked after, if it has to be.
    lease: Option<GroupKey>,
    /// Of queue and id: those were written by another thread, and are far away by the time that it leaves.
    hash: u64,
}

/// Where a service hides a message for a longest time (12 hours on SQS), it is not asked for the last of it: calls take their time.
const MARGIN: Duration = Duration::from_secs(60);

/// So long before that a message is returned, while its visibility timeout may still be changed: 11.5 hours after its receive on SQS.
const BEFORE: Duration = Duration::from_secs(1800);

/// Of a message that leads to several deliveries.
#[derive(Debug, Default)]
pub struct Several {
    /// Where they wait, or waited.
    pub spots: Vec<Spot>,
    /// The indices of those that are accepted or in a written dead letter, those of earlier copies included.
    pub settled: Vec<u16>,
}

impl Held {
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether what waits of it in buckets may be sent.
    pub fn may_be_sent(&self) -> bool {
        self.stage == Stage::Delivering && !self.lost && self.withdrawn.is_none()
    }

    /// That delivery is accepted, or its dead letter written: a later copy does not lead to it again.
    pub fn settled(&mut self, index: Option<u16>) {
        if let (Some(index), Some(several)) = (index, &mut self.several) {
            several.settled.push(index);
        }
    }

    /// One more of its deliveries waits there.
    pub fn waits_at(&mut self, spot: Spot) {
        match &mut self.several {
            Some(several) => several.spots.push(spot),
            None => self.spot = Some(spot),
        }
    }

    /// Whether something is under way that may settle some of it.
    pub fn is_under_way(&self) -> bool {
        self.on_wire > 0 || self.letters > 0 || self.parking > 0
    }

    /// Where its deliveries wait, or waited.
    pub fn spots(&self) -> SmallVec<[Spot; 1]> {
        let several = self.several.iter().flat_map(|several| several.spots.iter().copied());
        self.spot.into_iter().chain(several).collect()
    }

    /// What a copy that comes back must know, where some of it is settled and some is not.
    pub fn known(&self) -> Option<Settled> {
        let settled = self.several.as_ref().map(|several| several.settled.as_slice()).filter(|settled| !settled.is_empty())?;
        (self.open > 0).then(|| Settled::Some { indices: settled.into(), accepted: self.accepted > 0 })
    }

    fn is(&self, queue: QueueIndex, id: &str, index: Option<u16>) -> bool {
        self.queue == queue && self.message.id == id && self.index == index
    }

    pub fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving(_))
    }
}

impl Stage {
    /// Whether what is held on this stage makes room without any handler's help.
    fn departs(self) -> bool {
        matches!(self, Self::Delivering | Self::Leaving(_))
    }
}

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
}

#[derive(Debug)]
pub struct Ledger {
    held: SlotMap<DefaultKey, Held>,
    by_id: HashTable<DefaultKey>,
    hasher: RandomState,
    leases: Leases,
    /// Of each queue.
    terms: Vec<Terms>,
    /// Of each queue.
    ages: Vec<Ages>,
    /// Copies whose deliveries are in buckets, and those that are leaving.
    departing: usize,
    leaving: Leaving,
    /// Deliveries on their way to the disk.
    parking: Leaving,
}

/// Copies whose queue was told how they end: their room is as good as free.
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
            held: SlotMap::new(),
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
        let end = self.terms.get(held.queue).and_then(|terms| terms.end(held.renewed_at));
        end.map_or(wanted, |end| wanted.min(end.saturating_duration_since(now)))
    }

    /// Whether it was held for so long that it should be returned while its queue still allows that.
    pub fn is_held_too_long(&self, held: &Held, now: Instant) -> bool {
        self.terms.get(held.queue).and_then(|terms| terms.return_at(held.renewed_at)).is_some_and(|at| at <= now)
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub fn get(&self, ticket: Ticket) -> Option<&Held> {
        self.held.get(ticket.0)
    }

    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Held> {
        self.held.get_mut(ticket.0)
    }

    /// Looks once at these copies and their messages, so that they are near when they are needed.
    pub fn look_ahead(&self, tickets: impl Iterator<Item = Ticket>) {
        let messages: Vec<&Arc<Message>> = tickets.filter_map(|ticket| Some(&self.get(ticket)?.message)).collect();
        std::hint::black_box(messages.iter().map(|message| message.body.len()).sum::<usize>());
    }

    /// Whether anything held makes room without any handler's help.
    pub fn any_departs(&self) -> bool {
        self.departing > 0
    }

    /// The copy goes on to that stage.
    pub fn advance(&mut self, ticket: Ticket, stage: Stage) {
        let Some(held) = self.held.get_mut(ticket.0) else { return };
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

    /// A delivery of so many bytes is on its way to the disk.
    pub fn goes_to_disk(&mut self, bytes: usize) {
        self.parking.messages += 1;
        self.parking.bytes += bytes as u64;
    }

    pub fn went_to_disk(&mut self, bytes: usize) {
        self.parking.messages = self.parking.messages.saturating_sub(1);
        self.parking.bytes = self.parking.bytes.saturating_sub(bytes as u64);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Held)> {
        self.held.iter().map(|(key, held)| (Ticket(key), held))
    }

    /// When the oldest held copy of the queue was received, to a tenth of a second.
    pub fn oldest(&self, queue: QueueIndex) -> Option<Instant> {
        self.ages.get(queue)?.oldest()
    }

    /// The held copy of that message, or the held row of that delivery.
    pub fn find(&self, queue: QueueIndex, id: &str, index: Option<u16>) -> Option<Ticket> {
        let hash = self.hash(queue, id, index);
        let same = |key: &DefaultKey| self.held.get(*key).is_some_and(|held| held.is(queue, id, index));
        self.by_id.find(hash, same).copied().map(Ticket)
    }

    /// What a copy is found by.
    pub fn hash(&self, queue: QueueIndex, id: &str, index: Option<u16>) -> u64 {
        self.hasher.hash_one((queue, id, index))
    }

    /// Takes a copy in, or says which held copy is the same message, and gives the receipt back. `index`: of a row, that of its delivery.
    #[expect(clippy::too_many_arguments, reason = "what a copy is known by, and what its lease is")]
    pub fn insert(
        &mut self,
        queue: QueueIndex,
        message: &Arc<Message>,
        index: Option<u16>,
        receipt: Receipt,
        sequence: u64,
        now: Instant,
        leased_until: Instant,
        hash: u64,
    ) -> Result<Ticket, (Ticket, Receipt)> {
        let held = &mut self.held;
        let same = |key: &DefaultKey| held.get(*key).is_some_and(|held| held.is(queue, &message.id, index));
        let rehash = |key: &DefaultKey| held.get(*key).map_or(0, |held| held.hash);
        match self.by_id.entry(hash, same, rehash) {
            Entry::Occupied(entry) => Err((Ticket(*entry.get()), receipt)),
            Entry::Vacant(entry) => {
                let key = held.insert(Held {
                    queue,
                    message: Arc::clone(message),
                    index,
                    receipt,
                    sequence,
                    receives: message.receives,
                    is_partial: message.open.is_some(),
                    received_at: now,
                    sent_before_ms: 0,
                    renewed_at: now,
                    leased_until,
                    stage: Stage::Pending,
                    renewals: 0,
                    lost: false,
                    hiding: false,
                    withdrawn: None,
                    open: 0,
                    accepted: 0,
                    dead: 0,
                    on_wire: 0,
                    letters: 0,
                    parking: 0,
                    row: None,
                    given_up_by: None,
                    spot: None,
                    several: None,
                    bytes: message.body.len(),
                    why: None,
                    lease: None,
                    hash,
                });
                entry.insert(key);
                if let Some(ages) = self.ages.get_mut(queue) {
                    ages.enter(now);
                }
                self.watch(Ticket(key));
                Ok(Ticket(key))
            }
        }
    }

    /// A copy of a held message arrived: its receipt and lease replace the held ones.
    pub fn renew(&mut self, ticket: Ticket, receipt: Receipt, receives: u32, now: Instant, leased_until: Instant) {
        if let Some(held) = self.held.get_mut(ticket.0) {
            held.receipt = receipt;
            held.receives = held.receives.max(receives);
            held.renewed_at = now;
            held.lost = false;
            held.renewals = held.renewals.wrapping_add(1);
        }
        self.extended(ticket, leased_until);
    }

    /// The copy is held no more.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Held> {
        let held = self.held.remove(ticket.0)?;
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
        if let Ok(entry) = self.by_id.find_entry(held.hash, |key| *key == ticket.0) {
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
            let held = self.held.get_mut(ticket.0).filter(|held| held.lease == Some(group));
            held.map(|held| held.lease = None).is_some()
        });
        Some(tickets)
    }

    /// The lease ends at that moment now.
    pub fn extended(&mut self, ticket: Ticket, until: Instant) {
        self.let_lapse(ticket);
        if let Some(held) = self.held.get_mut(ticket.0) {
            held.leased_until = until;
        }
        self.watch(ticket);
    }

    /// The lease is not looked after until it is [`Ledger::extended`].
    pub fn let_lapse(&mut self, ticket: Ticket) {
        if let Some(group) = self.held.get_mut(ticket.0).and_then(|held| held.lease.take()) {
            self.leases.leave(group);
        }
    }

    fn watch(&mut self, ticket: Ticket) {
        let Some(held) = self.held.get_mut(ticket.0) else { return };
        let Some(terms) = self.terms.get(held.queue) else { return };
        let half = held.leased_until.checked_sub(terms.lease / 2).unwrap_or(held.leased_until);
        let at = match (terms.end(held.renewed_at), terms.return_at(held.renewed_at)) {
            // It may not be extended any further.
            (Some(end), Some(return_at)) if held.leased_until >= end => return_at,
            (_, return_at) => return_at.map_or(half, |at| half.min(at)),
        };
        held.lease = self.leases.join(held.queue, at, ticket);
    }
}
