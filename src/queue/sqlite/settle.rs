//! What a holder does with its lease: delete the message, or move the end of the lease.
//!
//! A receipt is good while its row was received no more often and is still leased. [`GOOD`] asks that first, so that an old receipt cannot
//! touch someone else's copy.

use std::time::Duration;

use hashbrown::HashMap;
use rusqlite::{OptionalExtension, Transaction};

use super::fault::Fault;
use super::groups::{self, Touched};
use super::leftovers;
use super::rows::rows;
use crate::message::Receipt;
use crate::queue::clock::later;
use crate::queue::{EntryError, EntryResult};

/// Asked before the row is changed, in the same transaction. With `RETURNING` the change would tell it too, but SQLite makes and drops a table
/// for that with each call, which takes longer than the change.
const GOOD: &str = "
    SELECT grp FROM messages
    WHERE seq = ?1 AND queue = ?2 AND receives = ?3 AND delayed = 0 AND hidden_until > ?4";

/// The same for many rows: the receipts are compared with what it gives. By the rows: the index of what is hidden would lead past all
/// that is leased.
const LEASED: &str = "
    SELECT seq, receives, grp, bulky FROM messages NOT INDEXED
    WHERE seq IN rarray(?1) AND queue = ?2 AND delayed = 0 AND hidden_until > ?3";

const DELETE_ALL: &str = "DELETE FROM messages WHERE seq IN rarray(?1)";

const DELETE_CONTENTS: &str = "DELETE FROM contents WHERE seq IN rarray(?1)";

const DELETE: &str = "DELETE FROM messages WHERE seq = ?1";

const DELETE_CONTENT: &str = "DELETE FROM contents WHERE seq = ?1";

const HIDE: &str = "UPDATE messages SET hidden_until = ?2 WHERE seq = ?1";

const HELD: &str = "
    SELECT redrives FROM messages JOIN contents USING (seq)
    WHERE messages.seq = ?1 AND queue = ?2 AND receives = ?3 AND delayed = 0 AND hidden_until > ?4";

/// One result for each receipt, in order.
pub(super) fn delete(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    receipts: &[Receipt],
) -> Result<Vec<EntryResult>, Fault> {
    let mut held = held(transaction, queue, now, receipts)?;
    let mut touched = Touched::new();
    let (mut gone, mut bulky) = (Vec::with_capacity(held.len()), Vec::new());
    let mut results = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        // Taken out: a receipt that is there twice is good once.
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
        leftovers::note(transaction, &gone)?;
    }
    groups::free(transaction, queue, &touched)?;
    Ok(results)
}

/// A leased row.
struct Held {
    group: Option<String>,
    /// Its contents go with it.
    bulky: bool,
}

/// Those of the receipts' rows that are leased, with the number of receives that is good for each.
fn held(transaction: &Transaction<'_>, queue: i64, now: i64, receipts: &[Receipt]) -> Result<HashMap<(i64, i64), Held>, Fault> {
    let of_row = |receipt: &Receipt| if let Receipt::Row { row, .. } = receipt { Some(*row) } else { None };
    let mut leased = transaction.prepare_cached(LEASED)?;
    let found = leased.query_map((rows(receipts.iter().filter_map(of_row)), queue, now), |row| {
        Ok(((row.get(0)?, row.get(1)?), Held { group: row.get(2)?, bulky: row.get(3)? }))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Deletes one message; the caller frees the groups that this touches.
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

/// The row of a good receipt, and its group.
struct Good {
    row: i64,
    group: Option<String>,
}

/// `None`: the receipt is no longer good.
fn good(transaction: &Transaction<'_>, queue: i64, now: i64, receipt: &Receipt) -> Result<Option<Good>, Fault> {
    let Receipt::Row { row, receive } = receipt else { return Ok(None) };
    let mut good = transaction.prepare_cached(GOOD)?;
    let group = good.query_row([*row, queue, *receive, now], |row| row.get(0)).optional()?;
    Ok(group.map(|group| Good { row: *row, group }))
}

/// One result for each change, in order.
pub(super) fn change_visibility(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    changes: &[(Receipt, Duration)],
) -> Result<Vec<EntryResult>, Fault> {
    let mut hide = transaction.prepare_cached(HIDE)?;
    let mut touched = Touched::new();
    let mut results = Vec::with_capacity(changes.len());
    for (receipt, hidden) in changes {
        let Some(Good { row, group }) = good(transaction, queue, now, receipt)? else {
            results.push(Err(EntryError::Gone));
            continue;
        };
        let until = (!hidden.is_zero()).then(|| later(now, *hidden));
        hide.execute((row, until))?;
        results.push(Ok(()));
        touched.extend(group);
    }
    groups::free(transaction, queue, &touched)?;
    Ok(results)
}

/// How often the message of a good receipt has been redriven; `None`: the receipt is no longer good. Of a parked one nothing is here any
/// more.
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
