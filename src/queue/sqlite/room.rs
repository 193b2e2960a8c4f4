//! Room on the disk, so that a file whose disk is nearly full can still be emptied.
//!
//! Receives, deletes, leases and dead letters need room in the write-ahead log, however little they leave in the file. So what makes the
//! file larger has to leave a reserve; and where the disk is short, the log is moved into the file and cut back early, while there is
//! still room for the pages that the file gets by that. On a disk with plenty of room all that costs one look at the file system a write.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;
use super::schema::Schema;
use crate::queue::space::Space;

/// So much is plenty, whatever the file and its log are like: the largest reserve, and a log that is cut back to 64 MiB.
const PLENTY: u64 = 256 * MIB;
/// The reserve of an empty file.
const LEAST: u64 = MIB;
/// A transaction writes each page of the file once at most, and a thousand deletes touch some three thousand pages of a large one.
const MOST: u64 = 16 * MIB;
/// A log of that size is worth two syncs where the disk is short.
const WORTH_IT: u64 = MIB;
/// What a write that makes the file larger needs beside its bytes: pages that split, and those of the indexes.
const SPLITS: u64 = 64 * 1024;
/// How long readers of the log may hold up its end.
const BRIEFLY: Duration = Duration::from_millis(100);

const MIB: u64 = 1024 * 1024;

/// The disk of one file.
pub(super) struct Room {
    space: Arc<dyn Space>,
    file: PathBuf,
    log: PathBuf,
}

/// What there was at a look.
struct Look {
    left: u64,
    file: u64,
    /// The size of the log. The file gets no more pages by it than that.
    log: u64,
}

impl Look {
    fn reserve(&self) -> u64 {
        LEAST + (self.file + self.log).min(MOST)
    }

    /// Whether there is room for the reserve, for what the file gets by the log, and for this beside it.
    fn takes(&self, bytes: u64) -> bool {
        self.left >= self.reserve().saturating_add(self.log).saturating_add(bytes)
    }
}

impl Room {
    pub fn new(space: Arc<dyn Space>, file: &Path) -> Self {
        let mut log = OsString::from(file);
        log.push("-wal");
        Self { space, file: file.to_owned(), log: log.into() }
    }

    /// `None`: there is plenty of room, or nobody can tell.
    fn look(&self) -> Option<Look> {
        let left = self.space.left(&self.file).filter(|left| *left < PLENTY)?;
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        Some(Look { left, file: size(&self.file), log: size(&self.log) })
    }

    /// To be called before a write that makes the file larger by so many bytes of content, or by 0. Where the disk is short, it cuts the
    /// log back. Blocks for that as long as for a write that moves the log, and for [`BRIEFLY`].
    ///
    /// # Errors
    ///
    /// What makes the file larger is refused where it would leave less than the reserve.
    pub fn make(&self, connection: &mut Connection, schema: &Schema, bytes: u64) -> Result<(), Fault> {
        let Some(look) = self.look() else { return Ok(()) };
        let grows = if bytes > 0 { bytes.saturating_add(bytes / 4).saturating_add(SPLITS) } else { 0 };
        // Once in the log, once in the file.
        let needs = grows.saturating_mul(2);
        if look.takes(needs) {
            return Ok(());
        }
        let look = if look.log > WORTH_IT || (grows > 0 && look.log > 0) {
            cut_back(connection);
            self.look()
        } else {
            Some(look)
        };
        match look {
            Some(look) if grows > 0 && !look.takes(needs) && !has_free_pages(connection, schema, grows)? => {
                Err(refusal(&look, needs))
            }
            _ => Ok(()),
        }
    }
}

/// Moves the log into the file and cuts it to nothing, synced as ever; what it holds stays where it is if that fails, or if someone reads
/// from it for longer than [`BRIEFLY`]. Gives whether it is empty now.
pub(super) fn cut_back(connection: &Connection) -> bool {
    if connection.busy_timeout(BRIEFLY).is_err() {
        return false;
    }
    let held_up = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    held_up.is_ok_and(|held_up| held_up == 0)
}

/// Whether the file has room for so many bytes among its own pages, what is left over of deleted messages included.
fn has_free_pages(connection: &mut Connection, schema: &Schema, bytes: u64) -> Result<bool, Fault> {
    let mut has = free_bytes(connection)? >= bytes;
    if !has && let Some(sweep) = schema.sweep {
        // There may be no room for that either.
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

fn refusal(look: &Look, needs: u64) -> Fault {
    let Look { left, log, .. } = look;
    let size = bytesize::ByteSize;
    Fault::unavailable(format!(
        "its disk is full but for a reserve: {} are left, of which {} are kept so that what is in the file can be taken out, and this \
         needs {}: free space on its disk, or let the queue drain; this call wrote nothing, what was written before is safe",
        size(*left),
        size(look.reserve() + log),
        size(needs)
    ))
}
