//! For tests: how SQLite goes about a statement.

use rusqlite::Connection;

use super::rows;
use super::schema::{QUEUES, Schema};

/// The lines of `EXPLAIN QUERY PLAN` on an empty file of queues.
pub(super) fn plan(statement: &str) -> String {
    plan_in(&QUEUES, statement)
}

/// The same on an empty file of another kind.
pub(in crate::queue) fn plan_in(schema: &Schema, statement: &str) -> String {
    let mut connection = Connection::open_in_memory().unwrap();
    rows::enable(&connection).unwrap();
    schema.prepare(&mut connection).unwrap();
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    // Bound or not, a parameter does not change the plan.
    let mut rows = explain.raw_query();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        lines.push(row.get::<_, String>(3).unwrap());
    }
    // Whether an index alone suffices does not change what is walked.
    lines.join("\n").replace("COVERING ", "")
}
