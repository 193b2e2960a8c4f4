//! Room on the disk, kept so that a file whose disk is nearly full can
//! still be emptied. Called under the store's lock, before a write.
//!
//! Receives, deletes, leases and dead letters need room in the write-ahead log, however little they
//! leave in the file. So a write that makes the file larger must leave a reserve. If the disk is short,
//! the log is moved into the file and cut back early, while there is still room for the pages that this
//! adds to the file. On a disk with plenty of room all this costs one look at the file system per write.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;
use super::schema::Schema;
use crate::queue::space::Space;

/// The free space, in bytes, that is plenty whatever the sizes of the file and
/// its log: enough for the largest reserve and a log that is cut back to 64 MiB.
const PLENTY_BYTES: u64 = 256 * MIB;
/// The reserve of an empty file, in bytes.
const MIN_RESERVE: u64 = MIB;
/// The largest addition to the reserve, in bytes. A transaction writes each page of the file
/// at most once, and a thousand deletes touch about three thousand pages of a large file.
const MAX_RESERVE_ADDED: u64 = 16 * MIB;
/// The size of the log, in bytes, from which cutting it back is worth two syncs when the disk is short.
const CUT_BACK_FROM: u64 = MIB;
/// The bytes that a growing write needs beside its content, for pages that split and for the indices.
const SPLIT_BYTES: u64 = 64 * 1024;
/// How long cutting the log back waits for readers of the log.
const READERS_TIMEOUT: Duration = Duration::from_millis(100);

const MIB: u64 = 1024 * 1024;

/// How a write changes the size of the file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Growth {
    /// The write takes content out, or moves it.
    None,
    /// The write adds about this many bytes of content, and must leave the reserve.
    By(u64),
    /// The write adds this many bytes of dead letters, which may use half of the reserve: they are a
    /// way out of the queue, but their content stays in the file. So does what is settled of a message.
    Letters(u64),
}

impl Growth {
    fn bytes(self) -> u64 {
        match self {
            Self::None => 0,
            Self::By(bytes) | Self::Letters(bytes) => bytes,
        }
    }
}

/// The disk that holds one file.
pub(super) struct Room {
    space: Arc<dyn Space>,
    file: PathBuf,
    log: PathBuf,
}

/// The result of one look, in bytes.
struct Look {
    left: u64,
    file: u64,
    /// The size of the log. Moving it adds at most as many pages to the file.
    log: u64,
}

impl Look {
    fn reserve(&self, growth: Growth) -> u64 {
        let whole = MIN_RESERVE + (self.file + self.log).min(MAX_RESERVE_ADDED);
        if matches!(growth, Growth::Letters(_)) { whole / 2 } else { whole }
    }

    /// Returns whether the disk has room for the reserve, for what the log adds to the file, and for `bytes` more.
    fn takes(&self, growth: Growth, bytes: u64) -> bool {
        self.left >= self.reserve(growth).saturating_add(self.log).saturating_add(bytes)
    }
}

impl Room {
    pub fn new(space: Arc<dyn Space>, file: &Path) -> Self {
        let mut log = OsString::from(file);
        log.push("-wal");
        Self { space, file: file.to_owned(), log: log.into() }
    }

    /// Looks at the disk. Returns `None` if there is plenty of room for a write that takes `needs` bytes, or if the free
    /// space is not known.
    fn look(&self, needs: u64) -> Option<Look> {
        let left = self.space.left(&self.file).filter(|left| *left < PLENTY_BYTES.saturating_add(needs))?;
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        Some(Look { left, file: size(&self.file), log: size(&self.log) })
    }

    /// Makes room for a write. If the disk is short, it cuts the log back,
    /// which blocks for as long as moving the log takes, and for [`READERS_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// A write that makes the file larger is refused if it would leave less than the reserve.
    pub fn make(&self, connection: &mut Connection, schema: &Schema, growth: Growth) -> Result<(), Fault> {
        let bytes = growth.bytes();
        let grows = if bytes > 0 { bytes.saturating_add(bytes / 4).saturating_add(SPLIT_BYTES) } else { 0 };
        // Once in the log, once in the file.
        let needs = grows.saturating_mul(2);
        let Some(look) = self.look(needs) else { return Ok(()) };
        if look.takes(growth, needs) {
            return Ok(());
        }
        let look = if look.log > CUT_BACK_FROM || (grows > 0 && look.log > 0) {
            cut_back(connection);
            self.look(needs)
        } else {
            Some(look)
        };
        match look {
            Some(look) if grows > 0 && !look.takes(growth, needs) && !has_free_pages(connection, schema, grows)? => {
                Err(refusal(&look, growth, needs))
            }
            _ => Ok(()),
        }
    }
}

/// Moves the log into the file, synced as always, and cuts it to nothing. If that fails, or a reader uses
/// the log for longer than [`READERS_TIMEOUT`], its content stays where it is. Returns whether the log is empty now.
pub(super) fn cut_back(connection: &Connection) -> bool {
    if connection.busy_timeout(READERS_TIMEOUT).is_err() {
        return false;
    }
    let held_up = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    held_up.is_ok_and(|held_up| held_up == 0)
}

/// Returns whether the file has room for `bytes` among its own free
/// pages, after removing leftovers of deleted messages if need be.
fn has_free_pages(connection: &mut Connection, schema: &Schema, bytes: u64) -> Result<bool, Fault> {
    let mut has = free_bytes(connection)? >= bytes;
    if !has && let Some(sweep) = schema.sweep {
        // The sweep may fail, since there may be no room for it either.
        has = run(connection, sweep).is_ok() && free_bytes(connection)? >= bytes;
    }
    Ok(has)
}

fn run(connection: &mut Connection, script: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(script)?;
    transaction.commit()
}

fn free_bytes(connection: &Connection) -> Result<u64, Fault> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(pragma("freelist_count")?.unsigned_abs() * pragma("page_size")?.unsigned_abs())
}

fn refusal(look: &Look, growth: Growth, needs: u64) -> Fault {
    let Look { left, log, .. } = look;
    let size = bytesize::ByteSize;
    Fault::Full(format!(
        "its disk is full but for a reserve: {} are left, of which {} are kept so that what is in the file can be taken out, and this \
         needs {}: free space on its disk, or let the queue drain; this call wrote nothing, what was written before is safe",
        size(*left),
        size(look.reserve(growth) + log),
        size(needs)
    ))
}
