//! Parts that the commands `dead` and `parked` share.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use compact_str::CompactString;
use octoconf::commands::listing::{Entry, Listing};
use octoconf::commands::shown_json;
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
    list_to(&mut BufWriter::new(io::stdout().lock()), limit, json, read)?;
    Ok(ExitCode::SUCCESS)
}

fn list_to<T: Entry>(
    out: &mut dyn Write,
    limit: Option<usize>,
    json: bool,
    read: impl FnOnce(&mut dyn FnMut(&T) -> bool) -> Result<(), QueueError>,
) -> Result<(), Failure> {
    let mut listing = Listing::new(out, json);
    let mut left = limit.unwrap_or(usize::MAX);
    let mut failed = None;
    if left == 0 && !json {
        // Nothing was read, so nothing may be said of whether there are any.
        return Ok(());
    }
    if left > 0 {
        let read = read(&mut |entry| {
            left -= 1;
            failed = listing.entry(entry).err();
            failed.is_none() && left > 0
        });
        if let Err(error) = read {
            // Where the output fails as well, the queue is what the caller has to look at.
            let _ = listing.break_off();
            return Err(error.into());
        }
    }
    let written = failed.map_or_else(|| listing.end(), Err);
    output::unless_unread(written)?;
    Ok(())
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
            let object = json!({
                "chosen": chosen, word: changed, "dry_run": dry_run, "failed": failed, "not_deleted": kept, "interrupted": interrupted,
            });
            shown_json(&object.to_string())
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

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    struct Number(u32);

    impl Entry for Number {
        const NONE: &'static str = "none";

        fn head() -> String {
            "NUMBER".to_owned()
        }

        fn row(&self) -> String {
            self.0.to_string()
        }

        fn object(&self) -> impl Serialize {
            self.0
        }
    }

    #[test]
    fn a_list_of_none_says_nothing_of_how_many_there_are() {
        let listed = |limit, json| {
            let mut out = Vec::new();
            let read = |each: &mut dyn FnMut(&Number) -> bool| {
                each(&Number(7));
                Ok(())
            };
            list_to(&mut out, Some(limit), json, read).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!([listed(0, false), listed(0, true), listed(1, false)], ["", "[]\n", "NUMBER\n7\n"]);
    }

    #[test]
    fn a_list_that_breaks_off_is_a_failure_and_whole_json_all_the_same() {
        let listed = |json: bool, count: u32| {
            let mut out = Vec::new();
            let ended = list_to(&mut out, None, json, |each| {
                assert!((0..count).all(|number| each(&Number(number))));
                Err(QueueError::Unavailable { queue: "stock".to_owned(), what: "list", why: "it is locked".to_owned() })
            });
            assert!(ended.unwrap_err().text().contains("it is locked"));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(serde_json::from_str::<Vec<u32>>(&listed(true, 2)).unwrap(), [0, 1]);
        assert_eq!(listed(false, 2), "NUMBER\n0\n1\n");
        assert_eq!((listed(true, 0), listed(false, 0)), (String::new(), String::new()), "nothing is known");
    }
}
