//! The statements: into an account's line, out of it, away.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::message::park::{Parked, Row, START, ToPark, Unparked, Want};
use crate::message::{AttributeValue, Item, Message, Receipt};
use crate::queue::clock::{from_millis, to_millis};
use crate::queue::sqlite::content;
use crate::queue::sqlite::fault::Fault;

/// Between the places of two that came one after the other: what is older than the second goes between. An account's line has room for
/// two thousand million rows.
const GAP: i64 = 1 << 32;

/// What goes between two leaves so much less room before it, so that thousands go there one before the other, and between two of these
/// there is room again.
const NEARLY_ALL: i64 = 1 << 10;

/// Pages that a row may need beside its bytes: each of the three trees may split, twice over.
const SPARE_PAGES: u64 = 8;

/// What answers give at once at most, in bytes of payloads: what they need in memory.
const TAKEN_BYTES: usize = 4 * 1024 * 1024;

const KNOWN: &str = "SELECT account FROM parked WHERE queue = ?1 AND message_id = ?2 AND ifnull(idx, -1) = ifnull(?3, -1)";

const LAST: &str = "SELECT place FROM parked WHERE queue = ?1 AND account = ?2 ORDER BY place DESC LIMIT 1";

const NEXT: &str = "SELECT place FROM parked WHERE queue = ?1 AND account = ?2 AND place > ?3 ORDER BY place LIMIT 1";

const BEFORE: &str = "SELECT place FROM parked WHERE queue = ?1 AND account = ?2 AND place < ?3 ORDER BY place DESC LIMIT 1";

const MOVE: &str = "UPDATE parked SET place = ?4 WHERE queue = ?1 AND account = ?2 AND place = ?3";

const INSERT: &str = "
    INSERT INTO parked (
        queue, account, place, message_id, idx, size, sent_at, waits_since, receives, attributes, payload, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

const USED: &str = "
    SELECT (page_count - freelist_count) * page_size, page_size
    FROM pragma_page_count, pragma_freelist_count, pragma_page_size";

const TAKE: &str = "
    SELECT seq, place, message_id, idx, sent_at, waits_since, receives, attributes, payload
    FROM parked
    WHERE queue = ?1 AND account = ?2 AND place > ?3
    ORDER BY place LIMIT ?4";

const BODY: &str = "SELECT body FROM parked WHERE seq = ?1 AND queue = ?2";

const DELETE: &str = "DELETE FROM parked WHERE seq = ?1 AND queue = ?2";

/// Puts deliveries into their lines, one result each, while the file stays below `max_bytes`.
pub(super) fn park(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    max_bytes: u64,
    parkings: &[ToPark],
) -> Result<Vec<Parked>, Fault> {
    let mut results = Vec::with_capacity(parkings.len());
    for parking in parkings {
        let result = match results.last() {
            Some(Parked::Full) => Parked::Full,
            _ => park_one(transaction, queue, now, max_bytes, parking)?,
        };
        results.push(result);
    }
    Ok(results)
}

/// About how many bytes it makes the file larger.
pub(super) fn weight(parking: &ToPark) -> u64 {
    let Item { message, payload, .. } = &parking.item;
    let attributes = message.attributes.iter().map(|attribute| match &attribute.value {
        AttributeValue::String(text) | AttributeValue::Number(text) => attribute.name.len() + text.len(),
        // As text.
        AttributeValue::Binary(bytes) => attribute.name.len() + 2 * bytes.len(),
    });
    let contents = payload.len() + message.body.len() + attributes.sum::<usize>();
    // Beside its row it stands in two indexes.
    (contents + 2 * (message.id.len() + parking.account.len()) + 200) as u64
}

fn park_one(transaction: &Transaction<'_>, queue: i64, now: i64, max_bytes: u64, parking: &ToPark) -> Result<Parked, Fault> {
    let ToPark { account, item: Item { message, index, payload }, waited, .. } = parking;
    let known: Option<String> =
        transaction.prepare_cached(KNOWN)?.query_row(params![queue, message.id.as_str(), index], |row| row.get(0)).optional()?;
    match known {
        Some(known) if known == *account => return Ok(Parked::Already),
        // Another handler made the message's deliveries in another order. Each is told by its index, and that one is still to be delivered.
        Some(_) => return Ok(Parked::Full),
        None => {}
    }
    let attributes = content::attributes_to_text(&message.attributes)
        .map_err(|error| Fault::refused(format!("message {}: its attributes cannot be written: {error}", message.id)))?;
    let bytes = payload.len() + message.body.len();
    let weight = bytes + message.id.len() + account.len() + attributes.as_ref().map_or(0, String::len);
    let (used, page): (i64, i64) = transaction.prepare_cached(USED)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let needed = used.unsigned_abs() + weight as u64 + SPARE_PAGES * page.unsigned_abs();
    if needed > max_bytes {
        return Ok(Parked::Full);
    }
    let place = place(transaction, queue, parking)?;
    let waited = i64::try_from(waited.as_millis()).unwrap_or(i64::MAX);
    transaction.prepare_cached(INSERT)?.execute(params![
        queue,
        account.as_str(),
        place,
        message.id.as_str(),
        index,
        i64::try_from(bytes).unwrap_or(i64::MAX),
        to_millis(message.sent_at),
        now.saturating_sub(waited).max(0),
        message.receives,
        attributes,
        &**payload,
        &*message.body,
    ])?;
    Ok(Parked::At(place))
}

/// A place that nobody has.
fn place(transaction: &Transaction<'_>, queue: i64, parking: &ToPark) -> Result<i64, Fault> {
    let (account, after) = (parking.account.as_str(), parking.after);
    let look = |statement: &str, from: i64| -> Result<Option<i64>, Fault> {
        Ok(transaction.prepare_cached(statement)?.query_row(params![queue, account, from], |row| row.get(0)).optional()?)
    };
    if parking.older
        && let Some(mut second) = look(NEXT, after)?
    {
        // Rows up to `after` are in memory, and still here, or were: what is older than the second is newer than these.
        let first = look(BEFORE, second)?.unwrap_or(START).max(after);
        if first == second - 1 {
            second = move_on(transaction, queue, account, second)?;
        }
        let room = second.saturating_sub(first);
        return Ok(second - (room / NEARLY_ALL).clamp(1, GAP));
    }
    let last: Option<i64> = transaction.prepare_cached(LAST)?.query_row(params![queue, account], |row| row.get(0)).optional()?;
    // The last that was in memory may be gone from the disk, and its place must not be used again.
    Ok(match last.unwrap_or(START).max(after) {
        START => 0,
        last => last.saturating_add(GAP),
    })
}

/// Moves that row, and those that stand right behind it, into half of the gap that follows them; gives its new place. None of them is in
/// memory under its old one.
fn move_on(transaction: &Transaction<'_>, queue: i64, account: &str, first: i64) -> Result<i64, Fault> {
    let mut next = transaction.prepare_cached(NEXT)?;
    let mut last = first;
    let by = loop {
        let behind: Option<i64> = next.query_row(params![queue, account, last], |row| row.get(0)).optional()?;
        match behind {
            Some(behind) if behind == last + 1 => last = behind,
            Some(behind) => break (behind - last) / 2,
            None => break GAP,
        }
    };
    let mut rename = transaction.prepare_cached(MOVE)?;
    for place in (first..=last).rev() {
        rename.execute(params![queue, account, place, place + by])?;
    }
    Ok(first + by)
}

/// Reads what is wanted; nothing is taken away by that.
pub(super) fn take(transaction: &Transaction<'_>, queue: i64, now: i64, wants: &[Want]) -> Result<Vec<Unparked>, Fault> {
    let mut take = transaction.prepare_cached(TAKE)?;
    let mut left = TAKEN_BYTES;
    let mut all = Vec::with_capacity(wants.len());
    for Want { account, after, rows: most } in wants {
        // One more than is wanted tells whether there is more.
        let limit = i64::try_from(*most).unwrap_or(i64::MAX).saturating_add(1);
        let mut found = take.query(params![queue, account.as_str(), after, limit])?;
        let (mut rows, mut more) = (Vec::new(), false);
        while let Some(row) = found.next()? {
            if rows.len() >= *most || left == 0 {
                more = true;
                break;
            }
            let row = read(row, now)?;
            left = left.saturating_sub(row.item.payload.len());
            rows.push(row);
        }
        all.push(Unparked { account: account.clone(), rows, more });
    }
    Ok(all)
}

fn read(row: &rusqlite::Row<'_>, now: i64) -> Result<Row, Fault> {
    let id = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
    let attributes = row.get_ref(7)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let message = Message {
        id: id.into(),
        body: Bytes::new(),
        attributes: content::attributes_from_text(attributes)
            .map_err(|why| Fault::refused(format!("parked delivery of message {id}: {why}; correct or delete its row")))?,
        group: None,
        sent_at: from_millis(row.get(4)?),
        receives: row.get(6)?,
        open: None,
    };
    let waits_since: i64 = row.get(5)?;
    let waited = u64::try_from(now.saturating_sub(waits_since)).unwrap_or(0);
    Ok(Row {
        receipt: Receipt::Row { row: row.get(0)?, receive: 1 },
        place: row.get(1)?,
        item: Item { message: Arc::new(message), index: row.get(3)?, payload: row.get::<_, Vec<u8>>(8)?.into() },
        waited: std::time::Duration::from_millis(waited),
    })
}

/// The body of the message whose delivery is in that row; `None`: the row is gone.
pub(super) fn body(transaction: &Transaction<'_>, queue: i64, row: i64) -> Result<Option<Bytes>, Fault> {
    let body: Option<Vec<u8>> = transaction.prepare_cached(BODY)?.query_row([row, queue], |row| row.get(0)).optional()?;
    Ok(body.map(Bytes::from))
}

/// Deletes rows for good; what is gone already is fine.
pub(super) fn delete(transaction: &Transaction<'_>, queue: i64, rows: impl Iterator<Item = i64>) -> Result<(), Fault> {
    let mut delete = transaction.prepare_cached(DELETE)?;
    for row in rows {
        delete.execute([row, queue])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::PARKING;
    use super::*;
    use crate::queue::sqlite::plan::plan_in;

    #[test]
    fn each_step_is_a_look_up_however_much_is_parked() {
        for (statement, uses) in [
            (KNOWN, "INDEX parked_once (queue=? AND message_id=? AND <expr>=?)"),
            (LAST, "INDEX parked_in_line (queue=? AND account=?)"),
            (NEXT, "INDEX parked_in_line (queue=? AND account=? AND place>?)"),
            (BEFORE, "INDEX parked_in_line (queue=? AND account=? AND place<?)"),
            (MOVE, "INDEX parked_in_line (queue=? AND account=? AND place=?)"),
            (TAKE, "INDEX parked_in_line (queue=? AND account=? AND place>?)"),
            (BODY, "USING INTEGER PRIMARY KEY (rowid=?)"),
            (DELETE, "USING INTEGER PRIMARY KEY (rowid=?)"),
        ] {
            let plan = plan_in(&PARKING, statement);
            assert!(plan.contains(uses), "{statement}: {plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{statement}: {plan}");
        }
    }
}
