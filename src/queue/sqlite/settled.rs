//! Which deliveries of a message are settled while others are open, kept in the row of the message.
//!
//! Nearly no row has such a record, and only calls that bring one pay for it. It is written as a whole: a message has
//! at most some thousand deliveries, and most have a handful. Runs in a transaction of the caller.

use rusqlite::Transaction;

use super::content;
use super::fault::Fault;
use crate::queue::{SettledPart, VisibilityChange};

const READ: &str = "SELECT settled FROM messages WHERE seq = ?1";

const WRITE: &str = "UPDATE messages SET settled = ?2 WHERE seq = ?1";

/// Returns by about how many bytes the records of these changes make the file larger; 0: they bring none.
pub(super) fn weight(changes: &[VisibilityChange]) -> u64 {
    let accounts = |settled: &SettledPart| {
        let account = |account: Option<&str>| account.map_or(0, str::len) + 16;
        settled.deliveries.iter().map(|name| account(name.account.as_deref())).sum::<usize>() + 64
    };
    changes.iter().filter_map(|change| change.settled.as_deref()).map(accounts).sum::<usize>() as u64
}

/// Adds what is settled of the message in this row to what is known of it. The caller must have checked the receipt.
pub(super) fn note(transaction: &Transaction<'_>, row: i64, settled: SettledPart) -> Result<(), Fault> {
    let known: Option<String> = transaction.prepare_cached(READ)?.query_row([row], |row| row.get(0))?;
    // An unreadable record is replaced: the message could not have been received with it, so someone wrote it since.
    let mut all = content::settled_from_text(known.as_deref()).ok().flatten().unwrap_or_default();
    if all.learn(settled) {
        let text = content::settled_to_text(&all);
        transaction.prepare_cached(WRITE)?.execute((row, text))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::*;

    #[test]
    fn a_record_is_found_by_the_row_of_its_message() {
        for statement in [READ, WRITE] {
            let plan = plan(statement);
            assert!(plan.contains("USING INTEGER PRIMARY KEY (rowid=?)"), "{statement}: {plan}");
        }
    }
}
