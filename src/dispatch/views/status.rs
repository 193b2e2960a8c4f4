//! What the dispatcher knows, in figures: the keys of status and report.

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use serde::{Serialize, Serializer};

use crate::dispatch::keys::QueueIndex;
use crate::dispatch::partner::PartnerState;
use crate::dispatch::queue_state::QueueStage;
use crate::dispatch::record::histogram::{self, Histogram};
use crate::dispatch::record::tally::Tally;
use crate::dispatch::record::troubles::Failing;
use crate::dispatch::views::survey::{PartnerCounts, Survey};
use crate::dispatch::views::why::BucketReport;
use crate::dispatch::{Dispatcher, QueueCounts};

/// The state of the dispatcher at one moment. The keys are part of the contract with users.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Whether the engine runs.
    pub state: EngineState,
    /// The number of messages held, places reserved not included.
    pub in_flight: usize,
    /// The bytes of the bodies and payloads held.
    pub in_flight_bytes: u64,
    /// The queues, one entry per name.
    pub queues: Vec<QueueStatus>,
    /// The number of partners by state.
    pub partners: PartnerCounts,
    /// The longest-waiting partners, the longest first.
    pub waiting: Vec<WaitingPartner>,
    /// The number of buckets.
    pub buckets: usize,
    #[serde(skip)]
    /// The distributions of how long things took, for metrics.
    pub times: Times,
}

/// The state of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineState {
    /// Messages are received.
    Running,
    /// Nothing more is received; what is held is delivered or returned.
    Draining,
    /// Nothing is held any more.
    Stopped,
}

impl EngineState {
    /// Returns the state's name in status and report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for EngineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for EngineState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// All queues of one name, of which at most one serves. The counts of the queues that it replaced are included.
#[derive(Debug, Clone, Serialize)]
pub struct QueueStatus {
    /// The index of the newest queue of this name.
    #[serde(skip)]
    pub index: QueueIndex,
    /// The queue's name.
    pub name: String,
    /// The queue's state; [`QueueStage::Gone`] only in a report.
    pub state: QueueStage,
    /// The number of replaced queues of this name that still deliver what they hold.
    pub replaced: usize,
    /// The kind of the source: `sqs`, `sqlite` or `memory`. The dispatcher leaves it empty for the caller.
    pub source: &'static str,
    /// The handler's name. The dispatcher leaves it empty for the caller.
    pub handler: String,
    #[serde(flatten)]
    /// The counts since the start.
    pub counts: QueueCounts,
    /// The age of the oldest message held, in seconds since its receive, to a tenth of a
    /// second; `None`: nothing is held.
    pub oldest_age_s: Option<f64>,
    /// How long the oldest delivery has waited, in seconds, in a bucket or on the wire to a partner
    /// that is away; of a bucket that is all on the disk, how long at least. `None`: none waits.
    pub oldest_waiting_s: Option<f64>,
    /// The number of deliveries that are on the disk and not in memory.
    pub parked_now: u64,
    /// The number of messages held that no handler has seen yet.
    pub handler_pending: usize,
    /// The number of jobs that the handler is at.
    pub handler_running: usize,
    /// Whether the queue's service has answered any call yet.
    pub reached: bool,
    /// The kinds of calls that fail now, or that fail now and then, with the reason.
    pub failing: Vec<Failing>,
    #[serde(flatten)]
    /// The queue's requests in relation to its messages. The dispatcher leaves it empty for the caller.
    pub cost: Cost,
    #[serde(skip)]
    /// The counts for metrics.
    pub tally: Tally,
}

/// The cost of a queue's requests since the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cost {
    /// The number of requests per message; `None`: no message came yet.
    pub requests_per_message: Option<f64>,
    /// The share of the receives that found nothing, from 0 to 1; `None`: not known yet.
    pub empty_receive_share: Option<f64>,
    /// An estimate of the cost per day in dollars; `None`: requests have no price, or there were too few to tell.
    pub dollars_a_day: Option<f64>,
}

/// The distributions of how long things took.
#[derive(Debug, Clone)]
pub struct Times {
    /// The duration of flushes, from the hand-over to the answer.
    pub delivery: Histogram,
    /// The age of messages, from when they were sent until their delete was confirmed.
    pub age: Histogram,
}

impl Default for Times {
    fn default() -> Self {
        Self { delivery: Histogram::new(histogram::DELIVERY), age: Histogram::new(histogram::AGE) }
    }
}

/// A partner with waiting deliveries, as far as one queue is concerned.
#[derive(Debug, Clone, Serialize)]
pub struct WaitingPartner {
    /// The partner's account.
    pub account: String,
    /// The name of the queue that the deliveries came from.
    pub queue: String,
    /// The number of deliveries in memory that are not on the wire.
    pub waiting: usize,
    /// The number of deliveries on the disk that are not in memory, and of those on their way there.
    pub parked: u64,
    /// The number of flushes on the wire.
    pub in_flight: usize,
    /// The partner's state as far as this queue is concerned.
    pub state: PartnerState,
    /// Why the deliveries wait, in words.
    pub reason: String,
    /// The time to the next attempt, in seconds; `None`: it depends on an event.
    pub next_attempt_in_s: Option<f64>,
    /// How long the oldest delivery has waited, in seconds; if all are on the disk, how long at least.
    pub oldest_age_s: f64,
    /// The number of failures in a row.
    pub failures: u32,
    /// The partner's last error, or that of its endpoint for this queue, for as long as it fails or asked for a pause.
    pub last_error: Option<String>,
}

impl QueueStatus {
    /// Adds this queue's figures to those of a newer queue of the same name, and takes the newer queue's place. The
    /// ages are the larger of both. Failing calls remain those of the newer queue: what fails for a retiring queue does
    /// not show that the newer one is not reached.
    fn is_replaced_by(&mut self, newer: Self) {
        let older = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        let before = std::mem::replace(self, newer);
        self.replaced = before.replaced;
        match (self.state, before.state) {
            (QueueStage::Gone, state) => (self.state, self.failing) = (state, before.failing),
            (_, QueueStage::Retiring) => self.replaced += 1,
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
    /// Returns the state in figures at once, queues that are gone included. O(partners): a running engine takes
    /// a [`Dispatcher::survey`] in parts instead. The caller fills in what the dispatcher does not know of a
    /// queue: `source`, `handler`, `cost`.
    pub fn status(&self) -> Status {
        let mut survey = Survey::default();
        self.survey(&mut survey, usize::MAX);
        let queues = self.queue_statuses(&survey, true);
        Status { queues, ..self.surveyed(survey) }
    }

    /// Returns the state from the results of a survey and the figures that need none.
    pub fn surveyed(&self, survey: Survey) -> Status {
        Status {
            state: match (self.phase.is_finished(), self.phase.is_stopping()) {
                (true, _) => EngineState::Stopped,
                (false, true) => EngineState::Draining,
                (false, false) => EngineState::Running,
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

    /// Returns one entry per queue name; with `all` also the queues of which nothing is left.
    fn queue_statuses(&self, survey: &Survey, all: bool) -> Vec<QueueStatus> {
        let age_s = |at: Instant| self.now.saturating_duration_since(at).as_secs_f64();
        let mut statuses: Vec<QueueStatus> = Vec::with_capacity(self.queues.len());
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        let each = self.queues.iter().enumerate().map(|(index, queue)| QueueStatus {
            index,
            name: queue.rules.name.to_string(),
            state: queue.stage,
            replaced: 0,
            source: "",
            handler: String::new(),
            counts: queue.counts.clone(),
            oldest_age_s: self.ledger.oldest(index).map(age_s),
            oldest_waiting_s: survey.oldest.get(index).copied().flatten().map(age_s),
            parked_now: survey.parked.get(index).copied().unwrap_or(0),
            handler_pending: queue.intake.waiting(),
            handler_running: queue.intake.running(),
            // The file of a parking has been open since the start, and is asked for nothing until something is parked.
            reached: queue.reached || queue.parks_for.is_some(),
            failing: queue.troubles.failing(),
            cost: Cost::default(),
            tally: queue.tally.clone(),
        });
        for (status, queue) in each.zip(&self.queues) {
            match by_name.get(&*queue.rules.name).and_then(|place| statuses.get_mut(*place)) {
                Some(before) => before.is_replaced_by(status),
                None => {
                    by_name.insert(&queue.rules.name, statuses.len());
                    statuses.push(status);
                }
            }
        }
        statuses.retain(|status| all || status.state != QueueStage::Gone);
        statuses
    }

    fn waiting(&self, survey: Survey) -> Vec<WaitingPartner> {
        // Some buckets may have gone since the survey saw them.
        let waiting = survey.longest().into_iter().filter_map(|key| {
            let bucket = self.partners.bucket(key)?;
            Some((self.partners.waits_since(key)?, key, bucket))
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
                last_error: partner.error_at(bucket, self.now).map(str::to_owned),
            })
        });
        described.collect()
    }

    /// Returns the number of messages held.
    pub fn held(&self) -> usize {
        self.ledger.len()
    }
}
