//! What a holder does with its lease: delete the message, or move the end of the lease.
//!
//! A receipt is good while its row was received no more often and is still leased. The statements say so in their WHERE, so that an old
//! receipt cannot touch someone else's copy.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction};

use super::fault::Fault;
use super::groups::{self, Touched};
use crate::message::Receipt;
use crate::queue::clock::later;
use crate::queue::{EntryError, EntryResult};

const DELETE: &str = "
    DELETE FROM messages
    WHERE seq = ?1 AND queue = ?2 AND receives = ?3 AND delayed = 0 AND hidden_until > ?4
    RETURNING grp";

const DELETE_CONTENT: &str = "DELETE FROM contents WHERE seq = ?1";

const HIDE: &str = "
    UPDATE messages SET hidden_until = ?5
    WHERE seq = ?1 AND queue = ?2 AND receives = ?3 AND delayed = 0 AND hidden_until > ?4
    RETURNING grp";

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
    let mut touched = Touched::new();
    let results =
        receipts.iter().map(|receipt| delete_one(transaction, queue, now, receipt, &mut touched)).collect::<Result<_, _>>()?;
    groups::free(transaction, queue, &touched)?;
    Ok(results)
}

/// Deletes one message; the caller frees the groups that this touches.
pub(super) fn delete_one(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    receipt: &Receipt,
    touched: &mut Touched,
) -> Result<EntryResult, Fault> {
    let Receipt::Row { row, receive } = receipt else { return Ok(Err(EntryError::Gone)) };
    let mut delete = transaction.prepare_cached(DELETE)?;
    let deleted: Option<Option<String>> = delete.query_row([*row, queue, *receive, now], |row| row.get(0)).optional()?;
    let Some(group) = deleted else { return Ok(Err(EntryError::Gone)) };
    transaction.prepare_cached(DELETE_CONTENT)?.execute([*row])?;
    touched.extend(group);
    Ok(Ok(()))
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
        let Receipt::Row { row, receive } = receipt else {
            results.push(Err(EntryError::Gone));
            continue;
        };
        let until = (!hidden.is_zero()).then(|| later(now, *hidden));
        let parameters = (*row, queue, *receive, now, until);
        let changed: Option<Option<String>> = hide.query_row(parameters, |row| row.get(0)).optional()?;
        results.push(if changed.is_some() { Ok(()) } else { Err(EntryError::Gone) });
        touched.extend(changed.flatten());
    }
    groups::free(transaction, queue, &touched)?;
    Ok(results)
}

/// How often the message of a good receipt has been redriven; `None`: the receipt is no longer good.
pub(super) fn redrives_if_held(
    transaction: &Transaction<'_>,
    queue: i64,
    now: i64,
    receipt: &Receipt,
) -> Result<Option<u32>, Fault> {
    let Receipt::Row { row, receive } = receipt else { return Ok(None) };
    let mut held = transaction.prepare_cached(HELD)?;
    Ok(held.query_row([*row, queue, *receive, now], |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::*;

    #[test]
    fn a_receipt_names_its_row() {
        for statement in [DELETE, DELETE_CONTENT, HIDE, HELD] {
            let plan = plan(statement);
            assert!(plan.contains("USING INTEGER PRIMARY KEY (rowid=?)") && !plan.contains("SCAN"), "{statement}: {plan}");
        }
    }
}
