//! What the dispatcher knows, in figures: the keys of status and report.

use serde::Serialize;

use super::partner::PartnerState;
use super::why::BucketReport;
use super::{Dispatcher, QueueCounts};

/// Partners listed as waiting at most.
const WAITING: usize = 50;

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
}

#[derive(Debug, Clone, Serialize)]
pub struct QueueStatus {
    pub name: String,
    pub source: &'static str,
    #[serde(flatten)]
    pub counts: QueueCounts,
    /// Of messages held: since their receive.
    pub oldest_age_s: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct PartnerCounts {
    pub total: usize,
    pub healthy: usize,
    pub waiting: usize,
    pub backing_off: usize,
    pub open: usize,
    pub limited: usize,
    pub paused: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct WaitingPartner {
    pub account: String,
    pub queue: String,
    pub waiting: usize,
    pub in_flight: usize,
    pub state: PartnerState,
    pub reason: String,
    pub next_attempt_in_s: Option<f64>,
    pub oldest_age_s: f64,
    pub failures: u32,
    pub last_error: Option<String>,
}

impl Dispatcher {
    /// A moment in figures. Costs O(held + buckets). `source` of a queue is left for the caller, who knows it.
    pub fn status(&self) -> Status {
        Status {
            state: match (self.phase.is_finished(), self.phase.is_stopping()) {
                (true, _) => "stopped",
                (false, true) => "draining",
                (false, false) => "running",
            },
            in_flight: self.room.held(),
            in_flight_bytes: self.room.bytes(),
            queues: self.queue_statuses(),
            partners: self.partner_counts(),
            waiting: self.waiting(),
        }
    }

    fn queue_statuses(&self) -> Vec<QueueStatus> {
        let mut oldest = vec![None; self.queues.len()];
        for (_, held) in self.ledger.iter() {
            if let Some(oldest) = oldest.get_mut(held.queue) {
                *oldest = Some(oldest.map_or(held.received_at, |at: std::time::Instant| at.min(held.received_at)));
            }
        }
        let statuses = self.queues.iter().zip(oldest).map(|(queue, oldest)| QueueStatus {
            name: queue.name.to_string(),
            source: "",
            counts: queue.counts.clone(),
            oldest_age_s: oldest.map(|at| self.now.saturating_duration_since(at).as_secs_f64()),
        });
        statuses.collect()
    }

    fn partner_counts(&self) -> PartnerCounts {
        let mut counts = PartnerCounts { total: self.partners.len(), ..PartnerCounts::default() };
        for partner in self.partners.iter() {
            *match self.partners.state(partner, self.now) {
                PartnerState::Healthy => &mut counts.healthy,
                PartnerState::BackingOff => &mut counts.backing_off,
                PartnerState::Open => &mut counts.open,
                PartnerState::Limited => &mut counts.limited,
                PartnerState::Paused => &mut counts.paused,
            } += 1;
            let waits = |key: &super::BucketKey| self.partners.bucket(*key).is_some_and(|bucket| !bucket.is_empty());
            counts.waiting += usize::from(partner.buckets.iter().any(waits));
        }
        counts
    }

    fn waiting(&self) -> Vec<WaitingPartner> {
        let waiting = self.partners.buckets().filter_map(|(key, bucket)| Some((bucket.oldest()?, key, bucket)));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable_by_key(|(oldest, key, _)| (*oldest, *key));
        waiting.truncate(WAITING);
        let described = waiting.into_iter().filter_map(|(oldest, _, bucket)| {
            let partner = self.partners.partner(bucket.partner)?;
            let BucketReport { queue, waiting, in_flight, state, reason, next_attempt_in_s, failures, .. } =
                self.bucket_report(partner, bucket);
            Some(WaitingPartner {
                account: partner.account.to_string(),
                queue,
                waiting,
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
