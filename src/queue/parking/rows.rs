//! The statements on parked rows: putting a delivery into its account's line,
//! reading it, deleting it. All functions run in a transaction of the caller.

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use super::damaged;
use super::reading::{add, is_enough, limit, nothing_of, read};
use crate::message::park::{Parked, START, ToPark, Unparked, Want};
use crate::message::{AttributeValue, Item};
use crate::queue::clock::to_millis;
use crate::queue::sqlite::content;
use crate::queue::sqlite::fault::Fault;

/// The distance between the places of two deliveries that arrived one after the other, so that deliveries
/// older than the second fit between them. An account's line has room for two thousand million rows.
const GAP: i64 = 1 << 32;

/// The divisor by which a row that goes between two others picks its place: it leaves this fraction of the
/// room between itself and the second, and nearly all of the room before itself, where still older rows
/// go. So thousands of rows fit in one before the other, and there is still room between any two of them.
const NEARLY_ALL: i64 = 1 << 10;

/// The pages that a row may need beside its bytes: each of the three trees may split, twice over.
const SPARE_PAGES: u64 = 8;

/// The largest size of the payloads in one answer, in bytes, which bounds the memory that it needs.
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

/// Puts deliveries into their lines while the file stays below `max_bytes`.
/// Returns one result per delivery; once one cannot be parked, nor are those after it.
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
            Some(Parked::Full | Parked::ForAnother) => Parked::Full,
            _ => park_one(transaction, queue, now, max_bytes, parking)?,
        };
        results.push(result);
    }
    Ok(results)
}

/// Returns by about how many bytes a delivery makes the file larger.
pub(super) fn weight(parking: &ToPark) -> u64 {
    let Item { message, payload, .. } = &parking.item;
    let attributes = message.attributes.iter().map(|attribute| match &attribute.value {
        AttributeValue::String(text) | AttributeValue::Number(text) => attribute.name.len() + text.len(),
        // Stored as hexadecimal text.
        AttributeValue::Binary(bytes) => attribute.name.len() + 2 * bytes.len(),
    });
    let contents = payload.len() + message.body.len() + attributes.sum::<usize>();
    // Beside its row, the delivery is in two indices.
    (contents + 2 * (message.id.len() + parking.account.len()) + 200) as u64
}

fn park_one(transaction: &Transaction<'_>, queue: i64, now: i64, max_bytes: u64, parking: &ToPark) -> Result<Parked, Fault> {
    let ToPark { account, item: Item { message, index, payload }, waited, .. } = parking;
    let known: Option<String> =
        transaction.prepare_cached(KNOWN)?.query_row(params![queue, message.id.as_str(), index], |row| row.get(0)).optional()?;
    match known {
        Some(known) if known == *account => return Ok(Parked::Already),
        Some(_) => return Ok(Parked::ForAnother),
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

/// Returns a place in the line that no other row has, in the file or in memory.
fn place(transaction: &Transaction<'_>, queue: i64, parking: &ToPark) -> Result<i64, Fault> {
    let (account, after) = (parking.account.as_str(), parking.after);
    let look = |statement: &str, from: i64| -> Result<Option<i64>, Fault> {
        Ok(transaction.prepare_cached(statement)?.query_row(params![queue, account, from], |row| row.get(0)).optional()?)
    };
    if parking.older
        && let Some(mut second) = look(NEXT, after)?
    {
        // Rows up to `after` are in memory, and are or were in the file. A
        // delivery that is older than the second row is still newer than these.
        let first = look(BEFORE, second)?.unwrap_or(START).max(after);
        if first == second - 1 {
            second = move_on(transaction, queue, account, second)?;
        }
        let room = second.saturating_sub(first);
        return Ok(second - (room / NEARLY_ALL).clamp(1, GAP));
    }
    let last: Option<i64> = transaction.prepare_cached(LAST)?.query_row(params![queue, account], |row| row.get(0)).optional()?;
    // The last row that was in memory may no longer be in the file, and its place must not be used again.
    Ok(match last.unwrap_or(START).max(after) {
        START => 0,
        last => last.saturating_add(GAP),
    })
}

/// Moves the row at `first`, and the rows directly behind it, by half of the gap that follows
/// them. Returns the new place of the first. None of these rows is in memory under its old place.
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

/// Reads the wanted rows of each account; they stay in the file. A row that cannot be read must not hold up others: it
/// is left out. Fails if nothing can be read and the disk may be away.
pub(super) fn take(transaction: &Transaction<'_>, queue: i64, now: i64, wants: &[Want]) -> Result<Vec<Unparked>, Fault> {
    let (mut left, mut lost) = (TAKEN_BYTES, None);
    let mut all = Vec::with_capacity(wants.len());
    for want in wants {
        let before = left;
        all.push(match take_line(transaction, queue, now, want, &mut left) {
            Err(fault) if fault.is_damage() => {
                left = before;
                damaged::take_line(transaction, queue, now, want, &mut left, &mut lost)?
            }
            taken => taken?,
        });
    }
    match lost {
        Some(fault) if all.iter().all(|unparked| unparked.rows.is_empty()) => Err(fault),
        _ => Ok(all),
    }
}

/// Reads the rows of one account, at most about `left` bytes of payloads, which it takes off `left`.
fn take_line(transaction: &Transaction<'_>, queue: i64, now: i64, want: &Want, left: &mut usize) -> Result<Unparked, Fault> {
    let mut take = transaction.prepare_cached(TAKE)?;
    let mut found = take.query(params![queue, want.account.as_str(), want.after, limit(want)])?;
    let mut unparked = nothing_of(want);
    while let Some(row) = found.next()? {
        if is_enough(&mut unparked, want, *left) {
            break;
        }
        unparked.last = Some(row.get(1)?);
        add(&mut unparked, read(row, now), left);
    }
    Ok(unparked)
}

/// Returns the body of the message whose delivery is in the row; `None` if the row is gone.
pub(super) fn body(transaction: &Transaction<'_>, queue: i64, row: i64) -> Result<Option<Bytes>, Fault> {
    let body: Option<Vec<u8>> = transaction.prepare_cached(BODY)?.query_row([row, queue], |row| row.get(0)).optional()?;
    Ok(body.map(Bytes::from))
}

/// Deletes rows for good; rows that are already gone are skipped.
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
