//! A flush is off the wire: finds the verdict, and what follows from it for the partner, the bucket and each message.
//! Part of the dispatcher's state machine.

use std::time::Instant;

use crate::message::dead::{DeadKind, DeadReason};
use crate::message::{Answer, MAX_EXCERPT};

use super::Dispatcher;
use super::bucket::Parcel;
use super::bucket::head::Stance;
use super::event::Note;
use super::flights::Flight;
use super::keys::{BucketKey, FlushId, QueueIndex, Ticket};
use super::partner::PartnerState;
use super::verdict::{Gate, History, Verdict, verdict};

impl Dispatcher {
    /// Takes in the answer to a flush.
    pub(super) fn answered(&mut self, flush: FlushId, answer: &Answer) {
        let Some(flight) = self.partners.landed(flush, self.now) else { return self.stray("the answer to an unknown flush") };
        let mut unwanted: Vec<Ticket> = Vec::new();
        for slip in &flight.parcel.slips {
            if let Some(held) = self.ledger.get_mut(slip.ticket) {
                held.landed();
                if !held.may_be_sent() {
                    unwanted.push(slip.ticket);
                }
            }
        }
        let partner = flight.partner;
        self.times.delivery.observe(self.now.saturating_duration_since(flight.began));
        self.act_upon(flight, answer);
        self.partners.judge(partner, self.now, &mut self.due);
        // The messages that may not be sent any more leave now: their deliveries may be back in the bucket.
        for ticket in unwanted {
            self.leave_if_done(ticket);
            self.let_nobody_overtake(ticket);
        }
    }

    /// Acts upon the answer. If it accepts only a part of the batch, the verdict is about the rest.
    fn act_upon(&mut self, flight: Flight, answer: &Answer) {
        let Some(bucket) = self.partners.bucket(flight.bucket) else { return };
        let (queue, culprits_of_bucket) = (bucket.queue, bucket.culprits);
        let Flight { bucket: key, partner: partner_key, mut parcel, began, .. } = flight;
        let mut answer = answer;
        if let Answer::Partly { accepted, rest } = answer {
            let (accepted, left) = parcel.split_by(accepted);
            if let Some(accepted) = accepted {
                self.well(key, began, accepted.slips.len());
                self.delivered(queue, &accepted);
            }
            // Nothing is left: all deliveries were accepted after all.
            let Some(left) = left else { return };
            (parcel, answer) = (left, rest);
        }
        let Some(partner) = self.partners.partner_mut(partner_key) else { return };
        let history = History {
            deliveries: parcel.slips.len(),
            conflicts: parcel.conflicts,
            culprits: partner.culprits,
            culprits_of_bucket,
            on_trial: parcel.doubt.stance == Stance::OnTrial,
            breaker_failures: partner.rules.breaker_failures,
        };
        let verdict = verdict(answer, history);
        let asks = match answer {
            Answer::Status { retry_after: Some(wait), .. } => partner.asks_to_wait(self.now, *wait),
            _ => false,
        };
        // A failure is said and shown anyway. Otherwise the wait would begin in silence, and without a reason to show.
        let asks = asks && !verdict.is_failure();
        if asks {
            partner.last_error = Some(described(answer));
        }
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
            Verdict::Unavailable { retry_after, blame } => {
                let edge = partner.failed(self.now, began, retry_after, described(answer), &mut self.random);
                self.say_wait(key, edge);
                self.back_in_doubt(key, parcel, blame);
            }
            Verdict::Misconfigured { gate: Gate::Partner, blame } => {
                let edge = partner.misconfigured(self.now, began, described(answer));
                self.say_wait(key, edge);
                self.back_in_doubt(key, parcel, blame);
            }
            Verdict::Misconfigured { gate: Gate::Bucket, blame } => {
                let error = described(answer);
                partner.endpoint_refused(error.clone());
                let max_backoff = partner.rules.max_backoff;
                let bucket = self.partners.bucket_mut(key);
                let is_edge = bucket.is_some_and(|bucket| bucket.gate.refused(self.now, max_backoff, error));
                self.say_wait(key, is_edge.then_some(PartnerState::Open));
                self.back_in_doubt(key, parcel, blame);
            }
            Verdict::TooLarge => {
                partner.batch_size.refused(parcel.slips.len());
                self.back_halved(key, parcel);
            }
            Verdict::Bisect => self.back_halved(key, parcel),
            Verdict::Culprit { kind } => {
                if kind == DeadKind::TooLarge {
                    partner.batch_size.culprit_found(parcel.within);
                }
                partner.refused_one(matches!(answer, Answer::Status { code: 500.., .. }));
                if let Some(bucket) = self.partners.bucket_mut(key) {
                    bucket.culprits = bucket.culprits.saturating_add(1);
                }
                self.all_dead(&parcel, kind, answer);
            }
            Verdict::Impossible => self.all_dead(&parcel, DeadKind::Impossible, answer),
        }
        self.say_wait(key, asks.then_some(PartnerState::BackingOff));
    }

    /// Records that the partner accepted this many deliveries of the bucket, and logs it if that ends a wait.
    fn well(&mut self, key: BucketKey, began: Instant, deliveries: usize) {
        let Some(bucket) = self.partners.bucket_mut(key) else { return };
        (bucket.accepted, bucket.culprits) = (bucket.accepted.wrapping_add(1), 0);
        let (partner_key, refusals) = (bucket.partner, bucket.gate.succeeded());
        let Some(partner) = self.partners.partner_mut(partner_key) else { return };
        let (was_away, asked_wait_is_over) = (partner.is_away(), partner.drop_asked_wait(self.now));
        partner.drain.accepted(deliveries, began, self.now);
        partner.batch_size.accepted(deliveries, partner.rules.max_batch);
        let failures = partner.succeeded(self.now, self.now.saturating_duration_since(began)).max(refusals);
        if failures > 0 || was_away || asked_wait_is_over {
            // The messages that are hidden for this partner need not wait for its next attempt any more.
            partner.shows_at = None;
        }
        if failures > 0 || asked_wait_is_over {
            // While a wait lasts that the partner asked for, what an older flush brings is not its end.
            let well = partner.asked_until(self.now).is_none().then(|| partner.account.clone());
            if let Some(account) = well {
                self.note(Note::PartnerWell { account, after_failures: failures });
            }
        }
    }

    /// Counts the accepted deliveries off their messages, and has each message leave once nothing of it is open.
    fn delivered(&mut self, queue: QueueIndex, parcel: &Parcel) {
        for (slip, item) in parcel.slips.iter().zip(&parcel.batch.items) {
            let held = self.ledger.get_mut(slip.ticket);
            // The batch may hold rows of the queue's parking: they count as deliveries of the parking, but
            // take the queue's places.
            if let Some(queue) = self.queues.get_mut(held.as_ref().map_or(queue, |held| held.queue)) {
                queue.counts.delivered += 1;
            }
            let Some(held) = held else { continue };
            let freed = held.delivered(item.index, &parcel.batch.account, item.payload.len());
            self.room.regain(queue, freed);
        }
        // Only now: several deliveries of the batch may belong to one message.
        for slip in &parcel.slips {
            self.leave_if_done(slip.ticket);
        }
    }

    /// Puts a batch back into its bucket, or returns its messages to their queue once the dispatcher was stopped by
    /// force.
    pub(super) fn back_into_bucket(&mut self, key: BucketKey, parcel: Parcel) {
        if self.phase.is_forced() {
            return self.return_parcel(&parcel);
        }
        if let Some(bucket) = self.partners.bucket_mut(key) {
            bucket.put_back(parcel);
        }
        self.partners.list(key);
    }

    /// Puts a batch back into its bucket in two halves, unless the dispatcher was stopped by force.
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

    /// Sets all deliveries of the batch aside as dead letters, with the answer as the reason.
    fn all_dead(&mut self, parcel: &Parcel, kind: DeadKind, answer: &Answer) {
        let text = described(answer);
        for (slip, item) in parcel.slips.iter().zip(&parcel.batch.items) {
            let reason = DeadReason { kind, text: text.to_string() };
            self.delivery_dead(slip.ticket, &parcel.batch.account, item, reason);
        }
    }

    /// Logs that the partner waits, if `edge` says that this is new: the first failure, the opening of the breaker, or
    /// the first refusal of a bucket.
    fn say_wait(&mut self, key: BucketKey, edge: Option<PartnerState>) {
        let Some(state) = edge else { return };
        let Some(bucket) = self.partners.bucket(key) else { return };
        let Some(partner) = self.partners.partner(bucket.partner) else { return };
        let next = self.partners.next_attempt(key, self.now).unwrap_or(self.now);
        self.note(Note::PartnerWaits {
            account: partner.account.clone(),
            queue: bucket.queue,
            state,
            reason: partner.last_error.as_deref().unwrap_or_default().to_owned(),
            failures: partner.failures_at(bucket),
            next_attempt_in: next.saturating_duration_since(self.now),
        });
    }
}

/// Describes an answer in words: for logs, status and dead letters.
fn described(answer: &Answer) -> Box<str> {
    match answer {
        Answer::Accepted => "accepted".into(),
        Answer::Status { code, excerpt, .. } if excerpt.is_empty() => format!("answered {code}").into(),
        Answer::Status { code, excerpt, .. } => {
            let end = excerpt.floor_char_boundary(MAX_EXCERPT);
            format!("answered {code}: {}", excerpt.get(..end).unwrap_or_default()).into()
        }
        Answer::Unreachable { reason } | Answer::Refused { reason, .. } => reason.clone(),
        Answer::Partly { rest, .. } => described(rest),
    }
}
