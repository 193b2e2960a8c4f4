//! The embedded queue: one SQLite file that holds any number of queues by name, used by several processes at once.
//!
//! Poller and acker threads, `send` and the `dead` commands call it. Each call that changes something is one `BEGIN
//! IMMEDIATE` transaction: all of it happens, or nothing. A receive leases in one, and reads what it has leased after
//! that. The module keeps no thread, and no state in memory except the next sequence number, so the process may die at
//! any moment. The file must be on a local disk, because its write-ahead log needs memory that the processes share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use compact_str::{CompactString, ToCompactString};
use parking_lot::Mutex;
use rusqlite::Transaction;
use uuid::Uuid;

use self::fault::Fault;
use self::groups::Touched;
use self::receive::Copies;
use self::send::Insert;
use self::store::{Promise, Store};
use super::clock::{Clock, WallClock, later, to_millis};
use super::embedded;
use super::space::{FileSystem, Space};
use super::waiting::Waiting;
use super::{
    Ask, Changed, Count, DeadFilter, DeadLetter, DeadLetters, EntryResult, Facts, Limits, NewMessage, Portions, Queue,
    QueueError, SetAside, Unseen, VisibilityChange,
};
use crate::message::Grouping;
use crate::message::{Receipt, Received};

pub(super) mod content;
mod count;
mod damaged;
mod dead;
pub(super) mod fault;
mod groups;
mod leftovers;
mod letter;
pub(super) mod limits;
#[cfg(test)]
pub(super) mod plan;
mod receive;
mod room;
mod rows;
pub(super) mod schema;
mod send;
mod set_back;
mod settle;
mod settled;
#[cfg(test)]
pub(super) mod spoil;
pub(super) mod store;
#[cfg(test)]
mod tests;

/// The default time that a call waits for the file while others write. A transaction takes milliseconds.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a delete waits for others to share its transaction. Deletes come in no
/// order of rows, so that a hundred of them touch a hundred pages of each table and
/// index, and a thousand not many more; each of these pages is written to the log.
const LINGER: Duration = Duration::from_millis(20);

/// The settings of a queue: its file, its name and how it is used.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The path of the file. A missing file is created; its folder must exist.
    pub path: PathBuf,
    /// The queue's name within the file. A missing queue is created.
    pub name: String,
    /// The function that returns a message's group when it is sent; `None` for
    /// a standard queue. A message keeps the group with which it was sent.
    pub grouping: Option<Grouping>,
    /// The clock by which leases and delays end.
    pub clock: Arc<dyn Clock>,
    /// The source of the disk's free space. The queues of one file
    /// share the one with which the first of them was opened.
    pub space: Arc<dyn Space>,
    /// How long a call waits for other threads, and as long again for
    /// other processes, before it fails with [`QueueError::Unavailable`].
    pub patience: Duration,
}

impl SqliteOptions {
    /// Returns the settings of a standard queue that uses the wall clock and waits for 5 s.
    pub fn new(path: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            name: name.into(),
            grouping: None,
            clock: Arc::new(WallClock),
            space: Arc::new(FileSystem),
            patience: LOCK_TIMEOUT,
        }
    }
}

/// How long deletes leave what earlier ones left behind after it could not be read. Each try costs the delete that makes it
/// the time that the disk takes to give up.
const SWEEP_PAUSE_MS: i64 = 600_000;

/// The largest number of unreadable rows of one receive that are named.
const NAMED_ROWS: usize = 3;

/// One queue of a file. It is cheap to share and safe to use from many threads.
pub struct SqliteQueue {
    name: String,
    /// The number of the queue in the file.
    queue: i64,
    store: Arc<Store>,
    grouping: Option<Grouping>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    waiting: Waiting,
    /// The next sequence number. It stays locked while a receive is
    /// under way, so that numbers follow the order of the transactions.
    sequence: Mutex<u64>,
    /// What an operator should know although nothing failed. The next receive reports it as its error.
    remark: Mutex<Option<String>>,
    /// From when on deletes remove what earlier ones left behind, in milliseconds since 1970: never once the file turned out
    /// to be damaged there.
    sweeps_from: AtomicI64,
}

impl SqliteQueue {
    /// Opens the file, creates or migrates it if needed, and creates the
    /// queue in it if it is missing. Blocks for at most about `patience`.
    ///
    /// # Errors
    ///
    /// [`QueueError::Refused`] if the path is wrong, or the file was written by a newer octoconf or
    /// by another program; [`QueueError::Unavailable`] if the file is locked or its disk is full.
    pub fn open(options: SqliteOptions) -> Result<Self, QueueError> {
        let SqliteOptions { path, name, grouping, clock, space, patience } = options;
        let opened = Store::open(&path, &schema::QUEUES, space, patience).and_then(|store| {
            let queue = store.write(Promise::PowerLoss, patience, |transaction| number_of(transaction, &name))?;
            Ok((store, queue))
        });
        match opened {
            Ok((store, queue)) => {
                let (waiting, sequence, remark) = (Waiting::default(), Mutex::new(0), Mutex::new(None));
                let sweeps_from = i64::MIN.into();
                Ok(Self { name, queue, store, grouping, clock, patience, waiting, sequence, remark, sweeps_from })
            }
            Err(fault) => Err(fault.of(&format!("{name} in {}", path.display()), "open")),
        }
    }

    fn now(&self) -> i64 {
        to_millis(self.clock.now())
    }

    /// Returns the time for a transaction that changes something,
    /// after it has corrected what a set-back clock made wrong.
    fn now_in(&self, transaction: &Transaction<'_>) -> Result<i64, Fault> {
        let now = self.now();
        if let Some(by) = set_back::look(transaction, now)? {
            *self.remark.lock() = Some(format!(
                "the clock of this machine was set back by {} s; the ends of leases and delays were moved with it, and nothing is lost; \
                 see what sets the clock",
                by / 1000
            ));
        }
        Ok(now)
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

    /// Returns the error by which a receive reports `why`.
    fn remarkable(&self, why: String) -> QueueError {
        QueueError::Unavailable { queue: self.name.clone(), what: "receive", why }
    }

    /// Returns whether deletes remove what earlier ones left behind.
    fn sweeps(&self) -> bool {
        self.sweeps_from.load(Ordering::Relaxed) <= self.now()
    }

    /// Has deletes leave what earlier ones left behind: for good if the file is damaged there, else for a while, since the
    /// disk may only have been away.
    fn stop_sweeping(&self, fault: &Fault) {
        let (from, what) = if fault.is_corrupt() {
            (i64::MAX, "stop every process that uses it, then restore it or try `sqlite3 FILE .recover`")
        } else {
            (self.now().saturating_add(SWEEP_PAUSE_MS), "it is tried again in ten minutes; check the disk and the kernel's log")
        };
        self.sweeps_from.store(from, Ordering::Relaxed);
        *self.remark.lock() = Some(format!(
            "what deleted messages left in the file cannot be removed: {fault}; deletes go on, and the file grows by what they leave; {what}"
        ));
    }

    fn take(&self, ask: &Ask) -> Result<Vec<Received>, QueueError> {
        let mut sequence = self.sequence.lock();
        let leased = self.write(Promise::Crash, "receive", |transaction| {
            // Read inside the transaction: a lease must not run while the call waits for its turn.
            let now = self.now_in(transaction)?;
            receive::lease(transaction, self.queue, ask.max, now, later(now, ask.lease))
        })?;
        if leased.is_empty() {
            return Ok(Vec::new());
        }
        let read = self.store.read_on(|transaction| receive::read_leased(transaction, &leased, *sequence, ask.bytes));
        let Copies { good, bad, unread, held_up } = read.map_err(|fault| {
            // If this fails too, the leases end by themselves.
            let _ = self.write(Promise::Crash, "receive", |transaction| receive::unlease_all(transaction, self.queue, &leased));
            fault.of(&self.name, "receive")
        })?;
        if !(held_up.is_empty() && unread.is_empty()) {
            // As above.
            let _ = self.write(Promise::Crash, "receive", |transaction| {
                receive::unlease(transaction, self.queue, unread.iter().copied(), &held_up, &leased)
            });
        }
        // Only now: a receive that failed has used no number.
        *sequence += good.len() as u64;
        if !bad.is_empty() {
            let others = bad.len().saturating_sub(NAMED_ROWS);
            let others = if others > 0 { format!("; so are {others} others") } else { String::new() };
            let named = bad.iter().take(NAMED_ROWS).map(String::as_str).collect::<Vec<_>>().join("; ");
            let why = format!("{named}{others}; what cannot be read comes back when its lease ends");
            if good.is_empty() {
                return Err(self.remarkable(why));
            }
            *self.remark.lock() = Some(why);
        }
        Ok(good)
    }
}

impl Queue for SqliteQueue {
    fn receive(&self, ask: &Ask) -> Result<Vec<Received>, QueueError> {
        let max = ask.max.min(self.limits().receive);
        if max == 0 {
            return Ok(Vec::new());
        }
        if let Some(why) = self.remark.lock().take() {
            return Err(self.remarkable(why));
        }
        let any = || self.read("receive", |transaction| receive::any(transaction, self.queue, self.now()));
        self.waiting.receive(ask.wait, || self.take(&Ask { max, ..*ask }), any)
    }

    fn delete(&self, receipts: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        embedded::check_entries(&self.name, "delete", receipts.len())?;
        let delete = |sweep: bool| {
            self.store.write(Promise::Crash, self.patience, |transaction| {
                settle::delete(transaction, self.queue, self.now_in(transaction)?, receipts, sweep)
            })
        };
        let sweep = self.sweeps();
        let results = match delete(sweep) {
            // What is long deleted must not keep other messages from being deleted.
            Err(fault) if sweep && fault.is_damage() => delete(false).inspect(|_| self.stop_sweeping(&fault)),
            // Nor must it on a disk that has no room for its removal at present.
            Err(fault) if sweep && fault.lacks_room() => delete(false),
            results => results,
        };
        let results = results.map_err(|fault| fault.of(&self.name, "delete"))?;
        self.announce_groups();
        Ok(results)
    }

    fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<Vec<EntryResult>, QueueError> {
        embedded::check_entries(&self.name, "change visibility", changes.len())?;
        let change = |transaction: &Transaction<'_>, notes: bool| {
            settle::change_visibility(transaction, self.queue, self.now_in(transaction)?, changes, notes)
        };
        let without_notes = || self.store.write(Promise::Crash, self.patience, |transaction| change(transaction, false));
        let results = match settled::weight(changes) {
            0 => without_notes(),
            bytes => match self.store.grow_by_letters(bytes, self.patience, |transaction| change(transaction, true)) {
                // To return the messages matters more than what is settled of them, which costs a duplicate at most.
                Err(fault) if fault.lacks_room() => without_notes(),
                results => results,
            },
        };
        let results = results.map_err(|fault| fault.of(&self.name, "change visibility"))?;
        if changes.iter().any(|change| change.hidden.is_zero()) {
            self.waiting.announce();
        }
        Ok(results)
    }

    fn set_aside(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
        embedded::check_entries(&self.name, "set aside", letters.len())?;
        let bytes = letters.iter().map(dead::weight).sum();
        let set_aside =
            |transaction: &Transaction<'_>| dead::set_aside(transaction, self.queue, self.now_in(transaction)?, letters);
        let results = self.store.grow_by_letters(bytes, self.patience, set_aside);
        let results = results.map_err(|fault| fault.of(&self.name, "set aside"))?;
        self.announce_groups();
        Ok(results)
    }

    fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError> {
        embedded::check_messages(&self.name, messages)?;
        let mut prepared = Vec::with_capacity(messages.len());
        let mut bytes = 0;
        for message in messages {
            // Outside the transaction, since a jq path may take time.
            let group = self.grouping.as_ref().and_then(|group| group(&message.body));
            let attributes = content::attributes_to_text(&message.attributes).map_err(|error| {
                Fault::refused(format!("attributes cannot be written: {error}; nothing was sent")).of(&self.name, "send")
            })?;
            bytes += send::weight(&message.body, attributes.as_deref());
            prepared.push((Uuid::now_v7().to_compact_string(), group, attributes));
        }
        let send = |transaction: &Transaction<'_>| {
            let now = self.now_in(transaction)?;
            let mut touched = Touched::new();
            for (message, (id, group, attributes)) in messages.iter().zip(&prepared) {
                let message = Insert {
                    id,
                    group: group.clone(),
                    body: &message.body,
                    attributes: attributes.as_deref(),
                    open: None,
                    settled: None,
                    redrives: 0,
                    sent_at: now,
                    hidden_until: (!message.delay.is_zero()).then(|| later(now, message.delay)),
                };
                send::insert(transaction, self.queue, &message, &mut touched)?;
            }
            groups::free(transaction, self.queue, &touched)
        };
        self.store.grow(bytes, self.patience, send).map_err(|fault| fault.of(&self.name, "send"))?;
        self.waiting.announce();
        Ok(prepared.into_iter().map(|(id, ..)| id).collect())
    }

    fn count(&self) -> Result<Count, QueueError> {
        self.read("count", |transaction| count::count(transaction, self.queue, self.now()))
    }

    fn limits(&self) -> Limits {
        let limits = embedded::limits(self.grouping.as_ref());
        // On a FIFO queue a delete frees its group, so it must not wait.
        Limits { linger: if limits.fifo { Duration::ZERO } else { LINGER }, ..limits }
    }

    fn facts(&self) -> Result<Facts, QueueError> {
        Ok(Facts::default())
    }

    fn interrupt(&self) {
        self.waiting.end();
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }
}

impl SqliteQueue {
    /// Wakes waiting receives after a message has left the queue, which may have freed its group.
    /// Standard queues have no groups; waking their pollers for each delete would cost them a look.
    fn announce_groups(&self) {
        if self.grouping.is_some() {
            self.waiting.announce();
        }
    }
}

impl DeadLetters for SqliteQueue {
    /// Reads a page at a time and calls `each` between the reads, so
    /// that neither a slow reader nor a long list holds up the queue.
    fn list(&self, filter: &DeadFilter, each: &mut dyn FnMut(DeadLetter) -> bool) -> Result<Unseen, QueueError> {
        let mut after = 0;
        loop {
            let page = self.read("list dead letters", |transaction| dead::page(transaction, self.queue, filter, after))?;
            let Some((last, _)) = page.last() else { return Ok(Unseen::default()) };
            after = *last;
            for (_, letter) in page {
                if !each(letter) {
                    return Ok(Unseen::default());
                }
            }
        }
    }

    fn find(&self, id: &str) -> Result<Option<DeadLetter>, QueueError> {
        let Some(number) = embedded::letter_number(id) else { return Ok(None) };
        self.read("find a dead letter", |transaction| damaged::find(transaction, self.queue, number))
    }

    fn redrive(&self, ids: &[CompactString]) -> Result<usize, QueueError> {
        let ids = numbers(ids);
        let redriven = self.write(Promise::PowerLoss, "redrive", |transaction| {
            dead::redrive(transaction, self.queue, self.now_in(transaction)?, self.grouping.as_ref(), &ids)
        })?;
        self.waiting.announce();
        Ok(redriven)
    }

    fn purge(&self, ids: &[CompactString]) -> Result<usize, QueueError> {
        let ids = numbers(ids);
        self.write(Promise::PowerLoss, "purge", |transaction| dead::purge(transaction, self.queue, &ids))
    }

    fn redrive_in(&self, portions: Portions<'_>, ids: &[CompactString]) -> Changed {
        let fit = |ids: &[CompactString]| {
            let fit = self.read("redrive", |transaction| dead::fit(transaction, self.queue, &numbers(ids)));
            // The redrive itself says what is wrong with the file.
            fit.unwrap_or(ids.len())
        };
        portions.cut(ids, fit, |portion| self.redrive(portion))
    }
}

/// Returns the numbers of dead letters; an id that is not a number belongs to no letter of this queue.
fn numbers(ids: &[CompactString]) -> Vec<i64> {
    ids.iter().filter_map(|id| embedded::letter_number(id)).collect()
}

/// Returns the number of a queue in its file, and creates the queue if it is missing.
pub(super) fn number_of(transaction: &Transaction<'_>, name: &str) -> Result<i64, Fault> {
    transaction.execute("INSERT INTO queues (name) VALUES (?1) ON CONFLICT DO NOTHING", [name])?;
    Ok(transaction.query_row("SELECT id FROM queues WHERE name = ?1", [name], |row| row.get(0))?)
}
