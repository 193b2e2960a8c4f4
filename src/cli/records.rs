//! Parts that the commands `dead` and `parked` share.

use std::io::{self, BufWriter};
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
    let written = failed.map_or_else(|| listing.end(), Err);
    output::unless_unread(written)?;
    Ok(ExitCode::SUCCESS)
}

/// What a command that changes records was asked for.
#[derive(Clone, Copy)]
pub struct Change {
    /// The verb, as in `7 purged`; a key of the JSON.
    pub word: &'static str,
    /// Whether it only says what it would do.
    pub dry_run: bool,
    /// Whether it prints JSON.
    pub json: bool,
}

/// What became of the chosen records.
#[derive(Default)]
pub struct Outcome<'a> {
    pub chosen: u64,
    pub changed: u64,
    /// The id of each record that failed, and why.
    pub failed: &'a [(CompactString, String)],
    /// The id of each record that was changed but could not be taken off, and why.
    pub kept: &'a [(CompactString, String)],
    /// Whether a signal ended the command before it came to all.
    pub interrupted: bool,
}

/// Prints how many of the chosen records were changed, and in JSON also those that failed.
pub fn say_changed(
    Outcome { chosen, changed, failed, kept, interrupted }: Outcome<'_>,
    Change { word, dry_run, json }: Change,
) -> Result<ExitCode, Failure> {
    let listed = |each: &[(CompactString, String)]| -> Vec<_> {
        each.iter().map(|(id, why)| json!({ "id": id.as_str(), "why": why })).collect()
    };
    let mut text = match (json, dry_run) {
        (true, _) => {
            let (failed, kept) = (listed(failed), listed(kept));
            json!({
                "chosen": chosen, word: changed, "dry_run": dry_run, "failed": failed, "not_deleted": kept, "interrupted": interrupted,
            })
            .to_string()
        }
        (false, true) => format!("{chosen} would be {word}"),
        (false, false) => format!("{changed} {word}"),
    };
    if interrupted && !json {
        text += ", then interrupted";
    }
    output::tell(&(text + "\n"), || match changed {
        0 => format!("nothing was {word}"),
        1 => format!("1 was {word}"),
        changed => format!("{changed} were {word}"),
    })?;
    Ok(ExitCode::from(u8::from(interrupted)))
}
