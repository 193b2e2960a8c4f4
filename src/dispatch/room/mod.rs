//! The room: how many messages and bytes may be held, and how many of these places a queue may
//! reserve for its next receives.
//!
//! *Held* is everything that was received and is not yet confirmed deleted, returned or parked. Half of the places and
//! of the bytes is guaranteed to the queues in equal parts, so that one queue's slow handlers, large messages or long
//! polls cannot starve another. The other half is shared: a queue takes from it first come, first served.
//!
//! Bytes are of messages, their attributes included, and of payloads once their handler has made them. What is on its way
//! is counted before it is there: a message that is asked for as one as large as the largest seen lately, one that is with
//! its handler as the most payload that a message of its queue lately led to. A queue for whose next message there are no
//! bytes left may ask for one all the same; that one does not count, or it would count as taken of another queue's part.

use crate::message::MAX_BODY;

use super::keys::QueueIndex;
use super::ledger::{Freed, Held, Leaving};

use self::taken::{Guarantee, Taken, Used};

mod largest;
mod taken;

/// The assumed size of a message, in bytes, before a queue has received any.
const LARGEST_BODY: u64 = MAX_BODY as u64;

/// The whole room, in the unit of [`Room::part`].
pub const WHOLE: u64 = 1_000_000_000;

/// The places and bytes for held messages, and what each queue takes of them.
#[derive(Debug)]
pub struct Room {
    /// The number of messages that may be held.
    places: usize,
    /// The number of bytes that may be held.
    byte_cap: u64,
    /// What is guaranteed to each queue.
    sure: Guarantee,
    /// The number of queues that have a guarantee.
    sharers: usize,
    /// The bytes held, of all queues.
    bytes: u64,
    /// The messages held, of all queues.
    held: usize,
    /// What each queue takes, by queue index.
    queues: Vec<Used>,
    /// What all queues take.
    taken: Taken,
}

/// The part of the remaining shared room that a queue may take.
#[derive(Debug, Clone, Copy)]
enum Shared {
    Whole,
    Half,
}

impl Shared {
    fn of(self, left: u64) -> u64 {
        match self {
            Shared::Whole => left,
            Shared::Half => left / 2,
        }
    }
}

impl Room {
    pub fn new(places: usize, bytes: u64, queues: usize) -> Self {
        let (sure, sharers) = (Guarantee::of(places, bytes, queues), queues);
        let queues = vec![Used::default(); queues];
        Self { places, byte_cap: bytes, sure, sharers, bytes: 0, held: 0, queues, taken: Taken::default() }
    }

    /// Divides the guarantees anew after a reload. `sharers` tells for each queue that there ever was whether it has a
    /// guarantee. Places that a queue takes beyond a smaller guarantee count as shared room.
    pub fn share_among(&mut self, sharers: impl Iterator<Item = bool>) {
        for (place, shares) in sharers.enumerate() {
            if place == self.queues.len() {
                self.queues.push(Used::default());
            }
            if let Some(used) = self.queues.get_mut(place) {
                used.is_out = !shares;
            }
        }
        self.sharers = self.queues.iter().filter(|used| !used.is_out).count();
        self.sure = Guarantee::of(self.places, self.byte_cap, self.sharers);
        for used in &mut self.queues {
            used.counted = used.taken(self.sure);
        }
        self.taken = self.sum();
    }

    fn sum(&self) -> Taken {
        let mut sum = Taken::default();
        self.queues.iter().for_each(|used| sum.replace(&Taken::default(), &used.taken(self.sure)));
        sum
    }

    /// Returns the largest number of messages held.
    pub fn most(&self) -> usize {
        self.places
    }

    /// Returns how many messages the queue may ask for now. If nothing is held or reserved at
    /// all, it may always ask for one.
    pub fn free(&self, queue: QueueIndex) -> usize {
        self.free_but(queue, Shared::Whole)
    }

    /// Returns how many messages a queue may ask for if it seems to have no more than its last receive brought. Its
    /// poll may last long, and the places asked for are closed to other queues meanwhile. Half of what is left of the
    /// shared room is therefore kept for them, unless that would leave this queue with nothing.
    pub fn free_to_wait(&self, queue: QueueIndex) -> usize {
        let most = self.free(queue);
        if self.sharers > 1 { self.free_but(queue, Shared::Half).max(1).min(most) } else { most }
    }

    /// Returns 1 if the queue may ask for a message of unknown size although the room may turn out too small for it: its
    /// service's limit, its own places and the shared ones, and the bytes are not used up yet.
    pub fn one_more(&self, queue: QueueIndex) -> usize {
        let allows = |used: &Used| {
            let within_limit = used.limit.is_none_or(|limit| used.places() < limit);
            within_limit && self.own_places(used, Shared::Whole) > 0
        };
        usize::from(self.bytes < self.byte_cap && self.queues.get(queue).is_some_and(allows))
    }

    fn free_but(&self, queue: QueueIndex, part: Shared) -> usize {
        let Some(used) = self.queues.get(queue) else { return 0 };
        let limit = used.limit.map_or(usize::MAX, |limit| limit.saturating_sub(used.places()));
        let free = self.free_places(used, part).min(limit);
        if free == 0 && self.held == 0 && self.queues.iter().all(|queue| queue.reserved == 0) { 1 } else { free }
    }

    /// Returns whether there is no place for one more message of the queue, regardless of its service's limit.
    pub fn is_short_for(&self, queue: QueueIndex) -> bool {
        self.queues.get(queue).is_some_and(|used| self.free_places(used, Shared::Whole) == 0)
    }

    /// Returns how many places the queue may still take, whatever the size of its messages.
    fn own_places(&self, used: &Used, part: Shared) -> usize {
        let shared = self.shared_places().saturating_sub(self.taken.shared_places);
        let sure = used.own(self.sure).places.saturating_sub(used.places());
        // After a reload other queues may hold more than their new guarantees.
        (sure + part.of(shared as u64) as usize).min(self.places.saturating_sub(self.taken.places))
    }

    fn free_places(&self, used: &Used, part: Shared) -> usize {
        let places = self.own_places(used, part);
        let shared = part.of(self.shared_bytes().saturating_sub(self.taken.shared_weight));
        let bytes = self.free_bytes(used, used.weight(), shared).min(self.byte_cap.saturating_sub(self.taken.weight));
        places.min(usize::try_from(bytes / used.largest.get(LARGEST_BODY).max(1)).unwrap_or(usize::MAX))
    }

    /// Returns the places that are not guaranteed to any queue.
    fn shared_places(&self) -> usize {
        self.places.saturating_sub(self.sure.places * self.sharers)
    }

    /// Returns the bytes that are not guaranteed to any queue.
    fn shared_bytes(&self) -> u64 {
        self.byte_cap.saturating_sub(self.sure.bytes * self.sharers as u64)
    }

    /// Returns the bytes that are left to a queue that takes so many, beside what is `shared`.
    fn free_bytes(&self, used: &Used, taken: u64, shared: u64) -> u64 {
        used.own(self.sure).bytes.saturating_sub(taken) + shared
    }

    /// Returns how many more messages of the queue may be handed to its handler, at most `most`, so that there are bytes
    /// for the payloads that it may make. Zero: none, unless nothing else can make room. One always may alone.
    pub fn fit_at_handler(&self, queue: QueueIndex, most: usize) -> usize {
        let Some(used) = self.queues.get(queue).filter(|_| self.held > 1) else { return most };
        let shared = self.shared_bytes().saturating_sub(self.taken.shared_load);
        // What other queues' handlers may be making is taken of what is shared, and of no other queue's own: handlers that
        // hang, once one result was much larger than all before it, may count as more than the whole room.
        let there = self.byte_cap.saturating_sub(self.bytes + used.making());
        let bytes = self.free_bytes(used, used.load(), shared).min(there);
        // A payload may turn out smaller than the largest: while any byte is left, one more is tried.
        let fit = bytes.div_ceil(used.largest_result.get(0).max(1));
        usize::try_from(fit).unwrap_or(usize::MAX).min(most)
    }

    /// Sets how many messages the queue's service allows to be hidden at once.
    pub fn limit(&mut self, queue: QueueIndex, places: usize) {
        if let Some(used) = self.queues.get_mut(queue) {
            used.limit = Some(places);
        }
    }

    /// Returns whether less than half of the room is free, in places or in bytes. Messages
    /// that are leaving do not count.
    pub fn is_tight(&self, leaving: Leaving) -> bool {
        let messages = self.held.saturating_sub(leaving.messages);
        let bytes = self.bytes.saturating_sub(leaving.bytes);
        messages * 2 > self.places || bytes > self.byte_cap / 2
    }

    /// Returns how many messages fit into the room if all are of the average size of those held.
    pub fn places(&self) -> usize {
        let average = (self.bytes / self.held.max(1) as u64).max(1);
        self.places.min(usize::try_from(self.byte_cap / average).unwrap_or(usize::MAX))
    }

    /// Returns the part of the room that a message with this many bytes takes, in places or in bytes, the
    /// larger of the two; in billionths.
    pub fn part(&self, bytes: usize) -> u64 {
        let place = WHOLE / self.places.max(1) as u64;
        let weight = u128::from(WHOLE) * bytes as u128 / u128::from(self.byte_cap.max(1));
        place.max(u64::try_from(weight).unwrap_or(WHOLE)).min(WHOLE)
    }

    /// Returns the part of the room, in billionths, that one open delivery of the held message takes.
    pub fn part_of_one(&self, held: &Held) -> u64 {
        self.part(held.bytes()) / u64::from(held.open().max(1))
    }

    /// Returns the largest part of the room, in billionths, that the queue may take: the
    /// shared half and its own guarantee.
    pub fn most_of(&self, queue: QueueIndex) -> u64 {
        let shares = self.queues.get(queue).is_some_and(|used| !used.is_out);
        WHOLE / 2 + if shares { WHOLE / (2 * self.sharers.max(1) as u64) } else { 0 }
    }

    /// Returns half of the largest number of places that the queue may take.
    pub fn half_of(&self, queue: QueueIndex) -> usize {
        let sure = self.queues.get(queue).map_or(0, |used| used.own(self.sure).places);
        (self.shared_places() + sure).div_ceil(2)
    }

    /// Returns the bytes that are counted for so many messages that the queue asks for. At least one for each: a receive
    /// ends once it has brought so many, and messages without a body have none.
    pub fn bytes_for(&self, queue: QueueIndex, messages: usize) -> usize {
        let largest = self.queues.get(queue).map_or(LARGEST_BODY, |used| used.largest.get(LARGEST_BODY));
        messages.saturating_mul(usize::try_from(largest.max(1)).unwrap_or(usize::MAX))
    }

    /// Reserves places for messages or parked rows that are about to be asked for, and bytes as far as there are any for
    /// them: what [`Room::one_more`] allows beyond that takes none of the bytes that are another queue's own.
    pub fn reserve(&mut self, queue: QueueIndex, messages: usize) {
        let fit = self.queues.get(queue).map_or(0, |used| self.free_places(used, Shared::Whole));
        self.change(queue, |used| {
            used.reserved += messages;
            used.beyond_bytes += messages.saturating_sub(fit);
        });
    }

    /// Releases reserved places, since their messages came or will not come.
    pub fn release(&mut self, queue: QueueIndex, messages: usize) {
        self.change(queue, |used| {
            used.reserved = used.reserved.saturating_sub(messages);
            used.beyond_bytes = used.beyond_bytes.min(used.reserved);
        });
    }

    /// Counts a message of this many bytes as held.
    pub fn hold(&mut self, queue: QueueIndex, bytes: usize) {
        self.held += 1;
        self.bytes += bytes as u64;
        self.change(queue, |used| {
            used.held += 1;
            used.bytes += bytes as u64;
            used.largest.saw(bytes as u64);
        });
    }

    /// Counts messages that are handed to their handler.
    pub fn begin_handling(&mut self, queue: QueueIndex, messages: usize) {
        self.change(queue, |used| used.handled += messages);
    }

    /// Stops counting messages that are no longer with their handler.
    pub fn end_handling(&mut self, queue: QueueIndex, messages: usize) {
        self.change(queue, |used| used.handled = used.handled.saturating_sub(messages));
    }

    /// Counts the bytes of the payloads of one message, from the moment at which their handler made them.
    pub fn add_payloads(&mut self, queue: QueueIndex, bytes: usize) {
        self.bytes += bytes as u64;
        self.change(queue, |used| {
            used.bytes += bytes as u64;
            used.largest_result.saw(bytes as u64);
        });
    }

    /// Stops counting bytes that a message no longer holds, while the message itself is still held.
    pub fn regain(&mut self, queue: QueueIndex, freed: Freed) {
        let bytes = freed.bytes() as u64;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.change(queue, |used| used.bytes = used.bytes.saturating_sub(bytes));
    }

    /// Stops counting a message as held.
    pub fn leave(&mut self, queue: QueueIndex, bytes: usize) {
        self.held = self.held.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        self.change(queue, |used| {
            used.held = used.held.saturating_sub(1);
            used.bytes = used.bytes.saturating_sub(bytes as u64);
        });
    }

    fn change(&mut self, queue: QueueIndex, change: impl FnOnce(&mut Used)) {
        let Some(used) = self.queues.get_mut(queue) else { return };
        change(used);
        let now = used.taken(self.sure);
        self.taken.replace(&used.counted, &now);
        used.counted = now;
    }

    pub fn held(&self) -> usize {
        self.held
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the messages and bytes held of the queue, the places reserved for it, and its messages at the handler.
    #[cfg(test)]
    pub fn taken_by(&self, queue: QueueIndex) -> (usize, u64, usize, usize) {
        self.queues.get(queue).map_or((0, 0, 0, 0), |used| (used.held, used.bytes, used.reserved, used.handled))
    }

    /// Returns whether the sums are those over all queues.
    #[cfg(test)]
    pub fn adds_up(&self) -> bool {
        let held: usize = self.queues.iter().map(|used| used.held).sum();
        let bytes: u64 = self.queues.iter().map(|used| used.bytes).sum();
        (self.held, self.bytes, self.taken) == (held, bytes, self.sum())
    }
}

#[cfg(test)]
mod tests;
