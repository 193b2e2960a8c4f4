//! The names of the queues for which deliveries are parked in a file, read without opening the parking: the file is
//! neither created nor migrated nor claimed. Called when the service starts or reloads, and by the commands.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::parking_name;
use crate::queue::QueueError;
use crate::queue::sqlite::LOCK_TIMEOUT;
use crate::queue::sqlite::fault::Fault;

const NAMES: &str = "SELECT id, name FROM queues WHERE EXISTS (SELECT 1 FROM parked WHERE queue = queues.id) ORDER BY name";

const COUNT: &str = "SELECT count(*) FROM parked WHERE queue = ?1";

/// Returns each name that passes `chosen` and under which the file has parked deliveries, with their number; nothing if
/// there is no such file. Blocks while another process restores the file after a crash, for 5 s at most, and for as
/// long as it takes to count the deliveries of the chosen names in an index.
///
/// # Errors
///
/// [`QueueError`] if the file cannot be read or is no parking.
pub fn parked_under(path: &Path, chosen: &dyn Fn(&str) -> bool) -> Result<Vec<(String, u64)>, QueueError> {
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(Vec::new());
    }
    let file = path.display().to_string();
    read(path, chosen).map_err(|fault| fault.of(&parking_name(&file), "look for names"))
}

fn read(path: &Path, chosen: &dyn Fn(&str) -> bool) -> Result<Vec<(String, u64)>, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(path, flags)?;
    file.busy_timeout(LOCK_TIMEOUT)?;
    let mut names = file.prepare(NAMES)?;
    let mut count = file.prepare(COUNT)?;
    let mut found = Vec::new();
    for named in names.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))? {
        let (queue, name) = named?;
        if chosen(&name) {
            let deliveries: i64 = count.query_row([queue], |row| row.get(0))?;
            found.push((name, deliveries.unsigned_abs()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::PARKING;
    use super::*;
    use crate::queue::sqlite::plan::plan_in;

    #[test]
    fn rows_are_counted_in_an_index_and_only_for_chosen_names() {
        for statement in [NAMES, COUNT] {
            let plan = plan_in(&PARKING, statement);
            assert!(
                plan.contains("USING INDEX parked_in_line (queue=?)") && !plan.contains("SCAN parked"),
                "{statement}: {plan}"
            );
        }
    }
}
