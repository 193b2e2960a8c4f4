//! One queue's deliveries on their way to the disk and back. At most one call each way is under way at a time, so that
//! the deliveries that arrive meanwhile share the next call and its sync.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::in_memory::InMemory;
use crate::dispatch::due::Alarm;
use crate::dispatch::keys::{BucketKey, PartnerKey, QueueIndex, Ticket};
use crate::dispatch::pause::Pause;
use crate::message::Item;

/// The shortest and longest pause between tries of a parking that is full or fails; messages are returned meanwhile.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// One delivery on its way to the disk. Its message is held until it is there.
#[derive(Debug)]
pub struct Leaver {
    /// The ticket of the delivery's message.
    pub ticket: Ticket,
    /// The bucket that the delivery belongs to.
    pub bucket: BucketKey,
    /// The delivery's place in the bucket, if it was in memory: it may have to go back there.
    pub place: Option<u64>,
    /// The place up to which the rows of the account's line were in memory when the delivery left: a row that leaves
    /// memory later is older than the delivery.
    pub after: i64,
    /// The delivery itself.
    pub item: Item,
}

impl Leaver {
    /// Returns whether the delivery is older than the parked rows: it is if it was in memory.
    pub fn is_older(&self) -> bool {
        self.place.is_some()
    }
}

/// The traffic between one queue's buckets and its parking.
#[derive(Debug)]
pub struct Transfer {
    /// The index of the queue as which rows come back.
    pub rows: QueueIndex,
    /// Deliveries that wait to be written, the first to go first.
    pub waiting: VecDeque<Leaver>,
    /// Deliveries in the write that is under way.
    pub called: Vec<Leaver>,
    /// Buckets that want rows back.
    pub wanting: VecDeque<BucketKey>,
    /// The buckets in the read that is under way, each with the number of places reserved for it.
    pub asked: Vec<(BucketKey, usize)>,
    /// The rows that came back and are not settled yet.
    pub in_memory: InMemory,
    /// A partner that is not away and gets no rows, for want of a place.
    pub lacks_places: Option<PartnerKey>,
    /// Before this moment no rows of partners that are away are looked for, that could make place.
    pub shed_at: Option<Instant>,
    /// The timer for the end of a pause between reads.
    pub alarm: Alarm,
    /// The pause of writes, after the parking was full or failed.
    parks: Pause,
    /// The pause of reads, after one failed.
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
            in_memory: InMemory::default(),
            lacks_places: None,
            shed_at: None,
            alarm: Alarm::default(),
            parks: Pause::new(MIN_BACKOFF, MAX_BACKOFF),
            unparks: Pause::new(MIN_BACKOFF, MAX_BACKOFF),
        }
    }

    /// Returns whether deliveries can be parked now.
    pub fn takes(&self, now: Instant) -> bool {
        self.parks.is_over(now)
    }

    /// Returns whether rows can be read now: no read is under way, and no pause is left.
    pub fn gives(&self, now: Instant) -> bool {
        self.asked.is_empty() && self.unparks.is_over(now)
    }

    /// Returns whether nothing is on its way in either direction.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.called.is_empty() && self.asked.is_empty()
    }

    /// Returns when rows that are wanted may be read; `None` if no pause is in the way.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        self.unparks.until().filter(|at| *at > now && !self.wanting.is_empty())
    }

    /// Records a failed write. Returns the wait if this is the first failure in a row.
    pub fn failed_to_park(&mut self, now: Instant, transient: bool, random: &mut Rng) -> Option<Duration> {
        self.parks.failed(now, transient, random)
    }

    /// Records a successful write. Returns whether this ends a series of failures.
    pub fn parked(&mut self) -> bool {
        self.parks.succeeded()
    }

    /// Records a failed read. Returns the wait if this is the first failure in a row.
    pub fn failed_to_unpark(&mut self, now: Instant, transient: bool, random: &mut Rng) -> Option<Duration> {
        self.unparks.failed(now, transient, random)
    }

    /// Records a successful read. Returns whether this ends a series of failures.
    pub fn unparked(&mut self) -> bool {
        self.unparks.succeeded()
    }
}
