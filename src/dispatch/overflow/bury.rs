//! What can neither stay nor go: where what should be given up and may not be returned fills half of the room, or of one queue so much
//! that it would stand still, the oldest of it become dead letters, from which they are redriven once their partner takes. Else the
//! unavailable would stop everybody.

use std::time::Duration;

use crate::message::settle::DeadReason;

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::{PartnerKey, QueueIndex, Ticket};
use crate::dispatch::ledger::Held;
use crate::dispatch::partner::Partner;
use crate::dispatch::partners::PART_OF_AWAY;
use crate::dispatch::room::WHOLE;

/// A partner that takes is too slow where it would be busy for longer with what it holds and has hidden.
const TOO_SLOW: Duration = Duration::from_secs(3600);

/// Partners looked at for one of whom something may be buried.
const LOOKS: usize = 100;

/// Deliveries of one partner that become dead letters at once.
const AT_ONCE: usize = 100;

/// What a queue keeps, of the room that it may have at most, for partners that take: else it would stand still.
const KEPT: u64 = WHOLE / 8;

/// More is stuck than may be.
struct TooMuch {
    /// Of one queue, or of all.
    queue: Option<QueueIndex>,
    /// By that part of the room.
    by: u64,
}

impl Dispatcher {
    /// Has the oldest of what is stuck become dead letters, as long as too much is.
    pub(in crate::dispatch) fn bury(&mut self) {
        while let Some(TooMuch { queue, by }) = self.stuck_too_much() {
            let may = |key: &PartnerKey| self.partners.partner(*key).is_some_and(|partner| self.may_be_buried(partner));
            let Some(key) = self.partners.stuck(queue).take(LOOKS).find(may) else { break };
            let tickets = self.oldest_stuck(key, queue, by);
            if tickets.is_empty() {
                // Some landed or left, or may leave by now: it is found out anew what does not.
                self.partners.pass_over(key, self.now, None, &mut self.due);
                continue;
            }
            for ticket in tickets {
                self.bury_of(key, ticket);
            }
        }
    }

    fn stuck_too_much(&self) -> Option<TooMuch> {
        let all = self.partners.stuck_parts(None);
        if all == 0 || !self.lacks_room() {
            return None;
        }
        let beyond = |queue, most| self.partners.stuck_parts(queue).checked_sub(most).map(|by| TooMuch { queue, by });
        // One of several queues never gets the whole room, and the shares of those that are away may all be its own.
        let of_one = |index| beyond(Some(index), self.room.most_of(index).saturating_sub(WHOLE / PART_OF_AWAY as u64 + KEPT));
        beyond(None, WHOLE / 2).filter(|_| self.is_tight()).or_else(|| (0..self.queues.len()).find_map(of_one))
    }

    fn may_be_buried(&self, partner: &Partner) -> bool {
        partner.is_away() || self.ahead(partner) > TOO_SLOW
    }

    /// The oldest messages, of that queue or of any, that wait for the partner and may not leave, and are worth so much of the room.
    fn oldest_stuck(&self, key: PartnerKey, queue: Option<QueueIndex>, parts: u64) -> Vec<Ticket> {
        let Some(partner) = self.partners.partner(key) else { return Vec::new() };
        let mut buckets: Vec<_> = self.partners.buckets_of(partner).filter(|bucket| !bucket.is_empty()).collect();
        buckets.sort_by_key(|bucket| bucket.oldest());
        let (mut tickets, mut found) = (Vec::new(), 0);
        for slip in buckets.into_iter().flat_map(|bucket| bucket.oldest_first()) {
            if found > parts || tickets.len() >= AT_ONCE {
                break;
            }
            let is_meant = |held: &&Held| held.may_be_sent() && queue.is_none_or(|queue| queue == held.queue);
            let Some(held) = self.ledger.get(slip.ticket).filter(is_meant) else { continue };
            if tickets.last() != Some(&slip.ticket) && !self.may_leave(key, slip.ticket) {
                found += self.room.part_of_one(held);
                tickets.push(slip.ticket);
            }
        }
        tickets
    }

    /// What waits of the message for that partner becomes dead letters.
    fn bury_of(&mut self, key: PartnerKey, ticket: Ticket) {
        let Some(partner) = self.partners.partner(key) else { return };
        let reason = self.why_buried(partner, ticket);
        let Some(held) = self.ledger.get(ticket) else { return };
        let index = held.queue;
        let part = self.room.part_of_one(held);
        for spot in held.spots() {
            if self.partners.bucket(spot.bucket).is_none_or(|bucket| bucket.partner != key) {
                continue;
            }
            if let Some((account, item)) = self.partners.take(spot, ticket) {
                self.partners.unstick(key, index, part);
                self.delivery_dead(index, ticket, &account, &item, reason.clone());
            }
        }
    }

    fn why_buried(&self, partner: &Partner, ticket: Ticket) -> DeadReason {
        let held = self.ledger.get(ticket);
        let waited = held.map(|held| self.now.saturating_duration_since(held.received_at).as_secs()).unwrap_or_default();
        let receives = held.map(|held| held.receives).unwrap_or_default();
        let what = if partner.is_away() {
            "its partner takes nothing".to_owned()
        } else {
            let rate = partner.drain.per_second().unwrap_or_default();
            format!("its partner takes {rate:.2} deliveries a second, less than comes for it")
        };
        let error = partner.last_error.as_deref().unwrap_or("none");
        let text = format!(
            "{what}; what waits like that and may not be returned fills half of max_in_flight, or all that its queue can spare; held \
             for {waited} s in its receive {receives}; last error: {error}; redrive it once its partner takes deliveries"
        );
        DeadReason { kind: partner.why_given_up(), text }
    }
}
