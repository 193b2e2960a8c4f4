//! Prints the result of a command on standard output, and remarks beside it on standard error.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a remark that is made once waits for the reader of standard error.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The largest number of bytes for which a pipe that can be written to has room (`PIPE_BUF` on Linux, pipe(7)).
const AT_ONCE: usize = 4096;

/// Writes a remark, in whole lines, on standard error, as far as its reader takes it: neither the work beside which it is
/// made nor the end of the process waits for a reader that has stopped. Blocks for about `patience` at most.
pub fn remark(text: &str, patience: Duration) {
    remark_to(&io::stderr(), text, patience);
}

fn remark_to<W: AsFd>(out: &W, text: &str, patience: Duration)
where
    for<'a> &'a W: Write,
{
    let Ok(timeout) = Timespec::try_from(patience) else { return };
    for part in text.as_bytes().chunks(AT_ONCE) {
        let is_taken = poll(&mut [PollFd::new(out, PollFlags::OUT)], Some(&timeout)).is_ok_and(|ready| ready > 0);
        // There is no other place to tell what cannot be written.
        if !is_taken || { out }.write_all(part).is_err() {
            return;
        }
    }
}

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
    fn a_remark_waits_for_no_reader_that_has_stopped() {
        use std::io::Read as _;

        use rustix::fs::{OFlags, fcntl_setfl};

        let (mut reader, writer) = io::pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        let mut filled = 0;
        while let Ok(count) = (&writer).write(&[b'a'; 4096]) {
            filled += count;
        }
        fcntl_setfl(&writer, OFlags::empty()).unwrap();
        remark_to(&writer, "nobody reads this\n", Duration::ZERO);
        let mut read = vec![0; filled];
        reader.read_exact(&mut read).unwrap();
        let long = "b".repeat(10_000);
        remark_to(&writer, &long, Duration::ZERO);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, long, "of what was not taken, nothing is left, and all of what was");
        let (_, writer) = io::pipe().unwrap();
        remark_to(&writer, "the reader has gone\n", Duration::ZERO);
    }

    #[test]
    fn a_result_without_a_reader_is_no_failure() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        tell_to(&mut writer, "7 sent\n", || unreachable!("nobody asks")).unwrap();
    }
}
