//! A flush is off the wire: the verdict, and what it means for the partner, the bucket and each message.

use std::time::Instant;

use crate::message::settle::{DeadDelivery, DeadReason};
use crate::message::{Account, Answer, Item};

use super::Dispatcher;
use super::bucket::Parcel;
use super::event::Note;
use super::exits::settling::Letter;
use super::flights::Flight;
use super::keys::{BucketKey, FlushId, QueueIndex, Ticket};
use super::ledger::Held;
use super::partner::{Access, PartnerState};
use super::verdict::{Gate, History, Verdict, blame, verdict};
use super::views::why;

/// The part of a partner's answer that a dead letter keeps (1 KiB).
const EXCERPT: usize = 1024;

impl Dispatcher {
    pub(super) fn answered(&mut self, flush: FlushId, answer: &Answer) {
        let Some(flight) = self.partners.landed(flush, self.now) else { return self.stray("the answer to an unknown flush") };
        let mut unwanted: Vec<Ticket> = Vec::new();
        for slip in &flight.parcel.slips {
            if let Some(held) = self.ledger.get_mut(slip.ticket) {
                held.on_wire = held.on_wire.saturating_sub(1);
                if !held.may_be_sent() {
                    unwanted.push(slip.ticket);
                }
            }
        }
        let partner = flight.partner;
        self.times.delivery.observe(self.now.saturating_duration_since(flight.began));
        self.act_upon(flight, answer);
        self.partners.judge(partner, self.now, &mut self.due);
        // What went back into the bucket of these is not sent again.
        for ticket in unwanted {
            self.settle(ticket);
        }
    }

    fn act_upon(&mut self, flight: Flight, answer: &Answer) {
        let Some(bucket) = self.partners.bucket(flight.bucket) else { return };
        let queue = bucket.queue;
        let Flight { bucket: key, partner: partner_key, mut parcel, began, .. } = flight;
        let mut answer = answer;
        if let Answer::Partly { open, rest } = answer {
            let (accepted, left) = parcel.split_by(open);
            if let Some(accepted) = accepted {
                self.well(key, began, accepted.slips.len());
                self.delivered(queue, &accepted);
            }
            // Nothing left: all were accepted after all, and none has to go back.
            let Some(left) = left else { return };
            (parcel, answer) = (left, rest);
        }
        let Some(partner) = self.partners.partner_mut(partner_key) else { return };
        let history = History {
            deliveries: parcel.slips.len(),
            conflicts: parcel.conflicts,
            culprits: partner.culprits,
            on_trial: parcel.doubt.on_trial,
            breaker_failures: partner.rules.breaker_failures,
        };
        let verdict = verdict(answer, history);
        let blame = blame(answer, &verdict);
        parcel.conflicts = if matches!(answer, Answer::Status { code: 409, .. }) { parcel.conflicts + 1 } else { 0 };
        match verdict {
            Verdict::Delivered => {
                self.well(key, began, parcel.slips.len());
                if parcel.doubt.probes
                    && let Some(bucket) = self.partners.bucket_mut(key)
                {
                    bucket.probe_accepted();
                }
                self.delivered(queue, &parcel);
            }
            Verdict::Unavailable { retry_after } => {
                let edge = partner.failed(self.now, began, retry_after, described(answer), &mut self.random);
                self.say_wait(key, edge);
                self.back_in_doubt(key, parcel, blame);
            }
            Verdict::Misconfigured { gate: Gate::Partner } => {
                let edge = partner.misconfigured(self.now, began, described(answer));
                self.say_wait(key, edge);
                self.back_in_doubt(key, parcel, blame);
            }
            Verdict::Misconfigured { gate: Gate::Bucket } => {
                partner.endpoint_refused(described(answer));
                let max_backoff = partner.rules.max_backoff;
                let is_edge = self.partners.bucket_mut(key).is_some_and(|bucket| bucket.gate.refused(self.now, max_backoff));
                self.say_wait(key, is_edge.then_some(PartnerState::Open));
                self.back_in_doubt(key, parcel, blame);
            }
            Verdict::TooLarge => {
                partner.takes_at_most(parcel.slips.len() / 2);
                self.back_halved(key, parcel);
            }
            Verdict::Bisect => self.back_halved(key, parcel),
            Verdict::Culprit { kind } => {
                if let Answer::Status { code, retry_after, .. } = answer {
                    partner.refused_one(self.now, *code, *retry_after);
                }
                self.all_dead(queue, &parcel, kind, answer);
            }
            Verdict::Impossible => self.all_dead(queue, &parcel, "impossible", answer),
        }
    }

    /// The partner took so many deliveries out of this bucket.
    fn well(&mut self, key: BucketKey, began: Instant, deliveries: usize) {
        let Some(bucket) = self.partners.bucket_mut(key) else { return };
        let (partner_key, refusals) = (bucket.partner, bucket.gate.succeeded());
        let Some(partner) = self.partners.partner_mut(partner_key) else { return };
        partner.drain.accepted(deliveries, began, self.now);
        let failures = partner.succeeded(self.now.saturating_duration_since(began)).max(refusals);
        if failures > 0 {
            let account = partner.account.clone();
            // What is hidden for its sake waits for no next try.
            partner.shows_at = None;
            self.partners.list_all_of(partner_key);
            self.note(Note::PartnerWell { account, after_failures: failures });
        }
    }

    fn delivered(&mut self, queue: QueueIndex, parcel: &Parcel) {
        for (slip, item) in parcel.slips.iter().zip(&parcel.batch.items) {
            let held = self.ledger.get_mut(slip.ticket);
            // Some of these may be rows of its parking; they take its places.
            if let Some(queue) = self.queues.get_mut(held.as_ref().map_or(queue, |held| held.queue)) {
                queue.counts.delivered += 1;
            }
            let Some(held) = held else { continue };
            held.open = held.open.saturating_sub(1);
            held.accepted = held.accepted.saturating_add(1);
            held.settled(item.index, &parcel.batch.account);
            held.bytes = held.bytes.saturating_sub(item.payload.len());
            self.room.drop_bytes(queue, item.payload.len());
        }
        // Only now: a batch may hold several deliveries of one message, and all of them are accepted.
        for slip in &parcel.slips {
            self.settle(slip.ticket);
        }
    }

    /// Once stopped by force, nothing goes back into a bucket: it is returned.
    pub(super) fn back_into_bucket(&mut self, key: BucketKey, parcel: Parcel) {
        if self.phase.is_forced() {
            return self.return_parcel(&parcel);
        }
        if let Some(bucket) = self.partners.bucket_mut(key) {
            bucket.put_back(parcel);
        }
        self.partners.list(key);
        self.return_what_cannot_leave(key);
    }

    pub(super) fn back_halved(&mut self, key: BucketKey, parcel: Parcel) {
        if self.phase.is_forced() {
            return self.return_parcel(&parcel);
        }
        if let Some(bucket) = self.partners.bucket_mut(key) {
            bucket.put_back_halved(parcel);
        }
        self.partners.list(key);
    }

    fn return_parcel(&mut self, parcel: &Parcel) {
        for slip in parcel.slips.iter().rev() {
            self.leave_by_return(slip.ticket, self.now);
        }
    }

    fn all_dead(&mut self, queue: QueueIndex, parcel: &Parcel, kind: &'static str, answer: &Answer) {
        let text = described(answer);
        for (slip, item) in parcel.slips.iter().zip(&parcel.batch.items) {
            let reason = DeadReason { kind, text: text.to_string() };
            self.delivery_dead(queue, slip.ticket, &parcel.batch.account, item, reason);
        }
    }

    /// One delivery becomes a dead letter; with it the message, where it led to no other.
    pub(super) fn delivery_dead(
        &mut self,
        index: QueueIndex,
        ticket: Ticket,
        account: &Account,
        item: &Item,
        reason: DeadReason,
    ) {
        if self.circulates(ticket) {
            return self.circulate(ticket, &reason);
        }
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        let Some(queue) = self.queues.get_mut(index) else { return };
        queue.counts.deliveries_dead += 1;
        held.open = held.open.saturating_sub(1);
        held.dead += 1;
        held.special_mut().why = Some(reason.kind);
        let delivery = DeadDelivery { account: account.clone(), index: item.index, payload: item.payload.clone() };
        if item.index.is_none() || held.special().row.is_some() {
            self.leave_with_letter(ticket, Some(delivery), reason);
            return;
        }
        held.special_mut().letters += 1;
        queue.settling.set_aside(Letter { ticket, delivery: Some(delivery), reason, last: false });
    }

    /// Deliveries that are older than their partner's `give_up_after` become dead letters.
    pub(super) fn give_up(&mut self, key: BucketKey) {
        let Some(bucket) = self.partners.bucket(key) else { return };
        let (queue, partner_key) = (bucket.queue, bucket.partner);
        let Some(partner) = self.partners.partner(partner_key) else { return };
        let Some(give_up_after) = partner.rules.give_up_after else { return };
        let account = partner.account.clone();
        let error = partner.last_error.as_deref().unwrap_or("none").to_owned();
        let Some(before) = self.now.checked_sub(give_up_after) else { return };
        let expired = self.partners.bucket_mut(key).map(|bucket| bucket.expire(before)).unwrap_or_default();
        self.partners.touch(partner_key);
        for (ticket, item) in expired {
            // Some of these are on their way back to their queue, or lost.
            if !self.ledger.get(ticket).is_some_and(Held::may_be_sent) {
                continue;
            }
            let text = format!("not delivered within give_up_after = {give_up_after:?}; last error: {error}");
            self.delivery_dead(queue, ticket, &account, &item, DeadReason { kind: "expired", text });
        }
    }

    /// Says that the partner waits, where that is an edge: the first failure, the breaker's opening, the first refusal of a bucket.
    fn say_wait(&mut self, key: BucketKey, edge: Option<PartnerState>) {
        let Some(state) = edge else { return };
        let Some(bucket) = self.partners.bucket(key) else { return };
        let Some(partner) = self.partners.partner(bucket.partner) else { return };
        let next = self.next_attempt(key).unwrap_or(self.now);
        self.note(Note::PartnerWaits {
            account: partner.account.clone(),
            queue: bucket.queue,
            state,
            reason: partner.last_error.as_deref().unwrap_or_default().to_owned(),
            failures: why::failures(partner, bucket),
            next_attempt_in: next.saturating_duration_since(self.now),
        });
    }

    /// While it drains, what its partner will not take before the end is returned at once.
    pub(super) fn return_what_cannot_leave(&mut self, key: BucketKey) {
        let Some(deadline) = self.phase.deadline() else { return };
        if self.next_attempt(key).is_none_or(|at| at < deadline) {
            return;
        }
        let waiting = self.partners.bucket_mut(key).map(|bucket| bucket.drain()).unwrap_or_default();
        for ticket in waiting.into_iter().rev() {
            self.give_back(ticket, self.now);
        }
        self.let_go();
    }

    /// When the bucket may flush next, where a wait is set. A pause has no end that is known: it counts as the longest back-off.
    pub(super) fn next_attempt(&self, key: BucketKey) -> Option<Instant> {
        match self.partners.access(key, self.now)? {
            Access::Open | Access::Busy => None,
            Access::At(at, _) => Some(at),
            Access::Paused => {
                let partner = self.partners.partner(self.partners.bucket(key)?.partner)?;
                Some(self.now + partner.rules.max_backoff)
            }
        }
    }
}

/// An answer in words: for logs, status and dead letters.
fn described(answer: &Answer) -> Box<str> {
    match answer {
        Answer::Accepted => "accepted".into(),
        Answer::Status { code, excerpt, .. } if excerpt.is_empty() => format!("answered {code}").into(),
        Answer::Status { code, excerpt, .. } => {
            let end = excerpt.floor_char_boundary(EXCERPT);
            format!("answered {code}: {}", excerpt.get(..end).unwrap_or_default()).into()
        }
        Answer::Unreachable { reason } | Answer::Refused { reason } => reason.clone(),
        Answer::Partly { rest, .. } => described(rest),
    }
}
