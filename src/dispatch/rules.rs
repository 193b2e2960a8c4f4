//! The settings that the dispatcher decides by. Plain data, made by the engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::message::Account;

use super::keys::QueueIndex;

/// The settings that a dispatcher starts with. A reload replaces the partners' table, and changes, retires and
/// adds queues: see [`QueueChanges`].
#[derive(Debug, Clone)]
pub struct Rules {
    /// The queues; a queue's index in this list is its [`QueueIndex`].
    pub queues: Vec<QueueRules>,
    /// The parkings of those queues that have one.
    pub parkings: Vec<ParkingRules>,
    /// The rules of every partner.
    pub partners: PartnerTable,
    /// The largest number of messages held at once, over all queues.
    pub max_in_flight: usize,
    /// The largest number of bytes of bodies and payloads held at once.
    pub max_in_flight_bytes: u64,
    /// The largest number of flushes in flight at once, over all partners.
    pub delivery_threads: usize,
    /// The largest number of these flushes that may go to the local disk at once, without those of partners that are
    /// slow or fail.
    pub disk_threads: usize,
    /// Whether to finish once every queue is empty and every message is settled.
    pub until_empty: bool,
    /// The seed for jitter: the same seed and the same events yield the same commands.
    pub seed: u64,
}

/// The settings of one queue.
#[derive(Debug, Clone)]
pub struct QueueRules {
    /// The queue's name.
    pub name: Arc<str>,
    /// Whether the queue is FIFO: order is kept by message group, and a group waits for its slowest
    /// handler, for as long as it takes.
    pub fifo: bool,
    /// The largest number of messages in the handler at once.
    pub concurrency: usize,
    /// The number of threads that a handler which only computes can use: the number of cores, or fewer.
    pub cores: usize,
    /// How long a message of a standard queue may be in its handler before later messages
    /// overtake it; zero: no order is kept.
    pub order_wait: Duration,
    /// The lease: how long a received message stays hidden, unless extended.
    pub visibility_timeout: Duration,
    /// How long one receive waits for messages (the long poll).
    pub wait_time: Duration,
    /// The number of receives after which a message becomes a dead letter; 0: no limit.
    pub max_receives: u32,
    /// The largest number of pollers; only one receives when there is little to do.
    pub pollers: usize,
    /// The number of ackers: calls about settled copies that may be under way at once.
    pub ackers: usize,
    /// The largest number of messages that one receive returns.
    pub receive_limit: usize,
    /// The smallest number of free places worth a request: fewer are asked for only after
    /// they have been free for a second.
    pub ask_at_least: usize,
    /// The longest time that is kept from the beginning of a receive that found nothing to the next one, for queues that
    /// may answer it at once; zero: none is.
    pub ask_interval: Duration,
    /// The number of requests that one call to set messages aside costs: a service may keep its
    /// dead letters on another queue.
    pub letter_requests: u64,
    /// The largest number of entries in one call about settled copies.
    pub entry_limit: usize,
    /// How long deletes wait for others to share a call, on services for which one call with many entries costs less.
    pub delete_linger: Duration,
    /// The number of zero counts in a row that show that the queue is empty. It is above 1 if a count is an estimate;
    /// the last receive must then have found nothing too.
    pub zero_counts: u32,
    /// The time between two counts.
    pub recount: Duration,
}

impl QueueRules {
    /// Returns the rules of a parking as a queue. It only deletes rows and sets them aside; they come back account
    /// by account, not through pollers.
    pub(super) fn of_parking(parking: &ParkingRules) -> Self {
        Self {
            name: Arc::clone(&parking.name),
            fifo: false,
            concurrency: 0,
            cores: 1,
            order_wait: Duration::ZERO,
            // There is no lease: no other process takes from the parking.
            visibility_timeout: Duration::from_secs(12 * 3600),
            wait_time: Duration::ZERO,
            max_receives: 0,
            pollers: 0,
            ackers: 1,
            receive_limit: 0,
            ask_at_least: 0,
            ask_interval: Duration::ZERO,
            letter_requests: 1,
            entry_limit: parking.entry_limit,
            delete_linger: Duration::ZERO,
            zero_counts: 0,
            recount: Duration::ZERO,
        }
    }
}

/// The parking of one queue.
#[derive(Debug, Clone)]
pub struct ParkingRules {
    /// The parking's own name, `QUEUE.parking`.
    pub name: Arc<str>,
    /// The queue whose deliveries it holds.
    pub of: QueueIndex,
    /// The largest number of entries in one call about rows that came back.
    pub entry_limit: usize,
    /// The number of deliveries that it holds at the start, by account.
    pub found: Vec<(Account, u64)>,
}

/// The changes of one reload to the queues, applied together.
#[derive(Debug, Default)]
pub struct QueueChanges {
    /// New rules for queues that stay. Whether order is kept and the number of ackers do not change.
    pub changed: Vec<(QueueIndex, QueueRules)>,
    /// Queues that are taken away: they receive nothing more, and their held messages are settled.
    pub retired: Vec<QueueIndex>,
    /// New queues, in the order of their indices: each takes the next free index, and its parking, if
    /// it has one, the index after it.
    pub added: Vec<NewQueue>,
}

/// A queue that is added.
#[derive(Debug)]
pub struct NewQueue {
    /// The queue's settings.
    pub rules: QueueRules,
    /// The queue's parking. Its [`ParkingRules::of`] is ignored: the queue is the one that it comes with.
    pub parking: Option<ParkingRules>,
}

/// The rules of every partner: its own if it has any, else the default.
#[derive(Debug, Clone)]
pub struct PartnerTable {
    /// The rules of partners without rules of their own.
    pub default: Arc<PartnerRules>,
    /// The partners' own rules, by account.
    pub by_account: HashMap<Account, Arc<PartnerRules>>,
}

impl PartnerTable {
    /// Returns the rules of this account.
    pub fn of(&self, account: &str) -> Arc<PartnerRules> {
        Arc::clone(self.by_account.get(account).unwrap_or(&self.default))
    }
}

/// Where a partner's deliveries go, which decides the threads that they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Medium {
    /// A sink that never waits: its flushes need no thread.
    Inline,
    #[default]
    /// Any other destination that may block: HTTP or SQS.
    Wire,
    /// The local disk.
    Disk,
    /// Standard output: a single stream, which all its partners share.
    Pipe,
}

/// The settings of one partner.
#[derive(Debug, Clone, PartialEq)]
pub struct PartnerRules {
    /// The medium, which decides the delivery threads that the partner may use.
    pub medium: Medium,
    /// The largest number of deliveries in one flush; at least 1.
    pub max_batch: usize,
    /// The largest number of payload bytes in one flush; a larger single payload goes alone.
    pub max_batch_bytes: usize,
    /// How long a batch that is not full waits for more deliveries.
    pub linger: Duration,
    /// The largest number of requests per time, over all queues; `None`: no limit.
    pub rate: Option<(u32, Duration)>,
    /// The number of requests that may go at once after a time without any; at least 1.
    pub burst: u32,
    /// The largest number of flushes in flight at once; 1 keeps order.
    pub parallel: usize,
    /// The back-off after a first failure.
    pub min_backoff: Duration,
    /// The longest back-off.
    pub max_backoff: Duration,
    /// The number of failures in a row after which the breaker opens.
    pub breaker_failures: u32,
    /// The largest number of deliveries held for the partner when other partners need the room.
    pub max_waiting: usize,
    /// The time that bounds the partner's share: what it takes in this time may be held for it
    /// when other partners need the room.
    pub hold_for: Duration,
    /// The age after which a delivery becomes a dead letter; `None`: never.
    pub give_up_after: Option<Duration>,
    /// How long a bucket must be empty before it is removed.
    pub idle_timeout: Duration,
}
