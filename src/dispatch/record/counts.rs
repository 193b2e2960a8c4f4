//! The counts of one queue since the start. Each copy received ends in exactly one of `acked`, `dead`, `returned`,
//! `duplicates_dropped` and `leases_lost`, so that `received` is the sum of these plus the copies held.

use serde::Serialize;

use crate::dispatch::ledger::Exit;

/// The counts of one queue since the start. The names are keys of status and report.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct QueueCounts {
    /// The number of copies received.
    pub received: u64,
    /// The number of handler runs that ended.
    pub handled: u64,
    /// The number of deliveries accepted.
    pub delivered: u64,
    /// The number of deliveries that became dead letters, those of otherwise accepted messages included.
    #[serde(skip)]
    pub deliveries_dead: u64,
    /// The number of copies deleted because their message is settled.
    pub acked: u64,
    /// The number of copies returned to the queue.
    pub returned: u64,
    /// The number of messages set aside of which no delivery was accepted.
    pub dead: u64,
    /// The number of deliveries parked. A message of which nothing else is open is part of `acked`.
    pub parked: u64,
    /// The number of messages that their handler discarded; part of `acked`.
    pub discarded: u64,
    /// The number of copies dropped because their message was held already, or delivered before.
    pub duplicates_dropped: u64,
    /// The number of copies whose lease was lost.
    pub leases_lost: u64,
    /// The number of calls to the queue service.
    pub requests: u64,
    /// The number of receives that found no message.
    pub empty_receives: u64,
}

impl QueueCounts {
    /// Counts a copy that left the ledger in this way.
    pub fn exit(&mut self, exit: Exit) {
        *match exit {
            Exit::Acked => &mut self.acked,
            Exit::Dead => &mut self.dead,
            Exit::Returned => &mut self.returned,
            Exit::Duplicate => &mut self.duplicates_dropped,
            Exit::LeaseLost => &mut self.leases_lost,
        } += 1;
    }

    /// Adds the counts of another queue.
    pub fn add(&mut self, other: &Self) {
        let Self {
            received,
            handled,
            delivered,
            deliveries_dead,
            acked,
            returned,
            dead,
            parked,
            discarded,
            duplicates_dropped,
            leases_lost,
            requests,
            empty_receives,
        } = other;
        self.received += received;
        self.handled += handled;
        self.delivered += delivered;
        self.deliveries_dead += deliveries_dead;
        self.acked += acked;
        self.returned += returned;
        self.dead += dead;
        self.parked += parked;
        self.discarded += discarded;
        self.duplicates_dropped += duplicates_dropped;
        self.leases_lost += leases_lost;
        self.requests += requests;
        self.empty_receives += empty_receives;
    }

    /// Returns the number of copies received that are no longer held.
    pub fn exits(&self) -> u64 {
        self.acked + self.dead + self.returned + self.duplicates_dropped + self.leases_lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_of_another_queue_is_added() {
        let other = QueueCounts {
            received: 1,
            handled: 2,
            delivered: 3,
            deliveries_dead: 4,
            acked: 5,
            returned: 6,
            dead: 7,
            parked: 8,
            discarded: 9,
            duplicates_dropped: 10,
            leases_lost: 11,
            requests: 12,
            empty_receives: 13,
        };
        let mut sum = QueueCounts::default();
        sum.add(&other);
        assert_eq!(sum, other);
        sum.add(&other);
        assert_eq!((sum.received, sum.exits()), (2, 78));
    }
}
