//! Opens a queue, and its parking, as its settings say.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::handler::jq;
use crate::message::Grouping;
use crate::queue::memory::{MemoryOptions, MemoryQueue};
use crate::queue::parking::{Parking, ParkingOptions};
use crate::queue::sqlite::{SqliteOptions, SqliteQueue};
use crate::queue::sqs::{DeadLetterQueue, Hints, Location, LocationError, Named, SqsOptions, SqsQueue};
use crate::queue::{Queue, QueueError};
use crate::settings::{NOWHERE, QueueSettings, Source, SqsSettings};

/// Opens the queue of the section `queues.NAME`. Blocks for as long as opening its store takes;
/// SQS is not contacted yet.
///
/// # Errors
///
/// [`QueueError::Refused`] if a person has to act, [`QueueError::Unavailable`] if a store is
/// locked or its disk is full.
pub fn open_queue(name: &str, settings: &QueueSettings) -> Result<Arc<dyn Queue>, QueueError> {
    let refused = |why: String| QueueError::Refused { queue: name.to_owned(), what: "open", why };
    match &settings.source {
        Source::Sqlite { path, name: in_file, group } => {
            let options =
                SqliteOptions { grouping: grouping(group.as_deref()).map_err(refused)?, ..SqliteOptions::new(path, in_file) };
            Ok(Arc::new(SqliteQueue::open(options)?))
        }
        Source::Memory { preload, repeat, group } => {
            let preload = preload.as_deref().map(lines).transpose().map_err(refused)?.unwrap_or_default();
            let grouping = grouping(group.as_deref()).map_err(refused)?;
            Ok(Arc::new(MemoryQueue::new(MemoryOptions { preload, repeat: *repeat, grouping, ..MemoryOptions::new(name) })))
        }
        Source::Sqs(settings) => Ok(Arc::new(SqsQueue::new(sqs(name, settings).map_err(refused)?))),
    }
}

/// Opens the parking of the section `queues.NAME` without claiming it. Returns `None` if the section has no parking.
/// Blocks for as long as opening its store takes.
///
/// # Errors
///
/// [`QueueError::Refused`] if a person has to act, [`QueueError::Unavailable`] if the file is
/// locked or its disk is full.
pub fn open_parking(name: &str, settings: &QueueSettings) -> Result<Option<Parking>, QueueError> {
    let open = |path| Parking::open(ParkingOptions::new(path, name, settings.parking_max_bytes));
    settings.parking.as_ref().map(open).transpose()
}

/// Returns the options of an SQS queue. Contacts no service.
fn sqs(name: &str, settings: &SqsSettings) -> Result<SqsOptions, String> {
    let SqsSettings { url, region, endpoint, .. } = settings;
    let hints = Hints { url: url.as_deref(), region: region.as_deref(), endpoint: endpoint.as_deref() };
    let location = Location::find(&hints).map_err(|error| match error {
        LocationError::NoRegion(_) => format!("{error}, or set queues.{name}.region"),
        error @ (LocationError::Endpoint | LocationError::Profile(_)) => error.to_string(),
    })?;
    let dead_letter = match settings.dead_letter.as_str() {
        "" => DeadLetterQueue::OfPolicy,
        NOWHERE => DeadLetterQueue::Nowhere,
        named => DeadLetterQueue::To(Named::of(named)),
    };
    Ok(SqsOptions {
        name: name.to_owned(),
        service: Arc::new(location.service()),
        queue: Named::of(url.as_ref().unwrap_or(&settings.name)),
        dead_letter,
        grouping: None,
    })
}

fn grouping(group: Option<&str>) -> Result<Option<Grouping>, String> {
    group.map(jq::group_path).transpose().map_err(|error| format!("group: {error}"))
}

/// Reads the lines of a file as `send` does: blank lines are left out, and a byte order mark at the very start is
/// not part of the first line.
fn lines(path: &Path) -> Result<Vec<Bytes>, String> {
    let cannot = |error: std::io::Error| format!("preload: cannot read {}: {error}", path.display());
    let mut lines = Vec::new();
    for (at, line) in BufReader::new(File::open(path).map_err(cannot)?).split(b'\n').enumerate() {
        let mut line = line.map_err(cannot)?;
        if at == 0 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            lines.push(line.into());
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preload_is_read_as_send_reads_its_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bodies.jsonl");
        std::fs::write(&path, "\u{feff}{\"a\":1}\r\n \n\u{feff}2\n3").unwrap();
        assert_eq!(lines(&path).unwrap(), ["{\"a\":1}", "\u{feff}2", "3"].map(Bytes::from));
        std::fs::write(&path, "\u{feff}\n").unwrap();
        assert!(lines(&path).unwrap().is_empty());
    }
}
