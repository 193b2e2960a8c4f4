//! The conditions that a seed sets: how large the room is, what the queues allow, and which
//! partners are away for how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::dispatch::tests::{partner_rules, queue_rules};
use crate::dispatch::{PartnerRules, PartnerTable, QueueRules, Rules};
use crate::message::service::Facts;
use crate::message::{Account, Answer};

pub const QUEUES: usize = 2;
pub const LEASE: Duration = Duration::from_secs(60);

/// The number of partners; the first [`AWAY`] of them are away for some time, the next one is too slow.
pub const ACCOUNTS: usize = 10;
pub const AWAY: usize = 3;
pub const TOO_SLOW: usize = AWAY;

/// The largest size of bodies and payloads, in bytes.
pub const LARGEST: usize = 100_000;

/// A number of receives that no message comes near to.
pub const MANY: u32 = 100;

/// The longest time that an answer of the partner takes that is too slow.
const SLOW: Duration = Duration::from_secs(4);

const MINUTE: Duration = Duration::from_secs(60);

pub struct Scene {
    pub max_in_flight: usize,
    pub max_in_flight_bytes: u64,
    /// The facts of each queue, by index.
    pub facts: Vec<Facts>,
    pub messages: usize,
    /// The time over which the messages arrive.
    pub span: Duration,
    /// The largest size of bodies and payloads, in bytes.
    pub size: usize,
    /// Whether all messages are there from the start, and nearly as large as they may be, so that their bodies fill
    /// most of the room before any handler has begun.
    pub backlog: bool,
    /// The concurrency of each handler.
    concurrency: usize,
    /// The number of receives after which a message becomes a dead letter.
    pub max_receives: u32,
    /// Whether some messages lead to several deliveries.
    pub fans_out: bool,
    /// Whether other consumers take messages away from us.
    pub steals: bool,
    pub partners: Vec<PartnerModel>,
}

/// The behaviour of one partner.
pub struct PartnerModel {
    pub account: Account,
    /// The longest time that an answer takes.
    pub latency: Duration,
    /// When the partner goes away, when it is back (both since the start), and how it behaves meanwhile.
    pub away: Option<(Duration, Duration, Trouble)>,
}

#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    Fails,
    Asks,
    Hangs,
    Refuses,
    /// Its endpoint for the first queue is not there, and it takes all from the other.
    RefusesOneQueue,
}

impl Scene {
    pub fn new(random: &mut Rng) -> Self {
        let span = MINUTE * random.u32(20..60);
        let max_in_flight = random.usize(40..120);
        // In half of the scenes bytes are scarce: before bodies are seen, each may have 1 MiB.
        let roomy = random.bool();
        let (size, bytes) = if roomy { (2000, 1 << 30) } else { (LARGEST, random.u64(10 << 20..20 << 20)) };
        let backlog = random.u8(..4) == 0;
        // A queue that is sure of less than one body of 1 MiB may stand still for as long as partners are away.
        let (size, bytes) = if backlog { (LARGEST, random.u64(4 << 20..6 << 20)) } else { (size, bytes) };
        let max_in_flight = if backlog { max_in_flight.max(80) } else { max_in_flight };
        let facts = (0..QUEUES).map(|_| Facts {
            redrive_after: random.bool().then(|| random.u32(3..12)),
            hidden_limit: (random.u8(..4) == 0).then(|| random.u64(320..1000)),
            longest_lease: Some(Duration::from_secs(12 * 3600)),
            ..Facts::default()
        });
        let facts = facts.collect();
        let partners = (0..ACCOUNTS).map(|n| partner_model(n, span, backlog, random)).collect();
        Self {
            max_in_flight,
            max_in_flight_bytes: bytes,
            facts,
            messages: random.usize(100..400),
            span,
            size,
            backlog,
            concurrency: if backlog { random.usize(1..5) } else { 20 },
            max_receives: if random.u8(..4) == 0 { random.u32(3..11) } else { MANY },
            fans_out: random.bool(),
            steals: random.u8(..3) == 0,
            partners,
        }
    }

    pub fn partner(&self, account: &Account) -> &PartnerModel {
        self.partners.iter().find(|partner| partner.account == *account).expect("one of them")
    }

    /// Returns the time after which all partners take again.
    pub fn all_well(&self) -> Duration {
        self.partners.iter().filter_map(|partner| partner.away.map(|(_, until, _)| until)).max().unwrap_or_default()
    }

    pub fn rules(&self, seed: u64, random: &mut Rng) -> Rules {
        let queues = (0..QUEUES).map(|queue| QueueRules {
            fifo: queue == 1,
            visibility_timeout: LEASE,
            concurrency: self.concurrency,
            max_receives: self.max_receives,
            pollers: random.usize(1..4),
            ackers: random.usize(1..4),
            ask_at_least: if random.bool() { 1 } else { 10 },
            ask_interval: Duration::ZERO,
            recount: Duration::from_secs(5),
            ..queue_rules(&format!("q{queue}"))
        });
        let queues = queues.collect();
        let partner = PartnerRules {
            max_batch: random.usize(1..20),
            max_backoff: MINUTE,
            parallel: if random.bool() { 1 } else { 3 },
            ..partner_rules()
        };
        Rules {
            queues,
            parkings: Vec::new(),
            partners: PartnerTable { default: Arc::new(partner), by_account: Default::default() },
            max_in_flight: self.max_in_flight,
            max_in_flight_bytes: self.max_in_flight_bytes,
            delivery_threads: 20,
            disk_threads: 20,
            until_empty: false,
            seed,
        }
    }
}

fn partner_model(n: usize, span: Duration, backlog: bool, random: &mut Rng) -> PartnerModel {
    let away = (n < AWAY).then(|| {
        // A backlog is worked off within minutes.
        let from = if backlog { Duration::ZERO } else { span * random.u32(0..30) / 100 };
        let longest = if random.u8(..10) == 0 { 14 * 60 } else { 120 };
        let kinds = [Trouble::Fails, Trouble::Asks, Trouble::Hangs, Trouble::Refuses, Trouble::RefusesOneQueue];
        (from, from + MINUTE * random.u32(10..longest), kinds[random.usize(..kinds.len())])
    });
    let latency = if n == TOO_SLOW { SLOW } else { Duration::from_millis(random.u64(5..400)) };
    PartnerModel { account: format!("a{n}").into(), latency, away }
}

impl PartnerModel {
    /// Returns whether the partner takes everything from this queue at all times.
    pub fn is_well_for(&self, queue: usize) -> bool {
        let quick = self.latency < SLOW;
        quick && self.away.is_none_or(|(.., trouble)| matches!(trouble, Trouble::RefusesOneQueue) && queue > 0)
    }

    /// Returns the partner's answer to a flush of this queue that reaches it now, and the time that it takes.
    pub fn answer(&self, queue: usize, start: Instant, now: Instant, random: &mut Rng) -> (Duration, Answer) {
        let status = |code, retry_after| Answer::Status { code, retry_after, excerpt: "".into() };
        let wait = self.latency.mul_f64(0.5 + random.f64() / 2.0);
        let since = now - start;
        match self.away.filter(|(from, until, _)| (*from..*until).contains(&since)) {
            None => (wait, Answer::Accepted),
            Some((.., Trouble::Fails)) => (wait, status(503, None)),
            Some((.., Trouble::Asks)) => (wait, status(429, Some(MINUTE * 2))),
            Some((.., Trouble::Refuses)) => (wait, status(401, None)),
            Some((.., Trouble::RefusesOneQueue)) if queue > 0 => (wait, Answer::Accepted),
            Some((.., Trouble::RefusesOneQueue)) => (wait, status(404, None)),
            Some((.., Trouble::Hangs)) => (Duration::from_secs(10), Answer::Unreachable { reason: "timed out".into() }),
        }
    }
}
