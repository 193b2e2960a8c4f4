//! Dead letters on damaged pages: what can still be read of them, so that they hide no others and can be purged by id.
//! All functions run in a transaction of the caller.

use rusqlite::{OptionalExtension, Transaction};

use super::fault::Fault;
use super::letter::{self, PAGE_BYTES, PAGE_LETTERS, Page};
use crate::queue::{DeadFilter, DeadLetter};

/// Reads nothing but an index.
const IDS: &str = "SELECT id FROM dead WHERE queue = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

/// The columns in front of the payload, which are rarely on an overflow page of their own.
const HEAD: &str = "
    SELECT id, message_id, kind, reason, account, idx, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM dead
    WHERE id = ?1 AND queue = ?2";

/// Does what [`super::dead::page`] does, letter by letter. Nothing is known of a letter whose row cannot be read at all but its
/// number, so it passes only a filter for what is said of it.
pub(super) fn page(transaction: &Transaction<'_>, queue: i64, filter: &DeadFilter, after: i64) -> Result<Page, Fault> {
    let (mut page, mut bytes, mut after) = (Page::new(), 0, after);
    while page.is_empty() {
        let mut ids = transaction.prepare_cached(IDS)?;
        let ids: Vec<i64> = ids.query_map([queue, after, PAGE_LETTERS], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let Some(last) = ids.last() else { break };
        after = *last;
        for id in ids {
            if bytes >= PAGE_BYTES {
                break;
            }
            if let Some(letter) = find(transaction, queue, id)?.filter(|letter| filter.passes(letter)) {
                bytes += letter::size(&letter);
                page.push((id, letter));
            }
        }
    }
    Ok(page)
}

/// Returns the letter with this number, if it exists, or what can be read of it.
pub(super) fn find(transaction: &Transaction<'_>, queue: i64, number: i64) -> Result<Option<DeadLetter>, Fault> {
    match letter::find(transaction, queue, number) {
        Err(fault) if fault.is_damage() => find_part(transaction, queue, number, &fault),
        found => found,
    }
}

/// Returns what can be read of a letter whose row met `fault`; `None` if there is no such letter.
fn find_part(transaction: &Transaction<'_>, queue: i64, number: i64, fault: &Fault) -> Result<Option<DeadLetter>, Fault> {
    let mut head = transaction.prepare_cached(HEAD)?;
    let head = head.query_row([number, queue], |row| Ok(letter::read(row))).optional().map_err(Fault::from);
    let mut letter = match head {
        Ok(head) => head.transpose()?.map(|(_, letter)| letter),
        Err(head) if head.is_damage() => is_there(transaction, queue, number)?.then(|| letter::unknown(number)),
        Err(head) => return Err(head),
    };
    if let Some(letter) = &mut letter {
        letter.reason.push_str(&format!(" (the file is damaged where this letter is, and the rest of it is not shown: {fault})"));
    }
    Ok(letter)
}

fn is_there(transaction: &Transaction<'_>, queue: i64, number: i64) -> Result<bool, Fault> {
    let mut ids = transaction.prepare_cached(IDS)?;
    let found: Option<i64> = ids.query_row([queue, number.saturating_sub(1), 1], |row| row.get(0)).optional()?;
    Ok(found == Some(number))
}
