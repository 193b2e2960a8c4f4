//! Which FIFO groups are free. This is the only module that writes `free_groups`, in transactions of its callers. When
//! another program deletes messages, a trigger of the file does what [`free`] would do.
//!
//! As on SQS, a group is locked while any message of it is leased, or returned with a delay. A message that was sent
//! with a delay holds back only the messages behind it. A receive calls [`lock`]; every other change to messages of
//! a group calls [`free`]. Only a receive locks a group or changes the head of a free one: a sent message comes
//! behind the head, and a message that lapses or is settled belongs to a group that was locked before.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use super::fault::Fault;

const LOCK: &str = "DELETE FROM free_groups WHERE queue = ?1 AND grp = ?2";

/// Two look-ups at the ends of indices, however many messages the group has. The second index is named because
/// to SQLite the index of all hidden messages, which may be thousands from other groups, looks as good.
const FREE: &str = "
    INSERT OR IGNORE INTO free_groups (queue, head, grp)
    SELECT queue, seq, grp FROM messages
    WHERE seq = (SELECT seq FROM messages WHERE queue = ?1 AND grp = ?2 ORDER BY seq LIMIT 1)
      AND hidden_until IS NULL
      AND NOT EXISTS (
          SELECT 1 FROM messages INDEXED BY locked
          WHERE queue = ?1 AND grp = ?2 AND grp IS NOT NULL AND hidden_until IS NOT NULL AND delayed = 0)";

/// The groups that a transaction has touched.
pub(super) type Touched = BTreeSet<String>;

/// Locks the groups of messages that were just leased.
pub(super) fn lock(transaction: &Transaction<'_>, queue: i64, touched: &Touched) -> Result<(), Fault> {
    let mut lock = transaction.prepare_cached(LOCK)?;
    for group in touched {
        lock.execute(params![queue, group])?;
    }
    Ok(())
}

/// Determines anew which of the groups are free, and which message is the head of each.
pub(super) fn free(transaction: &Transaction<'_>, queue: i64, touched: &Touched) -> Result<(), Fault> {
    let mut free = transaction.prepare_cached(FREE)?;
    for group in touched {
        free.execute(params![queue, group])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::*;

    #[test]
    fn a_group_is_looked_at_by_its_ends_only() {
        let plan = plan(FREE);
        assert!(plan.contains("USING INDEX grouped (queue=? AND grp=?)"), "{plan}");
        assert!(plan.contains("USING INDEX locked (queue=? AND grp=?)"), "{plan}");
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
