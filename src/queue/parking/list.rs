//! Parked deliveries by account, read for the commands and when the service starts.

use compact_str::CompactString;
use rusqlite::{Transaction, params};

use super::ParkedAccount;
use crate::message::Account;
use crate::queue::clock::from_millis;
use crate::queue::sqlite::fault::Fault;

/// The largest number of accounts on a page. It bounds the memory
/// that a listing needs, and how long it keeps its view of the file.
const PAGE: i64 = 1000;

const LINES: &str = "
    SELECT account, count(*), sum(size), min(place) FROM parked
    WHERE queue = ?1 AND account > ?2
    GROUP BY account ORDER BY account LIMIT ?3";

/// Reads the first delivery of an account's line.
const FIRST: &str = "SELECT message_id, waits_since FROM parked WHERE queue = ?1 AND account = ?2 AND place = ?3";

const ANY: &str = "SELECT EXISTS (SELECT 1 FROM parked WHERE queue = ?1)";

const COUNT: &str = "SELECT count(*) FROM parked WHERE queue = ?1 AND (?2 IS NULL OR account = ?2)";

const PURGE: &str = "
    DELETE FROM parked WHERE seq IN (
        SELECT seq FROM parked WHERE queue = ?1 AND (?2 IS NULL OR account = ?2) ORDER BY account, place LIMIT ?3)";

/// Returns the lines of the accounts that follow `after`, by account. An empty page means that there are no more.
pub(super) fn page(transaction: &Transaction<'_>, queue: i64, after: &str) -> Result<Vec<ParkedAccount>, Fault> {
    let mut lines = transaction.prepare_cached(LINES)?;
    let mut first = transaction.prepare_cached(FIRST)?;
    let mut page = Vec::new();
    let mut rows = lines.query(params![queue, after, PAGE])?;
    while let Some(row) = rows.next()? {
        let (account, place): (String, i64) = (row.get(0)?, row.get(3)?);
        let first = first.query_row(params![queue, account, place], |row| Ok((row.get(0)?, row.get(1)?)));
        let (oldest, since): (String, i64) = match first.map_err(Fault::from) {
            // The index has the rest. A service that did not start would deliver nothing of what can be read.
            Err(fault) if fault.is_damage() => ("(cannot be read)".to_owned(), 0),
            first => first?,
        };
        page.push(ParkedAccount {
            account: Account::from(account),
            deliveries: row.get::<_, i64>(1)?.unsigned_abs(),
            bytes: row.get::<_, i64>(2)?.unsigned_abs(),
            oldest: CompactString::from(oldest),
            waits_since: from_millis(since),
        });
    }
    Ok(page)
}

pub(super) fn any(transaction: &Transaction<'_>, queue: i64) -> Result<bool, Fault> {
    Ok(transaction.prepare_cached(ANY)?.query_row([queue], |row| row.get(0))?)
}

/// Returns the number of parked deliveries of one account, or of all if `account` is `None`.
pub(super) fn count(transaction: &Transaction<'_>, queue: i64, account: Option<&str>) -> Result<u64, Fault> {
    let count: i64 = transaction.prepare_cached(COUNT)?.query_row(params![queue, account], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Deletes at most `most` deliveries of one account, or of all. Returns how many it deleted.
pub(super) fn purge(transaction: &Transaction<'_>, queue: i64, account: Option<&str>, most: usize) -> Result<usize, Fault> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    Ok(transaction.prepare_cached(PURGE)?.execute(params![queue, account, most])?)
}

#[cfg(test)]
mod tests {
    use super::super::PARKING;
    use super::*;
    use crate::queue::sqlite::plan::plan_in;

    #[test]
    fn lists_walk_through_an_index_from_where_they_start() {
        for statement in [LINES, FIRST, ANY, COUNT, PURGE] {
            let plan = plan_in(&PARKING, statement);
            assert!(!plan.contains("SCAN parked") && !plan.contains("TEMP B-TREE"), "{statement}: {plan}");
        }
        assert!(plan_in(&PARKING, LINES).contains("INDEX parked_in_line (queue=? AND account>?)"));
    }
}
