//! Prints the result of a command on standard output.

use std::io::{self, Write};

use anyhow::Context as _;

/// Returns whether the reader of the output has gone (`octoconf dead list … | head`). It has seen enough, so that is no
/// failure by itself: the exit status still says how the command ended.
pub fn is_unread(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Passes on the result of a write to standard output, unless it only failed because the reader has gone.
pub fn unless_unread(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if is_unread(&error) { Ok(()) } else { Err(error) })
}

/// Writes a text of whole lines, if there is a reader. If that fails, the error says what was `done`, since a caller
/// that sees no result might run the command again.
pub fn tell(text: &str, done: impl FnOnce() -> String) -> anyhow::Result<()> {
    tell_to(&mut io::stdout(), text, done)
}

fn tell_to(out: &mut dyn Write, text: &str, done: impl FnOnce() -> String) -> anyhow::Result<()> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    unless_unread(written).with_context(|| format!("{}, but standard output cannot be written", done()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_where_the_result_cannot_be() {
        let mut out = Vec::new();
        tell_to(&mut out, "7 sent\n", || unreachable!("it is written")).unwrap();
        assert_eq!(out, b"7 sent\n");
        let mut full = [0; 2];
        let error = tell_to(&mut full.as_mut_slice(), "7 sent\n", || "7 messages were sent".to_owned()).unwrap_err();
        assert_eq!(error.to_string(), "7 messages were sent, but standard output cannot be written");
    }

    #[test]
    fn a_result_without_a_reader_is_no_failure() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        tell_to(&mut writer, "7 sent\n", || unreachable!("nobody asks")).unwrap();
    }
}
