//! Room on the disk: the write-ahead log takes what the disk has until it is moved into the file.

use std::time::Duration;

use rusqlite::Connection;

/// How long readers of the log may hold up its end.
const BRIEFLY: Duration = Duration::from_millis(100);

/// Moves the log into the file and cuts it to nothing, synced as ever; what it holds stays where it is if that fails, or if someone reads
/// from it for longer than [`BRIEFLY`]. Gives whether it is empty now.
pub(super) fn cut_back(connection: &Connection) -> bool {
    if connection.busy_timeout(BRIEFLY).is_err() {
        return false;
    }
    let held_up = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    held_up.is_ok_and(|held_up| held_up == 0)
}
