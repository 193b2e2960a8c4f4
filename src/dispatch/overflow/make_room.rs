//! What leaves memory unsent. While less than half of the room is free, or a queue gets none of it, the
//! partners that hold most beyond their share shed their newest deliveries. Partners that are away never
//! crowd out those that take; a backlog of partners that take is shed only if others need the room. `shed`
//! decides where the deliveries go.

use std::collections::HashSet;
use std::time::Duration;

use crate::dispatch::Dispatcher;
use crate::dispatch::bucket::Bucket;
use crate::dispatch::keys::{QueueIndex, Ticket};
use crate::dispatch::ledger::Held;
use crate::dispatch::partners::Overfull;
use crate::dispatch::queue_state::QueueState;
use crate::dispatch::standing::{Holder, Stuck};
use crate::dispatch::waiting::Slip;

/// The time after which a holder of deliveries that may not leave is asked again.
const PATIENCE: Duration = Duration::from_secs(1);

/// The smallest number of deliveries that a holder sheds at once: a call to the queue has ten entries.
const AT_ONCE: usize = 10;

/// The result of a search for deliveries that a holder can shed.
#[derive(Debug, Default)]
struct Found {
    /// The messages that may leave, the newest first.
    leave: Vec<Ticket>,
    /// The part of the room taken by deliveries that may not leave.
    stuck: Stuck,
}

/// The answer to a question about the message of a delivery. Each answer costs a walk over all deliveries of the message,
/// of which a thousand may wait one behind the other in a bucket: the question is put once for all of them.
#[derive(Debug, Default)]
pub(super) struct OncePerMessage {
    last: Option<(Ticket, bool)>,
}

impl OncePerMessage {
    /// Returns the answer for this message; asks unless the delivery before was of the same one.
    pub(super) fn of(&mut self, ticket: Ticket, ask: impl FnOnce() -> bool) -> bool {
        let known = self.last.filter(|(last, _)| *last == ticket);
        let (_, answer) = *self.last.insert(known.unwrap_or_else(|| (ticket, ask())));
        answer
    }
}

impl Dispatcher {
    /// Determines who holds more than its share, and has as much shed as necessary.
    pub(in crate::dispatch) fn make_room(&mut self) {
        self.partners.divide(self.room.places());
        let parks = self.queues.iter().any(|queue| queue.parking.is_some());
        while let Some(key) = self.partners.next_touched() {
            self.partners.weigh(key, self.now, &mut self.due);
            self.show_again(key);
            if parks {
                self.wants_rows_of(key);
            }
        }
        if self.phase.is_stopping() {
            return;
        }
        while self.lacks_room() {
            let Some(overfull) = self.partners.most_overfull(self.now, &mut self.due) else { break };
            self.shed_most(overfull);
        }
        if parks {
            (0..self.queues.len()).for_each(|index| self.shed_rows(index));
        }
        self.bury();
    }

    /// Returns whether less than half of the room is free, in places or in bytes.
    pub(in crate::dispatch) fn is_tight(&self) -> bool {
        self.room.is_tight(self.ledger.leaving())
    }

    /// Returns whether deliveries that nobody takes are in the way of others: less than half of the room is
    /// free, or a queue has no place to ask for, since the rest is reserved for what other queues may receive.
    pub(in crate::dispatch) fn lacks_room(&self) -> bool {
        self.is_tight() || (self.partners.is_anyone_away() && (0..self.queues.len()).any(|index| self.is_short(index)))
    }

    /// Returns whether the queue would ask for messages and has no place for one.
    pub(in crate::dispatch) fn is_short(&self, index: QueueIndex) -> bool {
        let asks = |queue: &QueueState| queue.receives() && queue.intake.is_idle();
        self.queues.get(index).is_some_and(asks) && self.room.is_short_for(index)
    }

    /// Makes the most overfull holder shed its newest deliveries, until it is no longer the most
    /// overfull or the room no longer short.
    fn shed_most(&mut self, overfull: Overfull) {
        let Overfull { holder, beyond, more_than_next } = overfull;
        let Some(key) = self.partners.partner_of(holder) else { return };
        // At least a quarter, since each call walks again over the deliveries that may not leave.
        let wanted = more_than_next.max(beyond / 4).max(AT_ONCE).min(beyond);
        let found = self.look_for(holder, wanted, beyond);
        if found.leave.len() < wanted {
            // Without a pause the holder would be found again and again.
            let stuck = self.partners.oldest(holder).filter(|_| found.stuck.of(None) > 0).map(|oldest| (oldest, found.stuck));
            self.partners.pass_over(holder, self.now + PATIENCE, stuck, &mut self.due);
        }
        for ticket in self.first_of_groups(found.leave) {
            if !self.lacks_room() {
                break;
            }
            self.shed(key, ticket);
        }
        self.act_on_released();
        self.partners.weigh(key, self.now, &mut self.due);
    }

    /// Returns whether all that the bucket has is a front that may be at fault and a row that was read as the proof: it
    /// would be read again at once. It stays until the partner has judged it, unless half of the room is taken.
    pub(in crate::dispatch) fn keeps_its_proof(&self, bucket: &Bucket) -> bool {
        let is_row = |slip: &Slip| self.ledger.get(slip.ticket).is_some_and(Held::is_row);
        bucket.has_just_its_proof() && bucket.newest_first().next().is_some_and(is_row) && !self.is_tight()
    }

    /// Keeps only the first message of each FIFO group: the others of the group go along
    /// with it, all until the same time.
    fn first_of_groups(&self, newest_first: Vec<Ticket>) -> Vec<Ticket> {
        let mut groups = HashSet::new();
        let is_first = |ticket: &Ticket| {
            let Some(held) = self.ledger.get(*ticket) else { return false };
            let is_fifo = self.queues.get(held.queue).is_some_and(|queue| queue.rules.fifo);
            let group = held.message.group.clone().filter(|_| is_fifo);
            group.is_none_or(|group| groups.insert((held.queue, group)))
        };
        let mut first: Vec<_> = newest_first.into_iter().rev().filter(is_first).collect();
        first.reverse();
        first
    }

    /// Searches the holder's newest deliveries, at most `most` of them, for some that may leave.
    fn look_for(&self, holder: Holder, wanted: usize, most: usize) -> Found {
        let mut found = Found::default();
        let Some(key) = self.partners.partner_of(holder) else { return found };
        let mut buckets: Vec<_> = self.partners.buckets_held_by(holder).filter(|bucket| !bucket.is_empty()).collect();
        // Buckets whose endpoint fails come first, then those with the newest deliveries.
        buckets.sort_by_key(|bucket| std::cmp::Reverse((bucket.gate.fails(), bucket.newest())));
        let mut left = most;
        let mut may_shed = OncePerMessage::default();
        for bucket in buckets.into_iter().filter(|bucket| !self.keeps_its_proof(bucket)) {
            let mut newer_stays = false;
            for slip in bucket.newest_first() {
                if found.leave.len() >= wanted || left == 0 {
                    return found;
                }
                left -= 1;
                let Some(held) = self.ledger.sendable(slip.ticket) else { continue };
                // Nothing may be on the disk while something newer stays in memory.
                let would_be_overtaken = newer_stays && self.is_shed_to_disk(held);
                let may_leave = may_shed.of(slip.ticket, || self.may_shed(key, slip.ticket));
                if may_leave && !would_be_overtaken {
                    // Several deliveries of one message to the partner share its ticket.
                    if found.leave.last() != Some(&slip.ticket) {
                        found.leave.push(slip.ticket);
                    }
                } else {
                    newer_stays = true;
                    // What only waits for something newer to leave is not stuck: none of it may be buried.
                    if !may_leave {
                        found.stuck.add(held.queue, self.room.part_of_one(held));
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::tickets;

    #[test]
    fn many_deliveries_of_one_message_lead_to_one_question() {
        let (t, mut asked, mut once) = (tickets(2), Vec::new(), OncePerMessage::default());
        for (place, answer) in [(0, true), (0, true), (0, true), (1, false), (1, false), (0, false)] {
            let said = once.of(t[place], || {
                asked.push(place);
                asked.len() == 1
            });
            assert_eq!(said, answer);
        }
        assert_eq!(asked, [0, 1, 0]);
    }
}
