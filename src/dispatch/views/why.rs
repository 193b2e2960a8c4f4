//! Why a partner waits: the report on one partner for operators.

use std::time::Instant;

use serde::Serialize;

use crate::message::Outcome;

use crate::dispatch::Dispatcher;
use crate::dispatch::bucket::Bucket;
use crate::dispatch::bucket::head::Doubt;
use crate::dispatch::health::Class;
use crate::dispatch::keys::BucketKey;
use crate::dispatch::obstacle::{Obstacle, Wait};
use crate::dispatch::partner::{Partner, PartnerState};
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
    /// The error with which the partner fails, or asked for a pause that lasts, or with which the endpoint for one of its queues
    /// refuses; `None` if none of these is so.
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

/// Why a bucket waits that could be flushed.
const FOR_ANOTHER: &str = "another of its queues goes first";

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
        let keyed = |key: BucketKey| Some((key, self.partners.bucket(key)?));
        let longest = |key: BucketKey| Some((self.partners.longest(key)?, keyed(key)?));
        let (longest, oldest) = partner.buckets.iter().filter_map(longest).min_by_key(|(slip, _)| slip.since).unzip();
        // If all that waits is on the disk, that is what the report is about.
        let oldest = oldest.or_else(|| partner.buckets.iter().filter_map(keyed).find(|(_, bucket)| bucket.parked() > 0));
        let since = partner.buckets.iter().filter_map(|key| self.partners.waits_since(key)).min();
        let obstacle = oldest.map_or_else(|| partner.obstacle(None, self.now), |(key, _)| self.obstacle(key));
        let of_queue = |key: BucketKey| Some(self.bucket_report(partner, key, self.partners.bucket(key)?));
        Some(PartnerReport {
            account: partner.account.to_string(),
            state: self.partners.state(partner, self.now),
            reason: match oldest {
                None if held_back > 0 => "a message received before is still with its handler, and order is kept",
                _ => self.reason(partner, oldest, obstacle),
            },
            next_attempt_in_s: self.ends_in_s(obstacle),
            waiting: buckets.iter().map(|bucket| bucket.waits()).sum(),
            parked: buckets.iter().map(|bucket| bucket.parked()).sum(),
            in_flight: partner.flights.len(),
            on_wire_s: self.partners.flushes_since(partner).map(|at| self.now.saturating_duration_since(at).as_secs_f64()),
            held_back,
            hidden: partner.hidden,
            oldest_age_s: since.map(|at| self.age_s(at)),
            failures: buckets.iter().map(|bucket| partner.failures_at(bucket)).fold(partner.failures(), u32::max),
            last_error: buckets
                .iter()
                .find_map(|bucket| partner.error_at(bucket, self.now))
                .or(partner.error(self.now))
                .map(str::to_owned),
            blocked_by: oldest.filter(|(_, bucket)| is_blocked(partner, bucket)).and_then(|(_, bucket)| bucket.front_id()),
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
        let obstacle = self.obstacle(key);
        BucketReport {
            queue: self.queues.get(bucket.queue).map(|queue| queue.rules.name.to_string()).unwrap_or_default(),
            waiting: bucket.waits(),
            parked: bucket.parked(),
            in_flight: bucket.in_flight,
            state: partner.state(Some(bucket), self.now),
            reason: self.reason(partner, Some((key, bucket)), obstacle),
            next_attempt_in_s: self.ends_in_s(obstacle),
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

    /// Returns why the partner waits with what this bucket holds, in words; without a bucket, why it waits at all.
    fn reason(&self, partner: &Partner, bucket: Option<(BucketKey, &Bucket)>, obstacle: Option<Obstacle>) -> &'static str {
        match obstacle {
            Some(Obstacle::Paused) => "an operator paused it",
            Some(Obstacle::Parallel) => "a flush is on the wire",
            Some(Obstacle::Probe) => "its probe is on the wire, and all else waits for the answer",
            Some(Obstacle::InOrder) => "a flush is on the wire, and of a FIFO queue one at a time is",
            Some(Obstacle::Lease) => "the lease of what would be sent next has ended, and is not extended yet",
            Some(Obstacle::Turn { .. }) => FOR_ANOTHER,
            Some(Obstacle::Until(_, Wait::Asked)) => "it asked for a pause (Retry-After)",
            Some(Obstacle::Until(_, Wait::Backoff)) => "it backs off after a failure",
            Some(Obstacle::Until(_, Wait::Breaker)) => {
                let blocked = bucket.filter(|(_, bucket)| is_blocked(partner, bucket));
                blocked.map_or("its breaker is open", |(_, bucket)| self.why_its_head_blocks(bucket))
            }
            Some(Obstacle::Until(_, Wait::Endpoint)) => {
                let blocked = bucket.filter(|(_, bucket)| is_blocked(partner, bucket));
                blocked.map_or("the endpoint for this queue is set up wrongly", |(_, bucket)| self.why_its_head_blocks(bucket))
            }
            Some(Obstacle::Until(_, Wait::Rate)) => "its rate allows no more for now",
            Some(Obstacle::Until(_, Wait::Linger)) => "it lingers for a fuller batch",
            Some(Obstacle::Thread) if partner.health.class() == Class::Well => "no delivery thread is free",
            Some(Obstacle::Thread) => "no delivery thread is free of the half that slow, failing and new partners share",
            None => match bucket {
                Some((key, bucket)) if !bucket.is_empty() => {
                    if self.partners.is_preceded(key) {
                        FOR_ANOTHER
                    } else {
                        "it may go now, and goes once a delivery thread is free"
                    }
                }
                _ => why_nothing_waits(partner, bucket.map(|(_, bucket)| bucket)),
            },
        }
    }

    fn why_its_head_blocks(&self, bucket: &Bucket) -> &'static str {
        if self.queues.get(bucket.queue).is_some_and(|queue| queue.rules.fifo) {
            "its breaker is open, and the delivery at its head may be at fault: it blocks, as order demands, unless skip sets it aside"
        } else if bucket.doubt().is_some_and(|doubt| doubt.refused) {
            "it refused breaker_failures deliveries in a row, and then the one at its head: that one blocks, unless skip sets it aside"
        } else if bucket.is_only_a_doubtful_front() {
            "its breaker is open, and the delivery at its head may be at fault: nothing waits behind it whose fate could tell"
        } else {
            "its breaker is open, and the delivery at its head may be at fault: one behind it is tried, now and then, to tell"
        }
    }

    fn ends_in_s(&self, obstacle: Option<Obstacle>) -> Option<f64> {
        let at = obstacle?.ends_at()?;
        Some(at.saturating_duration_since(self.now).as_secs_f64())
    }

    fn age_s(&self, since: Instant) -> f64 {
        self.now.saturating_duration_since(since).as_secs_f64()
    }
}

/// Returns whether the delivery at the bucket's head has drawn enough answers that may be its own fault, or is
/// refused after too many others.
fn is_blocked(partner: &Partner, bucket: &Bucket) -> bool {
    let Some(Doubt { draws, refused, .. }) = bucket.doubt() else { return false };
    let is_in_doubt = draws > 0 && draws >= partner.rules.breaker_failures;
    (refused && bucket.gate.is_shut()) || (partner.tries_what_is_behind() && (refused || is_in_doubt))
}

/// Returns why nothing is in memory that could be sent, in words.
fn why_nothing_waits(partner: &Partner, bucket: Option<&Bucket>) -> &'static str {
    if bucket.is_some_and(|bucket| bucket.parked() > 0) {
        "what is parked waits for room, or to be read from the disk"
    } else if !partner.flights.is_empty() {
        "all that there is for it is on the wire"
    } else if partner.hidden > 0 && (bucket.is_none() || !partner.buckets.are_several()) {
        // Whose bucket they left is not known if there are several.
        "its messages were returned, and are hidden in their queue for now"
    } else {
        "nothing waits for it"
    }
}
