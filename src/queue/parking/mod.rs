//! The parking of a queue: deliveries whose partner is unavailable
//! for long, kept on the local disk in one line per account.
//!
//! It is an embedded queue without leases: one process delivers from a file, and a delivery that is in
//! memory stays parked until it is settled, so that the process may die at any moment. A row holds one
//! delivery with its payload, ready to be sent; no handler sees it again. The threads `park-QUEUE-0` and
//! `ack-QUEUE-N` call it, and the `parked` command does beside a running service. It keeps no thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use compact_str::CompactString;
use rusqlite::Transaction;

use super::QueueError;
use super::clock::{Clock, SteadyClock, to_millis};
use super::space::{FileSystem, Space};
use super::sqlite::fault::Fault;
use super::sqlite::schema::Schema;
use super::sqlite::store::{Promise, Store};
use super::sqlite::{LOCK_TIMEOUT, number_of};
use crate::message::Account;
use crate::message::park::{Parked, ToPark, Unparked, Want};

pub use self::lane::ParkedQueue;
pub use self::names::parked_under;

mod claim;
mod damaged;
mod lane;
mod list;
mod names;
mod reading;
mod rows;
#[cfg(test)]
mod tests;

/// The schema of parking files; its `application` is "OctP" in ASCII.
static PARKING: Schema = Schema { what: "parking", application: 0x4f63_7450, steps: &[include_str!("v1.sql")], sweep: None };

/// The settings of a parking: its file, and the queue whose deliveries it holds.
#[derive(Clone)]
pub struct ParkingOptions {
    /// The path of the file. A missing file is created; its folder
    /// must exist. Several queues of one instance may share it.
    pub path: PathBuf,
    /// The queue whose deliveries are parked, by the name of its section.
    pub queue: String,
    /// The size, in bytes, beyond which the file is not made larger. Its write-ahead log comes on top, about 64 MiB.
    pub max_bytes: u64,
    /// The clock by which the waiting time of parked deliveries is measured.
    pub clock: Arc<dyn Clock>,
    /// The source of the disk's free space. The queues of one file
    /// share the one with which the first of them was opened.
    pub space: Arc<dyn Space>,
    /// How long a call waits for other threads, and as long again for
    /// other processes, before it fails with [`QueueError::Unavailable`].
    pub patience: Duration,
}

impl ParkingOptions {
    /// Returns settings with a patience of 5 s and a clock that does not step
    /// while the process lives, since it measures how long a delivery has waited.
    pub fn new(path: impl Into<PathBuf>, queue: impl Into<String>, max_bytes: u64) -> Self {
        Self {
            path: path.into(),
            queue: queue.into(),
            max_bytes,
            clock: Arc::new(SteadyClock::of_process()),
            space: Arc::new(FileSystem),
            patience: LOCK_TIMEOUT,
        }
    }
}

/// The parking of one queue. It is cheap to share and safe to use from many threads.
pub struct Parking {
    /// The name of the parking, for errors.
    name: String,
    queue: i64,
    path: PathBuf,
    max_bytes: AtomicU64,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    patience: Duration,
}

/// The parked deliveries of one account, as a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedAccount {
    /// The account.
    pub account: Account,
    /// The number of parked deliveries, at least one.
    pub deliveries: u64,
    /// The bytes of their payloads and bodies.
    pub bytes: u64,
    /// The id of the message whose delivery is first in line; `(cannot be read)` if its row is on a damaged page.
    pub oldest: CompactString,
    /// Since when the first delivery has waited for the partner; 1970 if its row is on a damaged page.
    pub waits_since: SystemTime,
}

/// Returns the name under which the parking of a queue is shown, as if it were a queue itself.
pub fn parking_name(queue: &str) -> String {
    format!("{queue}.parking")
}

impl Parking {
    /// Opens the file, and creates or migrates it if needed. Blocks for at most about `patience`.
    ///
    /// # Errors
    ///
    /// [`QueueError::Refused`] if the path is wrong, or the file was written by a newer octoconf or by another
    /// program, or holds queues; [`QueueError::Unavailable`] if the file is locked or its disk is full.
    pub fn open(options: ParkingOptions) -> Result<Self, QueueError> {
        let ParkingOptions { path, queue: of, max_bytes, clock, space, patience } = options;
        let name = parking_name(&of);
        let opened = Store::open(&path, &PARKING, space, patience).and_then(|store| {
            let queue = store.write(Promise::PowerLoss, patience, |transaction| number_of(transaction, &of))?;
            Ok((store, queue))
        });
        match opened {
            Ok((store, queue)) => Ok(Self { name, queue, path, max_bytes: max_bytes.into(), store, clock, patience }),
            Err(fault) => Err(fault.of(&format!("{name} in {}", path.display()), "open")),
        }
    }

    /// Sets the size, in bytes, beyond which the file is not made larger. A file that is larger already stays as it is.
    pub fn set_max_bytes(&self, max_bytes: u64) {
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
    }

    /// Parks deliveries, in order, in one transaction. Returns one result per delivery; those reported
    /// as parked survive a power loss. Blocks for a sync, and for up to the patience while others write.
    pub fn park(&self, deliveries: &[ToPark]) -> Result<Vec<Parked>, QueueError> {
        let bytes = deliveries.iter().map(rows::weight).sum();
        let park = |transaction: &Transaction<'_>| {
            rows::park(transaction, self.queue, self.now(), self.max_bytes.load(Ordering::Relaxed), deliveries)
        };
        self.store.grow(bytes, self.patience, park).map_err(|fault| fault.of(&self.name, "park"))
    }

    /// Reads the wanted deliveries of each account, oldest first, about 4 MiB of payloads
    /// in all. Returns one answer per entry of `wants`. All of the deliveries stay parked.
    ///
    /// A file that was moved or deleted meanwhile is read on: it alone has these deliveries.
    pub fn unpark(&self, wants: &[Want]) -> Result<Vec<Unparked>, QueueError> {
        self.read_on("unpark", |transaction| rows::take(transaction, self.queue, self.now(), wants))
    }

    /// Calls `each` with a summary of every account that has parked deliveries, by account, until it returns `false`.
    pub fn list(&self, each: &mut dyn FnMut(ParkedAccount) -> bool) -> Result<(), QueueError> {
        // The empty text sorts before all accounts, since no account is empty.
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

    /// Returns the number of parked deliveries of one account, or of all accounts if `account` is `None`.
    pub fn count_of(&self, account: Option<&str>) -> Result<u64, QueueError> {
        self.read("count", |transaction| list::count(transaction, self.queue, account))
    }

    /// Deletes at most `most` deliveries for good, of one account
    /// or of all, in one transaction. Returns how many it deleted.
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

    fn read_on<T>(&self, what: &'static str, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, QueueError> {
        self.store.read_on(work).map_err(|fault| fault.of(&self.name, what))
    }
}
