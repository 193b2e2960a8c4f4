//! What leaves memory: while less than half of the room is free, or a queue gets none of it, the partners that hold most beyond their
//! share give up what came last for them. The unavailable never crowd out the available; a backlog of partners that take is given up only
//! for others that need its room. Where it goes is decided in `part`.

use std::collections::HashSet;
use std::time::Duration;

use crate::dispatch::keys::{PartnerKey, QueueIndex, Ticket};
use crate::dispatch::partners::Overfull;
use crate::dispatch::standing::Stuck;
use crate::dispatch::{Dispatcher, QueueState};

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
    stuck: Stuck,
}

impl Dispatcher {
    /// Finds out who holds more than its share, and has as much given up as there has to be.
    pub(in crate::dispatch) fn make_room(&mut self) {
        self.partners.divide(self.room.places());
        while let Some(key) = self.partners.next_touched() {
            self.partners.weigh(key, self.now);
            self.show_again(key);
        }
        if self.phase.is_stopping() {
            return;
        }
        while self.lacks_room() {
            let Some(overfull) = self.partners.most_overfull(self.now, &mut self.due) else { break };
            self.give_up_most(overfull);
        }
        self.bury();
    }

    pub(in crate::dispatch) fn is_tight(&self) -> bool {
        self.room.is_tight(self.ledger.leaving())
    }

    /// Whether what is held for partners that are away is in the way of others: less than half of the room is free, or a queue has no
    /// place to ask for, since the rest is reserved for what others may receive.
    pub(in crate::dispatch) fn lacks_room(&self) -> bool {
        self.is_tight() || (self.partners.is_anyone_away() && (0..self.queues.len()).any(|index| self.is_short(index)))
    }

    /// The queue would ask for messages and has no place for one.
    fn is_short(&self, index: QueueIndex) -> bool {
        let asks = |queue: &QueueState| queue.is_serving() && queue.parks_for.is_none() && queue.intake.is_idle();
        self.queues.get(index).is_some_and(asks) && self.room.is_short_for(index)
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
            let stuck = oldest.filter(|_| found.stuck.of(None) > 0).map(|oldest| (oldest, found.stuck));
            self.partners.pass_over(key, self.now + PATIENCE, stuck, &mut self.due);
        }
        for ticket in self.first_of_groups(found.leave) {
            if !self.lacks_room() {
                break;
            }
            self.part_with(key, ticket);
        }
        self.let_go();
        self.partners.weigh(key, self.now);
    }

    /// Of several of one FIFO group the first only: the others go along with it, all of them until the same time.
    fn first_of_groups(&self, newest_first: Vec<Ticket>) -> Vec<Ticket> {
        let mut groups = HashSet::new();
        let is_first = |ticket: &Ticket| {
            let Some(held) = self.ledger.get(*ticket) else { return false };
            let is_fifo = self.queues.get(held.queue).is_some_and(|queue| queue.intake.rules.fifo);
            let group = held.message.group.clone().filter(|_| is_fifo);
            group.is_none_or(|group| groups.insert((held.queue, group)))
        };
        let mut first: Vec<_> = newest_first.into_iter().rev().filter(is_first).collect();
        first.reverse();
        first
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
                found.stuck.add(held.queue, self.room.part_of_one(held));
            }
        }
        found
    }
}
