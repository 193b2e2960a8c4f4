//! Counting messages without receiving them: each state has an index that holds only its messages.

use rusqlite::{Row, Transaction};

use super::fault::Fault;
use crate::queue::Count;

const ALONE: &str = "SELECT count(*) FROM messages WHERE queue = ?1 AND hidden_until IS NULL AND grp IS NULL";

/// `grp > ''` would miss the group with the empty name; any text is `>= ''`.
const GROUPED: &str = "SELECT count(*) FROM messages WHERE queue = ?1 AND grp >= ''";

/// Counts hidden messages, including those whose time is over, by whether they are delayed, over, and in a group.
const HIDDEN: &str = "
    SELECT delayed, hidden_until <= ?2, grp IS NOT NULL, count(*) FROM messages
    WHERE queue = ?1 AND hidden_until IS NOT NULL
    GROUP BY 1, 2, 3";

pub(super) fn count(transaction: &Transaction<'_>, queue: i64, now: i64) -> Result<Count, Fault> {
    let one = |statement| transaction.prepare_cached(statement)?.query_row([queue], |row| number(row, 0));
    let mut count = Count { visible: one(ALONE)? + one(GROUPED)?, ..Count::default() };
    let mut hidden = transaction.prepare_cached(HIDDEN)?;
    let mut rows = hidden.query([queue, now])?;
    while let Some(row) = rows.next()? {
        let (delayed, over, grouped): (bool, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let n = number(row, 3)?;
        if grouped {
            count.visible = count.visible.saturating_sub(n);
        }
        match (over, delayed) {
            (true, _) => count.visible += n,
            (false, true) => count.delayed += n,
            (false, false) => count.hidden += n,
        }
    }
    Ok(count)
}

/// SQLite's integers are signed; a count is not.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::*;

    #[test]
    fn each_state_is_counted_in_its_own_index() {
        for (statement, uses) in [
            (ALONE, "USING INDEX visible (queue=?)"),
            (GROUPED, "USING INDEX grouped (queue=? AND grp>?)"),
            (HIDDEN, "USING INDEX hidden (queue=? AND hidden_until>?)"),
        ] {
            let plan = plan(statement);
            assert!(plan.contains(uses), "{statement}: {plan}");
        }
    }
}
