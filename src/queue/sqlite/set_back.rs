//! Corrects a file after the wall clock was set back, also if that happened while no process had the file open.
//!
//! Leases and delays end at a wall-clock time. So the file keeps the latest time that was seen, and the first
//! transaction that finds the clock more than [`TOLERATED_MS`] behind it moves the ends of all queues of the file
//! back by the difference. Nothing then stays hidden for longer than it was meant to be, plus [`NOTED_AFTER_MS`].

use rusqlite::Transaction;

use super::fault::Fault;

/// How much later than the noted time it is, in ms, when the time is noted again: it costs at most one page a second.
const NOTED_AFTER_MS: i64 = 1000;

/// How far the clock may be behind the noted time, in ms, without a correction: it
/// is then taken for a clock that is slowed down, and a lease is longer by that.
const TOLERATED_MS: i64 = 2000;

const SEEN: &str = "SELECT seen FROM clock";

const NOTE: &str = "UPDATE clock SET seen = ?1";

const MOVE: &str = "UPDATE messages SET hidden_until = hidden_until - ?1 WHERE hidden_until IS NOT NULL";

/// Moves the ends of leases and delays if the clock was set back. To be called first in each transaction that
/// goes by the time `now`, in ms since 1970. Returns by how many ms the ends were moved; `None` if they were not.
pub(super) fn look(transaction: &Transaction<'_>, now: i64) -> Result<Option<i64>, Fault> {
    let seen: i64 = transaction.prepare_cached(SEEN)?.query_row([], |row| row.get(0))?;
    let by = seen.saturating_sub(now);
    if by > TOLERATED_MS {
        transaction.prepare_cached(MOVE)?.execute([by])?;
    } else if by > -NOTED_AFTER_MS {
        return Ok(None);
    }
    transaction.prepare_cached(NOTE)?.execute([now])?;
    Ok((by > TOLERATED_MS).then_some(by))
}
