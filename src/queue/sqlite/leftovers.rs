//! The contents that deleted messages leave behind in `contents`,
//! removed many at a time in the transaction of a delete.
//!
//! Deletes come in no order of rows, since some partners are quicker than others. Removing each message's
//! contents with it would write the pages that it shares with its neighbours to the log nearly once per
//! message: 93,000 to 119,000 page writes for 100,000 messages of 130 bytes, where this way takes 43,000 to
//! 51,000. So a delete only notes the row in `leftovers`, where hundreds of rows share a page. Once there are
//! many, the contents of the oldest are removed together; their pages are then empty and are not written again.

use rusqlite::Transaction;

use super::fault::Fault;
use super::rows::Rows;

/// The size of body and attributes, in bytes, above which a message's contents
/// are removed with it: such contents share their page with few others.
const BULKY_BYTES: usize = 1024;

/// The largest number of leftover rows. With [`BULKY_BYTES`], their contents are 16 MiB and the pages around them.
const MAX_LEFTOVERS: i64 = 16 * 1024;

/// The number of leftovers that are removed together. The newest stay, because their neighbours are still in use.
const SWEPT_TOGETHER: i64 = MAX_LEFTOVERS / 2;

const NOTE: &str = "INSERT INTO leftovers SELECT value FROM rarray(?1)";

/// SQLite counts the rows page by page, without reading each.
const COUNT: &str = "SELECT count(*) FROM leftovers";

/// The first row that stays.
const END: &str = "SELECT seq FROM leftovers ORDER BY seq LIMIT 1 OFFSET ?1";

const SWEEP_CONTENTS: &str = "DELETE FROM contents WHERE seq IN (SELECT seq FROM leftovers WHERE seq < ?1)";

const SWEEP: &str = "DELETE FROM leftovers WHERE seq < ?1";

/// Removes the oldest leftovers, however many there are; for a disk that is short of room.
pub(super) const SWEEP_OLDEST: &str = "
    DELETE FROM contents WHERE seq IN (SELECT seq FROM leftovers ORDER BY seq LIMIT 8192);
    DELETE FROM leftovers WHERE seq IN (SELECT seq FROM leftovers ORDER BY seq LIMIT 8192);";

/// Returns whether the contents of a message are to be removed with it.
pub(super) fn is_bulky(body: &[u8], attributes: Option<&str>) -> bool {
    body.len() + attributes.map_or(0, str::len) > BULKY_BYTES
}

/// Notes messages that were deleted. With `sweep` it removes the contents of the oldest if there are many, which fails
/// where the file is damaged.
pub(super) fn note(transaction: &Transaction<'_>, gone: &Rows, sweep: bool) -> Result<(), Fault> {
    transaction.prepare_cached(NOTE)?.execute([gone])?;
    if !sweep {
        return Ok(());
    }
    let left: i64 = transaction.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
    if left > MAX_LEFTOVERS {
        let end: i64 = transaction.prepare_cached(END)?.query_row([SWEPT_TOGETHER], |row| row.get(0))?;
        transaction.prepare_cached(SWEEP_CONTENTS)?.execute([end])?;
        transaction.prepare_cached(SWEEP)?.execute([end])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::plan::plan;
    use super::super::rows::{self, rows};
    use super::super::schema::QUEUES;
    use super::*;

    fn file() -> Connection {
        let mut file = Connection::open_in_memory().unwrap();
        rows::enable(&file).unwrap();
        QUEUES.prepare(&mut file).unwrap();
        file
    }

    fn note_all(file: &mut Connection, gone: impl IntoIterator<Item = i64>) {
        let transaction = file.transaction().unwrap();
        note(&transaction, &rows(gone), true).unwrap();
        transaction.commit().unwrap();
    }

    fn seqs(file: &Connection, table: &str) -> Vec<i64> {
        let mut all = file.prepare(&format!("SELECT seq FROM {table} ORDER BY seq")).unwrap();
        all.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn the_oldest_go_together_once_there_are_many_and_what_lives_stays() {
        let mut file = file();
        file.execute_batch(&format!(
            "INSERT INTO contents (seq, id, sent_at, body)
             WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < {}) SELECT seq, 'm', 0, '' FROM n",
            MAX_LEFTOVERS + 2
        ))
        .unwrap();
        // All but 5, the newest first.
        note_all(&mut file, (6..=MAX_LEFTOVERS + 1).rev());
        assert_eq!(seqs(&file, "contents").len() as i64, MAX_LEFTOVERS + 2, "few are left as they are");
        note_all(&mut file, [2, 3, 1, 4, MAX_LEFTOVERS + 2]);
        let contents = seqs(&file, "contents");
        let end = SWEPT_TOGETHER + 2;
        assert_eq!(contents, [5].into_iter().chain(end..=MAX_LEFTOVERS + 2).collect::<Vec<_>>());
        assert_eq!(seqs(&file, "leftovers"), (end..=MAX_LEFTOVERS + 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_sweep_walks_over_nothing_but_what_it_removes() {
        for (statement, uses) in [
            (SWEEP_CONTENTS, "SEARCH contents USING INTEGER PRIMARY KEY (rowid=?)"),
            (SWEEP_CONTENTS, "SEARCH leftovers USING INTEGER PRIMARY KEY (rowid<?)"),
            (SWEEP, "SEARCH leftovers USING INTEGER PRIMARY KEY (rowid<?)"),
        ] {
            let plan = plan(statement);
            assert!(plan.contains(uses) && !plan.contains("SCAN contents"), "{statement}: {plan}");
        }
    }

    #[test]
    fn attributes_count_as_the_body_does() {
        assert!(!is_bulky(&[0; BULKY_BYTES], None));
        assert!(is_bulky(&[0; BULKY_BYTES], Some("x")) && is_bulky(&[0; BULKY_BYTES + 1], None));
    }
}
