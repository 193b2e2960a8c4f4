//! The input of `send` and `try`: a file, or standard input.
//!
//! The lines of `send` are read by a thread of its own, so that while the input is silent the main thread can notice a
//! signal, or send the lines that it has.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, TryRecvError, bounded, select_biased};
use octoconf::commands::lines::{Line, LineError, Lines};
use octoconf::commands::send::Next;

/// The maximum number of lines read ahead, each of at most 1 MiB.
const READ_AHEAD: usize = 64;

/// How long the input may be silent before the lines read so far are sent, so that `tail -f FILE | octoconf send QUEUE`
/// does not wait for a full batch.
const MAX_SILENCE: Duration = Duration::from_millis(100);

/// Opens a file to read lines from; `-` is standard input.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(256 * 1024, file)))
}

/// The lines of an input, read by another thread.
pub struct Input {
    lines: Receiver<Result<Line, LineError>>,
    stop: Receiver<()>,
    /// The number of lines already read that are still to be returned, once the input was stopped.
    left: Option<usize>,
    /// The reading thread, or `None` once it has been joined.
    reader: Option<JoinHandle<()>>,
    /// The number of the line returned last.
    last: u64,
}

impl Input {
    /// Starts the thread. It ends with the input or with the process: a read may block it, and nothing else ends that.
    pub fn start(input: Box<dyn BufRead + Send>, stop: Receiver<()>) -> io::Result<Self> {
        let (ahead, lines) = bounded(READ_AHEAD);
        let reader = thread::Builder::new().name("read".to_owned()).spawn(move || {
            for line in Lines::new(input) {
                // The receiver is gone: a line was bad, or the command was stopped.
                if ahead.send(line).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { lines, stop, left: None, reader: Some(reader), last: 0 })
    }

    /// Returns what comes next. Blocks for at most [`MAX_SILENCE`]. After a stop, only lines that
    /// were already read are returned.
    pub fn next(&mut self) -> Next {
        if self.left.is_none() {
            select_biased! {
                recv(self.stop) -> _ => self.left = Some(self.lines.len()),
                recv(self.lines) -> line => return match line {
                    Ok(line) => self.line(line),
                    Err(_) => self.end(),
                },
                default(MAX_SILENCE) => return Next::Pause,
            }
        }
        let left = self.left.unwrap_or_default();
        self.left = Some(left.saturating_sub(1));
        match self.lines.try_recv() {
            Ok(line) if left > 0 => self.line(line),
            Ok(_) | Err(TryRecvError::Empty) => Next::Stop,
            Err(TryRecvError::Disconnected) => self.end(),
        }
    }

    fn line(&mut self, line: Result<Line, LineError>) -> Next {
        self.last = line.as_ref().map_or(self.last, |line| line.number);
        Next::Line(line)
    }

    /// Tells whether the lines ended with the input or because the reading thread panicked.
    fn end(&mut self) -> Next {
        match self.reader.take().map(JoinHandle::join) {
            Some(Err(_)) => Next::Line(Err(LineError::Read {
                number: self.last + 1,
                source: io::Error::other("the thread that reads it panicked; please report it"),
            })),
            _ => Next::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Returns the numbers of the lines up to the end of the input, without pauses, and how it ended.
    fn all(input: &mut Input) -> (Vec<u64>, Next) {
        let mut numbers = Vec::new();
        loop {
            match input.next() {
                Next::Line(Ok(line)) => numbers.push(line.number),
                Next::Pause => {}
                end => return (numbers, end),
            }
        }
    }

    #[test]
    fn lines_come_to_their_end_and_a_silent_input_pauses() {
        let (_tell, stop) = bounded(1);
        let (reader, mut writer) = io::pipe().unwrap();
        let mut input = Input::start(Box::new(BufReader::new(reader)), stop).unwrap();
        assert!(matches!(input.next(), Next::Pause));
        writer.write_all(b"1\n2\n").unwrap();
        drop(writer);
        assert!(matches!(all(&mut input), (numbers, Next::End) if numbers == [1, 2]));
    }

    #[test]
    fn a_stop_gives_what_was_read_and_no_more() {
        let (tell, stop) = bounded(1);
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"1\n2\n").unwrap();
        let mut input = Input::start(Box::new(BufReader::new(reader)), stop).unwrap();
        while input.lines.len() < 2 {
            thread::yield_now();
        }
        tell.send(()).unwrap();
        assert!(matches!(all(&mut input), (numbers, Next::Stop) if numbers == [1, 2]));
        // The input is still open, and its reader waits for more.
        drop(writer);
    }

    #[test]
    fn a_reader_that_panics_is_no_end_of_the_input() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("as the test wants")
            }
        }
        let (_tell, stop) = bounded(1);
        let mut input = Input::start(Box::new(BufReader::new(Broken)), stop).unwrap();
        assert!(matches!(all(&mut input).1, Next::Line(Err(LineError::Read { number: 1, .. }))));
    }
}
