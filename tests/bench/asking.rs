//! What queries cost: a survey of all partners in parts, as the engine makes it for `/api/status`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use octoconf::dispatch::{Command, Dispatcher, Event, Handled, Medium, PartnerRules, PartnerTable, QueueRules, Rules, Survey};
use octoconf::message::{Message, Outcome, Receipt, Received};

use crate::extent::{count, runs};

/// The number of partners per part, as in `engine/inquiries.rs`.
const PART: usize = 256;

const RUNS: usize = 20;

pub fn print() {
    println!("{:>9} partners that wait {:>14} {:>18}", "", "status, ms", "longest part, µs");
    for partners in [3_000, 100_000, 1_000_000] {
        let partners = count(partners) as usize;
        let dispatcher = with_waiting(partners);
        let mut seen: Vec<(Duration, Duration)> = (0..runs(RUNS)).map(|_| survey(&dispatcher)).collect();
        seen.sort_unstable();
        let (whole, part) = seen[seen.len() / 2];
        println!("{partners:>9} {:>33.2} {:>18.0}", whole.as_secs_f64() * 1e3, part.as_secs_f64() * 1e6);
    }
}

/// Returns the duration of a whole survey, and that of its longest part.
fn survey(dispatcher: &Dispatcher) -> (Duration, Duration) {
    let (begin, mut longest) = (Instant::now(), Duration::ZERO);
    let mut survey = Survey::default();
    loop {
        let part = Instant::now();
        let done = dispatcher.survey(&mut survey, PART);
        longest = longest.max(part.elapsed());
        if done {
            break;
        }
    }
    let last = Instant::now();
    let status = dispatcher.surveyed(survey);
    longest = longest.max(last.elapsed());
    assert!(status.partners.total > 0);
    (begin.elapsed(), longest)
}

/// A dispatcher in which one delivery waits for each partner, except for those on the wire.
fn with_waiting(partners: usize) -> Dispatcher {
    let now = Instant::now();
    let mut dispatcher = Dispatcher::new(rules(partners), now);
    let mut demand = 0;
    let mut sent = 0;
    let mut accounts = HashMap::new();
    while sent < partners {
        let mut jobs = Vec::new();
        while let Some(command) = dispatcher.poll_command() {
            match command {
                Command::Receive { demand: more, .. } => demand += more.messages,
                Command::Handle { messages: more, .. } => jobs.push(more),
                _ => {}
            }
        }
        for jobs in jobs {
            let job = jobs[0].ticket;
            let done = jobs.into_iter().map(|job| {
                let account: &String = accounts.get(job.message.id.as_str()).expect("it was sent");
                let outcome = Outcome::deliver(account.as_str(), Bytes::from_static(b"{}"));
                Handled { ticket: job.ticket, message: job.message, outcome }
            });
            dispatcher
                .handle(now, Event::Handled { queue: 0, job, done: done.collect(), undone: Vec::new(), slowest: Duration::ZERO });
        }
        let count = demand.min(1000).min(partners - sent);
        if count == 0 {
            continue;
        }
        demand -= count;
        let messages = (sent..sent + count).map(|n| {
            accounts.insert(n.to_string(), format!("customer-{n}"));
            received(n)
        });
        let messages: Vec<Received> = messages.collect();
        sent += count;
        let leased_until = now + Duration::from_secs(600);
        dispatcher.handle(now, Event::Received { queue: 0, poller: 0, messages, leased_until, demand_used: count });
    }
    dispatcher
}

fn received(n: usize) -> Received {
    let message = Message::new(n.to_string(), Bytes::from_static(b"{}"));
    Received {
        message: Arc::new(message),
        receipt: Receipt::Row { row: n as i64, receive: 1 },
        sequence: n as u64,
        settled: None,
    }
}

fn rules(partners: usize) -> Rules {
    let queue = QueueRules {
        name: "stock".into(),
        fifo: false,
        concurrency: 1000,
        cores: 1000,
        order_wait: Duration::ZERO,
        visibility_timeout: Duration::from_secs(600),
        wait_time: Duration::from_secs(1),
        max_receives: 0,
        pollers: 1,
        ackers: 1,
        receive_limit: 1000,
        ask_at_least: 1,
        ask_interval: Duration::ZERO,
        letter_requests: 1,
        entry_limit: 1000,
        delete_linger: Duration::ZERO,
        zero_counts: 1,
        recount: Duration::from_secs(1),
    };
    let partner = PartnerRules {
        medium: Medium::Wire,
        max_batch: 100,
        max_batch_bytes: 256 * 1024,
        linger: Duration::ZERO,
        rate: None,
        burst: 1,
        parallel: 1,
        min_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(300),
        breaker_failures: 5,
        max_waiting: 1000,
        hold_for: Duration::from_secs(30),
        give_up_after: None,
        idle_timeout: Duration::from_secs(600),
    };
    Rules {
        queues: vec![queue],
        parkings: Vec::new(),
        partners: PartnerTable { default: Arc::new(partner), by_account: HashMap::new() },
        max_in_flight: 2 * partners,
        max_in_flight_bytes: 1 << 40,
        delivery_threads: 1,
        disk_threads: 1,
        until_empty: false,
        seed: 1,
    }
}
