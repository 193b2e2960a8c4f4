//! Shows returned messages again once their partner takes: the first sent first, no faster than the partner takes, and
//! only while it holds little else. Otherwise an outage's backlog would stay hidden for hours after it.

use std::time::Duration;

use smallvec::SmallVec;

use crate::dispatch::Dispatcher;
use crate::dispatch::bucket::Bucket;
use crate::dispatch::keys::{PartnerKey, QueueIndex};
use crate::dispatch::obstacle::Obstacle;
use crate::dispatch::parking::Lot;
use crate::dispatch::partner::Partner;
use crate::dispatch::standing::Holder;
use crate::dispatch::timer::Timer;

/// The time after which a partner is looked at again if nothing may be shown now.
const LATER: Duration = Duration::from_secs(1);

/// The number of messages shown at once if there is no reason for fewer: the entries of one call.
const AT_ONCE: usize = 10;

/// The assumed rate, in deliveries per second, of a partner that has accepted nothing yet.
const UNKNOWN: f32 = 1.0;

impl Dispatcher {
    /// Shows some of the messages that are hidden because of this partner, if it is time.
    pub(in crate::dispatch) fn show_again(&mut self, key: PartnerKey) {
        let Some(partner) = self.partners.partner(key).filter(|partner| partner.hidden > 0) else { return };
        if self.phase.is_stopping() {
            return;
        }
        if partner.is_away() {
            return self.show_for_a_try(Holder::Partner(key));
        }
        let holders = partner.buckets.iter().filter_map(|bucket| self.partners.holder_of(bucket));
        let refuse: SmallVec<[Holder; 1]> = holders.filter(|holder| *holder != Holder::Partner(key)).collect();
        refuse.into_iter().for_each(|holder| self.show_for_a_try(holder));
        self.show_as_it_takes(key);
    }

    /// Shows messages of the queues from which the partner takes, as fast as it takes them.
    fn show_as_it_takes(&mut self, key: PartnerKey) {
        let Some(partner) = self.partners.partner(key) else { return };
        let holder = Holder::Partner(key);
        let next = self.hidden.queue_of_oldest(key, |queue| self.may_show(holder, key, queue));
        if next.is_none() && self.hidden.queue_of_oldest(key, |queue| self.is_hidden_by(holder, queue)).is_none() {
            return;
        }
        let (holds, half) = (self.partners.holds(holder), self.partners.share(holder) / 2);
        let rate = partner.drain.per_second().unwrap_or(UNKNOWN);
        let behind = next.and_then(|next| self.queues.get(next)).is_none_or(|queue| queue.calls.is_behind());
        let wait = match partner.shows_at {
            Some(at) if at > self.now => at - self.now,
            _ if holds >= half || behind || self.lacks_room() => LATER,
            _ => {
                let most = (rate as usize).max(AT_ONCE).min(half - holds);
                let shown = (0..most).take_while(|_| self.show_oldest(holder)).count();
                Duration::try_from_secs_f32(shown as f32 / rate)
                    .unwrap_or(Duration::MAX)
                    .clamp(Duration::from_millis(100), Duration::from_secs(600))
            }
        };
        let Some(partner) = self.partners.partner_mut(key) else { return };
        let at = self.now + wait;
        partner.shows_at = Some(at);
        if partner.hidden > 0 {
            partner.alarm.by(&mut self.due, at, Timer::Partner(key));
        }
    }

    /// Returns whether what comes back of this queue would be returned again at once: something of the bucket is on the
    /// disk, behind which it would have to go, and the disk takes nothing now.
    fn finds_no_place(&self, key: PartnerKey, index: QueueIndex) -> bool {
        let bucket = self.partners.partner(key).and_then(|partner| self.partners.bucket(partner.buckets.of_queue(index)?));
        let lot = bucket.and_then(|bucket| bucket.lot.as_deref());
        lot.is_some_and(Lot::is_open) && self.open_parking(index).is_none()
    }

    /// Returns whether the messages of this queue that are hidden because of the holder's partner are the holder's.
    fn is_hidden_by(&self, holder: Holder, queue: QueueIndex) -> bool {
        match holder {
            Holder::Partner(key) => {
                self.partners.partner(key).is_some_and(Partner::is_away) || !self.partners.is_away_for(key, queue)
            }
            Holder::Bucket(key) => self.partners.bucket(key).is_some_and(|bucket| bucket.queue == queue),
        }
    }

    /// Returns whether messages of this queue that are hidden because of the holder's partner may be shown for the holder.
    fn may_show(&self, holder: Holder, key: PartnerKey, queue: QueueIndex) -> bool {
        self.is_hidden_by(holder, queue) && !self.finds_no_place(key, queue)
    }

    /// Shows one message to try one that is away with: once its wait is over, if it holds nothing else to be tried
    /// with; before that, if all that it holds are fronts that may be at fault, which only what is behind them can prove.
    fn show_for_a_try(&mut self, holder: Holder) {
        let Some(key) = self.partners.partner_of(holder) else { return };
        let Some(partner) = self.partners.partner(key) else { return };
        if self.hidden.queue_of_oldest(key, |queue| self.is_hidden_by(holder, queue)).is_none() {
            return;
        }
        let bucket = match holder {
            Holder::Partner(_) => None,
            Holder::Bucket(key) => self.partners.bucket(key),
        };
        let lacks_proof = |bucket: &Bucket| bucket.on_wire == 0 && (bucket.is_empty() || bucket.lacks_proof());
        let obstacle = match self.partners.holds(holder) {
            0 => partner.obstacle(bucket, self.now),
            _ if self.partners.buckets_held_by(holder).all(lacks_proof) => None,
            _ => return,
        };
        // If the obstacle has no end that is known, a landing flush, or an operator, leads here again.
        let Some(wait_is_over) = obstacle.map_or(Some(self.now), Obstacle::ends_at) else { return };
        let again = partner.rules.max_backoff.max(LATER);
        let shows_at = bucket.map_or(partner.shows_at, |bucket| bucket.gate.shows_at());
        let mut at = shows_at.map_or(wait_is_over, |at| at.max(wait_is_over));
        if at <= self.now {
            let lacks_room = self.lacks_room();
            let is_tried = (!lacks_room || self.has_place_for_a_try(holder)) && self.show_oldest(holder);
            if is_tried && lacks_room {
                self.tries_at = Some(self.now + LATER);
            }
            at = self.now + if is_tried { again } else { LATER };
        }
        match holder {
            Holder::Partner(key) => {
                if let Some(partner) = self.partners.partner_mut(key) {
                    partner.shows_at = Some(at);
                }
            }
            Holder::Bucket(key) => {
                if let Some(bucket) = self.partners.bucket_mut(key) {
                    bucket.gate.show_at(at);
                }
            }
        }
        self.partners.look_again(holder, at, &mut self.due);
    }

    /// Returns whether one message of a holder that has nothing is within its share although the room is short: that one does not
    /// leave again. One a second at most, since those that are on their way do not count yet.
    fn has_place_for_a_try(&self, holder: Holder) -> bool {
        let is_due = self.tries_at.is_none_or(|at| at <= self.now);
        is_due && self.partners.holds(holder) == 0 && self.partners.has_share_for_one_more(0)
    }

    fn show_oldest(&mut self, holder: Holder) -> bool {
        let Some(key) = self.partners.partner_of(holder) else { return false };
        let queues: SmallVec<[QueueIndex; 2]> =
            self.hidden.queues_of(key).filter(|queue| self.may_show(holder, key, *queue)).collect();
        let shown = self.hidden.oldest(key, self.now, |queue| queues.contains(&queue));
        let is_shown = shown.is_some();
        if let Some((index, show)) = shown {
            if let Some(queue) = self.queues.get_mut(index) {
                queue.calls.show(show);
            }
            self.count_hidden(index, key);
        } else if let Some(partner) = self.partners.partner_mut(key) {
            partner.hidden = self.hidden.of(key, |_| true);
        }
        is_shown
    }

    /// Forgets the messages that show by themselves by now.
    pub(in crate::dispatch) fn forget_shown(&mut self) {
        while let Some((index, key)) = self.hidden.next_over(self.now) {
            self.count_hidden(index, key);
        }
        if let Some(at) = self.hidden.next_end() {
            self.hidden_alarm.by(&mut self.due, at, Timer::Hidden);
        }
    }

    /// Updates the number of messages hidden of this queue and because of this partner:
    /// fewer or more may be held instead.
    pub(in crate::dispatch) fn count_hidden(&mut self, index: QueueIndex, key: PartnerKey) {
        if let Some(partner) = self.partners.partner_mut(key) {
            partner.hidden = self.hidden.of(key, |_| true);
        }
        self.partners.touch(key);
        if let Some(at) = self.hidden.next_end() {
            self.hidden_alarm.by(&mut self.due, at, Timer::Hidden);
        }
        self.limit_room(index);
    }

    /// Limits the queue's part of the room, since hidden messages count against the limit
    /// of its service as held ones do.
    pub(in crate::dispatch) fn limit_room(&mut self, index: QueueIndex) {
        let Some(limit) = self.queues.get(index).and_then(|queue| queue.facts.hidden_limit) else {
            return self.room.limit(index, usize::MAX);
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // At the limit a receive fails or returns nothing, for every consumer. A quarter of the limit is therefore left
        // to other consumers, or a sixteenth if much is hidden.
        let beside = (limit / 16 * 15).saturating_sub(self.hidden.count(index));
        self.room.limit(index, (limit / 4 * 3).min(beside));
    }
}
