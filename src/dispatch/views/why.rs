//! Why a partner waits: what an operator is told about one of them.

use std::time::Instant;

use serde::Serialize;

use crate::message::Outcome;

use crate::dispatch::Dispatcher;
use crate::dispatch::bucket::Bucket;
use crate::dispatch::bucket::head::Doubt;
use crate::dispatch::health::Class;
use crate::dispatch::keys::BucketKey;
use crate::dispatch::partner::{Access, Partner, PartnerState, Wait};
use crate::dispatch::waiting::Slip;

/// One partner, over all queues.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartnerReport {
    pub account: String,
    pub state: PartnerState,
    /// Of its longest-waiting bucket, where something waits.
    pub reason: &'static str,
    pub next_attempt_in_s: Option<f64>,
    /// Deliveries that are not on the wire.
    pub waiting: usize,
    /// Deliveries on the disk that are not in memory, and those on their way there.
    pub parked: u64,
    /// Flushes on the wire.
    pub in_flight: usize,
    /// For how long the oldest of them has been there.
    pub on_wire_s: Option<f64>,
    /// Deliveries that have left their handler and wait for their turn: a message received before them is still with its handler.
    pub held_back: usize,
    /// Messages that were given back to their queue for its sake, and are shown again once it takes what it is sent.
    pub hidden: usize,
    pub oldest_age_s: Option<f64>,
    /// In a row.
    pub failures: u32,
    pub last_error: Option<String>,
    /// The delivery at the head of that bucket, or the first of a batch, where it may be at fault for all that wait.
    pub blocked_by: Option<String>,
    /// Deliveries that one flush may hold, where the partner was found to take fewer than `max_batch`.
    pub learned_batch: Option<usize>,
    pub rate: Option<RateReport>,
    /// Failures in a row after which its breaker opens.
    pub breaker_failures: u32,
    /// Until when the message of its longest-waiting delivery is hidden from other consumers; extended in time while it is held.
    pub lease_ends_in_s: Option<f64>,
    pub queues: Vec<BucketReport>,
}

/// The rate that it is held to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RateReport {
    pub requests: u32,
    pub per_s: f64,
    pub burst: u32,
}

/// What one queue has for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BucketReport {
    pub queue: String,
    pub waiting: usize,
    pub parked: u64,
    pub in_flight: usize,
    pub state: PartnerState,
    pub reason: &'static str,
    pub next_attempt_in_s: Option<f64>,
    pub oldest_age_s: Option<f64>,
    /// In a row: of the partner, or of the endpoint for this queue.
    pub failures: u32,
}

impl Dispatcher {
    /// What is known of the partner; `None`: nothing waits for it, nothing is on the wire, and nothing needs to be remembered. O(messages
    /// held): it looks for what is out of its handler and not in turn yet.
    pub fn partner(&self, account: &str) -> Option<PartnerReport> {
        let held_back = self.held_back(account);
        let known = self.partners.find(account).and_then(|key| self.partners.partner(key));
        let stranger = known.is_none().then(|| self.partners.stranger(account)).filter(|_| held_back > 0);
        let partner = known.or(stranger.as_ref())?;
        let buckets: Vec<&Bucket> = self.partners.buckets_of(partner).collect();
        let longest = |key: &BucketKey| Some((self.partners.longest(*key)?, self.partners.bucket(*key)?));
        let (longest, oldest) = partner.buckets.iter().filter_map(longest).min_by_key(|(slip, _)| slip.since).unzip();
        let access = partner.access(oldest, self.now);
        let of_queue = |key: &BucketKey| Some(self.bucket_report(partner, *key, self.partners.bucket(*key)?));
        Some(PartnerReport {
            account: partner.account.to_string(),
            state: self.partners.state(partner, self.now),
            reason: match oldest {
                None if held_back > 0 => "a message received before is still with its handler, and order is kept",
                _ => self.reason(partner, oldest, access),
            },
            next_attempt_in_s: next_attempt_in_s(partner, oldest, access, self.now),
            waiting: buckets.iter().map(|bucket| bucket.waits()).sum(),
            parked: buckets.iter().map(|bucket| bucket.parked()).sum(),
            in_flight: partner.flights.len(),
            on_wire_s: self.partners.flushes_since(partner).map(|at| self.now.saturating_duration_since(at).as_secs_f64()),
            held_back,
            hidden: partner.hidden,
            oldest_age_s: longest.map(|slip| self.age_s(slip)),
            failures: buckets.iter().map(|bucket| failures(partner, bucket)).fold(partner.failures(), u32::max),
            last_error: partner.last_error.as_deref().map(str::to_owned),
            blocked_by: oldest.filter(|bucket| is_blocked(partner, bucket)).and_then(Bucket::front_id),
            learned_batch: partner.learned_batch,
            rate: partner.rules.rate.map(|(requests, per)| RateReport {
                requests,
                per_s: per.as_secs_f64(),
                burst: partner.rules.burst,
            }),
            breaker_failures: partner.rules.breaker_failures,
            lease_ends_in_s: longest.and_then(|slip| self.lease_ends_in_s(slip)),
            queues: partner.buckets.iter().filter_map(of_queue).collect(),
        })
    }

    pub(in crate::dispatch) fn bucket_report(&self, partner: &Partner, key: BucketKey, bucket: &Bucket) -> BucketReport {
        let access = partner.access(Some(bucket), self.now);
        BucketReport {
            queue: self.queues.get(bucket.queue).map(|queue| queue.name.to_string()).unwrap_or_default(),
            waiting: bucket.waits(),
            parked: bucket.parked(),
            in_flight: bucket.in_flight,
            state: partner.state(Some(bucket), self.now),
            reason: self.reason(partner, Some(bucket), access),
            next_attempt_in_s: next_attempt_in_s(partner, Some(bucket), access, self.now),
            oldest_age_s: self.partners.longest(key).map(|slip| self.age_s(slip)),
            failures: failures(partner, bucket),
        }
    }

    /// Deliveries for that account whose message waits for its turn.
    fn held_back(&self, account: &str) -> usize {
        let outcomes = self.queues.iter().flat_map(|queue| queue.order.held_back()).map(|handled| &handled.outcome);
        let of_account = |outcome: &Outcome| match outcome {
            Outcome::Deliver(deliveries) => deliveries.iter().filter(|delivery| delivery.account == account).count(),
            Outcome::Discard | Outcome::Retry { .. } | Outcome::Reject { .. } => 0,
        };
        outcomes.map(of_account).sum()
    }

    fn lease_ends_in_s(&self, slip: &Slip) -> Option<f64> {
        let held = self.ledger.get(slip.ticket)?;
        Some(held.leased_until.saturating_duration_since(self.now).as_secs_f64())
    }

    fn reason(&self, partner: &Partner, bucket: Option<&Bucket>, access: Access) -> &'static str {
        let blocked = bucket.filter(|bucket| matches!(access, Access::At(_, Wait::Breaker)) && is_blocked(partner, bucket));
        let Some(bucket) = blocked else {
            let of_first = bucket.filter(|bucket| bucket.listed && self.is_first(partner, bucket));
            return reason(partner, bucket, access, of_first.is_some());
        };
        if self.queues.get(bucket.queue).is_some_and(|queue| queue.intake.rules.fifo) {
            "its breaker is open, and the delivery at its head may be at fault: it blocks, as order demands, unless skip sets it aside"
        } else if bucket.doubt().is_some_and(|doubt| doubt.refused) {
            "it refused more deliveries in a row than breaker_failures, and now the one at its head: that one blocks, unless skip sets it aside"
        } else if bucket.is_only_a_doubtful_front() {
            "its breaker is open, and the delivery at its head may be at fault: nothing waits behind it whose fate could tell"
        } else {
            "its breaker is open, and the delivery at its head may be at fault: one behind it is tried, now and then, to tell"
        }
    }

    /// Whether nothing has waited for the partner for longer than what is in this bucket.
    fn is_first(&self, partner: &Partner, bucket: &Bucket) -> bool {
        let others = self.partners.buckets_of(partner).filter(|other| !other.is_empty());
        others.map(|other| other.oldest()).min() == Some(bucket.oldest())
    }

    fn age_s(&self, slip: &Slip) -> f64 {
        self.now.saturating_duration_since(slip.since).as_secs_f64()
    }
}

/// In a row, as this bucket sees them.
pub fn failures(partner: &Partner, bucket: &Bucket) -> u32 {
    partner.failures().max(bucket.gate.refusals())
}

/// Whether what is at its head has drawn enough answers that may be its own fault, or is refused after too many others.
fn is_blocked(partner: &Partner, bucket: &Bucket) -> bool {
    let Some(Doubt { draws, refused, .. }) = bucket.doubt() else { return false };
    partner.is_open() && (refused || (draws > 0 && draws >= partner.rules.breaker_failures))
}

/// `next`: it is the one of the partner's that is looked at next, before the turn ends.
fn reason(partner: &Partner, bucket: Option<&Bucket>, access: Access, next: bool) -> &'static str {
    match access {
        Access::Paused => "an operator paused it",
        Access::Busy if partner.failures() > 0 => "its probe is on the wire, and all else waits for the answer",
        Access::Busy => "a flush is on the wire",
        Access::At(_, Wait::Asked) => "it asked for a pause (Retry-After)",
        Access::At(_, Wait::Backoff) => "it backs off after a failure",
        Access::At(_, Wait::Breaker) => "its breaker is open",
        Access::At(_, Wait::Endpoint) => "the endpoint for this queue is set up wrongly",
        Access::At(_, Wait::Rate) => "its rate allows no more for now",
        Access::Open => match bucket.filter(|bucket| !bucket.is_empty()) {
            None if !partner.flights.is_empty() => "all that there is for it is on the wire",
            None => "nothing waits for it",
            Some(_) if lingers_until(partner, bucket, access).is_some() => "it lingers for a fuller batch",
            Some(_) if next => "it may go now, and goes once a delivery thread is free",
            Some(bucket) if bucket.thread_wait.is_none() => "another of its queues goes first",
            Some(_) if partner.health.class() == Class::Well => "no delivery thread is free",
            Some(_) => "no delivery thread is free of the half that slow, failing and new partners share",
        },
    }
}

/// Until when it waits for more to come, where it does that.
fn lingers_until(partner: &Partner, bucket: Option<&Bucket>, access: Access) -> Option<Instant> {
    let bucket =
        bucket.filter(|bucket| access == Access::Open && bucket.thread_wait.is_none() && !partner.rules.linger.is_zero())?;
    let oldest = bucket.oldest()?;
    // An operator's flush ends the lingering of what was there.
    let hurried = partner.hurried_at.is_some_and(|at| oldest <= at);
    (!hurried).then_some(oldest + partner.rules.linger)
}

fn next_attempt_in_s(partner: &Partner, bucket: Option<&Bucket>, access: Access, now: Instant) -> Option<f64> {
    let at = match access {
        Access::At(at, _) => Some(at),
        Access::Busy | Access::Open | Access::Paused => lingers_until(partner, bucket, access),
    };
    at.map(|at| at.saturating_duration_since(now).as_secs_f64())
}
