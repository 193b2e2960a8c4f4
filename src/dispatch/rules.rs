//! What the dispatcher must keep to: the part of the settings that it decides by. Plain data, made by the engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::message::Account;

use super::keys::QueueIndex;

/// What a dispatcher starts with. A reload replaces the partners' table, and changes, retires and adds queues: [`QueueChanges`].
#[derive(Debug, Clone)]
pub struct Rules {
    pub queues: Vec<QueueRules>,
    /// Of some of these queues.
    pub parkings: Vec<ParkingRules>,
    pub partners: PartnerTable,
    /// Messages held at once, over all queues.
    pub max_in_flight: usize,
    /// Bytes of bodies and payloads held at once.
    pub max_in_flight_bytes: u64,
    /// Flushes in flight at once, over all partners.
    pub delivery_threads: usize,
    /// Of these, flushes to the local disk at once.
    pub disk_threads: usize,
    /// Finish once every queue is empty and everything is settled.
    pub until_empty: bool,
    /// For jitter: the same seed and the same events give the same commands.
    pub seed: u64,
}

#[derive(Debug, Clone)]
pub struct QueueRules {
    pub name: Arc<str>,
    /// Order is by message group, and a group waits for as long as it takes.
    pub fifo: bool,
    /// Messages in the handler at once.
    pub concurrency: usize,
    /// Threads that a handler which only computes is worth: the cores, or fewer.
    pub cores: usize,
    /// A standard queue's message that has been in its handler for longer is overtaken; zero: no order is kept.
    pub order_wait: Duration,
    pub visibility_timeout: Duration,
    pub wait_time: Duration,
    /// Receives after which a message becomes a dead letter; 0: no limit.
    pub max_receives: u32,
    /// Pollers at most; one receives when there is little to do.
    pub pollers: usize,
    /// Ackers: calls about settled copies that may be under way at once.
    pub ackers: usize,
    /// Most messages of one receive.
    pub receive_limit: usize,
    /// Fewer free places than these are not asked for until they have been free for a second: a request has its price.
    pub ask_at_least: usize,
    /// Requests that setting messages aside in one call takes: a service may have its letters on another queue.
    pub letter_requests: u64,
    /// Most entries of one call about settled copies.
    pub entry_limit: usize,
    /// How long deletes wait for company, where many in one call cost less than one by one.
    pub settle_linger: Duration,
    /// Counts of none in a row that say that the queue is empty: more than one where a count is an estimate, and then the last receive
    /// must have found none too.
    pub zero_counts: u32,
    /// Between two counts.
    pub recount: Duration,
}

impl QueueRules {
    /// A parking as a queue: only settled, since what it has comes back account by account.
    pub(super) fn of_parking(parking: &ParkingRules) -> Self {
        Self {
            name: Arc::clone(&parking.name),
            fifo: false,
            concurrency: 0,
            cores: 1,
            order_wait: Duration::ZERO,
            // There is no lease: nobody else takes from it.
            visibility_timeout: Duration::from_secs(12 * 3600),
            wait_time: Duration::ZERO,
            max_receives: 0,
            pollers: 0,
            ackers: 1,
            receive_limit: 0,
            ask_at_least: 0,
            letter_requests: 1,
            entry_limit: parking.entry_limit,
            settle_linger: Duration::ZERO,
            zero_counts: 0,
            recount: Duration::ZERO,
        }
    }
}

/// The parking of one queue.
#[derive(Debug, Clone)]
pub struct ParkingRules {
    /// Its own name, `QUEUE.parking`.
    pub name: Arc<str>,
    /// Whose deliveries it holds.
    pub of: QueueIndex,
    /// Most entries of one call about rows that came back.
    pub entry_limit: usize,
    /// Deliveries that it holds at the start, by account.
    pub found: Vec<(Account, u64)>,
}

/// What becomes of the queues, all at once.
#[derive(Debug, Default)]
pub struct QueueChanges {
    /// The same queues by other rules. Whether order is kept stays as it is, and so does the number of ackers.
    pub changed: Vec<(QueueIndex, QueueRules)>,
    pub retired: Vec<QueueIndex>,
    /// In the order of their indices: each takes the next, and behind it its parking where it has one.
    pub added: Vec<NewQueue>,
}

/// A queue that comes.
#[derive(Debug)]
pub struct NewQueue {
    pub rules: QueueRules,
    /// Whose it is follows from its place here.
    pub parking: Option<ParkingRules>,
}

/// The rules of every partner: its own, or the default's.
#[derive(Debug, Clone)]
pub struct PartnerTable {
    pub default: Arc<PartnerRules>,
    pub by_account: HashMap<Account, Arc<PartnerRules>>,
}

impl PartnerTable {
    pub fn of(&self, account: &str) -> Arc<PartnerRules> {
        Arc::clone(self.by_account.get(account).unwrap_or(&self.default))
    }
}

/// Where a partner's deliveries go, and so which threads they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Medium {
    /// Nowhere that could be waited for: it needs no thread.
    Inline,
    #[default]
    Wire,
    Disk,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PartnerRules {
    /// Which of the delivery threads it may have.
    pub medium: Medium,
    /// Deliveries of one flush; at least 1.
    pub max_batch: usize,
    /// Payload bytes of one flush; a larger single one goes alone.
    pub max_batch_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
    /// Requests per time, over all queues.
    pub rate: Option<(u32, Duration)>,
    /// Requests that may go at once after a pause; at least 1.
    pub burst: u32,
    /// Flushes in flight at once; order is kept with 1.
    pub parallel: usize,
    pub min_backoff: Duration,
    pub max_backoff: Duration,
    /// Failures in a row after which the breaker opens.
    pub breaker_failures: u32,
    /// Deliveries that are held for it at most where others need the room.
    pub max_waiting: usize,
    /// What it takes in this time may be held for it where others need the room.
    pub hold_for: Duration,
    /// Deliveries older than this become dead letters.
    pub give_up_after: Option<Duration>,
    /// A bucket that was empty for this long goes away.
    pub idle_timeout: Duration,
}
