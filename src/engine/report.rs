//! The report that `run` writes at its end. Its keys are a contract.

use std::time::Duration;

use serde::Serialize;

use crate::dispatch::Status;

use super::health::LastReload;

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
}
