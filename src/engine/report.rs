//! The report that `run` writes at its end. Its keys are a contract.

use std::time::Duration;

use serde::Serialize;

use crate::config::settings::Settings;
use crate::dispatch::{Cost, PartnerCounts, QueueCounts, QueueStatus, Status, Tally, Times};

use super::health::LastReload;
use super::lane::source_name;

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub uptime_s: f64,
    pub elapsed_s: f64,
    /// Messages that left, by whatever way, per second.
    pub messages_per_s: f64,
    pub last_reload: Option<LastReload>,
    #[serde(flatten)]
    pub status: Status,
}

impl Report {
    pub fn new(status: Status, last_reload: Option<LastReload>, elapsed: Duration) -> Self {
        let settled: u64 = status.queues.iter().map(|queue| queue.counts.acked + queue.counts.dead + queue.counts.returned).sum();
        let seconds = elapsed.as_secs_f64();
        let messages_per_s = if seconds > 0.0 { settled as f64 / seconds } else { 0.0 };
        Self { version: env!("CARGO_PKG_VERSION"), uptime_s: seconds, elapsed_s: seconds, messages_per_s, last_reload, status }
    }

    /// Of a run that ended before its queues could be opened: the same keys, and nothing done.
    pub fn of_nothing(settings: &Settings, elapsed: Duration) -> Self {
        let named = settings.queues.iter().map(|(name, queue)| (name.clone(), source_name(&queue.source), queue.handler.clone()));
        let parked = settings.queues.iter().filter(|(_, queue)| queue.parking.is_some());
        let parkings = parked.map(|(name, _)| (format!("{name}.parking"), "sqlite", String::new()));
        let queues = named.chain(parkings).enumerate().map(|(index, (name, source, handler))| QueueStatus {
            index,
            name,
            state: "serving",
            replaced: 0,
            source,
            handler,
            counts: QueueCounts::default(),
            oldest_age_s: None,
            oldest_waiting_s: None,
            parked_now: 0,
            handler_pending: 0,
            handler_running: 0,
            reached: false,
            failing: Vec::new(),
            cost: Cost::default(),
            tally: Tally::default(),
        });
        let status = Status {
            state: "stopped",
            in_flight: 0,
            in_flight_bytes: 0,
            queues: queues.collect(),
            partners: PartnerCounts::default(),
            waiting: Vec::new(),
            buckets: 0,
            times: Times::default(),
        };
        Self::new(status, None, elapsed)
    }
}
