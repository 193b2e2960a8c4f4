//! A flush is off the wire: the verdict, and what it means for the partner, the bucket and each message.

use std::time::{Duration, Instant};

use crate::message::settle::{DeadDelivery, DeadReason};
use crate::message::{Account, Answer, Item};

use super::Dispatcher;
use super::bucket::Parcel;
use super::event::Note;
use super::keys::{BucketKey, FlushId, PartnerKey, QueueIndex, Ticket};
use super::ledger::Held;
use super::settling::Letter;
use super::verdict::{Gate, History, Verdict, verdict};

/// The part of a partner's answer that a dead letter keeps (1 KiB).
const EXCERPT: usize = 1024;

impl Dispatcher {
    pub(super) fn answered(&mut self, flush: FlushId, answer: &Answer) {
        let Some(flight) = self.partners.landed(flush, self.now) else { return self.stray("the answer to an unknown flush") };
        let mut parcel = flight.parcel;
        let mut unwanted: Vec<Ticket> = Vec::new();
        for slip in &parcel.slips {
            if let Some(held) = self.ledger.get_mut(slip.ticket) {
                held.on_wire = held.on_wire.saturating_sub(1);
                if !held.may_be_sent() {
                    unwanted.push(slip.ticket);
                }
            }
        }
        let Some(bucket) = self.partners.bucket(flight.bucket) else { return };
        let (queue, partner_key) = (bucket.queue, bucket.partner);
        let mut answer = answer;
        if let Answer::Partly { open, rest } = answer {
            let (accepted, left) = parcel.split_by(open);
            if let Some(accepted) = accepted {
                self.well(partner_key);
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
            breaker_failures: partner.rules.breaker_failures,
        };
        let verdict = verdict(answer, history);
        parcel.conflicts = if matches!(answer, Answer::Status { code: 409, .. }) { parcel.conflicts + 1 } else { 0 };
        match verdict {
            Verdict::Delivered => {
                self.well(partner_key);
                self.delivered(queue, &parcel);
            }
            Verdict::Unavailable { retry_after } => {
                let wait = partner.failed(self.now, retry_after, described(answer), &mut self.random);
                self.partner_waits(flight.bucket, queue, answer, wait);
                self.back_into_bucket(flight.bucket, parcel);
            }
            Verdict::Misconfigured { gate: Gate::Partner } => {
                let wait = partner.misconfigured(self.now, described(answer));
                self.partner_waits(flight.bucket, queue, answer, wait);
                self.back_into_bucket(flight.bucket, parcel);
            }
            Verdict::Misconfigured { gate: Gate::Bucket } => {
                let wait = partner.rules.max_backoff;
                partner.last_error = Some(described(answer));
                if let Some(bucket) = self.partners.bucket_mut(flight.bucket) {
                    bucket.until = Some(self.now + wait);
                }
                self.bucket_waits(flight.bucket, queue, answer, wait);
                self.back_into_bucket(flight.bucket, parcel);
            }
            Verdict::TooLarge => {
                partner.takes_at_most(parcel.slips.len() / 2);
                self.back_halved(flight.bucket, parcel);
            }
            Verdict::Bisect => self.back_halved(flight.bucket, parcel),
            Verdict::Culprit { kind } => {
                partner.culprits += 1;
                self.all_dead(queue, &parcel, kind, answer);
            }
            Verdict::Impossible => self.all_dead(queue, &parcel, "impossible", answer),
        }
        // What went back into the bucket of these is not sent again.
        for ticket in unwanted {
            self.settle(ticket);
        }
    }

    /// The partner took something.
    fn well(&mut self, key: PartnerKey) {
        let Some(partner) = self.partners.partner_mut(key) else { return };
        let failures = partner.succeeded(self.now);
        if failures > 0 {
            let account = partner.account.clone();
            self.partners.list_all_of(key);
            self.note(Note::PartnerWell { account, after_failures: failures });
        }
    }

    fn delivered(&mut self, queue: QueueIndex, parcel: &Parcel) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.counts.delivered += parcel.slips.len() as u64;
        }
        for (slip, item) in parcel.slips.iter().zip(&parcel.batch.items) {
            let Some(held) = self.ledger.get_mut(slip.ticket) else { continue };
            held.open = held.open.saturating_sub(1);
            held.accepted = held.accepted.saturating_add(1);
            held.settled(item.index);
            held.bytes = held.bytes.saturating_sub(item.payload.len());
            self.room.drop_bytes(item.payload.len());
        }
        // Only now: a batch may hold several deliveries of one message, and all of them are accepted.
        for slip in &parcel.slips {
            self.settle(slip.ticket);
        }
    }

    /// Once stopped by force, nothing goes back into a bucket: it is returned.
    fn back_into_bucket(&mut self, key: BucketKey, parcel: Parcel) {
        if self.phase.is_forced() {
            return self.return_parcel(&parcel);
        }
        if let Some(bucket) = self.partners.bucket_mut(key) {
            bucket.put_back(parcel);
        }
        self.partners.list(key);
        self.return_what_cannot_leave(key);
    }

    fn back_halved(&mut self, key: BucketKey, parcel: Parcel) {
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
        let Some(queue) = self.queues.get_mut(index) else { return };
        queue.counts.deliveries_dead += 1;
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        held.open = held.open.saturating_sub(1);
        held.dead += 1;
        let delivery = DeadDelivery { account: account.clone(), index: item.index, payload: item.payload.clone() };
        if item.index.is_none() {
            self.leave_with_letter(ticket, Some(delivery), reason);
            return;
        }
        held.letters += 1;
        queue.settling.set_aside(Letter { ticket, delivery: Some(delivery), reason, last: false });
    }

    /// Deliveries that are older than their partner's `give_up_after` become dead letters.
    pub(super) fn give_up(&mut self, key: BucketKey) {
        let Some(bucket) = self.partners.bucket(key) else { return };
        let (queue, partner) = (bucket.queue, bucket.partner);
        let Some(partner) = self.partners.partner(partner) else { return };
        let Some(give_up_after) = partner.rules.give_up_after else { return };
        let account = partner.account.clone();
        let error = partner.last_error.as_deref().unwrap_or("none").to_owned();
        let Some(before) = self.now.checked_sub(give_up_after) else { return };
        let expired = self.partners.bucket_mut(key).map(|bucket| bucket.expire(before)).unwrap_or_default();
        for (ticket, item) in expired {
            // Some of these are on their way back to their queue, or lost.
            if !self.ledger.get(ticket).is_some_and(Held::may_be_sent) {
                continue;
            }
            let text = format!("not delivered within give_up_after = {give_up_after:?}; last error: {error}");
            self.delivery_dead(queue, ticket, &account, &item, DeadReason { kind: "expired", text });
        }
    }

    /// Says it on the edges: the first failure, and the breaker's opening.
    fn partner_waits(&mut self, key: BucketKey, queue: QueueIndex, answer: &Answer, wait: Duration) {
        let Some(partner) = self.partners.bucket(key).and_then(|bucket| self.partners.partner(bucket.partner)) else { return };
        let opens = partner.failures == partner.rules.breaker_failures;
        if partner.failures == 1 || opens {
            let state = if opens { "open" } else { "backing_off" };
            let (account, failures) = (partner.account.clone(), partner.failures);
            self.note_wait(account, queue, state, answer, failures, wait);
        }
    }

    fn bucket_waits(&mut self, key: BucketKey, queue: QueueIndex, answer: &Answer, wait: Duration) {
        let Some(partner) = self.partners.bucket(key).and_then(|bucket| self.partners.partner(bucket.partner)) else { return };
        let account = partner.account.clone();
        self.note_wait(account, queue, "open", answer, 1, wait);
    }

    fn note_wait(
        &mut self,
        account: Account,
        queue: QueueIndex,
        state: &'static str,
        answer: &Answer,
        failures: u32,
        wait: Duration,
    ) {
        let reason = described(answer).into();
        self.note(Note::PartnerWaits { account, queue, state, reason, failures, next_attempt_in: wait });
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

    /// When the bucket may flush next, where a wait is set.
    pub(super) fn next_attempt(&self, key: BucketKey) -> Option<Instant> {
        let bucket = self.partners.bucket(key)?;
        let partner = self.partners.partner(bucket.partner)?;
        partner.until.max(bucket.until)
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
