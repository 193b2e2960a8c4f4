//! A dead letter as a row of the file holds it. All functions run in a transaction of the caller.

use bytes::Bytes;
use compact_str::ToCompactString;
use rusqlite::types::ValueRef;
use rusqlite::{Row, Transaction};

use super::content;
use super::fault::Fault;
use crate::queue::DeadLetter;
use crate::queue::clock::from_millis;

pub(super) const FIND: &str = "
    SELECT id, message_id, kind, reason, account, idx, payload, body, attributes, receives, redrives, sent_at, dead_at
    FROM dead
    WHERE id = ?1 AND queue = ?2";

/// The largest number of letters on a page; `PAGE_BYTES` bounds the bytes of
/// their bodies and payloads. They bound the memory that a listing needs.
pub(super) const PAGE_LETTERS: i64 = 256;
pub(super) const PAGE_BYTES: usize = 1024 * 1024;

/// Letters with their numbers, oldest first.
pub(super) type Page = Vec<(i64, DeadLetter)>;

/// Returns the letter with this number, if it exists. Fails if its row cannot be read.
pub(super) fn find(transaction: &Transaction<'_>, queue: i64, number: i64) -> Result<Option<DeadLetter>, Fault> {
    let mut find = transaction.prepare_cached(FIND)?;
    let mut rows = find.query([number, queue])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(read(row)?.1))
}

/// Returns the size of a letter in memory, in bytes.
pub(super) fn size(letter: &DeadLetter) -> usize {
    letter.body.len() + letter.payload.as_ref().map_or(0, |payload| payload.len())
}

/// Returns the letter of a row. Damage must neither hide the other letters nor keep this one from being purged: what
/// cannot be read is left out, and the reason tells that.
pub(super) fn read(row: &Row<'_>) -> Result<(i64, DeadLetter), Fault> {
    let number: i64 = row.get(0)?;
    let text = |column| {
        Ok::<_, rusqlite::Error>(match row.get_ref(column)? {
            ValueRef::Null => None,
            ValueRef::Integer(number) => Some(number.to_string()),
            ValueRef::Real(number) => Some(number.to_string()),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        })
    };
    let bytes = |column| {
        Ok::<_, rusqlite::Error>(match row.get_ref(column)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
        })
    };
    let count = |column| row.get(column).unwrap_or(0);
    let mut reason = text(3)?.unwrap_or_default();
    let attributes = content::attributes_from_text(text(8)?.as_deref()).unwrap_or_else(|why| {
        reason.push_str(&format!(" (the row of this letter is damaged: {why})"));
        Vec::new()
    });
    let letter = DeadLetter {
        id: number.to_compact_string(),
        message_id: text(1)?.unwrap_or_default().into(),
        kind: text(2)?.unwrap_or_default(),
        reason,
        account: text(4)?.map(Into::into),
        index: row.get(5).unwrap_or(None),
        payload: bytes(6)?.map(Into::into),
        body: bytes(7)?.unwrap_or_default().into(),
        attributes,
        receives: count(9),
        redrives: count(10),
        sent_at: from_millis(row.get(11).unwrap_or(0)),
        dead_at: from_millis(row.get(12).unwrap_or(0)),
    };
    Ok((number, letter))
}

/// Returns a letter of which nothing is known but its number.
pub(super) fn unknown(number: i64) -> DeadLetter {
    DeadLetter {
        id: number.to_compact_string(),
        message_id: "".into(),
        kind: String::new(),
        reason: String::new(),
        account: None,
        index: None,
        payload: None,
        body: Bytes::new(),
        attributes: Vec::new(),
        receives: 0,
        redrives: 0,
        sent_at: from_millis(0),
        dead_at: from_millis(0),
    }
}
