//! The parking of a queue: deliveries whose partner is away for long, on the local disk, in a line for each account.
//!
//! An embedded queue without leases: one process delivers from a file, and what it has in memory stays parked until it is settled, so
//! that a process may die at any moment. A row holds one delivery with its payload, ready to be sent; no handler sees it again.
//! Called by the threads `park-QUEUE-0` and `ack-QUEUE-N`, and by the `parked` command beside a running service. It keeps no thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use compact_str::CompactString;
use rusqlite::Transaction;

use super::QueueError;
use super::clock::{Clock, WallClock, to_millis};
use super::space::{FileSystem, Space};
use super::sqlite::fault::Fault;
use super::sqlite::schema::Schema;
use super::sqlite::store::{Promise, Store};
use super::sqlite::{PATIENCE, number_of};
use crate::message::Account;
use crate::message::park::{Parked, ToPark, Unparked, Want};

pub use self::lane::ParkedQueue;

mod claim;
mod lane;
mod list;
mod rows;
#[cfg(test)]
mod tests;

/// "OctP" in ASCII.
static PARKING: Schema = Schema { what: "parking", application: 0x4f63_7450, steps: &[include_str!("v1.sql")], sweep: None };

/// Which queue's deliveries, in which file.
#[derive(Clone)]
pub struct ParkingOptions {
    /// Made if it is missing; its folder is not. Several queues of one instance may share it.
    pub path: PathBuf,
    /// The queue whose deliveries are parked, by its section's name.
    pub queue: String,
    /// The file is not made larger than that. Its write-ahead log comes on top, about 64 MiB.
    pub max_bytes: u64,
    pub clock: Arc<dyn Clock>,
    /// What the disk has left. The queues of one file share what the first of them was opened with.
    pub space: Arc<dyn Space>,
    /// How long a call waits for other threads, and as long again for other processes, before it is [`QueueError::Unavailable`].
    pub patience: Duration,
}

impl ParkingOptions {
    /// By the wall clock, with a patience of 5 s.
    pub fn new(path: impl Into<PathBuf>, queue: impl Into<String>, max_bytes: u64) -> Self {
        Self {
            path: path.into(),
            queue: queue.into(),
            max_bytes,
            clock: Arc::new(WallClock),
            space: Arc::new(FileSystem),
            patience: PATIENCE,
        }
    }
}

/// Cheap to share, safe to use from many threads.
pub struct Parking {
    /// For errors.
    name: String,
    queue: i64,
    path: PathBuf,
    max_bytes: AtomicU64,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    patience: Duration,
}

/// What is parked of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedAccount {
    pub account: Account,
    pub deliveries: u64,
    /// Of payloads and bodies.
    pub bytes: u64,
    /// The id of the message whose delivery is first.
    pub oldest: CompactString,
    /// Since when that has waited for the partner.
    pub waits_since: SystemTime,
}

impl Parking {
    /// Opens the file, makes it or migrates it where needed.
    ///
    /// Blocks for up to about the patience. [`QueueError::Refused`] where the path is wrong, or the file is of a newer octoconf, another
    /// program's or one of queues; [`QueueError::Unavailable`] where the file is locked or its disk full.
    pub fn open(options: ParkingOptions) -> Result<Self, QueueError> {
        let ParkingOptions { path, queue: of, max_bytes, clock, space, patience } = options;
        let name = format!("{of}.parking");
        let opened = Store::open(&path, &PARKING, space, patience).and_then(|store| {
            let queue = store.write(Promise::PowerLoss, patience, |transaction| number_of(transaction, &of))?;
            Ok((store, queue))
        });
        match opened {
            Ok((store, queue)) => Ok(Self { name, queue, path, max_bytes: max_bytes.into(), store, clock, patience }),
            Err(fault) => Err(fault.of(&format!("{name} in {}", path.display()), "open")),
        }
    }

    /// From now on the file is not made larger than that; one that is stays as it is.
    pub fn set_max_bytes(&self, max_bytes: u64) {
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
    }

    /// Parks deliveries, in order, in one transaction: one result each. What is reported as parked survives a power loss. Blocks for a
    /// sync, and for up to the patience while others write.
    pub fn park(&self, deliveries: &[ToPark]) -> Result<Vec<Parked>, QueueError> {
        let bytes = deliveries.iter().map(rows::weight).sum();
        let park = |transaction: &Transaction<'_>| {
            rows::park(transaction, self.queue, self.now(), self.max_bytes.load(Ordering::Relaxed), deliveries)
        };
        self.store.grow(bytes, self.patience, park).map_err(|fault| fault.of(&self.name, "park"))
    }

    /// Reads what is wanted of each account, oldest first, one answer each, some 4 MiB of payloads in all. All of it stays parked.
    pub fn unpark(&self, wants: &[Want]) -> Result<Vec<Unparked>, QueueError> {
        self.read("unpark", |transaction| rows::take(transaction, self.queue, self.now(), wants))
    }

    /// What is parked, by account. Calls `each` until it returns `false`.
    pub fn list(&self, each: &mut dyn FnMut(ParkedAccount) -> bool) -> Result<(), QueueError> {
        // No account is empty.
        let mut after = Account::default();
        loop {
            let page = self.read("list", |transaction| list::page(transaction, self.queue, &after))?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.account.clone();
            for line in page {
                if !each(line) {
                    return Ok(());
                }
            }
        }
    }

    /// Deliveries of one account, or of all.
    pub fn count_of(&self, account: Option<&str>) -> Result<u64, QueueError> {
        self.read("count", |transaction| list::count(transaction, self.queue, account))
    }

    /// Deletes at most `most` deliveries of one account, or of all, for good, in one transaction; gives how many.
    pub fn purge(&self, account: Option<&str>, most: usize) -> Result<usize, QueueError> {
        self.write(Promise::PowerLoss, "purge", |transaction| list::purge(transaction, self.queue, account, most))
    }

    fn now(&self) -> i64 {
        to_millis(self.clock.now())
    }

    fn write<T>(
        &self,
        promise: Promise,
        what: &'static str,
        work: impl FnMut(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, QueueError> {
        self.store.write(promise, self.patience, work).map_err(|fault| fault.of(&self.name, what))
    }

    fn read<T>(&self, what: &'static str, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, QueueError> {
        self.store.read(work).map_err(|fault| fault.of(&self.name, what))
    }
}
