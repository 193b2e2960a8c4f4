//! Where deliveries go that leave memory: to the disk if their queue has a parking, else back to their queue, hidden
//! for some time. Returning is no store: hidden messages count against the queue's limit, and each receive brings a
//! message nearer to the redrive policy's count. A message that may not be returned stays held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dispatch::Dispatcher;
use crate::dispatch::exits::reason::ReturnReason;
use crate::dispatch::keys::{PartnerKey, QueueIndex, Ticket};
use crate::dispatch::ledger::{Held, Stage};
use crate::dispatch::pause::backoff;
use crate::dispatch::standing::Holder;

/// The shortest time for which a message that is returned because of its partner is hidden.
const SHORTEST: Duration = Duration::from_secs(30);

/// The longest time for which a message is hidden, counted from its receive, however often its visibility was changed:
/// the limit of SQS, kept on every queue.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// The largest part by which the hiding time is lengthened at random, so that messages that left
/// together do not come back together.
const JITTER: f64 = 0.5;

/// The largest number of hidden messages of one queue that were returned because of their partners, if its service
/// has no lower limit of its own.
pub(in crate::dispatch) const HIDDEN: usize = 90_000;

impl Dispatcher {
    /// Returns whether the message's deliveries for this partner may leave memory.
    pub(in crate::dispatch) fn may_shed(&self, giver: PartnerKey, ticket: Ticket) -> bool {
        let Some(held) = self.ledger.sendable(ticket) else { return false };
        if held.is_row() {
            held.on_wire() == 0
        } else if self.open_parking(held.queue).is_some() {
            self.may_be_parked(giver, ticket, held)
        } else {
            self.may_be_returned(giver, ticket)
        }
    }

    /// Returns whether [`Dispatcher::shed`] takes the message's deliveries to the disk, or leaves them there.
    pub(in crate::dispatch) fn is_shed_to_disk(&self, held: &Held) -> bool {
        held.is_row() || self.open_parking(held.queue).is_some()
    }

    /// Makes the message's deliveries for this partner leave memory: to the disk, if they are rows of it or their queue
    /// has an open parking, else with the whole message back to its queue.
    pub(in crate::dispatch) fn shed(&mut self, giver: PartnerKey, ticket: Ticket) {
        let Some(held) = self.ledger.get(ticket) else { return };
        if held.is_row() {
            self.forget_row(ticket);
        } else if self.open_parking(held.queue).is_some() {
            self.park(Some(giver), ticket);
        } else {
            self.return_for(giver, ticket);
        }
    }

    /// Returns whether the message may be returned because of this partner: nothing of it is on the wire or waits for
    /// another partner that takes, it may be received once more, and not too many messages of its queue are hidden. On
    /// a FIFO queue the first two conditions must also hold for every message that would follow it.
    pub(in crate::dispatch) fn may_be_returned(&self, giver: PartnerKey, ticket: Ticket) -> bool {
        let Some(held) = self.ledger.sendable(ticket) else { return false };
        let Some(queue) = self.queues.get(held.queue) else { return false };
        if self.hidden.count(held.queue) >= self.hidden_limit(held.queue) || !self.may_come_again(giver, ticket, held) {
            return false;
        }
        let mut behind = queue.order.behind(held.sequence, &held.message);
        behind.all(|ticket| {
            self.ledger.get(ticket).is_none_or(|held| held.is_leaving() || self.may_come_again(giver, ticket, held))
        })
    }

    fn may_come_again(&self, giver: PartnerKey, ticket: Ticket, held: &Held) -> bool {
        !held.is_under_way()
            && !self.is_near_its_end(held)
            && !held.spots().iter().any(|spot| {
                let bucket = self.partners.bucket(spot.bucket).filter(|bucket| bucket.partner != giver);
                bucket.is_some_and(|bucket| {
                    let takes = !self.partners.is_away_for(bucket.partner, bucket.queue);
                    takes && bucket.has(spot.place, ticket)
                })
            })
    }

    /// Returns whether one more receive would bring the message to the count at which it is set aside.
    pub(in crate::dispatch) fn is_near_its_end(&self, held: &Held) -> bool {
        self.last_receive(held.queue).is_some_and(|last| held.receives.saturating_add(1) >= last)
    }

    /// Returns how many messages of the queue may be hidden because of their partners.
    pub(in crate::dispatch) fn hidden_limit(&self, queue: QueueIndex) -> usize {
        let limit = self.queues.get(queue).and_then(|queue| queue.facts.hidden_limit);
        limit.map_or(HIDDEN, |limit| usize::try_from(limit / 4 * 3).unwrap_or(usize::MAX)).min(HIDDEN)
    }

    /// Returns the message to its queue because of this partner. On a FIFO queue the messages behind it in its group
    /// are returned as well, the last first and until the same time.
    pub(in crate::dispatch) fn return_for(&mut self, giver: PartnerKey, ticket: Ticket) {
        let Some(until) = self.back_at(giver, ticket) else { return };
        let Some(held) = self.ledger.sendable(ticket) else { return };
        let (index, sequence, message) = (held.queue, held.sequence, Arc::clone(&held.message));
        if self.hidden.count(index) >= self.hidden_limit(index) {
            // Many were found at once, and those before it have reached the limit.
            return;
        }
        let is_away = self.partners.is_away_for(giver, index);
        let reason = if is_away { ReturnReason::PartnerUnavailable } else { ReturnReason::PartnerTooSlow };
        self.set_return_reason(ticket, reason);
        let Some(queue) = self.queues.get_mut(index) else { return };
        for follower in queue.order.take_along(sequence, &message, until).into_iter().rev() {
            self.send_off(giver, follower, until);
        }
        self.send_off(giver, ticket, until);
        self.sum_up_returned(index, giver, &message.id);
    }

    fn send_off(&mut self, giver: PartnerKey, ticket: Ticket, until: Instant) {
        let Some(held) = self.ledger.get_mut(ticket).filter(|held| !held.is_leaving()) else { return };
        if held.special_mut().shed_by.replace(giver).is_none() {
            self.hidden.leaves(held.queue);
        }
        let handling = held.stage() == Stage::Handling;
        for spot in held.spots() {
            self.partners.take(spot, ticket);
        }
        // A message that is in its handler follows when the handler is done.
        if !handling {
            self.leave_by_return(ticket, until);
        }
    }

    /// Returns when a message that leaves because of this partner shows again: after the longest of half a minute, the
    /// time to the partner's next attempt, and the time that the partner needs at its present rate for what is ahead;
    /// with jitter, and doubled with each receive.
    fn back_at(&mut self, giver: PartnerKey, ticket: Ticket) -> Option<Instant> {
        let partner = self.partners.partner(giver)?;
        let held = self.ledger.get(ticket)?;
        let bucket = partner.buckets.of_queue(held.queue);
        let next = bucket.and_then(|key| self.partners.next_attempt(key, self.now));
        let holder = bucket.and_then(|key| self.partners.holder_of(key)).unwrap_or(Holder::Partner(giver));
        let attempt = next.map_or(Duration::ZERO, |at| at.saturating_duration_since(self.now));
        let wait = SHORTEST.max(attempt).max(self.ahead(holder)).mul_f64(1.0 + JITTER * self.random.f64());
        let left = LONGEST.saturating_sub(self.now.saturating_duration_since(held.renewed_at()));
        Some(self.now + backoff(wait, left, held.receives))
    }

    /// Returns how long it takes at the present rate until everything is taken that the holder has, in memory and hidden;
    /// zero if nothing of it is taken now.
    pub(in crate::dispatch) fn ahead(&self, holder: Holder) -> Duration {
        let Some(key) = self.partners.partner_of(holder).filter(|_| !self.partners.is_away(holder)) else {
            return Duration::ZERO;
        };
        let hidden = self.hidden.of(key, |queue| !self.partners.is_away_for(key, queue));
        let ahead = (self.partners.holds(holder) + hidden) as f32;
        let rate = self.partners.partner(key).and_then(|partner| partner.drain.per_second());
        rate.map_or(Duration::ZERO, |rate| Duration::try_from_secs_f32(ahead / rate).unwrap_or(LONGEST))
    }

    /// Remembers that the queue has hidden the message until this moment, and the receipt with
    /// which it can be shown earlier.
    pub(in crate::dispatch) fn remember_hidden(&mut self, ticket: Ticket, until: Instant) {
        let Some(held) = self.ledger.get(ticket) else { return };
        let Some(giver) = held.special().shed_by else { return };
        let (index, receipt, sent) = (held.queue, held.receipt.clone(), (held.message.sent_at, held.sequence));
        if self.queues.get(index).is_none_or(|queue| !queue.is_serving()) {
            // The message is not ours to show again.
            return;
        }
        self.hidden.remember(index, giver, receipt, sent, until);
        self.count_hidden(index, giver);
    }
}
