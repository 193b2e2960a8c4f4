//! Shared parts of the tests of this folder, and the tests of the whole dispatcher.
//!
//! Tests are tables of `(milliseconds, event, commands)` in the small language of [`rig`], one theme per file;
//! [`simulation`] plays random faults.

mod disk;
mod rig;
mod simulation;

mod away;
mod bulkhead;
mod calls;
mod census;
mod copies;
mod counts;
mod demand;
mod drain;
mod fan_out;
mod fifo;
mod flush;
mod gates;
mod head;
mod hidden;
mod imports;
mod jobs;
mod leases;
mod operate;
mod overfull;
mod parallel;
mod parked_at_stop;
mod parking;
mod pollers;
mod progress;
mod queues;
mod reload;
mod retired;
mod rows;
mod rows_again;
mod share;
mod survey;
mod suspects;
mod threads;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Medium, PartnerRules, PartnerTable, QueueRules, Rules, Ticket};
use crate::message::Message;

/// Returns a start for the clock of a test, which only adds to it.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
pub fn start() -> Instant {
    Instant::now() + Duration::from_secs(1_000_000)
}

pub fn message(id: &str, group: Option<&str>) -> Message {
    Message {
        id: id.into(),
        body: "{}".into(),
        attributes: Vec::new(),
        group: group.map(Into::into),
        sent_at: SystemTime::UNIX_EPOCH,
        receives: 1,
        open: None,
    }
}

pub fn tickets(count: usize) -> Vec<Ticket> {
    (0..count as u32).map(|place| Ticket { place, version: 0 }).collect()
}

pub fn partner_rules() -> PartnerRules {
    PartnerRules {
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
    }
}

pub fn queue_rules(name: &str) -> QueueRules {
    QueueRules {
        name: name.into(),
        fifo: false,
        concurrency: 10,
        cores: 4,
        order_wait: Duration::from_secs(5),
        visibility_timeout: Duration::from_secs(60),
        wait_time: Duration::from_secs(20),
        max_receives: 100,
        pollers: 1,
        ackers: 1,
        receive_limit: 10,
        ask_at_least: 1,
        ask_interval: Duration::ZERO,
        letter_requests: 1,
        entry_limit: 10,
        delete_linger: Duration::ZERO,
        zero_counts: 1,
        recount: Duration::from_millis(100),
    }
}

/// Returns the rules of one queue, with partners that all follow [`partner_rules`].
pub fn rules() -> Rules {
    Rules {
        queues: vec![queue_rules("q0")],
        parkings: Vec::new(),
        partners: PartnerTable { default: Arc::new(partner_rules()), by_account: Default::default() },
        max_in_flight: 1000,
        max_in_flight_bytes: 256 * 1024 * 1024,
        delivery_threads: 100,
        disk_threads: 100,
        until_empty: false,
        seed: 7,
    }
}
