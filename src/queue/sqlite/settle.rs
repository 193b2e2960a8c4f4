//! Settling messages under their lease: delete a message, or move the end of its lease
//! and note what is settled of it. All functions run in a transaction of the caller.
//!
//! A receipt is good while its row is leased and has not been received again. [`GOOD`] checks
//! that first, so that an old receipt cannot affect a copy that another consumer holds.

use hashbrown::HashMap;
use rusqlite::{OptionalExtension, Transaction};

use super::fault::Fault;
use super::groups::{self, Touched};
use super::leftovers;
use super::rows::rows;
use super::settled;
use crate::message::Receipt;
use crate::queue::clock::later;
use crate::queue::{EntryError, EntryResult, VisibilityChange};

/// Runs before the row is changed, in the same transaction. With `RETURNING` the change itself could report
/// this, but SQLite creates and drops a table for that in each call, which takes longer than the change.
const GOOD: &str = "
    SELECT grp FROM messages
    WHERE seq = ?1 AND queue = ?2 AND receives = ?3 AND delayed = 0 AND hidden_until > ?4";

/// Does the same for many rows, whose receipts are compared with the result. `NOT INDEXED` makes
/// SQLite look up the rows by number: the index of hidden rows would lead through all leased ones.
const LEASED: &str = "
    SELECT seq, receives, grp, bulky FROM rarray(?1) CROSS JOIN messages NOT INDEXED ON seq = value
    WHERE queue = ?2 AND delayed = 0 AND hidden_until > ?3";

const DELETE_ALL: &str = "DELETE FROM messages WHERE seq IN rarray(?1)";

const DELETE_CONTENTS: &str = "DELETE FROM contents WHERE seq IN rarray(?1)";

const DELETE: &str = "DELETE FROM messages WHERE seq = ?1";

const DELETE_CONTENT: &str = "DELETE FROM contents WHERE seq = ?1";

const HIDE: &str = "UPDATE messages SET hidden_until = ?2, uncounted = uncounted + ?3 WHERE seq = ?1";

const HELD: &str = "
    SELECT redrives FROM messages JOIN contents USING (seq)
    WHERE messages.seq = ?1 AND queue = ?2 AND receives = ?3 AND delayed = 0 AND hidden_until > ?4";

/// Deletes the messages of good receipts; `sweep`: see [`leftovers::note`]. Returns one result per receipt, in order.
pub(super) fn delete(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    receipts: &[Receipt],
    sweep: bool,
) -> Result<Vec<EntryResult>, Fault> {
    let mut held = held(transaction, queue, now, receipts)?;
    let mut touched = Touched::new();
    let (mut gone, mut bulky) = (Vec::with_capacity(held.len()), Vec::new());
    let mut results = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        // Removed from the map, so that a receipt that occurs twice is good once.
        let good = match receipt {
            Receipt::Row { row, receive } => held.remove(&(*row, *receive)).map(|held| (*row, held)),
            Receipt::Handle(_) | Receipt::Parked => None,
        };
        results.push(good.as_ref().map_or(Err(EntryError::Gone), |_| Ok(())));
        if let Some((row, held)) = good {
            if held.bulky {
                bulky.push(row)
            } else {
                gone.push(row)
            }
            touched.extend(held.group);
        }
    }
    if !bulky.is_empty() {
        let bulky = rows(bulky);
        transaction.prepare_cached(DELETE_ALL)?.execute([&bulky])?;
        transaction.prepare_cached(DELETE_CONTENTS)?.execute([&bulky])?;
    }
    if !gone.is_empty() {
        let gone = rows(gone);
        transaction.prepare_cached(DELETE_ALL)?.execute([&gone])?;
        leftovers::note(transaction, &gone, sweep)?;
    }
    groups::free(transaction, queue, &touched)?;
    Ok(results)
}

/// A leased row.
struct Held {
    group: Option<String>,
    /// Whether the contents are deleted together with the message, see [`leftovers`].
    bulky: bool,
}

/// Returns the leased rows among those of the receipts, by row and by the number of receives that a good receipt has.
fn held(transaction: &Transaction<'_>, queue: i64, now: i64, receipts: &[Receipt]) -> Result<HashMap<(i64, i64), Held>, Fault> {
    let of_row = |receipt: &Receipt| if let Receipt::Row { row, .. } = receipt { Some(*row) } else { None };
    let mut leased = transaction.prepare_cached(LEASED)?;
    let found = leased.query_map((rows(receipts.iter().filter_map(of_row)), queue, now), |row| {
        Ok(((row.get(0)?, row.get(1)?), Held { group: row.get(2)?, bulky: row.get(3)? }))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Deletes one message. The caller must free the groups in `touched` afterwards.
pub(super) fn delete_one(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    receipt: &Receipt,
    touched: &mut Touched,
) -> Result<EntryResult, Fault> {
    let Some(Good { row, group }) = good(transaction, queue, now, receipt)? else { return Ok(Err(EntryError::Gone)) };
    transaction.prepare_cached(DELETE)?.execute([row])?;
    transaction.prepare_cached(DELETE_CONTENT)?.execute([row])?;
    touched.extend(group);
    Ok(Ok(()))
}

/// The row of a good receipt, and the group of its message.
struct Good {
    row: i64,
    group: Option<String>,
}

/// Returns the row of a receipt; `None` if the receipt is no longer good.
fn good(transaction: &Transaction<'_>, queue: i64, now: i64, receipt: &Receipt) -> Result<Option<Good>, Fault> {
    let Receipt::Row { row, receive } = receipt else { return Ok(None) };
    let mut good = transaction.prepare_cached(GOOD)?;
    let group = good.query_row([*row, queue, *receive, now], |row| row.get(0)).optional()?;
    Ok(group.map(|group| Good { row: *row, group }))
}

/// Sets how long the message of each good receipt stays hidden, and with `notes` adds to what is known to be settled
/// of it. Returns one result per change, in order.
pub(super) fn change_visibility(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    changes: &[VisibilityChange],
    notes: bool,
) -> Result<Vec<EntryResult>, Fault> {
    let mut hide = transaction.prepare_cached(HIDE)?;
    let mut touched = Touched::new();
    let mut results = Vec::with_capacity(changes.len());
    for VisibilityChange { receipt, hidden, settled, uncounted } in changes {
        let Some(Good { row, group }) = good(transaction, queue, now, receipt)? else {
            results.push(Err(EntryError::Gone));
            continue;
        };
        let until = (!hidden.is_zero()).then(|| later(now, *hidden));
        hide.execute((row, until, uncounted))?;
        if let Some(settled) = settled.as_deref().filter(|_| notes) {
            settled::note(transaction, row, settled.clone())?;
        }
        results.push(Ok(()));
        touched.extend(group);
    }
    groups::free(transaction, queue, &touched)?;
    Ok(results)
}

/// Returns how often the message of a good receipt has been redriven; `None` if the receipt is
/// no longer good. Returns 0 for a parked delivery, whose message is no longer in the file.
pub(super) fn redrives_if_held(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    receipt: &Receipt,
) -> Result<Option<u32>, Fault> {
    let (row, receive) = match receipt {
        Receipt::Row { row, receive } => (row, receive),
        Receipt::Parked => return Ok(Some(0)),
        Receipt::Handle(_) => return Ok(None),
    };
    let mut held = transaction.prepare_cached(HELD)?;
    Ok(held.query_row([*row, queue, *receive, now], |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::*;

    #[test]
    fn a_receipt_names_its_row() {
        for statement in [GOOD, LEASED, DELETE_ALL, DELETE_CONTENTS, DELETE, DELETE_CONTENT, HIDE, HELD] {
            let plan = plan(statement);
            assert!(
                plan.contains("USING INTEGER PRIMARY KEY (rowid=?)") && !plan.replace("SCAN rarray", "").contains("SCAN"),
                "{statement}: {plan}"
            );
        }
    }
}
