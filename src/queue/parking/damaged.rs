//! Reading the line of an account where the file is damaged: row by row, so that a damaged page holds up no other rows
//! than those that are on it. Runs in a transaction of the caller.

use rusqlite::{OptionalExtension, Transaction, params};

use super::reading::{add, is_enough, limit, nothing_of, read};
use crate::message::park::{Unparked, Want};
use crate::queue::sqlite::fault::Fault;

/// Reads nothing but the index, which has the number of each row.
const PLACES: &str = "
    SELECT seq, place FROM parked
    WHERE queue = ?1 AND account = ?2 AND place > ?3
    ORDER BY place LIMIT ?4";

const ROW: &str = "
    SELECT seq, place, message_id, idx, sent_at, waits_since, receives, attributes, payload
    FROM parked
    WHERE seq = ?1";

/// Returns what [`super::rows::take`] returns for one account. If the line itself cannot be read, the account counts as
/// one without rows, whose damage is named: nobody can tell what is in the line.
///
/// `lost` takes up a failure that is no damage for certain, since the disk may be away as a whole.
pub(super) fn take_line(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    want: &Want,
    left: &mut usize,
    lost: &mut Option<Fault>,
) -> Result<Unparked, Fault> {
    let mut unparked = nothing_of(want);
    let places = match places(transaction, queue, want) {
        Ok(places) => places,
        Err(fault) if fault.is_corrupt() => {
            let account = &want.account;
            unparked.unreadable.push(format!(
                "what is parked for {account}: {fault}; stop the service and restore the file, or try `sqlite3 FILE .recover`"
            ));
            return Ok(unparked);
        }
        Err(fault) => return Err(fault),
    };
    let mut row = transaction.prepare_cached(ROW)?;
    for (number, place) in places {
        if is_enough(&mut unparked, want, *left) {
            break;
        }
        unparked.last = Some(place);
        match row.query_row([number], |row| Ok(read(row, now))).optional().map_err(Fault::from) {
            Ok(Some(row)) => add(&mut unparked, row, left),
            Ok(None) => unparked.unreadable.push(why(number, want, "it is in the index alone")),
            Err(fault) if fault.is_damage() => {
                unparked.unreadable.push(why(number, want, &fault.to_string()));
                if !fault.is_corrupt() {
                    *lost = Some(fault);
                }
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(unparked)
}

fn places(transaction: &Transaction<'_>, queue: i64, want: &Want) -> Result<Vec<(i64, i64)>, Fault> {
    let mut places = transaction.prepare_cached(PLACES)?;
    let found =
        places.query_map(params![queue, want.account.as_str(), want.after, limit(want)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn why(number: i64, want: &Want, fault: &str) -> String {
    format!(
        "row {number} of parked, for {}: {fault}: the file is damaged there; stop the service and restore the file, or try \
         `sqlite3 FILE .recover`",
        want.account
    )
}

#[cfg(test)]
mod tests {
    use super::super::PARKING;
    use super::*;
    use crate::queue::sqlite::plan::plan_in;

    #[test]
    fn the_index_alone_tells_which_rows_there_are() {
        use rusqlite::Connection;
        let mut file = Connection::open_in_memory().unwrap();
        PARKING.prepare(&mut file).unwrap();
        let mut explain = file.prepare(&format!("EXPLAIN QUERY PLAN {PLACES}")).unwrap();
        let mut rows = explain.raw_query();
        let line: String = rows.next().unwrap().unwrap().get(3).unwrap();
        assert_eq!(line, "SEARCH parked USING COVERING INDEX parked_in_line (queue=? AND account=? AND place>?)");
        assert!(plan_in(&PARKING, ROW).contains("USING INTEGER PRIMARY KEY (rowid=?)"));
    }
}
