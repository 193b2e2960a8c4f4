//! The schema of the file: made when the file is new, migrated when it is older, refused when it is newer or someone else's.
//!
//! `PRAGMA user_version` is the number of steps applied; `PRAGMA application_id` tells our files from those of other programs.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::fault::Fault;

/// "Octo" in ASCII.
const APPLICATION: i64 = 0x4f63_746f;

/// One script for each version, applied in order. Released steps are never edited.
const STEPS: &[&str] = &[include_str!("v1.sql")];

/// Brings the file to the newest version in one transaction. Safe when several processes open a new file at once.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), Fault> {
    apply(connection, STEPS)
}

/// Refuses a file that is not for us, without changing anything in it.
pub(super) fn check(connection: &mut Connection) -> Result<(), Fault> {
    // One view of the file: between two, another process may make the schema, and its tables without its mark look like a stranger's.
    applied(&connection.transaction()?, STEPS.len()).map(drop)
}

/// How many of the `known` steps the file has.
fn applied(connection: &Transaction<'_>, known: usize) -> Result<usize, Fault> {
    let version: i64 = pragma(connection, "user_version")?;
    let application: i64 = pragma(connection, "application_id")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let ours = application == APPLICATION;
    if !ours && (application != 0 || version != 0 || tables != 0) {
        return Err(Fault::refused("the file belongs to another program; give octoconf a file of its own"));
    }
    match usize::try_from(version) {
        Ok(applied) if applied <= known => Ok(applied),
        _ => Err(Fault::refused(format!(
            "the file has schema version {version}, this octoconf {} knows versions up to {known}; start the newer octoconf that wrote it",
            env!("CARGO_PKG_VERSION"),
        ))),
    }
}

fn apply(connection: &mut Connection, steps: &[&str]) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known = steps.len();
    let applied = applied(&transaction, known)?;
    if applied < known {
        for step in steps.iter().skip(applied) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", i64::try_from(known).unwrap_or(i64::MAX))?;
    }
    transaction.commit()?;
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Connection {
        Connection::open_in_memory().unwrap()
    }

    fn refusal(connection: &mut Connection) -> String {
        apply(connection, STEPS).unwrap_err().to_string()
    }

    #[test]
    fn a_new_file_gets_every_step_and_an_older_one_the_missing_ones() {
        let first = "CREATE TABLE one (a); INSERT INTO one VALUES (1);";
        let second = "ALTER TABLE one ADD COLUMN b DEFAULT 2;";
        let mut connection = memory();
        apply(&mut connection, &[first]).unwrap();
        apply(&mut connection, &[first, second]).unwrap();
        apply(&mut connection, &[first, second]).unwrap();
        let row: (i64, i64) = connection.query_row("SELECT a, b FROM one", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(row, (1, 2));
        assert_eq!(pragma(&connection, "user_version").unwrap(), 2);
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let mut connection = memory();
        apply(&mut connection, &["CREATE TABLE one (a);"]).unwrap();
        apply(&mut connection, &["CREATE TABLE one (a);", "CREATE TABLE two (a); CREATE TABLE one (a);"]).unwrap_err();
        assert_eq!(pragma(&connection, "user_version").unwrap(), 1);
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }

    #[test]
    fn a_newer_file_is_refused_by_its_version() {
        let mut connection = memory();
        apply(&mut connection, STEPS).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let why = refusal(&mut connection);
        assert!(why.contains("version 99") && why.contains(env!("CARGO_PKG_VERSION")), "{why}");
    }

    #[test]
    fn a_file_of_another_program_is_refused() {
        let mut tables = memory();
        tables.execute_batch("CREATE TABLE theirs (a)").unwrap();
        assert!(refusal(&mut tables).contains("another program"));
        let mut named = memory();
        named.pragma_update(None, "application_id", 7).unwrap();
        assert!(refusal(&mut named).contains("another program"));
    }
}
