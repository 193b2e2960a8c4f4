//! A wall clock that is set back, also while no process has the file open.
//!
//! Leases and delays end at a wall-clock time. So the file keeps the latest time that was seen, and whoever finds the clock before it moves
//! the ends of all queues of the file back by the difference: nothing stays hidden for longer than it was to be, plus [`NOTED_AFTER`].

use rusqlite::Transaction;

use super::fault::Fault;

/// The time is noted at most so often, so that it costs one page a second.
const NOTED_AFTER: i64 = 1000;

/// A clock that is behind by no more than this is taken for one that is slowed down: a lease is longer by that.
const TOLERATED: i64 = 2000;

const SEEN: &str = "SELECT seen FROM clock";

const NOTE: &str = "UPDATE clock SET seen = ?1";

const MOVE: &str = "UPDATE messages SET hidden_until = hidden_until - ?1 WHERE hidden_until IS NOT NULL";

/// To be called first in each transaction that goes by the time `now`, in ms since 1970. Where the clock was set back, it moves the ends of
/// leases and delays, and gives by how many ms.
pub(super) fn look(transaction: &Transaction<'_>, now: i64) -> Result<Option<i64>, Fault> {
    let seen: i64 = transaction.prepare_cached(SEEN)?.query_row([], |row| row.get(0))?;
    let by = seen.saturating_sub(now);
    if by > TOLERATED {
        transaction.prepare_cached(MOVE)?.execute([by])?;
    } else if by > -NOTED_AFTER {
        return Ok(None);
    }
    transaction.prepare_cached(NOTE)?.execute([now])?;
    Ok((by > TOLERATED).then_some(by))
}
