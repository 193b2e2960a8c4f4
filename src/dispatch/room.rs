//! Room: how many messages and bytes may be held, and how many of these places a queue may ask for.
//!
//! *Held* is everything that was received and is not yet confirmed deleted, returned or parked. Half of the places belong to the queues
//! in equal parts, so that one queue's slow handlers cannot starve another; the other half goes to whoever asks first.

use super::keys::QueueIndex;
use super::ledger::{Held, Leaving};

/// A body as large as SQS allows: what a message is taken to weigh before one was seen.
const LARGEST_BODY: u64 = 1024 * 1024;

/// The whole room, in the unit of [`Room::part`].
pub const WHOLE: u64 = 1_000_000_000;

/// The largest body is looked for among this many messages, twice over.
const WINDOW: u64 = 1000;

#[derive(Debug)]
pub struct Room {
    places: usize,
    byte_cap: u64,
    /// Of each queue.
    guaranteed: usize,
    /// Queues that have one.
    sharers: usize,
    bytes: u64,
    held: usize,
    /// Held and reserved, of all queues.
    used: usize,
    queues: Vec<Used>,
    /// Places beyond the guarantees that are taken: Σ max(0, used − guaranteed).
    shared_used: usize,
}

#[derive(Debug, Default, Clone)]
struct Used {
    /// It has none of the guarantees: it asks for nothing.
    is_out: bool,
    held: usize,
    /// Asked for and not yet received.
    reserved: usize,
    /// Places that its service allows.
    limit: Option<usize>,
    largest: Largest,
}

impl Used {
    fn places(&self) -> usize {
        self.held + self.reserved
    }

    /// Taken of the shared room.
    fn beyond(&self, guaranteed: usize) -> usize {
        if self.is_out { self.places() } else { self.places().saturating_sub(guaranteed) }
    }
}

impl Room {
    pub fn new(places: usize, bytes: u64, queues: usize) -> Self {
        let guaranteed = places / (2 * queues.max(1));
        let sharers = queues;
        let queues = vec![Used::default(); queues];
        Self { places, byte_cap: bytes, guaranteed, sharers, bytes: 0, held: 0, used: 0, queues, shared_used: 0 }
    }

    /// Other queues: for each that there ever was, whether it is sure of a part. What is taken beyond a smaller part is shared room.
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

    /// Messages held at most.
    pub fn most(&self) -> usize {
        self.places
    }

    /// How many messages the queue may ask for now. With nothing held at all, one always may.
    pub fn free(&self, queue: QueueIndex) -> usize {
        let Some(used) = self.queues.get(queue) else { return 0 };
        let shared = self.places.saturating_sub(self.guaranteed * self.sharers).saturating_sub(self.shared_used);
        let sure = if used.is_out { 0 } else { self.guaranteed.saturating_sub(used.places()) };
        // After a reload others may still hold more than is theirs now.
        let places = (sure + shared).min(self.places.saturating_sub(self.used));
        let free_bytes = self.byte_cap.saturating_sub(self.bytes).saturating_sub(self.reserved_bytes());
        let by_bytes = usize::try_from(free_bytes / used.largest.get()).unwrap_or(usize::MAX);
        let limit = used.limit.map_or(usize::MAX, |limit| limit.saturating_sub(used.places()));
        let free = places.min(by_bytes).min(limit);
        if free == 0 && self.held == 0 && self.queues.iter().all(|queue| queue.reserved == 0) { 1 } else { free }
    }

    fn reserved_bytes(&self) -> u64 {
        self.queues.iter().map(|used| used.reserved as u64 * used.largest.get()).sum()
    }

    /// Whether the cap on bytes is reached: then no further handler starts, except where nothing else can make room.
    pub fn is_full_of_bytes(&self) -> bool {
        self.bytes >= self.byte_cap && self.held > 1
    }

    /// The queue's service hides no more messages at once than that.
    pub fn limit(&mut self, queue: QueueIndex, places: usize) {
        if let Some(used) = self.queues.get_mut(queue) {
            used.limit = Some(places);
        }
    }

    /// Whether less than half of it is free, in places or in bytes; what is leaving takes none.
    pub fn is_tight(&self, leaving: Leaving) -> bool {
        let messages = self.held.saturating_sub(leaving.messages);
        let bytes = self.bytes.saturating_sub(leaving.bytes);
        messages * 2 > self.places || bytes > self.byte_cap / 2
    }

    /// How many messages like those that are held have room.
    pub fn places(&self) -> usize {
        let average = (self.bytes / self.held.max(1) as u64).max(1);
        self.places.min(usize::try_from(self.byte_cap / average).unwrap_or(usize::MAX))
    }

    /// What part of the room a message of so many bytes takes, in places or in bytes, whichever is more; in billionths.
    pub fn part(&self, bytes: usize) -> u64 {
        let place = WHOLE / self.places.max(1) as u64;
        let weight = u128::from(WHOLE) * bytes as u128 / u128::from(self.byte_cap.max(1));
        place.max(u64::try_from(weight).unwrap_or(WHOLE)).min(WHOLE)
    }

    /// The same of one of the deliveries that are open of it.
    pub fn part_of_one(&self, held: &Held) -> u64 {
        self.part(held.bytes) / u64::from(held.open.max(1))
    }

    pub fn reserve(&mut self, queue: QueueIndex, messages: usize) {
        self.change(queue, |used| used.reserved += messages);
    }

    pub fn release(&mut self, queue: QueueIndex, messages: usize) {
        self.change(queue, |used| used.reserved = used.reserved.saturating_sub(messages));
    }

    /// A message is held from now on; its body counts.
    pub fn hold(&mut self, queue: QueueIndex, body: usize) {
        self.held += 1;
        self.bytes += body as u64;
        self.change(queue, |used| {
            used.held += 1;
            used.largest.saw(body as u64);
        });
    }

    /// Payloads count from the moment in which their handler made them.
    pub fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// A payload was accepted.
    pub fn drop_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }

    /// A message is held no more.
    pub fn leave(&mut self, queue: QueueIndex, bytes: usize) {
        self.held = self.held.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
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
}

/// The largest of the last one to two thousand bodies.
#[derive(Debug, Clone)]
struct Largest {
    before: u64,
    now: u64,
    seen: u64,
}

impl Default for Largest {
    fn default() -> Self {
        Self { before: LARGEST_BODY, now: 0, seen: 0 }
    }
}

impl Largest {
    fn saw(&mut self, bytes: u64) {
        self.now = self.now.max(bytes);
        self.seen += 1;
        if self.seen >= WINDOW {
            (self.before, self.now, self.seen) = (self.now, 0, 0);
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
        for _ in 0..WINDOW {
            room.hold(0, 1024);
            room.leave(0, 1024);
        }
        assert_eq!(room.free(0), 1000);
        room.hold(0, 3 * LARGEST_BODY as usize);
        assert_eq!(room.free(0), 0, "a large one was seen: the next may be as large");
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
        room.add_bytes(551);
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
