//! A contender: this program as a child that empties a queue and prints its costs.

use std::process::ExitCode;
use std::time::Duration;

use crossbeam_channel::never;
use octoconf::dispatch::QueueCounts;
use octoconf::engine::{RunOptions, Running};
use octoconf::queue::Ask;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::{idle, rusoto};
use crate::run::engine;

/// The first argument of a child.
pub const WORD: &str = "contend";

/// The interval between two looks at the engine's progress. Each look walks through all buckets. What the engine does
/// after the last message is negligible.
const GLANCE: Duration = Duration::from_millis(100);

/// Runs a contender if the arguments say so; returns `None` if they do not.
pub fn contend(arguments: &[String]) -> Option<ExitCode> {
    let [word, arguments @ ..] = arguments else { return None };
    if word != WORD {
        return None;
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    let said = match arguments[..] {
        ["engine", endpoint, queue, messages] => empty(&settings(endpoint, &[queue], "1s"), number(messages)),
        ["http", partner, endpoint, queue, messages] => {
            empty(&settings_with(endpoint, &[queue], "1s", partner), number(messages))
        }
        ["queue", endpoint, queue, messages] => empty_alone(endpoint, queue, number(messages)),
        ["rusoto", endpoint, url, messages] => rusoto::empty(endpoint, url, number(messages)),
        ["idle", endpoint, ref queues @ ..] => idle::watch(endpoint, queues),
        _ => panic!("no such contender: {arguments:?}"),
    };
    println!("{said}");
    Some(ExitCode::SUCCESS)
}

/// Runs the engine as `run` does, until `messages` messages are deleted.
fn empty(settings: &str, messages: u64) -> Value {
    let engine = engine(settings);
    let running = engine.start(RunOptions { until_empty: false, seed: 1 }).expect("threads");
    let until = |acked: u64| loop {
        let counts = counts(&running).remove(0);
        if counts.acked >= acked {
            return (counts, cpu_us());
        }
        let _ = never::<()>().recv_timeout(GLANCE);
    };
    let (warm, start) = until(warm_up(messages));
    let (counts, end) = until(messages);
    let polls = counts.requests - messages.div_ceil(10);
    running.remote().stop();
    let report = running.wait().expect("the run ends well");
    assert_eq!((report.status.queues[0].counts.acked, report.status.queues[0].counts.received), (messages, messages));
    json!({ "cpu_us": end - start, "counted": messages - warm.acked, "requests": counts.requests, "empty_polls": counts.empty_receives as f64 / polls as f64 })
}

/// Our queue alone, on one thread: it receives and deletes, as the other loops do.
fn empty_alone(endpoint: &str, queue: &str, messages: u64) -> Value {
    let queue = engine(&settings(endpoint, &[queue], "1s")).queue(queue).expect("it is configured");
    let ask = Ask { max: 10, wait: Duration::from_secs(1), lease: Duration::from_secs(60), bytes: usize::MAX };
    let mut watch = Watch::new(messages);
    let mut deleted = 0;
    while deleted < messages {
        watch.at(deleted);
        let received = queue.receive(&ask).expect("a receive");
        let receipts: Vec<_> = received.into_iter().map(|received| received.receipt).collect();
        if !receipts.is_empty() {
            let ended = queue.delete(&receipts).expect("a delete");
            assert!(ended.iter().all(Result::is_ok), "{ended:?}");
            deleted += ended.len() as u64;
        }
    }
    watch.end(deleted)
}

/// Returns the number of messages before the counting starts: a service makes its connections
/// and threads once in its life.
fn warm_up(messages: u64) -> u64 {
    messages / 3
}

/// Counts CPU time from the end of the warm-up.
pub struct Watch {
    warm_up: u64,
    start: Option<(u64, u64)>,
}

impl Watch {
    pub fn new(messages: u64) -> Self {
        Self { warm_up: warm_up(messages), start: None }
    }

    /// Records that `deleted` messages are deleted.
    pub fn at(&mut self, deleted: u64) {
        if self.start.is_none() && deleted >= self.warm_up {
            self.start = Some((deleted, cpu_us()));
        }
    }

    /// Returns what a contender prints at its end.
    pub fn end(self, deleted: u64) -> Value {
        let (before, start) = self.start.expect("more messages than the warm-up has");
        json!({ "cpu_us": cpu_us() - start, "counted": deleted - before })
    }
}

/// Returns the counts of each queue.
pub fn counts(running: &Running) -> Vec<QueueCounts> {
    let status = running.remote().status().expect("the engine is at work");
    status.queues.into_iter().map(|queue| queue.counts).collect()
}

/// Returns settings with queues of the server, each with the handler `order` and delivered to nowhere.
pub fn settings(endpoint: &str, queues: &[&str], wait: &str) -> String {
    settings_with(endpoint, queues, wait, "deliver = \"discard\"")
}

/// Returns the same with these settings of all partners.
fn settings_with(endpoint: &str, queues: &[&str], wait: &str, partner: &str) -> String {
    let queue = |name: &&str| {
        format!(
            "[queues.{name}]\nsource = \"sqs\"\nendpoint = \"{endpoint}\"\nhandler = \"order\"\ndead_letter = \"none\"\nwait_time = \"{wait}\"\n"
        )
    };
    let queues: String = queues.iter().map(queue).collect();
    format!("{queues}[partners.default]\n{partner}\n")
}

/// Returns the CPU time of this process so far, of all threads, in microseconds.
fn cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}
