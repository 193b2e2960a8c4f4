//! One queue's deliveries on their way to the disk and back. One call each way is under way at a time, so that what comes up meanwhile is
//! collected and shares a sync.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::dispatch::due::Alarm;
use crate::dispatch::keys::{BucketKey, QueueIndex, Ticket};
use crate::dispatch::pause::Pause;
use crate::message::Item;

/// Between tries of a parking that is full or fails: meanwhile messages are returned instead.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// One delivery on its way to the disk. It is held until it is there.
#[derive(Debug)]
pub struct Leaver {
    pub ticket: Ticket,
    pub bucket: BucketKey,
    /// Where it waited there, if it did: it may have to go back.
    pub place: Option<u64>,
    /// Up to there its account's line was in memory when it left: rows that leave after it are older.
    pub after: i64,
    pub item: Item,
}

impl Leaver {
    /// What was in memory is older than what is parked.
    pub fn is_older(&self) -> bool {
        self.place.is_some()
    }
}

#[derive(Debug)]
pub struct Transfer {
    /// The queue as which rows come back.
    pub rows: QueueIndex,
    /// On their way, the first to go first.
    pub waiting: VecDeque<Leaver>,
    /// In the call that is under way.
    pub called: Vec<Leaver>,
    /// Buckets that want rows back.
    pub wanting: VecDeque<BucketKey>,
    /// Who is asked for in the call that is under way, and how many places are reserved for each.
    pub asked: Vec<(BucketKey, usize)>,
    /// Rows that came back and are not done with.
    pub in_memory: usize,
    pub alarm: Alarm,
    /// Since it was full or failed nothing is parked.
    parks: Pause,
    unparks: Pause,
}

impl Transfer {
    pub fn new(rows: QueueIndex) -> Self {
        Self {
            rows,
            waiting: VecDeque::new(),
            called: Vec::new(),
            wanting: VecDeque::new(),
            asked: Vec::new(),
            in_memory: 0,
            alarm: Alarm::default(),
            parks: Pause::new(MIN_BACKOFF, MAX_BACKOFF),
            unparks: Pause::new(MIN_BACKOFF, MAX_BACKOFF),
        }
    }

    /// Whether something can be parked now.
    pub fn takes(&self, now: Instant) -> bool {
        self.parks.is_over(now)
    }

    pub fn gives(&self, now: Instant) -> bool {
        self.asked.is_empty() && self.unparks.is_over(now)
    }

    /// Nothing is on its way, either way.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.called.is_empty() && self.asked.is_empty()
    }

    /// When rows may be asked for that may not be now.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        self.unparks.until().filter(|at| *at > now && !self.wanting.is_empty())
    }

    /// Gives the wait, and whether it is the first failure in a row.
    pub fn failed_to_park(&mut self, now: Instant, transient: bool, random: &mut Rng) -> (Duration, bool) {
        self.parks.failed(now, transient, random)
    }

    /// Gives whether that ends a failure.
    pub fn parked(&mut self) -> bool {
        self.parks.succeeded()
    }

    pub fn failed_to_unpark(&mut self, now: Instant, transient: bool, random: &mut Rng) -> (Duration, bool) {
        self.unparks.failed(now, transient, random)
    }

    pub fn unparked(&mut self) -> bool {
        self.unparks.succeeded()
    }
}
