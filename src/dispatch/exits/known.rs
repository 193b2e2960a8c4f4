//! What is known of messages that are no longer held but may come back: which of their deliveries are settled. A copy
//! that comes back leads only to the others. The dispatcher keeps one [`Known`] for each queue.

use std::collections::{HashMap, VecDeque};

use compact_str::CompactString;
use foldhash::fast::RandomState;

use crate::message::settle::SettledPart;

/// What of a message is settled: accepted by its partner, parked, or in a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// All of them: only the delete of the message is missing.
    All,
    /// These deliveries, while others are open.
    Some(SettledPart),
}

/// What is known of one queue's messages. Bounded: the oldest is forgotten first, and a copy of it is delivered again.
#[derive(Debug)]
pub struct Known {
    /// The most messages that are remembered, at least 1.
    limit: usize,
    by_id: HashMap<CompactString, Settled, RandomState>,
    /// The ids, in the order in which they became known.
    order: VecDeque<CompactString>,
}

impl Known {
    /// Creates an empty memory of at most `limit` messages.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), by_id: HashMap::default(), order: VecDeque::new() }
    }

    /// Remembers what is settled of a message, in place of what was known: the last holder of the message knew that
    /// too.
    pub fn remember(&mut self, id: CompactString, settled: Settled) {
        if self.by_id.insert(id.clone(), settled).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }

    /// Remembers everything that `other` knows.
    pub fn learn(&mut self, other: &Self) {
        for id in &other.order {
            if let Some(settled) = other.by_id.get(id) {
                self.remember(id.clone(), settled.clone());
            }
        }
    }

    /// Forgets everything, and frees the memory.
    pub fn forget_all(&mut self) {
        (self.by_id, self.order) = (HashMap::default(), VecDeque::new());
    }

    /// Returns what is settled of a message. `None`: nothing is known.
    pub fn recall(&self, id: &str) -> Option<&Settled> {
        // Nearly always nothing is known of any message, and then the id need not be read.
        if self.by_id.is_empty() { None } else { self.by_id.get(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::DeliveryName;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut known = Known::new(2);
        for id in ["a", "b", "a", "c"] {
            known.remember(id.into(), Settled::All);
        }
        assert_eq!([known.recall("a"), known.recall("b"), known.recall("c")], [None, Some(&Settled::All), Some(&Settled::All)]);
        assert_eq!((known.by_id.len(), known.order.len()), (2, 2));
    }

    #[test]
    fn the_newest_word_counts() {
        let mut known = Known::new(2);
        let deliveries = vec![DeliveryName { index: 1, account: Some("acme".into()) }];
        let some = Settled::Some(SettledPart { deliveries, accepted: true });
        known.remember("a".into(), some.clone());
        assert_eq!(known.recall("a"), Some(&some));
        known.remember("a".into(), Settled::All);
        assert_eq!(known.recall("a"), Some(&Settled::All));
    }
}
