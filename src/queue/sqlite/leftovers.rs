//! What deleted messages leave behind in `contents`, removed many at a time.
//!
//! Deletes come in no order of rows: one partner is quicker than the next. To take each message's contents out with it would write the
//! pages that it shares with its neighbours to the log once for nearly each of them: 93,000 to 119,000 writes for 100,000 messages of 130
//! bytes, where it is 43,000 to 51,000 this way. A delete only notes the row here, where hundreds share a page, and once there are many the
//! oldest of them go together, whose pages are empty then and are written no more.

use rusqlite::Transaction;

use super::fault::Fault;
use super::rows::Rows;

/// Bytes of body and attributes from which on a message's contents go with it: they share their page with nobody much.
const BULKY: usize = 1024;

/// Rows that may be left at most. With [`BULKY`], these are 16 MiB and what surrounds them.
const MOST: i64 = 16 * 1024;

/// As many as go together. The newest stay: their neighbours are still being worked on.
const SWEPT: i64 = MOST / 2;

const NOTE: &str = "INSERT INTO leftovers SELECT value FROM rarray(?1)";

/// SQLite counts the rows of whole pages, without looking at them.
const COUNT: &str = "SELECT count(*) FROM leftovers";

/// The row after those that go.
const END: &str = "SELECT seq FROM leftovers ORDER BY seq LIMIT 1 OFFSET ?1";

const SWEEP_CONTENTS: &str = "DELETE FROM contents WHERE seq IN (SELECT seq FROM leftovers WHERE seq < ?1)";

const SWEEP: &str = "DELETE FROM leftovers WHERE seq < ?1";

/// The same for the oldest of however many there are, where the disk is short of room.
pub(super) const SWEEP_OLDEST: &str = "
    DELETE FROM contents WHERE seq IN (SELECT seq FROM leftovers ORDER BY seq LIMIT 8192);
    DELETE FROM leftovers WHERE seq IN (SELECT seq FROM leftovers ORDER BY seq LIMIT 8192);";

/// Whether the contents of a message are to go with it.
pub(super) fn is_bulky(body: &[u8], attributes: Option<&str>) -> bool {
    body.len() + attributes.map_or(0, str::len) > BULKY
}

/// Notes messages that are gone; removes what the oldest left behind, where there are many.
pub(super) fn note(transaction: &Transaction<'_>, gone: &Rows) -> Result<(), Fault> {
    transaction.prepare_cached(NOTE)?.execute([gone])?;
    let left: i64 = transaction.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
    if left > MOST {
        let end: i64 = transaction.prepare_cached(END)?.query_row([SWEPT], |row| row.get(0))?;
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
        note(&transaction, &rows(gone)).unwrap();
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
            MOST + 2
        ))
        .unwrap();
        // All but 5, the newest first.
        note_all(&mut file, (6..=MOST + 1).rev());
        assert_eq!(seqs(&file, "contents").len() as i64, MOST + 2, "few are left as they are");
        note_all(&mut file, [2, 3, 1, 4, MOST + 2]);
        let contents = seqs(&file, "contents");
        let end = SWEPT + 2;
        assert_eq!(contents, [5].into_iter().chain(end..=MOST + 2).collect::<Vec<_>>());
        assert_eq!(seqs(&file, "leftovers"), (end..=MOST + 2).collect::<Vec<_>>());
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
        assert!(!is_bulky(&[0; BULKY], None));
        assert!(is_bulky(&[0; BULKY], Some("x")) && is_bulky(&[0; BULKY + 1], None));
    }
}
