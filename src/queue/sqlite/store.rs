//! One file, its connections, and the turns of the threads that
//! write to it. Calls run and block on the caller's thread.
//!
//! SQLite lets one connection of all processes write at a time, and connections that wait
//! for it poll. So all queues of one file in a process share one [`Store`], whose lock hands
//! the turn from thread to thread; only waiting for other processes is left to polling.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::fault::Fault;
use super::limits;
use super::room::{self, Growth, Room};
use super::rows;
use super::schema::Schema;
use crate::queue::space::Space;

/// The number of pages in the write-ahead log at which a commit moves them to
/// the file: 16 MiB of pages, so that the move, which syncs twice, is rare.
const CHECKPOINT_PAGES: i64 = 4096;
/// The size, in bytes, to which the log is cut back after it has been moved.
const LOG_BYTES: i64 = 64 * 1024 * 1024;
/// The size of a connection's page cache, in KiB.
const CACHE_KIB: i64 = 16 * 1024;
/// How many times a process yields to others that open the same new file at the same moment.
const LOG_ATTEMPTS: usize = 100;
/// The longest wait for other processes at one go. SQLite looks again after 1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50 and
/// then every 100 ms, so in a long wait it would look ten times a second. A process that writes one transaction after the
/// other, as a redrive of many letters does, leaves the file free for a millisecond or two in between, which such looks
/// miss for seconds: receives, deletes and sends of all others would fail.
const WAIT: Duration = Duration::from_millis(20);
/// The number of statements that a connection keeps prepared: all statements of a queue fit.
const STATEMENTS: usize = 64;

/// The open stores of this process, by canonical path.
static OPEN: Mutex<BTreeMap<PathBuf, Weak<Store>>> = Mutex::new(BTreeMap::new());

pub(in crate::queue) struct Store {
    schema: &'static Schema,
    path: PathBuf,
    /// The device and inode of the open file.
    file: Option<(u64, u64)>,
    room: Room,
    writers: Mutex<Writers>,
    /// Whether the thread whose turn it is asks for the file. That takes long only while another process writes to it.
    asks: AtomicBool,
    /// The connection for reads, which must neither wait for a sync nor hold
    /// up a writer. In WAL mode readers and writers do not block each other.
    reader: Mutex<Connection>,
}

pub(super) struct Writers {
    /// The connection with `synchronous = FULL`: a commit is on the disk when it returns.
    durable: Connection,
    /// The connection with `synchronous = NORMAL`: a commit survives the
    /// death of the process, but a power loss may undo the last ones.
    quick: Connection,
}

/// The fault that a transaction must survive once it is reported as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::queue) enum Promise {
    /// A power loss: for sends, dead letters, redrives, purges and parking.
    PowerLoss,
    /// The death of the process: for receives, leases and deletes. If a power
    /// loss undoes one of these, the cost is a duplicate, never a message.
    Crash,
}

impl Store {
    /// Returns the store of a file, and opens it if no other queue of this process has. A missing file is created;
    /// its folder must exist. Blocks for at most about twice `patience` while other processes hold the file.
    pub(in crate::queue) fn open(
        path: &Path,
        schema: &'static Schema,
        space: Arc<dyn Space>,
        patience: Duration,
    ) -> Result<Arc<Self>, Fault> {
        // Held throughout, so that two threads never open one file twice.
        let mut open = OPEN.lock();
        open.retain(|_, store| store.strong_count() > 0);
        // An absolute path also keeps SQLite from interpreting special names such as ":memory:".
        let path = std::path::absolute(path).map_err(|error| Fault::refused(format!("{}: {error}", path.display())))?;
        if let Some(store) = path.canonicalize().ok().and_then(|path| open.get(&path)?.upgrade()) {
            if store.schema == schema {
                return Ok(store);
            }
            return Err(Fault::refused(format!("the file is for {}; use another one for {}", store.schema.what, schema.what)));
        }
        // If the path is a link, SQLite puts the log beside the file that the link leads to.
        let room = Room::new(space, &path.canonicalize().unwrap_or_else(|_| path.clone()));
        let connect = |synchronous| {
            let connected = connect(&path, schema, &room, patience, synchronous);
            connected.map_err(|fault| {
                let full = if fault.is_unopened() { limits::lacks_room_beside(&path) } else { None };
                full.map_or(fault, Fault::Full)
            })
        };
        let (durable, quick, reader) = (connect("FULL")?, connect("NORMAL")?, connect("NORMAL")?);
        let path = path.canonicalize().unwrap_or(path);
        let (writers, reader) = (Mutex::new(Writers { durable, quick }), Mutex::new(reader));
        let store = Arc::new(Self {
            schema,
            file: file_at(&path),
            room,
            path: path.clone(),
            writers,
            asks: AtomicBool::new(false),
            reader,
        });
        open.insert(path, Arc::downgrade(&store));
        Ok(store)
    }

    /// Fails if the file is no longer where it was opened. SQLite would go on working with a deleted
    /// or replaced file as if nothing had happened, and all of it would be gone with the process.
    fn stands(&self) -> Result<(), Fault> {
        if file_at(&self.path) == self.file {
            return Ok(());
        }
        let path = self.path.display();
        Err(Fault::unavailable(format!("{path} was moved, deleted or replaced while it is open; put it back, or restart")))
    }

    /// Runs `work` in one `BEGIN IMMEDIATE` transaction: all of it happens, or nothing. Blocks for up
    /// to `patience` until other threads of this process have had their turn, and as long again for
    /// other processes. A transaction that must survive a power loss is refused if the file is gone.
    ///
    /// If the transaction fails for lack of room on the disk, the log is cut back and `work` runs once more.
    pub(in crate::queue) fn write<T>(
        &self,
        promise: Promise,
        patience: Duration,
        work: impl FnMut(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.change(promise, Growth::None, patience, work)
    }

    /// Does the same for a transaction that makes the file larger, by about `bytes`, and must survive a power loss.
    /// Refused if the disk is full except for the reserve, which is kept so that the file can still be emptied.
    pub(in crate::queue) fn grow<T>(
        &self,
        bytes: u64,
        patience: Duration,
        work: impl FnMut(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.change(Promise::PowerLoss, Growth::By(bytes), patience, work)
    }

    /// Does the same for dead letters and for what is settled of returned messages, which are refused only if they
    /// would leave less than half of the reserve.
    pub(super) fn grow_by_letters<T>(
        &self,
        bytes: u64,
        patience: Duration,
        work: impl FnMut(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.change(Promise::PowerLoss, Growth::Letters(bytes), patience, work)
    }

    fn change<T>(
        &self,
        promise: Promise,
        growth: Growth,
        patience: Duration,
        mut work: impl FnMut(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Some(mut writers) = self.writers.try_lock_for(patience) else {
            return Err(Fault::unavailable(if self.asks.load(Ordering::Relaxed) {
                "another process holds the file, and other threads of this process wait for it first; find it if this persists"
            } else {
                "other threads of this process keep the file busy: its disk is too slow for them"
            }));
        };
        if promise == Promise::PowerLoss {
            self.stands()?;
        }
        let connection = match promise {
            Promise::PowerLoss => &mut writers.durable,
            Promise::Crash => &mut writers.quick,
        };
        self.room.make(connection, self.schema, growth)?;
        match self.attempt(connection, patience, &mut work) {
            Err(fault) if fault.lacks_room() && room::cut_back(connection) => self.attempt(connection, patience, &mut work),
            done => done,
        }
    }

    fn attempt<T>(
        &self,
        connection: &Connection,
        patience: Duration,
        work: &mut impl FnMut(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.asks.store(true, Ordering::Relaxed);
        let begun = begin(connection, patience);
        self.asks.store(false, Ordering::Relaxed);
        let transaction = begun?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Runs `work` on a consistent view of the file. It should be short, because the
    /// log cannot be cut back while a reader uses it. Fails if the file is gone.
    pub(in crate::queue) fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.stands()?;
        self.read_on(work)
    }

    /// Does the same although the file may be gone: what was received of it, or parked in it, is not in any other, and
    /// once the process ends it is nowhere if the file was deleted.
    pub(in crate::queue) fn read_on<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut reader = self.reader.lock();
        let transaction = reader.transaction()?;
        work(&transaction)
    }

    /// Runs `work` on both writing connections, for tests that take something away from them.
    #[cfg(test)]
    pub(in crate::queue) fn with_writers(&self, work: impl Fn(&Connection)) {
        let writers = self.writers.lock();
        work(&writers.durable);
        work(&writers.quick);
    }

    /// Runs `work` on the reading connection, for tests that take something away from it.
    #[cfg(test)]
    pub(in crate::queue) fn with_reader(&self, work: impl FnOnce(&Connection)) {
        work(&self.reader.lock());
    }
}

/// Begins a transaction that writes, after waiting for other processes for at most `patience`, in many short waits:
/// see [`WAIT`].
fn begin(connection: &Connection, patience: Duration) -> Result<Transaction<'_>, Fault> {
    let mut left = patience;
    let begun = loop {
        let wait = left.min(WAIT);
        left = left.saturating_sub(wait);
        connection.busy_timeout(wait)?;
        match Transaction::new_unchecked(connection, TransactionBehavior::Immediate).map_err(Fault::from) {
            Err(fault) if fault.is_busy() && !left.is_zero() => {}
            begun => break begun,
        }
    };
    connection.busy_timeout(patience)?;
    begun
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn connect(path: &Path, schema: &Schema, room: &Room, patience: Duration, synchronous: &str) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    rows::enable(&connection)?;
    // The triggers of a file are for the programs of others, see `groups`.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    schema.check(&mut connection)?;
    use_log(&mut connection)?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // Nothing in a folder for temporary files, which may be full, slow or missing.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // This comes before anything that needs room, because a process that died may have left a log that fills the disk.
    room.make(&mut connection, schema, Growth::None)?;
    connection.busy_timeout(patience)?;
    schema.prepare(&mut connection)?;
    Ok(connection)
}

/// Turns the write-ahead log on. If two processes do so at once on a new file, each
/// holds what the other needs, and SQLite refuses one of them immediately instead of
/// letting it wait. That process then waits for the other by taking a turn to write.
fn use_log(connection: &mut Connection) -> Result<(), Fault> {
    for _ in 0..LOG_ATTEMPTS {
        let tried = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match tried.map_err(Fault::from) {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(mode) => {
                return Err(Fault::refused(format!(
                    "its file system cannot keep a write-ahead log (journal mode stays {mode}); use a local disk"
                )));
            }
            Err(fault) if fault.is_busy() => {
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?.commit()?;
            }
            Err(fault) => return Err(fault),
        }
    }
    Err(Fault::Unavailable(
        "another program reads the file and keeps it from getting its write-ahead log; stop that program".into(),
    ))
}
