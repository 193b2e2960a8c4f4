//! Why a partner waits: the report on one partner for operators.

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

/// The report on one partner, over all queues. The keys are part of the contract with users.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartnerReport {
    /// The partner's account.
    pub account: String,
    /// The partner's state: the worst over all its buckets.
    pub state: PartnerState,
    /// Why the longest-waiting bucket waits, in words.
    pub reason: &'static str,
    /// The time to the next attempt for that bucket, in seconds; `None`: it depends on an event.
    pub next_attempt_in_s: Option<f64>,
    /// The number of deliveries in memory that are not on the wire.
    pub waiting: usize,
    /// The number of deliveries on the disk that are not in memory, and those on their way there.
    pub parked: u64,
    /// The number of flushes on the wire.
    pub in_flight: usize,
    /// How long the oldest of these flushes has been on the wire, in seconds.
    pub on_wire_s: Option<f64>,
    /// The number of deliveries that have left their handler and wait for their turn: a message received before
    /// them is still with its handler.
    pub held_back: usize,
    /// The number of messages that were returned to their queue because of this partner, and are shown
    /// again once it takes its deliveries.
    pub hidden: usize,
    /// How long the oldest delivery has waited, in seconds; if all are on the disk, how long at least. `None`: none waits.
    pub oldest_age_s: Option<f64>,
    /// The number of failures in a row.
    pub failures: u32,
    /// The partner's last error; `None` once a flush is accepted.
    pub last_error: Option<String>,
    /// The id of the delivery at the head of the longest-waiting bucket (of a batch: the first), if it may be at
    /// fault for the wait of all others.
    pub blocked_by: Option<String>,
    /// The largest number of deliveries in one flush, if the partner was found to take fewer than `max_batch`.
    pub learned_batch: Option<usize>,
    /// The partner's rate limit; `None`: it has none.
    pub rate: Option<RateReport>,
    /// The number of failures in a row after which the partner's breaker opens.
    pub breaker_failures: u32,
    /// The time, in seconds, until the message of the longest-waiting delivery shows for other consumers; its lease is
    /// extended in time while it is held.
    pub lease_ends_in_s: Option<f64>,
    /// The partner's buckets, one per queue.
    pub queues: Vec<BucketReport>,
}

/// The rate limit of a partner.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RateReport {
    /// The number of requests that the limit allows per `per_s`.
    pub requests: u32,
    /// The time that the number refers to, in seconds.
    pub per_s: f64,
    /// The number of requests that may go at once after a time without any.
    pub burst: u32,
}

/// The report on one bucket: the partner's deliveries from one queue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BucketReport {
    /// The name of the queue.
    pub queue: String,
    /// The number of deliveries in memory that are not on the wire.
    pub waiting: usize,
    /// The number of deliveries on the disk that are not in memory, and those on their way there.
    pub parked: u64,
    /// The number of flushes on the wire.
    pub in_flight: usize,
    /// The partner's state as far as this bucket is concerned.
    pub state: PartnerState,
    /// Why the bucket waits, in words.
    pub reason: &'static str,
    /// The time to the next attempt, in seconds; `None`: it depends on an event.
    pub next_attempt_in_s: Option<f64>,
    /// How long the oldest delivery has waited, in seconds; if all are on the disk, how long at least. `None`: none waits.
    pub oldest_age_s: Option<f64>,
    /// The number of failures in a row, of the partner or of its endpoint for this queue, the larger of the two.
    pub failures: u32,
}

impl Dispatcher {
    /// Returns the report on a partner; `None` if nothing waits for it, nothing is on the wire and nothing
    /// needs to be remembered. O(messages held), since it searches the deliveries that have left their
    /// handler and wait for their turn.
    pub fn partner(&self, account: &str) -> Option<PartnerReport> {
        let held_back = self.held_back(account);
        let known = self.partners.find(account).and_then(|key| self.partners.partner(key));
        let stranger = known.is_none().then(|| self.partners.stranger(account)).filter(|_| held_back > 0);
        let partner = known.or(stranger.as_ref())?;
        let buckets: Vec<&Bucket> = self.partners.buckets_of(partner).collect();
        let longest = |key: BucketKey| Some((self.partners.longest(key)?, self.partners.bucket(key)?));
        let (longest, oldest) = partner.buckets.iter().filter_map(longest).min_by_key(|(slip, _)| slip.since).unzip();
        // If all that waits is on the disk, that is what the report is about.
        let oldest = oldest.or_else(|| buckets.iter().copied().find(|bucket| bucket.parked() > 0));
        let since = partner.buckets.iter().filter_map(|key| self.partners.waits_since(key)).min();
        let access = partner.access(oldest, self.now);
        let of_queue = |key: BucketKey| Some(self.bucket_report(partner, key, self.partners.bucket(key)?));
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
            oldest_age_s: since.map(|at| self.age_s(at)),
            failures: buckets.iter().map(|bucket| partner.failures_at(bucket)).fold(partner.failures(), u32::max),
            last_error: partner.last_error.as_deref().map(str::to_owned),
            blocked_by: oldest.filter(|bucket| is_blocked(partner, bucket)).and_then(Bucket::front_id),
            learned_batch: partner.batch_size.learned(partner.rules.max_batch),
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
            oldest_age_s: self.partners.waits_since(key).map(|at| self.age_s(at)),
            failures: partner.failures_at(bucket),
        }
    }

    /// Returns the number of deliveries for this account whose message waits for its turn.
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
            if access == Access::Open
                && let Some(reason) = bucket.and_then(|bucket| self.waits_for_its_group(bucket))
            {
                return reason;
            }
            let of_first = bucket.filter(|bucket| bucket.listed && self.is_first(partner, bucket));
            return reason(partner, bucket, access, of_first.is_some());
        };
        if self.queues.get(bucket.queue).is_some_and(|queue| queue.rules.fifo) {
            "its breaker is open, and the delivery at its head may be at fault: it blocks, as order demands, unless skip sets it aside"
        } else if bucket.doubt().is_some_and(|doubt| doubt.refused) {
            "it refused more deliveries in a row than breaker_failures, and now the one at its head: that one blocks, unless skip sets it aside"
        } else if bucket.is_only_a_doubtful_front() {
            "its breaker is open, and the delivery at its head may be at fault: nothing waits behind it whose fate could tell"
        } else {
            "its breaker is open, and the delivery at its head may be at fault: one behind it is tried, now and then, to tell"
        }
    }

    /// Returns why a bucket of a FIFO queue waits although its partner may be tried; `None`: for no reason of its order.
    fn waits_for_its_group(&self, bucket: &Bucket) -> Option<&'static str> {
        let fifo = self.queues.get(bucket.queue).is_some_and(|queue| queue.rules.fifo);
        if !fifo || bucket.is_empty() {
            None
        } else if bucket.in_flight > 0 {
            Some("a flush is on the wire, and of a FIFO queue one at a time is")
        } else {
            self.lacks_lease(bucket).then_some("the lease of what would be sent next has ended, and is not extended yet")
        }
    }

    /// Returns whether no bucket of the partner has waited for longer than this one.
    fn is_first(&self, partner: &Partner, bucket: &Bucket) -> bool {
        let others = self.partners.buckets_of(partner).filter(|other| !other.is_empty());
        others.map(|other| other.oldest()).min() == Some(bucket.oldest())
    }

    fn age_s(&self, since: Instant) -> f64 {
        self.now.saturating_duration_since(since).as_secs_f64()
    }
}

/// Returns whether the delivery at the bucket's head has drawn enough answers that may be its own fault, or is
/// refused after too many others.
fn is_blocked(partner: &Partner, bucket: &Bucket) -> bool {
    let Some(Doubt { draws, refused, .. }) = bucket.doubt() else { return false };
    partner.is_open() && (refused || (draws > 0 && draws >= partner.rules.breaker_failures))
}

/// Returns why the partner waits, in words. `next`: the bucket is the next one of the partner to be
/// looked at before the turn ends.
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
            None if bucket.is_some_and(|bucket| bucket.parked() > 0) => {
                "what is parked waits for room, or to be read from the disk"
            }
            None if !partner.flights.is_empty() => "all that there is for it is on the wire",
            // Whose bucket they left is not known if there are several.
            None if partner.hidden > 0 && (bucket.is_none() || !partner.buckets.are_several()) => {
                "its messages were returned, and are hidden in their queue for now"
            }
            None => "nothing waits for it",
            Some(_) if lingers_until(partner, bucket, access).is_some() => "it lingers for a fuller batch",
            Some(_) if next => "it may go now, and goes once a delivery thread is free",
            Some(bucket) if bucket.thread_wait.is_none() => "another of its queues goes first",
            Some(_) if partner.health.class() == Class::Well => "no delivery thread is free",
            Some(_) => "no delivery thread is free of the half that slow, failing and new partners share",
        },
    }
}

/// Returns until when the bucket lingers for more deliveries; `None` if it does not.
fn lingers_until(partner: &Partner, bucket: Option<&Bucket>, access: Access) -> Option<Instant> {
    let bucket =
        bucket.filter(|bucket| access == Access::Open && bucket.thread_wait.is_none() && !partner.rules.linger.is_zero())?;
    let oldest = bucket.oldest()?;
    // An operator's flush ends the lingering of the deliveries that waited at that moment.
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
