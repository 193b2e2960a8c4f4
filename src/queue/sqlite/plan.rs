//! For tests: how SQLite executes a statement.

use rusqlite::Connection;

use super::rows;
use super::schema::{QUEUES, Schema};

/// Returns the lines of `EXPLAIN QUERY PLAN` on an empty file of queues.
pub(super) fn plan(statement: &str) -> String {
    plan_in(&QUEUES, statement)
}

/// Returns the same for an empty file of another schema.
pub(in crate::queue) fn plan_in(schema: &Schema, statement: &str) -> String {
    let mut connection = Connection::open_in_memory().unwrap();
    rows::enable(&connection).unwrap();
    schema.prepare(&mut connection).unwrap();
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    // The plan does not depend on whether parameters are bound.
    let mut rows = explain.raw_query();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        lines.push(row.get::<_, String>(3).unwrap());
    }
    // Whether an index covers the query does not change which rows are visited.
    lines.join("\n").replace("COVERING ", "")
}
