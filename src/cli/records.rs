//! Parts that the commands `dead` and `parked` share.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use compact_str::CompactString;
use octoconf::commands::listing::{Entry, Listing};
use octoconf::queue::QueueError;
use serde_json::json;

use super::failure::Failure;
use super::output;

/// Lists at most `limit` of the records that `read` passes to its callback; the callback
/// returns `false` to end the reading.
pub fn list<T: Entry>(
    limit: Option<usize>,
    json: bool,
    read: impl FnOnce(&mut dyn FnMut(&T) -> bool) -> Result<(), QueueError>,
) -> Result<ExitCode, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut listing = Listing::new(&mut out, json);
    let mut left = limit.unwrap_or(usize::MAX);
    let mut failed = None;
    if left > 0 {
        read(&mut |entry| {
            left -= 1;
            failed = listing.entry(entry).err();
            failed.is_none() && left > 0
        })?;
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    listing.end()?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// How a command that changes records was called.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// What is done to the records, as in `7 purged`. It is a key of the JSON too.
    pub word: &'static str,
    /// Whether the records are only counted.
    pub dry_run: bool,
    /// Whether the result is printed as JSON.
    pub json: bool,
}

/// Prints how many of the chosen records were changed, and in JSON also those that failed. A change that a signal
/// `interrupted` is a failure, since records are left.
pub fn say_changed(
    chosen: u64,
    changed: u64,
    failed: &[(CompactString, String)],
    interrupted: bool,
    Change { word, dry_run, json }: Change,
) -> Result<ExitCode, Failure> {
    let text = match (json, dry_run) {
        (true, _) => {
            let failed: Vec<_> = failed.iter().map(|(id, why)| json!({ "id": id.as_str(), "why": why })).collect();
            json!({ "chosen": chosen, word: changed, "dry_run": dry_run, "interrupted": interrupted, "failed": failed })
                .to_string()
        }
        (false, true) => format!("{chosen} would be {word}"),
        (false, false) if interrupted => format!("{changed} of {chosen} {word}, then interrupted"),
        (false, false) => format!("{changed} {word}"),
    };
    output::tell(&(text + "\n"), || match changed {
        0 => format!("nothing was {word}"),
        1 => format!("1 was {word}"),
        changed => format!("{changed} were {word}"),
    })?;
    Ok(ExitCode::from(u8::from(interrupted)))
}
