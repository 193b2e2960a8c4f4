//! Dead letters: written in the transaction that takes their message
//! off the queue, listed a page at a time, redriven or deleted by id.

use std::error::Error;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::content;
use super::fault::Fault;
use super::groups::{self, Touched};
use super::letter::{PAGE_BYTES, PAGE_LETTERS, Page, read, size};
use super::send::{self, Insert};
use super::{damaged, settle, settled};
use crate::message::Grouping;
use crate::message::{AttributeValue, Receipt};
use crate::queue::clock::to_millis;
use crate::queue::embedded::redriven_id;
use crate::queue::{DeadDelivery, DeadFilter, EntryError, EntryResult, SetAside, SettledPart};

/// Setting the same delivery aside again updates its letter with the newest facts.
const WRITE: &str = "
    INSERT INTO dead (
        queue, message_id, idx, kind, reason, account, payload, body, attributes, open, receives, redrives, sent_at, dead_at,
        settled)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, (SELECT settled FROM messages WHERE seq = ?15))
    ON CONFLICT (queue, message_id, ifnull(idx, -1), iif(idx IS NULL, '', ifnull(account, ''))) DO UPDATE SET
        kind = excluded.kind, reason = excluded.reason, account = excluded.account, payload = excluded.payload,
        open = excluded.open, receives = excluded.receives, dead_at = excluded.dead_at, settled = excluded.settled";

const PAGE: &str = "
    SELECT id, message_id, kind, reason, account, idx, payload, body, attributes, receives, redrives, sent_at, dead_at
    FROM dead
    WHERE queue = ?1 AND id > ?2
      AND (?3 IS NULL OR account = ?3)
      AND (?4 IS NULL OR kind = ?4 OR instr(reason, ?4) > 0)
    ORDER BY id LIMIT ?5";

const TAKE: &str =
    "DELETE FROM dead WHERE id = ?1 AND queue = ?2 RETURNING message_id, body, attributes, open, redrives, settled";

/// SQLite takes the length of a body from the row's head, without reading its pages.
const LENGTH: &str = "SELECT length(body) FROM dead WHERE id = ?1 AND queue = ?2";

const PURGE: &str = "DELETE FROM dead WHERE id = ?1 AND queue = ?2";

/// The size of the bodies, in bytes, from which on a transaction puts no further letter back. All of them go through the
/// log, and nobody else writes meanwhile.
const REDRIVEN_BYTES: i64 = 4 * 1024 * 1024;

/// Returns about how many bytes a letter adds to the file: its
/// message, what is recorded about it, and its row in two indices.
pub(super) fn weight(letter: &SetAside) -> u64 {
    let payload = letter.delivery.as_ref().map_or(0, |delivery| delivery.payload.len());
    let attributes = letter.message.attributes.iter().map(|attribute| match &attribute.value {
        AttributeValue::String(text) | AttributeValue::Number(text) => attribute.name.len() + text.len(),
        // Stored in hexadecimal.
        AttributeValue::Binary(bytes) => attribute.name.len() + 2 * bytes.len(),
    });
    (letter.message.body.len() + payload + letter.reason.text.len() + attributes.sum::<usize>() + 300) as u64
}

/// Writes each letter whose receipt is still good. For any other receipt
/// nothing is written, since the message now belongs to another consumer.
pub(super) fn set_aside(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    letters: &[SetAside],
) -> Result<Vec<EntryResult>, Fault> {
    let mut touched = Touched::new();
    let mut results = Vec::with_capacity(letters.len());
    for letter in letters {
        let Some(redrives) = settle::redrives_if_held(transaction, queue, now, &letter.receipt)? else {
            results.push(Err(EntryError::Gone));
            continue;
        };
        write(transaction, queue, now, letter, redrives)?;
        results.push(if letter.last {
            settle::delete_one(transaction, queue, now, &letter.receipt, &mut touched)?
        } else {
            note_settled(transaction, letter)?;
            Ok(())
        });
    }
    groups::free(transaction, queue, &touched)?;
    Ok(results)
}

/// Notes that the delivery of a letter is settled while its message stays on the queue. A parked delivery has no
/// message there that its holder could name.
fn note_settled(transaction: &Transaction<'_>, letter: &SetAside) -> Result<(), Fault> {
    let Some(name) = letter.delivery.as_ref().and_then(DeadDelivery::name) else { return Ok(()) };
    let Receipt::Row { row, .. } = letter.receipt else { return Ok(()) };
    settled::note(transaction, row, SettledPart { deliveries: vec![name], accepted: false })
}

fn write(transaction: &Transaction<'_>, queue: i64, now: i64, letter: &SetAside, redrives: u32) -> Result<(), Fault> {
    let message = &letter.message;
    let delivery = letter.delivery.as_ref();
    let index = delivery.and_then(|delivery| delivery.index);
    // A redrive of one delivery opens only that one; a redrive of a whole message opens all that were open.
    let open = match delivery.and_then(DeadDelivery::name) {
        Some(name) => Some(content::open_to_text(&[name])),
        None => message.open.as_deref().map(content::open_to_text),
    };
    // The row of a message that is set aside as a whole: what is settled of it goes along. A delivery has its own letter.
    let whole = match letter.receipt {
        Receipt::Row { row, .. } if index.is_none() => Some(row),
        Receipt::Row { .. } | Receipt::Handle(_) | Receipt::Parked => None,
    };
    let attributes = content::attributes_to_text(&message.attributes)
        .map_err(|error| Fault::refused(format!("message {}: its attributes cannot be written: {error}", message.id)))?;
    transaction.prepare_cached(WRITE)?.execute(params![
        queue,
        message.id.as_str(),
        index,
        letter.reason.kind.word(),
        letter.reason.text,
        delivery.map(|delivery| delivery.account.as_str()),
        delivery.map(|delivery| &*delivery.payload),
        &*message.body,
        attributes,
        open,
        message.receives,
        redrives,
        to_millis(message.sent_at),
        now,
        whole,
    ])?;
    Ok(())
}

/// Returns the next letters that pass the filter and whose number is above
/// `after`, each with its number. An empty page means that there are no more.
pub(super) fn page(transaction: &Transaction<'_>, queue: i64, filter: &DeadFilter, after: i64) -> Result<Page, Fault> {
    match whole_page(transaction, queue, filter, after) {
        Err(fault) if fault.is_damage() => damaged::page(transaction, queue, filter, after),
        page => page,
    }
}

fn whole_page(transaction: &Transaction<'_>, queue: i64, filter: &DeadFilter, after: i64) -> Result<Page, Fault> {
    let mut page = transaction.prepare_cached(PAGE)?;
    let partner = filter.partner.as_deref();
    let mut rows = page.query(params![queue, after, partner, filter.reason, PAGE_LETTERS])?;
    let mut letters = Vec::new();
    let mut bytes = 0;
    while bytes < PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let (number, letter) = read(row)?;
        bytes += size(&letter);
        letters.push((number, letter));
    }
    Ok(letters)
}

/// Returns how many of the first letters a redrive should put back in one transaction: those whose bodies have
/// [`REDRIVEN_BYTES`] together. A body that cannot be read counts nothing, since the redrive says what is wrong with it.
pub(super) fn fit(transaction: &Transaction<'_>, queue: i64, ids: &[i64]) -> Result<usize, Fault> {
    let mut length = transaction.prepare_cached(LENGTH)?;
    let mut bytes = 0;
    let reaches = |id: &i64| {
        bytes += length.query_row([*id, queue], |row| row.get::<_, i64>(0)).unwrap_or(0);
        bytes >= REDRIVEN_BYTES
    };
    Ok(ids.iter().position(reaches).map_or(ids.len(), |last| last + 1))
}

/// Puts letters back on the queue. Returns how many of the ids still existed.
pub(super) fn redrive(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    grouping: Option<&Grouping>,
    ids: &[i64],
) -> Result<usize, Fault> {
    let mut take = transaction.prepare_cached(TAKE)?;
    let mut touched = Touched::new();
    let mut redriven = 0;
    for id in ids {
        let letter = take.query_row([*id, queue], |row| Ok(Letter::read(row))).optional()?;
        let Some(letter) = letter else { continue };
        let letter = letter.map_err(|why| {
            Fault::refused(format!("dead letter {id} is damaged: {why}; correct it with the sqlite3 program, or purge it"))
        })?;
        let message = Insert {
            id: &redriven_id(&letter.message_id, *id),
            group: grouping.and_then(|group| group(&letter.body)),
            body: &letter.body,
            attributes: letter.attributes.as_deref(),
            open: letter.open.as_deref(),
            settled: letter.settled.as_deref(),
            redrives: letter.redrives.saturating_add(1),
            sent_at: now,
            hidden_until: None,
        };
        send::insert(transaction, queue, &message, &mut touched)?;
        redriven += 1;
    }
    groups::free(transaction, queue, &touched)?;
    Ok(redriven)
}

/// The parts of a letter that a redrive needs.
struct Letter {
    message_id: String,
    body: Vec<u8>,
    attributes: Option<String>,
    open: Option<String>,
    redrives: u32,
    settled: Option<String>,
}

impl Letter {
    /// Returns the letter, or what would make its message one that no receive can read.
    fn read(row: &Row<'_>) -> Result<Self, Box<dyn Error>> {
        let letter = Self {
            message_id: row.get(0)?,
            body: row.get(1)?,
            attributes: row.get(2)?,
            open: row.get(3)?,
            redrives: row.get(4)?,
            settled: row.get(5)?,
        };
        content::attributes_from_text(letter.attributes.as_deref())?;
        content::open_from_text(letter.open.as_deref())?;
        content::settled_from_text(letter.settled.as_deref())?;
        Ok(letter)
    }
}

/// Deletes letters for good. Returns how many of the ids still existed.
pub(super) fn purge(transaction: &Transaction<'_>, queue: i64, ids: &[i64]) -> Result<usize, Fault> {
    let mut purge = transaction.prepare_cached(PURGE)?;
    let mut purged = 0;
    for id in ids {
        purged += purge.execute([*id, queue])?;
    }
    Ok(purged)
}

#[cfg(test)]
mod tests {
    use super::super::letter::FIND;
    use super::super::plan::plan;
    use super::*;

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        let plan = plan(PAGE);
        assert!(plan.contains("USING INDEX dead_by_queue (queue=? AND rowid>?)"), "{plan}");
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
    }

    #[test]
    fn a_letter_is_found_by_its_id() {
        for statement in [FIND, TAKE, LENGTH, PURGE] {
            let plan = plan(statement);
            assert!(plan.contains("USING INTEGER PRIMARY KEY (rowid=?)"), "{statement}: {plan}");
        }
    }
}
