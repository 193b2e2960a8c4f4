//! The room: how many messages and bytes may be held, and how many of these places a queue may
//! reserve for its next receives.
//!
//! *Held* is everything that was received and is not yet confirmed deleted, returned or parked. Half of the places and
//! of the bytes is guaranteed to the queues in equal parts, so that one queue's slow handlers, large bodies or long
//! polls cannot starve another. The other half is shared: a queue takes from it first come, first served.
//!
//! Bytes are of bodies, and of payloads once their handler has made them. What is on its way is counted before it is
//! there: a message that is asked for as one as large as the largest body seen lately, one that is with its handler as
//! the most payload that a message of its queue lately led to.

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

/// What is guaranteed to a queue.
#[derive(Debug, Clone, Copy)]
struct Guarantee {
    places: usize,
    bytes: u64,
}

impl Guarantee {
    fn of(places: usize, bytes: u64, sharers: usize) -> Self {
        let sharers = sharers.max(1);
        Self { places: places / (2 * sharers), bytes: bytes / (2 * sharers as u64) }
    }
}

/// What is taken of the room: in all, and beyond the guarantees, of what is shared.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Taken {
    /// The places held and reserved.
    places: usize,
    shared_places: usize,
    /// The bytes held, and those of the messages asked for.
    weight: u64,
    shared_weight: u64,
    /// The bytes held, and those of the payloads that handlers may be making.
    load: u64,
    shared_load: u64,
}

impl Taken {
    /// Replaces one queue's part of the sum.
    fn replace(&mut self, before: &Self, after: &Self) {
        self.places = self.places + after.places - before.places;
        self.shared_places = self.shared_places + after.shared_places - before.shared_places;
        self.weight = self.weight + after.weight - before.weight;
        self.shared_weight = self.shared_weight + after.shared_weight - before.shared_weight;
        self.load = self.load + after.load - before.load;
        self.shared_load = self.shared_load + after.shared_load - before.shared_load;
    }
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
    /// The number of messages that are with the queue's handler.
    handled: usize,
    /// The largest number of places that the queue's service allows.
    limit: Option<usize>,
    /// The largest body.
    largest: Largest,
    /// The most payload that one message led to.
    largest_result: Largest,
    /// What of this is in the sum of all queues.
    counted: Taken,
}

impl Used {
    fn places(&self) -> usize {
        self.held + self.reserved
    }

    /// Returns the bytes held and those that may come with the messages asked for.
    fn weight(&self) -> u64 {
        self.bytes + self.reserved as u64 * self.largest.get(LARGEST_BODY)
    }

    /// Returns the bytes held and those that handlers may be making.
    fn load(&self) -> u64 {
        self.bytes + self.handled as u64 * self.largest_result.get(0)
    }

    fn taken(&self, sure: Guarantee) -> Taken {
        let sure = if self.is_out { Guarantee { places: 0, bytes: 0 } } else { sure };
        let (places, weight, load) = (self.places(), self.weight(), self.load());
        Taken {
            places,
            shared_places: places.saturating_sub(sure.places),
            weight,
            shared_weight: weight.saturating_sub(sure.bytes),
            load,
            shared_load: load.saturating_sub(sure.bytes),
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
        let shared = self.places.saturating_sub(self.sure.places * self.sharers).saturating_sub(self.taken.shared_places);
        let sure = if used.is_out { 0 } else { self.sure.places.saturating_sub(used.places()) };
        // After a reload other queues may hold more than their new guarantees.
        (sure + part.of(shared as u64) as usize).min(self.places.saturating_sub(self.taken.places))
    }

    fn free_places(&self, used: &Used, part: Shared) -> usize {
        let places = self.own_places(used, part);
        let shared = part.of(self.shared_bytes().saturating_sub(self.taken.shared_weight));
        let bytes = self.free_bytes(used, used.weight(), shared).min(self.byte_cap.saturating_sub(self.taken.weight));
        places.min(usize::try_from(bytes / used.largest.get(LARGEST_BODY).max(1)).unwrap_or(usize::MAX))
    }

    /// Returns the bytes that are not guaranteed to any queue.
    fn shared_bytes(&self) -> u64 {
        self.byte_cap.saturating_sub(self.sure.bytes * self.sharers as u64)
    }

    /// Returns the bytes that are left to a queue that takes so many, beside what is `shared`.
    fn free_bytes(&self, used: &Used, taken: u64, shared: u64) -> u64 {
        let sure = if used.is_out { 0 } else { self.sure.bytes.saturating_sub(taken) };
        sure + shared
    }

    /// Returns how many more messages of the queue may be handed to its handler, at most `most`, so that there are bytes
    /// for the payloads that it may make. Zero: none, unless nothing else can make room. One always may alone.
    pub fn fit_at_handler(&self, queue: QueueIndex, most: usize) -> usize {
        let Some(used) = self.queues.get(queue).filter(|_| self.held > 1) else { return most };
        let shared = self.shared_bytes().saturating_sub(self.taken.shared_load);
        let bytes = self.free_bytes(used, used.load(), shared).min(self.byte_cap.saturating_sub(self.taken.load));
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
        let shared = self.places.saturating_sub(self.sure.places * self.sharers);
        let sure = if self.queues.get(queue).is_some_and(|used| !used.is_out) { self.sure.places } else { 0 };
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
        self.drop_bytes(queue, freed.bytes());
    }

    fn drop_bytes(&mut self, queue: QueueIndex, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        self.change(queue, |used| used.bytes = used.bytes.saturating_sub(bytes as u64));
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

/// The largest of the last 1,000 to 2,000 sizes.
#[derive(Debug, Clone)]
struct Largest {
    /// The largest size of the window before; `None` during the first window.
    before: Option<u64>,
    /// The largest size of the present window.
    now: u64,
    /// The number of sizes until the next window begins.
    left: u64,
}

impl Default for Largest {
    fn default() -> Self {
        Self { before: None, now: 0, left: FIRST_WINDOW }
    }
}

impl Largest {
    fn saw(&mut self, bytes: u64) {
        self.now = self.now.max(bytes);
        self.left -= 1;
        if self.left == 0 {
            (self.before, self.now, self.left) = (Some(self.now), 0, WINDOW);
        }
    }

    /// Returns the largest size; during the first window at least `unknown`.
    fn get(&self, unknown: u64) -> u64 {
        self.before.unwrap_or(unknown).max(self.now)
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
    fn handlers_that_make_much_of_little_get_as_much_as_their_queue_has_bytes_for() {
        let mut room = Room::new(100, 800, 2);
        (0..6).for_each(|queue| room.hold(queue % 2, 0));
        assert_eq!(room.fit_at_handler(0, 64), 64, "nobody knows what they make");
        room.begin_handling(0, 2);
        room.end_handling(0, 2);
        (0..2).for_each(|_| room.add_payloads(0, 100));
        assert_eq!((room.fit_at_handler(0, 64), room.fit_at_handler(1, 64)), (4, 64), "600 of 800 bytes may be its own");
        room.begin_handling(0, 3);
        assert_eq!(room.fit_at_handler(0, 64), 1, "the three may make 300");
        room.begin_handling(0, 1);
        assert_eq!((room.fit_at_handler(0, 64), room.fit_at_handler(1, 64)), (0, 64), "the other queue's bytes are left to it");
        room.leave(0, 100);
        assert_eq!(room.fit_at_handler(0, 64), 1);
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
        room.add_payloads(0, 551);
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
        assert_eq!(room.fit_at_handler(0, 64), 64, "the only one held must get to its handler");
        assert_eq!(room.free(0), 0);
        room.leave(0, 5000);
        assert_eq!((room.free(0), room.bytes()), (1, 0));
    }
}
