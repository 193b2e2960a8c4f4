//! The report that `run` writes when it ends. Its keys are a contract.

use std::time::Duration;

use serde::Serialize;

use crate::dispatch::{Cost, EngineState, PartnerCounts, QueueCounts, QueueStage, QueueStatus, Status, Tally, Times};
use crate::queue::parking::parking_name;
use crate::settings::Settings;

use super::health::LastReload;
use super::lane::source_name;

/// The final state of a run, as written by `run --report`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of octoconf.
    pub version: &'static str,
    /// The time from the start of the engine to its end, in seconds; the same as `elapsed_s`.
    pub uptime_s: f64,
    /// The time from the start of the engine to its end, in seconds.
    pub elapsed_s: f64,
    /// The number of messages per second that left the engine as acked, dead or returned.
    pub messages_per_s: f64,
    /// How the last reload went; `None` if there was none.
    pub last_reload: Option<LastReload>,
    /// The final state: totals, queues and partners.
    #[serde(flatten)]
    pub status: Status,
}

impl Report {
    /// Creates the report of a run that took `elapsed` and ended in this state.
    pub fn new(status: Status, last_reload: Option<LastReload>, elapsed: Duration) -> Self {
        let left: u64 = status.queues.iter().map(|queue| queue.counts.acked + queue.counts.dead + queue.counts.returned).sum();
        let seconds = elapsed.as_secs_f64();
        let messages_per_s = if seconds > 0.0 { left as f64 / seconds } else { 0.0 };
        Self { version: env!("CARGO_PKG_VERSION"), uptime_s: seconds, elapsed_s: seconds, messages_per_s, last_reload, status }
    }

    /// Returns the report of a run that did not come to work: the same keys, with nothing done.
    pub fn of_nothing(settings: &Settings, elapsed: Duration) -> Self {
        let named = settings.queues.iter().map(|(name, queue)| (name.clone(), source_name(&queue.source), queue.handler.clone()));
        let parked = settings.queues.iter().filter(|(_, queue)| queue.parking.is_some());
        let parkings = parked.map(|(name, _)| (parking_name(name), "sqlite", String::new()));
        let queues = named.chain(parkings).enumerate().map(|(index, (name, source, handler))| QueueStatus {
            index,
            name,
            state: QueueStage::Serving,
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
            state: EngineState::Stopped,
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
