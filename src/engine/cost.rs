//! What a queue's requests cost: an estimate from the requests made since the start and the price of each
//! ([`Limits::price`]).

use std::time::Duration;

use crate::dispatch::{Cost, QueueStatus};
use crate::queue::Limits;

/// The shortest uptime from which the cost of a day is estimated.
const MIN_UPTIME: Duration = Duration::from_secs(60);

const DAY_S: f64 = 86_400.0;

/// The fraction of a dollar that prices are given in.
const BILLIONTH: f64 = 1e-9;

/// Estimates the cost of a queue's requests. There is none per day unless the service charges for each request.
pub fn cost(queue: &QueueStatus, limits: Limits, uptime: Duration) -> Cost {
    let counts = &queue.counts;
    let share = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
    let a_day = |price: u32| counts.requests as f64 * f64::from(price) * BILLIONTH * DAY_S / uptime.as_secs_f64();
    Cost {
        requests_per_message: share(counts.requests, counts.received),
        empty_receive_share: share(counts.empty_receives, queue.tally.receives()),
        dollars_a_day: limits.price.filter(|_| uptime >= MIN_UPTIME).map(a_day),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{QueueCounts, QueueStage, Tally};

    fn limits(price: Option<u32>) -> Limits {
        let remote = price.is_some();
        Limits { receive: 10, entries: 10, fifo: false, remote, price, letter_requests: 1, linger: Duration::ZERO }
    }

    fn queue(requests: u64, received: u64) -> QueueStatus {
        QueueStatus {
            index: 0,
            name: "stock".into(),
            state: QueueStage::Serving,
            replaced: 0,
            source: "sqs",
            handler: String::new(),
            counts: QueueCounts { requests, received, ..QueueCounts::default() },
            oldest_age_s: None,
            oldest_waiting_s: None,
            parked_now: 0,
            handler_pending: 0,
            handler_running: 0,
            reached: true,
            failing: Vec::new(),
            cost: Cost::default(),
            tally: Tally::default(),
        }
    }

    #[test]
    fn an_idle_queue_costs_its_long_polls() {
        // One long poll of 20 s after the other makes 4,320 a day.
        let hour = Duration::from_secs(3600);
        let cost = cost(&queue(180, 0), limits(Some(400)), hour);
        assert!((cost.dollars_a_day.unwrap() - 4320.0 * 0.40 / 1e6).abs() < 1e-12, "{cost:?}");
        assert_eq!((cost.requests_per_message, cost.empty_receive_share), (None, None));
    }

    #[test]
    fn what_has_no_price_or_no_past_has_no_estimate() {
        let hour = Duration::from_secs(3600);
        assert_eq!(cost(&queue(180, 900), limits(None), hour).dollars_a_day, None);
        assert_eq!(cost(&queue(180, 900), limits(Some(500)), Duration::from_secs(59)).dollars_a_day, None);
        assert_eq!(cost(&queue(180, 900), limits(Some(500)), hour).requests_per_message, Some(0.2));
    }
}
