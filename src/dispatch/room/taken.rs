//! What one queue takes of the room, and what all take together.

use super::LARGEST_BODY;
use super::largest::Largest;

/// What is guaranteed to a queue.
#[derive(Debug, Default, Clone, Copy)]
pub struct Guarantee {
    pub places: usize,
    pub bytes: u64,
}

impl Guarantee {
    /// Divides half of the room among so many queues.
    pub fn of(places: usize, bytes: u64, sharers: usize) -> Self {
        let sharers = sharers.max(1);
        Self { places: places / (2 * sharers), bytes: bytes / (2 * sharers as u64) }
    }
}

/// What is taken of the room: in all, and beyond the guarantees, of what is shared.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The places held and reserved.
    pub places: usize,
    /// The part of them beyond the guarantees.
    pub shared_places: usize,
    /// The bytes held, and those that are kept for the messages asked for.
    pub weight: u64,
    /// The part of them beyond the guarantees.
    pub shared_weight: u64,
    /// The part beyond the guarantees of the bytes held and those of the payloads that handlers may be making.
    pub shared_load: u64,
}

impl Taken {
    /// Replaces one queue's part of the sum.
    pub fn replace(&mut self, before: &Self, after: &Self) {
        self.places = self.places + after.places - before.places;
        self.shared_places = self.shared_places + after.shared_places - before.shared_places;
        self.weight = self.weight + after.weight - before.weight;
        self.shared_weight = self.shared_weight + after.shared_weight - before.shared_weight;
        self.shared_load = self.shared_load + after.shared_load - before.shared_load;
    }
}

/// What one queue takes of the room.
#[derive(Debug, Default, Clone)]
pub struct Used {
    /// Whether the queue has no guarantee, because it asks for nothing.
    pub is_out: bool,
    /// The number of messages held.
    pub held: usize,
    /// The bytes of the messages held.
    pub bytes: u64,
    /// The places reserved for messages that are asked for and not yet received.
    pub reserved: usize,
    /// Those of them for which there were no bytes: their messages may turn out small enough. What the other queues may
    /// take does not depend on them.
    pub beyond_bytes: usize,
    /// The number of messages that are with the queue's handler.
    pub handled: usize,
    /// The largest number of places that the queue's service allows.
    pub limit: Option<usize>,
    /// The largest message.
    pub largest: Largest,
    /// The most payload that one message led to.
    pub largest_result: Largest,
    /// What of this is in the sum of all queues.
    pub counted: Taken,
}

impl Used {
    /// Returns the queue's guarantee, if that of each queue is `sure`.
    pub fn own(&self, sure: Guarantee) -> Guarantee {
        if self.is_out { Guarantee::default() } else { sure }
    }

    /// Returns the places held and reserved.
    pub fn places(&self) -> usize {
        self.held + self.reserved
    }

    /// Returns the bytes held and those that are kept for the messages asked for.
    pub fn weight(&self) -> u64 {
        self.bytes + self.reserved.saturating_sub(self.beyond_bytes) as u64 * self.largest.get(LARGEST_BODY)
    }

    /// Returns the bytes that handlers may be making.
    pub fn making(&self) -> u64 {
        self.handled as u64 * self.largest_result.get(0)
    }

    /// Returns the bytes held and those that handlers may be making.
    pub fn load(&self) -> u64 {
        self.bytes + self.making()
    }

    /// Returns what the queue takes, if the guarantee of each queue is `sure`.
    pub fn taken(&self, sure: Guarantee) -> Taken {
        let sure = self.own(sure);
        let (places, weight, load) = (self.places(), self.weight(), self.load());
        Taken {
            places,
            shared_places: places.saturating_sub(sure.places),
            weight,
            shared_weight: weight.saturating_sub(sure.bytes),
            shared_load: load.saturating_sub(sure.bytes),
        }
    }
}
