//! What is known of messages that are no longer held but may come back: which of their deliveries are settled. A copy
//! that comes back leads only to the others. The dispatcher keeps one [`Known`] for each queue, and bounds them together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::RandomState;

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::QueueIndex;
use crate::message::DeliveryName;
use crate::message::settle::SettledPart;

/// What of a message is settled: accepted by its partner, parked, or in a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// All of them: only the delete of the message is missing.
    All,
    /// These deliveries, while others are open.
    Some(SettledPart),
}

/// The most bytes that the memories of all queues take together. A message of a thousand deliveries may take a megabyte
/// of them.
pub const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The bytes counted for an entry beside its names: itself, its id at two places, and its share of the two maps.
const ENTRY_BYTES: usize = 256;

/// What is known of one queue's messages. Bounded: the oldest is forgotten first, and a copy of it is delivered again,
/// what its partners have accepted included.
#[derive(Debug)]
pub struct Known {
    /// The most messages that are remembered, at least 1.
    limit: usize,
    by_id: HashMap<CompactString, Entry, RandomState>,
    /// The ids, in the order in which they became known or were last renewed.
    order: BTreeMap<u64, CompactString>,
    /// The place in that order of the next one.
    next: u64,
    /// The bytes that all entries take, by estimate.
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    settled: Settled,
    place: u64,
    bytes: usize,
}

impl Known {
    /// Creates an empty memory of at most `limit` messages.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), by_id: HashMap::default(), order: BTreeMap::new(), next: 0, bytes: 0 }
    }

    /// Remembers what is settled of a message, in place of what was known: the last holder of the message knew that
    /// too.
    pub fn remember(&mut self, id: CompactString, settled: Settled) {
        self.forget(&id);
        let (place, bytes) = (self.next, settled.bytes());
        self.next += 1;
        self.bytes += bytes;
        self.order.insert(place, id.clone());
        self.by_id.insert(id, Entry { settled, place, bytes });
        if self.order.len() > self.limit {
            self.forget_oldest();
        }
    }

    /// Remembers everything that `other` knows.
    pub fn learn(&mut self, other: &Self) {
        for id in other.order.values() {
            if let Some(settled) = other.recall(id) {
                self.remember(id.clone(), settled.clone());
            }
        }
    }

    /// Forgets what is known of a message.
    pub fn forget(&mut self, id: &str) {
        if self.by_id.is_empty() {
            return;
        }
        if let Some(entry) = self.by_id.remove(id) {
            self.order.remove(&entry.place);
            self.bytes -= entry.bytes;
        }
    }

    /// Forgets the message that became known first. Returns false if none is known.
    pub fn forget_oldest(&mut self) -> bool {
        let oldest = self.order.first_key_value().map(|(_, id)| id.clone());
        oldest.map(|id| self.forget(&id)).is_some()
    }

    /// Forgets everything, and frees the memory.
    pub fn forget_all(&mut self) {
        (self.by_id, self.order, self.bytes) = (HashMap::default(), BTreeMap::new(), 0);
    }

    /// Returns the bytes that everything takes, by estimate.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns what is settled of a message. `None`: nothing is known.
    pub fn recall(&self, id: &str) -> Option<&Settled> {
        // Nearly always nothing is known of any message, and then the id need not be read.
        if self.by_id.is_empty() { None } else { self.by_id.get(id).map(|entry| &entry.settled) }
    }
}

impl Settled {
    fn bytes(&self) -> usize {
        let names = match self {
            Self::All => &[],
            Self::Some(settled) => settled.deliveries.as_slice(),
        };
        let bytes = |name: &DeliveryName| size_of::<DeliveryName>() + name.account.as_ref().map_or(0, |account| account.len());
        ENTRY_BYTES + names.iter().map(bytes).sum::<usize>()
    }
}

impl Dispatcher {
    /// Remembers what is settled of a message that may come back: at the queue that it came from, and at the queue
    /// that has taken that one's place.
    pub(in crate::dispatch) fn remember(&mut self, index: QueueIndex, id: CompactString, settled: Settled) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        if !queue.is_serving() {
            let name = Arc::clone(&queue.rules.name);
            queue.known.remember(id.clone(), settled.clone());
            let heir = self.queues.iter_mut().rev().find(|queue| queue.is_serving() && queue.rules.name == name);
            if let Some(heir) = heir {
                heir.known.remember(id, settled);
            }
        } else {
            queue.known.remember(id, settled);
        }
        self.bound_known();
    }

    /// Forgets what is known of a message that is settled as a whole and deleted, so that it does not come back.
    pub(in crate::dispatch) fn forget(&mut self, index: QueueIndex, id: &str) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        queue.known.forget(id);
        if !queue.is_serving() {
            let name = Arc::clone(&queue.rules.name);
            self.queues.iter_mut().filter(|queue| queue.rules.name == name).for_each(|queue| queue.known.forget(id));
        }
    }

    /// Forgets the oldest of the queue that remembers most, as long as all queues together remember too much.
    pub(in crate::dispatch) fn bound_known(&mut self) {
        while self.queues.iter().map(|queue| queue.known.bytes()).sum::<usize>() > MOST_BYTES {
            let most = self.queues.iter_mut().max_by_key(|queue| queue.known.bytes());
            if !most.is_some_and(|queue| queue.known.forget_oldest()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns that these deliveries are settled, and others are open.
    fn some(indices: std::ops::Range<u16>) -> Settled {
        let deliveries = indices.map(|index| DeliveryName { index, account: Some("acme".into()) }).collect();
        Settled::Some(SettledPart { deliveries, accepted: true })
    }

    #[test]
    fn the_oldest_is_forgotten_first_unless_it_was_renewed() {
        let mut known = Known::new(2);
        for id in ["a", "b", "a", "c"] {
            known.remember(id.into(), Settled::All);
        }
        assert_eq!([known.recall("a"), known.recall("b"), known.recall("c")], [Some(&Settled::All), None, Some(&Settled::All)]);
        assert_eq!((known.by_id.len(), known.order.len()), (2, 2));
        assert!(known.forget_oldest());
        assert_eq!((known.recall("a"), known.recall("c").is_some()), (None, true));
    }

    #[test]
    fn the_newest_word_counts() {
        let mut known = Known::new(2);
        known.remember("a".into(), some(1..2));
        assert_eq!(known.recall("a"), Some(&some(1..2)));
        known.remember("a".into(), Settled::All);
        assert_eq!(known.recall("a"), Some(&Settled::All));
    }

    #[test]
    fn the_bytes_are_those_of_what_is_known_now() {
        let mut known = Known::new(100);
        known.remember("a".into(), some(0..1000));
        assert!(known.bytes() > 1000 * size_of::<DeliveryName>());
        known.remember("a".into(), Settled::All);
        known.remember("b".into(), some(0..1));
        assert_eq!(known.bytes(), 2 * ENTRY_BYTES + size_of::<DeliveryName>() + "acme".len());
        ["a", "b", "c"].iter().for_each(|id| known.forget(id));
        assert_eq!((known.bytes(), known.order.len(), known.forget_oldest()), (0, 0, false));
    }
}
