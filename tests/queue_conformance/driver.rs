//! The implementations under test, each with a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use octoconf::message::Grouping;
use octoconf::queue::Queue;
use octoconf::queue::memory::{MemoryOptions, MemoryQueue};
use octoconf::queue::sqlite::{SqliteOptions, SqliteQueue};

/// Creates queues, and moves their clock.
pub trait Driver {
    /// Creates a new, empty queue with dead letters. With `fifo`, the group of a body is the text before its first
    /// colon; a body without a colon stands alone.
    fn queue(&self, fifo: bool) -> Box<dyn Queue>;

    /// Moves the clock by a number of whole seconds.
    fn pass(&self, time: Duration);

    /// Whether the queues keep which deliveries of a message are settled.
    fn keeps_what_is_settled(&self) -> bool;
}

/// A wall clock that the test moves.
#[derive(Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl Default for ManualClock {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1_720_000_000_000)))
    }
}

impl ManualClock {
    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub fn clock(&self) -> Arc<dyn octoconf::queue::clock::Clock> {
        let millis = self.0.clone();
        Arc::new(move || -> SystemTime { UNIX_EPOCH + Duration::from_millis(millis.load(Ordering::SeqCst)) })
    }
}

pub fn before_the_colon() -> Grouping {
    Arc::new(|body| {
        let (group, _) = std::str::from_utf8(body).ok()?.split_once(':')?;
        Some(group.into())
    })
}

#[derive(Default)]
pub struct Memory {
    clock: ManualClock,
}

impl Driver for Memory {
    fn queue(&self, fifo: bool) -> Box<dyn Queue> {
        Box::new(MemoryQueue::new(MemoryOptions {
            clock: self.clock.clock(),
            grouping: fifo.then(before_the_colon),
            ..MemoryOptions::new("conformance")
        }))
    }

    fn pass(&self, time: Duration) {
        self.clock.pass(time);
    }

    fn keeps_what_is_settled(&self) -> bool {
        true
    }
}

/// All queues of this driver are in one file: what happens on one must not affect another.
pub struct Sqlite {
    clock: ManualClock,
    folder: tempfile::TempDir,
    made: AtomicU64,
}

impl Default for Sqlite {
    fn default() -> Self {
        Self { clock: ManualClock::default(), folder: tempfile::tempdir().unwrap(), made: AtomicU64::new(0) }
    }
}

impl Driver for Sqlite {
    fn queue(&self, fifo: bool) -> Box<dyn Queue> {
        let name = format!("queue {}", self.made.fetch_add(1, Ordering::SeqCst));
        let options = SqliteOptions {
            clock: self.clock.clock(),
            grouping: fifo.then(before_the_colon),
            ..SqliteOptions::new(self.folder.path().join("queues.db"), name)
        };
        Box::new(SqliteQueue::open(options).unwrap())
    }

    fn pass(&self, time: Duration) {
        self.clock.pass(time);
    }

    fn keeps_what_is_settled(&self) -> bool {
        true
    }
}
