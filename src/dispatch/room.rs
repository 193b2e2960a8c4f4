//! The room: how many messages and bytes may be held, and how many of these places a queue may
//! reserve for its next receives.
//!
//! *Held* is everything that was received and is not yet confirmed deleted, returned or parked. Half of the places and
//! of the bytes is guaranteed to the queues in equal parts, so that one queue's slow handlers, large bodies or long
//! polls cannot starve another. The other half is shared: a queue takes from it first come, first served.

use super::keys::QueueIndex;
use super::ledger::{Freed, Held, Leaving};
use crate::message::MAX_BODY;

/// The assumed size of a message, in bytes, before a queue has received any.
const LARGEST_BODY: u64 = MAX_BODY as u64;

/// The whole room, in the unit of [`Room::part`].
pub const WHOLE: u64 = 1_000_000_000;

/// The number of messages in one window of the search for the largest body; the search covers two windows.
const WINDOW: u64 = 1000;

/// The number of messages in the first window. After it the assumed size of a message is the largest body
/// seen, no longer the limit of SQS.
const FIRST_WINDOW: u64 = 100;

/// The places and bytes for held messages, and what each queue takes of them.
#[derive(Debug)]
pub struct Room {
    /// The number of messages that may be held.
    places: usize,
    /// The number of bytes that may be held.
    byte_cap: u64,
    /// The number of places guaranteed to each queue.
    guaranteed: usize,
    /// The number of queues that have a guarantee.
    sharers: usize,
    /// The bytes held, of all queues.
    bytes: u64,
    /// The messages held, of all queues.
    held: usize,
    /// The places held and reserved, of all queues.
    used: usize,
    /// What each queue takes, by queue index.
    queues: Vec<Used>,
    /// The places taken beyond the guarantees: Σ max(0, used − guaranteed).
    shared_used: usize,
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

/// What one queue takes of the room.
#[derive(Debug, Default, Clone)]
struct Used {
    /// Whether the queue has no guarantee, because it asks for nothing.
    is_out: bool,
    /// The number of messages held.
    held: usize,
    /// The bytes of the messages held.
    bytes: u64,
    /// The places reserved for messages that are asked for and not yet received.
    reserved: usize,
    /// The largest number of places that the queue's service allows.
    limit: Option<usize>,
    largest: Largest,
}

impl Used {
    fn places(&self) -> usize {
        self.held + self.reserved
    }

    /// Returns the places taken of the shared room.
    fn beyond(&self, guaranteed: usize) -> usize {
        if self.is_out { self.places() } else { self.places().saturating_sub(guaranteed) }
    }

    /// Returns the bytes held and those that may come: each message asked for may be as
    /// large as the largest seen lately.
    fn weight(&self) -> u64 {
        self.bytes + self.reserved as u64 * self.largest.get()
    }

    /// Returns the bytes taken of the shared room.
    fn bytes_beyond(&self, guaranteed: u64) -> u64 {
        if self.is_out { self.weight() } else { self.weight().saturating_sub(guaranteed) }
    }
}

impl Room {
    pub fn new(places: usize, bytes: u64, queues: usize) -> Self {
        let guaranteed = places / (2 * queues.max(1));
        let sharers = queues;
        let queues = vec![Used::default(); queues];
        Self { places, byte_cap: bytes, guaranteed, sharers, bytes: 0, held: 0, used: 0, queues, shared_used: 0 }
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
        self.guaranteed = self.places / (2 * self.sharers.max(1));
        self.shared_used = self.queues.iter().map(|used| used.beyond(self.guaranteed)).sum();
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
            !used.is_out && within_limit && self.own_places(used, Shared::Whole) > 0
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
        let shared = self.places.saturating_sub(self.guaranteed * self.sharers).saturating_sub(self.shared_used);
        let sure = if used.is_out { 0 } else { self.guaranteed.saturating_sub(used.places()) };
        // After a reload other queues may hold more than their new guarantees.
        (sure + part.of(shared as u64) as usize).min(self.places.saturating_sub(self.used))
    }

    fn free_places(&self, used: &Used, part: Shared) -> usize {
        let places = self.own_places(used, part);
        places.min(usize::try_from(self.free_bytes(used, part) / used.largest.get()).unwrap_or(usize::MAX))
    }

    fn free_bytes(&self, used: &Used, part: Shared) -> u64 {
        let sharers = self.sharers.max(1) as u64;
        let guaranteed = self.byte_cap / (2 * sharers);
        let sure = if used.is_out { 0 } else { guaranteed.saturating_sub(used.weight()) };
        let (mut all, mut beyond) = (0, 0);
        for queue in &self.queues {
            all += queue.weight();
            beyond += queue.bytes_beyond(guaranteed);
        }
        let shared = self.byte_cap.saturating_sub(guaranteed * self.sharers as u64).saturating_sub(beyond);
        (sure + part.of(shared)).min(self.byte_cap.saturating_sub(all))
    }

    /// Returns whether the cap on bytes is reached: no further handler then starts, except
    /// if nothing else can make room.
    pub fn is_full_of_bytes(&self) -> bool {
        self.bytes >= self.byte_cap && self.held > 1
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
        let shared = self.places.saturating_sub(self.guaranteed * self.sharers);
        let sure = if self.queues.get(queue).is_some_and(|used| !used.is_out) { self.guaranteed } else { 0 };
        (shared + sure).div_ceil(2)
    }

    /// Reserves places for messages or parked rows that are about to be asked for.
    pub fn reserve(&mut self, queue: QueueIndex, messages: usize) {
        self.change(queue, |used| used.reserved += messages);
    }

    /// Releases reserved places, since their messages came or will not come.
    pub fn release(&mut self, queue: QueueIndex, messages: usize) {
        self.change(queue, |used| used.reserved = used.reserved.saturating_sub(messages));
    }

    /// Counts a message with its body as held.
    pub fn hold(&mut self, queue: QueueIndex, body: usize) {
        self.held += 1;
        self.bytes += body as u64;
        self.change(queue, |used| {
            used.held += 1;
            used.bytes += body as u64;
            used.largest.saw(body as u64);
        });
    }

    /// Counts the bytes of payloads, from the moment at which their handler made them.
    pub fn add_bytes(&mut self, queue: QueueIndex, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(used) = self.queues.get_mut(queue) {
            used.bytes += bytes as u64;
        }
    }

    /// Stops counting bytes that a message no longer holds, while the message itself is still held.
    pub fn regain(&mut self, queue: QueueIndex, freed: Freed) {
        self.drop_bytes(queue, freed.bytes());
    }

    fn drop_bytes(&mut self, queue: QueueIndex, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        if let Some(used) = self.queues.get_mut(queue) {
            used.bytes = used.bytes.saturating_sub(bytes as u64);
        }
    }

    /// Stops counting a message as held.
    pub fn leave(&mut self, queue: QueueIndex, bytes: usize) {
        self.held = self.held.saturating_sub(1);
        self.drop_bytes(queue, bytes);
        self.change(queue, |used| used.held = used.held.saturating_sub(1));
    }

    fn change(&mut self, queue: QueueIndex, change: impl FnOnce(&mut Used)) {
        let Some(used) = self.queues.get_mut(queue) else { return };
        let before = (used.places(), used.beyond(self.guaranteed));
        change(used);
        self.used = self.used + used.places() - before.0;
        self.shared_used = self.shared_used + used.beyond(self.guaranteed) - before.1;
    }

    pub fn held(&self) -> usize {
        self.held
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the messages and bytes held of the queue, and the places reserved for it.
    #[cfg(test)]
    pub fn taken_by(&self, queue: QueueIndex) -> (usize, u64, usize) {
        self.queues.get(queue).map_or((0, 0, 0), |used| (used.held, used.bytes, used.reserved))
    }

    /// Returns whether the sums are those over all queues.
    #[cfg(test)]
    pub fn adds_up(&self) -> bool {
        let sum = |of: fn(&Used) -> usize| self.queues.iter().map(of).sum::<usize>();
        let beyond: usize = self.queues.iter().map(|used| used.beyond(self.guaranteed)).sum();
        (self.held, self.used, self.shared_used) == (sum(|used| used.held), sum(Used::places), beyond)
            && self.bytes == self.queues.iter().map(|used| used.bytes).sum::<u64>()
    }
}

/// The size of the largest of the last 1,000 to 2,000 bodies.
#[derive(Debug, Clone)]
struct Largest {
    /// The largest body of the window before.
    before: u64,
    /// The largest body of the present window.
    now: u64,
    /// The number of bodies until the next window begins.
    left: u64,
}

impl Default for Largest {
    fn default() -> Self {
        Self { before: LARGEST_BODY, now: 0, left: FIRST_WINDOW }
    }
}

impl Largest {
    fn saw(&mut self, bytes: u64) {
        self.now = self.now.max(bytes);
        self.left -= 1;
        if self.left == 0 {
            (self.before, self.now, self.left) = (self.now, 0, WINDOW);
        }
    }

    fn get(&self) -> u64 {
        self.before.max(self.now).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_guaranteed_in_equal_parts_and_half_is_shared() {
        let mut room = Room::new(100, u64::MAX, 2);
        assert_eq!((room.free(0), room.free(1)), (75, 75));
        assert_eq!(room.half_of(0), 38);
        room.reserve(0, 75);
        assert_eq!((room.free(0), room.free(1)), (0, 25), "the other queue's guarantee is untouched");
        room.release(0, 75);
        for _ in 0..30 {
            room.hold(1, 1);
        }
        assert_eq!((room.free(0), room.free(1)), (70, 45));
        for _ in 0..30 {
            room.leave(1, 1);
        }
        assert_eq!((room.free(0), room.held()), (75, 0));
    }

    #[test]
    fn one_more_is_none_of_the_places_that_are_another_queues_own() {
        let mut room = Room::new(4, 2 * LARGEST_BODY, 2);
        room.reserve(1, 1);
        room.hold(0, 1);
        assert_eq!((room.free(0), room.one_more(0)), (0, 1), "the bytes are reserved, and may turn out to be enough");
        (0..2).for_each(|_| room.hold(0, 1));
        room.release(1, 1);
        assert_eq!((room.one_more(0), room.one_more(1)), (0, 1));
    }

    #[test]
    fn parts_change_with_the_queues_and_the_whole_stays() {
        let mut room = Room::new(100, u64::MAX, 1);
        (0..100).for_each(|_| room.hold(0, 1));
        room.share_among([true, true].into_iter());
        assert_eq!((room.free(0), room.free(1)), (0, 0), "it is full");
        (0..10).for_each(|_| room.leave(0, 1));
        assert_eq!((room.free(0), room.free(1)), (0, 10), "the new one comes to its part first");
        room.share_among([false, true].into_iter());
        assert_eq!((room.free(0), room.free(1)), (0, 10));
        (0..90).for_each(|_| room.leave(0, 1));
        assert_eq!((room.free(0), room.free(1)), (50, 100), "who is out has nothing that is its own");
    }

    #[test]
    fn bytes_bound_what_is_asked_for_by_the_largest_body_seen_lately() {
        let mut room = Room::new(1000, 4 * LARGEST_BODY, 1);
        assert_eq!(room.free(0), 4, "before anything was seen a body may have 1 MiB");
        for _ in 0..FIRST_WINDOW {
            room.hold(0, 1024);
            room.leave(0, 1024);
        }
        assert_eq!(room.free(0), 1000);
        room.hold(0, 3 * LARGEST_BODY as usize);
        assert_eq!(room.free(0), 0, "a large one was seen: the next may be as large");
    }

    #[test]
    fn a_queue_whose_polls_reserve_all_shared_bytes_leaves_the_others_theirs() {
        let mut room = Room::new(1000, 8 * LARGEST_BODY, 2);
        assert_eq!((room.free(0), room.free(1)), (6, 6), "two are each one's own, four are shared");
        room.reserve(0, 6);
        assert_eq!((room.free(0), room.free(1)), (0, 2));
        room.release(0, 6);
        (0..2).for_each(|_| room.hold(0, 3 * LARGEST_BODY as usize));
        assert_eq!((room.free(0), room.free(1)), (0, 2));
        room.share_among([false, true].into_iter());
        assert_eq!((room.free(0), room.free(1)), (0, 2), "what is left of all");
        (0..2).for_each(|_| room.leave(0, 3 * LARGEST_BODY as usize));
        assert_eq!((room.free(0), room.free(1)), (1, 8), "it knows that one may be 3 MiB, and has only what is shared");
    }

    #[test]
    fn a_queue_that_waits_leaves_half_of_what_is_shared_to_the_others() {
        let mut room = Room::new(100, 16 * LARGEST_BODY, 2);
        assert_eq!((room.free(0), room.free_to_wait(0)), (12, 8), "four are its own, eight are shared");
        room.reserve(0, 8);
        assert_eq!((room.free_to_wait(1), room.free(1)), (6, 8));
        room.reserve(1, 6);
        assert_eq!((room.free_to_wait(0), room.free(0)), (1, 2));
        room.reserve(0, 1);
        assert_eq!((room.free_to_wait(1), room.free(1)), (1, 1), "one always may");
        room.share_among([true, false].into_iter());
        assert_eq!(room.free_to_wait(0), room.free(0), "there are no others");
    }

    #[test]
    fn is_tight_where_less_than_half_is_free_of_either() {
        let mut room = Room::new(10, 1000, 1);
        let none = Leaving::default();
        (0..5).for_each(|_| room.hold(0, 10));
        assert!(!room.is_tight(none));
        room.hold(0, 10);
        assert!(room.is_tight(none));
        assert!(!room.is_tight(Leaving { messages: 1, bytes: 10 }), "one of them is leaving");
        room.leave(0, 10);
        room.add_bytes(0, 551);
        assert!(room.is_tight(none), "601 of 1,000 bytes");
        assert_eq!(room.places(), 8, "120 bytes each");
        assert_eq!((room.part(10), room.part(500)), (WHOLE / 10, WHOLE / 2));
    }

    #[test]
    fn one_message_always_proceeds() {
        let mut room = Room::new(10, 10, 1);
        assert_eq!(room.free(0), 1);
        room.reserve(0, 1);
        assert_eq!(room.free(0), 0);
        room.release(0, 1);
        room.hold(0, 5000);
        assert!(!room.is_full_of_bytes(), "the only one held must get to its handler");
        assert_eq!(room.free(0), 0);
        room.leave(0, 5000);
        assert_eq!((room.free(0), room.bytes()), (1, 0));
    }
}
