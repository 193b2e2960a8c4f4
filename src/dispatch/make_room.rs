//! What leaves memory: while less than half of the room is free, the partners that hold most beyond their share give up what came last
//! for them. The unavailable never crowd out the available; a backlog of partners that take is given up only for others that need its
//! room. Where it goes is decided in `part`.

use std::time::Duration;

use super::Dispatcher;
use super::keys::{PartnerKey, Ticket};
use super::partners::Overfull;

/// One that holds what may not leave is asked again after so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Deliveries given up at once, at least: a call to the queue has ten entries.
const AT_ONCE: usize = 10;

/// What a partner was found to have for giving up.
#[derive(Debug, Default)]
struct Found {
    /// Messages that may leave, the newest first.
    leave: Vec<Ticket>,
    /// What part of the room is taken by those that may not.
    stuck: u64,
}

impl Dispatcher {
    /// Finds out who holds more than his share, and has as much given up as there has to be.
    pub(super) fn make_room(&mut self) {
        self.partners.divide(self.room.places());
        while let Some(key) = self.partners.next_touched() {
            self.partners.weigh(key, self.now);
            self.show_again(key);
        }
        if self.phase.is_stopping() {
            return;
        }
        while self.is_tight() {
            let Some(overfull) = self.partners.most_overfull(self.now, &mut self.due) else { break };
            self.give_up_most(overfull);
        }
        self.bury();
    }

    pub(super) fn is_tight(&self) -> bool {
        self.room.is_tight(self.ledger.leaving())
    }

    /// Has the most overfull partner give up its newest, until it is not that any more, nor the room short.
    fn give_up_most(&mut self, overfull: Overfull) {
        let Overfull { partner: key, beyond, more_than_next } = overfull;
        // At least a quarter: what may not leave is walked over again each time.
        let wanted = more_than_next.max(beyond / 4).max(AT_ONCE).min(beyond);
        let found = self.look_for(key, wanted, beyond);
        if found.leave.len() < wanted {
            // It would be found again and again.
            let oldest = self.partners.partner(key).and_then(|partner| self.partners.oldest(partner));
            let stuck = oldest.filter(|_| found.stuck > 0).map(|oldest| (oldest, found.stuck));
            self.partners.set_aside(key, self.now + PATIENCE, stuck, &mut self.due);
        }
        for ticket in found.leave {
            if !self.is_tight() {
                break;
            }
            self.part_with(key, ticket);
        }
        self.let_go();
        self.partners.weigh(key, self.now);
    }

    /// Looks at the partner's newest deliveries, so many at most, for some that may leave.
    fn look_for(&self, key: PartnerKey, wanted: usize, most: usize) -> Found {
        let mut found = Found::default();
        let Some(partner) = self.partners.partner(key) else { return found };
        let mut buckets: Vec<_> = self.partners.buckets_of(partner).filter(|bucket| !bucket.is_empty()).collect();
        // First what its endpoint refuses, then what came last.
        buckets.sort_by_key(|bucket| std::cmp::Reverse((bucket.gate.is_shut(), bucket.newest())));
        for slip in buckets.into_iter().flat_map(|bucket| bucket.newest_first()).take(most) {
            if found.leave.len() >= wanted {
                break;
            }
            if self.may_leave(key, slip.ticket) {
                // Of several deliveries to one partner each leads to the same message.
                if found.leave.last() != Some(&slip.ticket) {
                    found.leave.push(slip.ticket);
                }
            } else if let Some(held) = self.ledger.get(slip.ticket).filter(|held| held.may_be_sent()) {
                found.stuck += self.room.part_of_one(held);
            }
        }
        found
    }
}
