//! The schema of the file: created when the file is new, migrated when
//! it is older, refused when it is newer or belongs to another program.
//!
//! `PRAGMA user_version` holds the number of steps applied; `PRAGMA application_id` tells
//! our files from those of other programs. Runs once for each connection that is opened.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::fault::Fault;
use super::leftovers;

/// One kind of file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::queue) struct Schema {
    /// A name for the content of the file, for errors.
    pub what: &'static str,
    /// The `application_id` of files of this kind.
    pub application: i64,
    /// The migration scripts, one for each version, applied in order. Released scripts are never edited.
    pub steps: &'static [&'static str],
    /// A script that removes some of the rows that are kept only because
    /// removing them at once is expensive; `None` if there are no such rows.
    pub sweep: Option<&'static str>,
}

/// The schema of files that hold queues; its `application` is "Octo" in ASCII.
pub(super) static QUEUES: Schema = Schema {
    what: "queues",
    application: 0x4f63_746f,
    steps: &[
        include_str!("v1.sql"),
        include_str!("v2.sql"),
        include_str!("v3.sql"),
        include_str!("v4.sql"),
        include_str!("v5.sql"),
        include_str!("v6.sql"),
        include_str!("v7.sql"),
    ],
    sweep: Some(leftovers::SWEEP_OLDEST),
};

impl Schema {
    /// Brings the file to the newest version in one transaction. This is safe when several processes open a new file at
    /// once. A file that has it already is only read: a command need not wait for those who write.
    pub fn prepare(&self, connection: &mut Connection) -> Result<(), Fault> {
        if self.applied(&connection.transaction()?)? == self.steps.len() {
            return Ok(());
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known = self.steps.len();
        let applied = self.applied(&transaction)?;
        if applied < known {
            for step in self.steps.iter().skip(applied) {
                transaction.execute_batch(step)?;
            }
            transaction.pragma_update(None, "application_id", self.application)?;
            transaction.pragma_update(None, "user_version", i64::try_from(known).unwrap_or(i64::MAX))?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Refuses a file that is not for this schema, without changing it.
    pub fn check(&self, connection: &mut Connection) -> Result<(), Fault> {
        // All in one transaction: between two, another process could create the schema,
        // and its tables without its mark would look like those of another program.
        self.applied(&connection.transaction()?).map(drop)
    }

    /// Returns how many of the steps have been applied to the file.
    fn applied(&self, connection: &Transaction<'_>) -> Result<usize, Fault> {
        let version: i64 = pragma(connection, "user_version")?;
        let application: i64 = pragma(connection, "application_id")?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != self.application && (application != 0 || version != 0 || tables != 0) {
            return Err(Fault::refused(format!(
                "the file belongs to another program, or is not for {}; give octoconf a file of its own for that",
                self.what
            )));
        }
        let known = self.steps.len();
        match usize::try_from(version) {
            Ok(applied) if applied <= known => Ok(applied),
            _ => Err(Fault::refused(format!(
                "the file has schema version {version}, this octoconf {} knows versions up to {known}; start the newer octoconf that wrote it",
                env!("CARGO_PKG_VERSION"),
            ))),
        }
    }
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
        QUEUES.prepare(connection).unwrap_err().to_string()
    }

    fn apply(connection: &mut Connection, steps: &'static [&'static str]) -> Result<(), Fault> {
        Schema { what: "a test", application: 1, steps, sweep: None }.prepare(connection)
    }

    #[test]
    fn a_new_file_gets_every_step_and_an_older_one_the_missing_ones() {
        const FIRST: &str = "CREATE TABLE one (a); INSERT INTO one VALUES (1);";
        const BOTH: [&str; 2] = [FIRST, "ALTER TABLE one ADD COLUMN b DEFAULT 2;"];
        let mut connection = memory();
        apply(&mut connection, &[FIRST]).unwrap();
        apply(&mut connection, &BOTH).unwrap();
        apply(&mut connection, &BOTH).unwrap();
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
        QUEUES.prepare(&mut connection).unwrap();
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
        let mut other = memory();
        apply(&mut other, &["CREATE TABLE one (a);"]).unwrap();
        assert!(refusal(&mut other).contains("not for queues"));
    }
}
