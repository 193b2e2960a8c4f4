//! The last line of a partner's file, which a crash or another program may have left without its end.
//!
//! Called by delivery threads, for a file that this process has locked. Blocks for as long as the disk does.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::json;

/// The number of bytes of a torn line that are read at once.
const CHUNK: usize = 64 * 1024;

/// The largest number of bytes of a last line that can be one of ours: the most that a jq handler may return, and
/// 16 times the longest body.
const MAX_LAST_LINE: u64 = 16 * 1024 * 1024;

/// Ends the last line if it lacks its line feed, so that the next line does not become part of it. Returns
/// the length that is left.
///
/// A line of ours lacks its end if its writer died, or lost power, before it could report the line as delivered. Such a
/// line is delivered again. What is left of it is the beginning of a JSON value, which no reader could use. It alone is
/// cut off: one line, of at most [`MAX_LAST_LINE`] bytes. A complete value lacks only its line feed, and gets it. So does
/// everything else (text from a library user's handler, or written by a person or another program), since it is not
/// ours to delete. A longer last line is an error, since this is hardly a file of lines.
pub fn repair(mut file: &File, length: u64, path: &Path) -> io::Result<u64> {
    let Some(start) = last_line(file, length)? else {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!(
                "its last line has no end within {} MiB, so it is not one of our files; move it away, or end it with a line feed",
                MAX_LAST_LINE / 1024 / 1024
            ),
        ));
    };
    if start == length {
        return Ok(length);
    }
    let mut line = vec![0; usize::try_from(length - start).map_err(io::Error::other)?];
    file.read_exact_at(&mut line, start)?;
    let bytes = line.len();
    if is_beginning(&line) {
        file.set_len(start)?;
        log::warn!("file={path:?} torn_bytes={bytes}: a last line that was never finished was cut off; it is delivered again");
        return Ok(start);
    }
    file.write_all(b"\n")?;
    log::warn!(
        "file={path:?} bytes={bytes}: the last line had no line feed and got one; if it is one of ours, it is delivered again"
    );
    Ok(length + 1)
}

/// Returns the offset at which the last line begins, which is `length` if that line is ended, or `None` if the line is
/// longer than one of ours.
fn last_line(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut end = length;
    // The first read is of one byte, since nearly every file ends well.
    let mut chunk = vec![0; 1];
    while end > 0 && length - end <= MAX_LAST_LINE {
        let size = chunk.len().min(usize::try_from(end).unwrap_or(usize::MAX));
        let start = end - size as u64;
        chunk.truncate(size);
        file.read_exact_at(&mut chunk, start)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
        chunk.resize(CHUNK, 0);
    }
    Ok(Some(end).filter(|end| length - end <= MAX_LAST_LINE))
}

/// Returns whether a text is JSON that ends too early: the beginning of a value, but not a complete one. A number may
/// always go on, so it counts as a beginning.
fn is_beginning(line: &[u8]) -> bool {
    let text = match std::str::from_utf8(line) {
        // The line is torn within a character.
        Err(error) if error.error_len().is_none() => line.get(..error.valid_up_to()).unwrap_or_default(),
        _ => line,
    };
    match json::check(text, json::Bounds::NONE) {
        Ok(()) => text.len() == line.len() && line.last().is_some_and(u8::is_ascii_digit),
        Err(error) => error.problem == json::Problem::Ends,
    }
}
