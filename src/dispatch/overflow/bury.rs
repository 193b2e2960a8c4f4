//! Deliveries that can neither stay in memory nor be returned. If they fill half of the room, or so much of one queue's
//! part that it would stand still, the oldest of them become dead letters; they are redriven once their partner takes
//! again. Otherwise partners that are away would stop all others.

use std::time::Duration;

use crate::message::dead::{DeadKind, DeadReason};

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::{QueueIndex, Ticket};
use crate::dispatch::ledger::Held;
use crate::dispatch::overflow::make_room::OncePerMessage;
use crate::dispatch::partners::PART_OF_AWAY;
use crate::dispatch::room::WHOLE;
use crate::dispatch::standing::Holder;

/// A partner that takes is too slow if it would need longer than this for all that it holds and has hidden.
const TOO_SLOW: Duration = Duration::from_secs(3600);

/// The number of holders that are looked at for one whose deliveries may be buried.
const LOOKS: usize = 100;

/// The largest number of deliveries of one holder that become dead letters at once.
const AT_ONCE: usize = 100;

/// The part of the room that a queue always keeps for partners that take, so that it does not stand still.
const KEPT: u64 = WHOLE / 8;

/// The excess of stuck deliveries.
struct TooMuch {
    /// The queue that has too many; `None`: all queues together.
    queue: Option<QueueIndex>,
    /// The part of the room by which they exceed their limit, in billionths.
    by: u64,
}

impl Dispatcher {
    /// Makes dead letters of the oldest stuck deliveries, as long as there are too many.
    pub(in crate::dispatch) fn bury(&mut self) {
        while let Some(TooMuch { queue, by }) = self.stuck_too_much() {
            let may = |holder: &Holder| self.may_be_buried(*holder);
            let Some(holder) = self.partners.stuck(queue).take(LOOKS).find(may) else { break };
            let tickets = self.oldest_stuck(holder, queue, by);
            if tickets.is_empty() {
                // Some have landed or left, or may leave by now: what is stuck is determined anew.
                self.partners.pass_over(holder, self.now, None, &mut self.due);
                continue;
            }
            for ticket in tickets {
                self.bury_of(holder, ticket);
            }
        }
    }

    fn stuck_too_much(&self) -> Option<TooMuch> {
        let all = self.partners.stuck_parts(None);
        if all == 0 || !self.lacks_room() {
            return None;
        }
        let beyond = |queue, most| self.partners.stuck_parts(queue).checked_sub(most).map(|by| TooMuch { queue, by });
        // One of several queues never gets the whole room, and the shares of the partners that are
        // away may all lie within its part.
        let of_one = |index| beyond(Some(index), self.room.most_of(index).saturating_sub(WHOLE / PART_OF_AWAY as u64 + KEPT));
        beyond(None, WHOLE / 2).filter(|_| self.is_tight()).or_else(|| (0..self.queues.len()).find_map(of_one))
    }

    fn may_be_buried(&self, holder: Holder) -> bool {
        self.partners.is_away(holder) || self.ahead(holder) > TOO_SLOW
    }

    /// Returns the oldest messages, of one queue or of any, that the holder has waiting and that may not
    /// leave, worth this part of the room.
    fn oldest_stuck(&self, holder: Holder, queue: Option<QueueIndex>, parts: u64) -> Vec<Ticket> {
        let Some(key) = self.partners.partner_of(holder) else { return Vec::new() };
        let mut buckets: Vec<_> = self.partners.buckets_held_by(holder).filter(|bucket| !bucket.is_empty()).collect();
        buckets.sort_by_key(|bucket| bucket.oldest());
        let (mut tickets, mut found) = (Vec::new(), 0);
        let mut may_shed = OncePerMessage::default();
        for slip in buckets.into_iter().flat_map(|bucket| bucket.oldest_first()) {
            if found > parts || tickets.len() >= AT_ONCE {
                break;
            }
            let is_meant = |held: &&Held| queue.is_none_or(|queue| queue == held.queue);
            let Some(held) = self.ledger.sendable(slip.ticket).filter(is_meant) else { continue };
            if tickets.last() != Some(&slip.ticket) && !may_shed.of(slip.ticket, || self.may_shed(key, slip.ticket)) {
                found += self.room.part_of_one(held);
                tickets.push(slip.ticket);
            }
        }
        tickets
    }

    /// Makes dead letters of the message's deliveries that this holder has waiting.
    fn bury_of(&mut self, holder: Holder, ticket: Ticket) {
        let reason = self.why_buried(holder, ticket);
        let Some(held) = self.ledger.get(ticket) else { return };
        let index = held.queue;
        let part = self.room.part_of_one(held);
        for spot in held.spots() {
            if self.partners.holder_of(spot.bucket) != Some(holder) {
                continue;
            }
            if let Some((account, item)) = self.partners.take(spot, ticket) {
                self.partners.unstick(holder, index, part);
                self.delivery_dead(ticket, &account, &item, reason.clone());
            }
        }
    }

    fn why_buried(&self, holder: Holder, ticket: Ticket) -> DeadReason {
        let partner = self.partners.partner_of(holder).and_then(|key| self.partners.partner(key));
        let held = self.ledger.get(ticket);
        let waited = held.map(|held| self.now.saturating_duration_since(held.received_at).as_secs()).unwrap_or_default();
        let receives = held.map(|held| held.receives).unwrap_or_default();
        let (kind, what) = if self.partners.is_away(holder) {
            (DeadKind::PartnerUnavailable, "its partner takes nothing".to_owned())
        } else {
            let rate = partner.and_then(|partner| partner.drain.per_second()).unwrap_or_default();
            (DeadKind::PartnerTooSlow, format!("its partner takes {rate:.2} deliveries a second, less than comes for it"))
        };
        let own = self.partners.buckets_held_by(holder).find_map(|bucket| bucket.gate.error());
        let error = own.or(partner.and_then(|partner| partner.error(self.now))).unwrap_or("none");
        let text = format!(
            "{what}; what waits like that and may not be returned fills half of max_in_flight, or all that its queue can spare; held \
             for {waited} s in its receive {receives}; last error: {error}; redrive it once its partner takes deliveries"
        );
        DeadReason { kind, text }
    }
}
