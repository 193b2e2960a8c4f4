//! What empty queues cost: each long poll is billed, even if it returns no message.

use std::time::{Duration, Instant};

use crossbeam_channel::never;
use octoconf::engine::RunOptions;
use serde_json::{Value, json};

use super::contend::{counts, settings};
use super::{outcome, this_program};
use crate::extent::rehearses;
use crate::run::engine;
use crate::support::sqs_server::SqsServer;

const QUEUES: usize = 5;
/// The number of counted empty polls per queue, after a first one.
const POLLS: u64 = 2;
const GLANCE: Duration = Duration::from_millis(50);

/// 4,400 requests a day.
const AIM_AN_HOUR: f64 = 4_400.0 / 24.0;

pub struct Idle {
    /// The number of requests for one queue.
    requests_an_hour: f64,
    empty_polls: f64,
}

impl Idle {
    pub fn print(&self) {
        let of_limit = self.requests_an_hour / AIM_AN_HOUR;
        println!("\n{:40} {:>14.1} {:>10.3}", "sqs: requests an hour, queue idle", self.requests_an_hour, of_limit);
        println!("{:40} {:>14.3}", "empty share of its polls", self.empty_polls);
    }

    pub fn json(&self) -> Value {
        json!({ "requests_an_hour": self.requests_an_hour, "of_4400_a_day": self.requests_an_hour / AIM_AN_HOUR, "empty_polls": self.empty_polls })
    }
}

pub fn measure(server: &SqsServer) -> Idle {
    let queues: Vec<_> = (0..QUEUES).map(|_| server.queue("idle", &[])).collect();
    let mut command = this_program(&["idle", &server.endpoint()]);
    let said = outcome(command.args(queues.iter().map(|queue| &queue.name)));
    let of = |key: &str| said[key].as_f64().expect("a figure");
    Idle { requests_an_hour: of("requests_an_hour"), empty_polls: of("empty_polls") }
}

/// Runs the engine on empty queues, and counts from the moment when each queue has had a poll until
/// each has had [`POLLS`] more.
pub fn watch(endpoint: &str, queues: &[&str]) -> Value {
    let wait = if rehearses() { "1s" } else { "20s" };
    let running = engine(&settings(endpoint, queues, wait)).start(RunOptions::default()).expect("threads");
    let mut marks = Vec::new();
    for polls in [1, 1 + POLLS] {
        let counts = loop {
            let counts = counts(&running);
            if counts.iter().all(|queue| queue.empty_receives >= polls) {
                break counts;
            }
            let _ = never::<()>().recv_timeout(GLANCE);
        };
        let sum = |of: fn(&octoconf::dispatch::QueueCounts) -> u64| counts.iter().map(of).sum::<u64>() as f64;
        marks.push((Instant::now(), sum(|queue| queue.requests), sum(|queue| queue.empty_receives)));
    }
    let [(start, requests_before, empty_before), (end, requests, empty)] = marks[..] else { panic!("two marks") };
    let hours = (end - start).as_secs_f64() / 3600.0;
    running.remote().stop();
    // Polls that are still out would be awaited for up to 20 s. The process ends instead, since nothing is held.
    json!({
        "requests_an_hour": (requests - requests_before) / hours / queues.len() as f64,
        "empty_polls": (empty - empty_before) / (requests - requests_before),
    })
}
