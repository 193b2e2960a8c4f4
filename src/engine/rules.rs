//! Turns settings into the dispatcher's rules.

use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::{Medium, PartnerRules, PartnerTable, QueueRules, Rules};
use crate::queue::Limits;
use crate::settings::{Deliver, PartnerSettings, PartnersSettings, QueueSettings, SHORTEST_LEASE, Settings, within_reach};

use super::lane::Lane;

/// The number of pollers of an embedded queue. The two take turns: one receives while the other hands over.
const EMBEDDED_POLLERS: usize = 2;

/// The number of pollers of a queue whose requests are round trips: at ten messages and some 10 ms per request, they
/// receive 10,000 messages a second.
const REMOTE_POLLERS: usize = 16;
/// The number of ackers of a queue whose requests are round trips.
const REMOTE_ACKERS: usize = 8;

/// The time from one receive from SQS to the next, if several in a row found nothing: with `wait_time = "0s"`, or on
/// a server that knows no long poll, it returns at once, and each receive has a price.
const REMOTE_INTERVAL: Duration = Duration::from_secs(1);

/// The number of counts of zero, [`REMOTE_RECOUNT`] apart, after which an SQS queue is taken to be empty. The counts of
/// SQS are approximate and lag behind.
const REMOTE_ZEROS: u32 = 3;
/// The time between two counts of an SQS queue.
const REMOTE_RECOUNT: Duration = Duration::from_secs(2);
/// The time between two counts of an embedded queue.
const EMBEDDED_RECOUNT: Duration = Duration::from_millis(100);

/// The number of flushes to files at once. They share disk syncs, and deliveries that wait meanwhile make fuller
/// batches. Measured with thousands of files: 64 to 128 give the most messages a second.
/// Flushes that a disk holds up for long do not count: see the `threads` of the dispatcher.
const DISK_THREADS: usize = 96;

/// Returns the rules for these queues, without their parkings.
pub fn rules(settings: &Settings, lanes: &[Lane]) -> Rules {
    let queues = settings.queues.values().zip(lanes).map(|(queue, lane)| queue_rules(queue, &lane.name, lane.limits));
    Rules {
        queues: queues.collect(),
        parkings: Vec::new(),
        partners: partner_table(&settings.partners),
        max_in_flight: settings.engine.max_in_flight,
        max_in_flight_bytes: settings.engine.max_in_flight_bytes,
        delivery_threads: settings.engine.delivery_threads,
        disk_threads: DISK_THREADS,
        until_empty: false,
        seed: 0,
    }
}

/// Returns the rules of all partners.
pub fn partner_table(settings: &PartnersSettings) -> PartnerTable {
    let by_account = settings.by_account.iter().map(|(account, partner)| (account.clone(), Arc::new(partner_rules(partner))));
    PartnerTable { default: Arc::new(partner_rules(&settings.default)), by_account: by_account.collect() }
}

/// Returns the rules of one queue.
pub fn queue_rules(settings: &QueueSettings, name: &Arc<str>, limits: Limits) -> QueueRules {
    let receive_limit = if settings.receive_batch == 0 { limits.receive } else { settings.receive_batch.min(limits.receive) };
    QueueRules {
        name: Arc::clone(name),
        fifo: limits.fifo,
        concurrency: settings.concurrency,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        order_wait: within_reach(settings.order_wait),
        visibility_timeout: within_reach(settings.visibility_timeout).max(SHORTEST_LEASE),
        wait_time: within_reach(settings.wait_time),
        max_receives: settings.max_receives,
        pollers: match settings.pollers {
            0 if limits.remote => REMOTE_POLLERS,
            0 => EMBEDDED_POLLERS,
            pollers => pollers,
        },
        ackers: ackers(limits),
        receive_limit,
        ask_at_least: if limits.price.is_some() { receive_limit } else { 1 },
        // A poller of an embedded queue waits in the queue, which wakes it for a new message.
        ask_interval: if limits.remote { REMOTE_INTERVAL } else { Duration::ZERO },
        letter_requests: limits.letter_requests,
        entry_limit: limits.entries,
        delete_linger: limits.linger,
        zero_counts: if limits.remote { REMOTE_ZEROS } else { 1 },
        recount: if limits.remote { REMOTE_RECOUNT } else { EMBEDDED_RECOUNT },
    }
}

/// Returns the number of calls to a queue with these limits that may be under way at once.
pub fn ackers(limits: Limits) -> usize {
    if limits.remote { REMOTE_ACKERS } else { 1 }
}

fn partner_rules(settings: &PartnerSettings) -> PartnerRules {
    PartnerRules {
        medium: medium(&settings.deliver),
        max_batch: settings.max_batch,
        max_batch_bytes: usize::try_from(settings.max_batch_bytes).unwrap_or(usize::MAX),
        linger: within_reach(settings.linger),
        rate: settings.rate.map(|rate| (rate.requests, within_reach(rate.per))),
        burst: settings.burst,
        parallel: settings.parallel.max(1),
        min_backoff: within_reach(settings.min_backoff),
        max_backoff: within_reach(settings.max_backoff),
        breaker_failures: settings.breaker_failures,
        max_waiting: settings.max_waiting,
        hold_for: within_reach(settings.hold_for),
        give_up_after: settings.give_up_after.map(within_reach),
        idle_timeout: within_reach(settings.idle_timeout),
    }
}

fn medium(deliver: &Deliver) -> Medium {
    match deliver {
        Deliver::File { .. } => Medium::Disk,
        Deliver::Http(_) | Deliver::Sqs { .. } => Medium::Wire,
        // Standard output may be a pipe whose reader has stopped reading, so writing to it may block.
        Deliver::Stdout => Medium::Pipe,
        Deliver::Discard => Medium::Inline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_can_be_waited_for_is_done_without_a_thread() {
        assert_eq!(medium(&Deliver::Discard), Medium::Inline);
        assert_eq!(medium(&Deliver::Stdout), Medium::Pipe);
        assert_eq!(medium(&Deliver::File { path: "out/{account}".into() }), Medium::Disk);
    }
}
