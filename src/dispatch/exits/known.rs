//! What is known of messages that are not held any more but may come back: which of their deliveries are settled. A copy that comes
//! back leads only to the rest.

use std::collections::{HashMap, VecDeque};

use compact_str::CompactString;
use foldhash::fast::RandomState;

use crate::message::DeliveryName;

/// What of a message is settled: accepted by its partner, or in a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// All of it: only its delete is missing.
    All,
    /// These deliveries; `accepted`: a partner took one of them.
    Some { deliveries: Box<[DeliveryName]>, accepted: bool },
}

/// Of one queue. Bounded: the oldest is forgotten first, and a copy of it delivered again.
#[derive(Debug)]
pub struct Known {
    limit: usize,
    by_id: HashMap<CompactString, Settled, RandomState>,
    /// In the order in which they became known.
    order: VecDeque<CompactString>,
}

impl Known {
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), by_id: HashMap::default(), order: VecDeque::new() }
    }

    /// Replaces what was known: whoever held the message last knew that too.
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

    /// Learns all that the other knows.
    pub fn learn(&mut self, other: &Self) {
        for id in &other.order {
            if let Some(settled) = other.by_id.get(id) {
                self.remember(id.clone(), settled.clone());
            }
        }
    }

    pub fn forget_all(&mut self) {
        (self.by_id, self.order) = (HashMap::default(), VecDeque::new());
    }

    pub fn recall(&self, id: &str) -> Option<&Settled> {
        // Nearly always nothing is known of anything, and then the id need not be looked at.
        if self.by_id.is_empty() { None } else { self.by_id.get(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let some = Settled::Some { deliveries: [DeliveryName { index: 1, account: Some("acme".into()) }].into(), accepted: true };
        known.remember("a".into(), some.clone());
        assert_eq!(known.recall("a"), Some(&some));
        known.remember("a".into(), Settled::All);
        assert_eq!(known.recall("a"), Some(&Settled::All));
    }
}
