//! What the dispatcher knows, in figures: the keys of status and report.

use std::collections::HashMap;
use std::time::Instant;

use serde::Serialize;

use crate::dispatch::keys::QueueIndex;
use crate::dispatch::partner::PartnerState;
use crate::dispatch::reload::Life;
use crate::dispatch::views::histogram::{self, Histogram};
use crate::dispatch::views::survey::{PartnerCounts, Survey};
use crate::dispatch::views::tally::Tally;
use crate::dispatch::views::why::BucketReport;
use crate::dispatch::{Dispatcher, QueueCounts};

/// A moment of the dispatcher. The keys are a contract.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub state: &'static str,
    pub in_flight: usize,
    pub in_flight_bytes: u64,
    pub queues: Vec<QueueStatus>,
    pub partners: PartnerCounts,
    /// The longest-waiting, longest first.
    pub waiting: Vec<WaitingPartner>,
    pub buckets: usize,
    #[serde(skip)]
    pub times: Times,
}

/// All queues of one name, of which one serves at most: those that it replaced are counted with it.
#[derive(Debug, Clone, Serialize)]
pub struct QueueStatus {
    /// The newest of the name.
    #[serde(skip)]
    pub index: QueueIndex,
    pub name: String,
    /// `serving`; `retiring`: nothing more is received, what is held is delivered; in a report also `gone`: a reload took it away.
    pub state: &'static str,
    /// Those of the name that were replaced, and still deliver what they hold.
    pub replaced: usize,
    pub source: &'static str,
    /// Its name.
    pub handler: String,
    #[serde(flatten)]
    pub counts: QueueCounts,
    /// Of messages held: since their receive, to a tenth of a second.
    pub oldest_age_s: Option<f64>,
    /// Of deliveries that wait: in buckets, and on the wire to partners that are away.
    pub oldest_waiting_s: Option<f64>,
    /// Deliveries that are on the disk now.
    pub parked_now: u64,
    /// Messages held that no handler has seen yet.
    pub handler_pending: usize,
    /// Jobs that the handler is at.
    pub handler_running: usize,
    /// Whether the service has answered anything yet.
    pub reached: bool,
    /// Calls that fail now, with the reason.
    pub failing: Vec<Failing>,
    #[serde(flatten)]
    pub cost: Cost,
    #[serde(skip)]
    pub tally: Tally,
}

/// A kind of call to a queue that failed when it was last made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failing {
    pub doing: &'static str,
    pub reason: String,
}

/// What a queue's requests come to since the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cost {
    /// `None`: no message came yet.
    pub requests_per_message: Option<f64>,
    /// The part of the receives that found nothing.
    pub empty_receive_share: Option<f64>,
    /// An estimate; `None`: requests have no price, or there were too few to tell.
    pub dollars_a_day: Option<f64>,
}

/// How long things took.
#[derive(Debug, Clone)]
pub struct Times {
    /// Flushes, from the hand-over to the answer.
    pub delivery: Histogram,
    /// Messages, from when they were sent until their delete was confirmed.
    pub age: Histogram,
}

impl Default for Times {
    fn default() -> Self {
        Self { delivery: Histogram::new(histogram::DELIVERY), age: Histogram::new(histogram::AGE) }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct WaitingPartner {
    pub account: String,
    pub queue: String,
    /// Deliveries that are not on the wire.
    pub waiting: usize,
    /// Deliveries on the disk.
    pub parked: u64,
    pub in_flight: usize,
    pub state: PartnerState,
    pub reason: String,
    pub next_attempt_in_s: Option<f64>,
    pub oldest_age_s: f64,
    pub failures: u32,
    pub last_error: Option<String>,
}

impl QueueStatus {
    /// A newer queue of the same name goes on with the counts of this one. Of two moments it has the older. What fails is its own: what
    /// fails of one that retires is no reason to say that it is not reached.
    fn is_replaced_by(&mut self, newer: Self) {
        let older = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        let before = std::mem::replace(self, newer);
        self.replaced = before.replaced;
        match (self.state, before.state) {
            (Life::GONE, state) => (self.state, self.failing) = (state, before.failing),
            (_, Life::RETIRING) => self.replaced += 1,
            _ => {}
        }
        self.counts.add(&before.counts);
        self.tally.add(&before.tally);
        self.oldest_age_s = older(self.oldest_age_s, before.oldest_age_s);
        self.oldest_waiting_s = older(self.oldest_waiting_s, before.oldest_waiting_s);
        self.parked_now += before.parked_now;
        self.handler_pending += before.handler_pending;
        self.handler_running += before.handler_running;
    }
}

impl Dispatcher {
    /// A moment in figures, all at once, queues that are gone included: O(partners). A running engine takes a [`Dispatcher::survey`] in
    /// parts instead. What the dispatcher does not know of a queue is left for the caller: `source`, `handler`, `cost`.
    pub fn status(&self) -> Status {
        let mut survey = Survey::default();
        self.survey(&mut survey, usize::MAX);
        let queues = self.queue_statuses(&survey, true);
        Status { queues, ..self.surveyed(survey) }
    }

    /// What the survey saw, and what is known without one.
    pub fn surveyed(&self, survey: Survey) -> Status {
        Status {
            state: match (self.phase.is_finished(), self.phase.is_stopping()) {
                (true, _) => "stopped",
                (false, true) => "draining",
                (false, false) => "running",
            },
            in_flight: self.room.held(),
            in_flight_bytes: self.room.bytes(),
            queues: self.queue_statuses(&survey, false),
            partners: survey.counts.clone(),
            buckets: survey.buckets,
            waiting: self.waiting(survey),
            times: self.times.clone(),
        }
    }

    /// `all`: also those of which nothing is left.
    fn queue_statuses(&self, survey: &Survey, all: bool) -> Vec<QueueStatus> {
        let age_s = |at: Instant| self.now.saturating_duration_since(at).as_secs_f64();
        let mut statuses: Vec<QueueStatus> = Vec::with_capacity(self.queues.len());
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        let each = self.queues.iter().enumerate().map(|(index, queue)| QueueStatus {
            index,
            name: queue.name.to_string(),
            state: queue.life.word(),
            replaced: 0,
            source: "",
            handler: String::new(),
            counts: queue.counts.clone(),
            oldest_age_s: self.ledger.oldest(index).map(age_s),
            oldest_waiting_s: survey.oldest.get(index).copied().flatten().map(age_s),
            parked_now: survey.parked.get(index).copied().unwrap_or(0),
            handler_pending: queue.intake.waiting(),
            handler_running: queue.intake.running(),
            // The file of a parking is open since the start, and asked for nothing before something is parked.
            reached: queue.reached || queue.parks_for.is_some(),
            failing: queue.failing.clone(),
            cost: Cost::default(),
            tally: queue.tally.clone(),
        });
        for (status, queue) in each.zip(&self.queues) {
            match by_name.get(&*queue.name).and_then(|place| statuses.get_mut(*place)) {
                Some(before) => before.is_replaced_by(status),
                None => {
                    by_name.insert(&queue.name, statuses.len());
                    statuses.push(status);
                }
            }
        }
        statuses.retain(|status| all || status.state != Life::GONE);
        statuses
    }

    fn waiting(&self, survey: Survey) -> Vec<WaitingPartner> {
        // Some may have left since they were seen.
        let waiting = survey.longest().into_iter().filter_map(|key| {
            let bucket = self.partners.bucket(key)?;
            Some((self.partners.longest(key)?.since, key, bucket))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable_by_key(|(oldest, key, _)| (*oldest, *key));
        let described = waiting.into_iter().filter_map(|(oldest, key, bucket)| {
            let partner = self.partners.partner(bucket.partner)?;
            let BucketReport { queue, waiting, parked, in_flight, state, reason, next_attempt_in_s, failures, .. } =
                self.bucket_report(partner, key, bucket);
            Some(WaitingPartner {
                account: partner.account.to_string(),
                queue,
                waiting,
                parked,
                in_flight,
                state,
                reason: reason.to_owned(),
                next_attempt_in_s,
                oldest_age_s: self.now.saturating_duration_since(oldest).as_secs_f64(),
                failures,
                last_error: partner.last_error.as_deref().map(str::to_owned),
            })
        });
        described.collect()
    }

    /// Messages held.
    pub fn held(&self) -> usize {
        self.ledger.len()
    }
}
