//! `deliver = "stdout"`: one payload per line, to look at or for pipes.
//!
//! Called by delivery threads, many at once; a lock keeps the lines whole. Blocks for as long as the reader of the pipe
//! does not read, which holds up every partner that delivers here, since they share one pipe. The dispatcher has at most
//! two delivery threads call this, so that the others stay free. Where standard output is a file, each batch is synced.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, tell};
use rustix::io::Errno;

use super::{Sink, lines};
use crate::message::{Answer, Batch};

/// Standard output, or a replacement for it.
pub struct StdoutSink {
    out: Mutex<Out>,
}

struct Out {
    to: Box<dyn Write + Send>,
    /// Whether what was written last is, or may be, a line without its line feed.
    torn: bool,
}

/// A descriptor of standard output, beside the one of [`io::stdout`]: that one keeps a part of what it could not write
/// and writes it later, and it takes every write as done if nothing may be written there.
struct Descriptor {
    file: File,
    /// Whether it is a regular file, whose lines are lost with the power unless they are synced.
    is_regular: bool,
}

impl StdoutSink {
    /// Opens standard output.
    ///
    /// # Errors
    ///
    /// When standard output may not be written, or the process has no descriptor left; the text says so.
    pub fn open() -> Result<Self, String> {
        Self::on(io::stdout().as_fd()).map_err(|error| format!("deliver = \"stdout\": standard output: {error}"))
    }

    /// Creates a sink that writes to `out` instead of standard output.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Out { to: Box::new(out), torn: false }) }
    }

    fn on(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        if fcntl_getfl(descriptor)?.intersection(OFlags::RWMODE) == OFlags::RDONLY {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                "it is open for reading only: start octoconf with a pipe, a file (>> FILE) or a terminal there, or deliver elsewhere",
            ));
        }
        let file = File::from(descriptor.try_clone_to_owned()?);
        let (torn, is_regular) = (ends_torn(&file)?, file.metadata()?.is_file());
        Ok(Self { out: Mutex::new(Out { to: Box::new(Descriptor { file, is_regular }), torn }) })
    }
}

impl Sink for StdoutSink {
    /// Writes the whole batch and flushes it. A batch that fails half-way is written again in full by its retry, since
    /// nothing can be taken back from a pipe; a line that the failure tore is ended before that.
    fn deliver(&self, batch: &Batch) -> Answer {
        let lines = lines::of(&batch.items);
        match self.out.lock().write(&lines) {
            Ok(()) => Answer::Accepted,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Answer::Unreachable {
                reason: "standard output: the reader of the pipe has gone; start it again together with octoconf".into(),
            },
            Err(error) => Answer::Unreachable { reason: format!("standard output: {error}").into() },
        }
    }
}

impl Out {
    /// Writes whole lines, from the beginning of a line on.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
        }
        self.write_all(lines)?;
        // What a writer that gathers could not write, it may have written in part.
        self.torn = true;
        self.to.flush()?;
        self.torn = false;
        Ok(())
    }

    /// Does the same as [`Write::write_all`], and notes after a failure where it broke off.
    fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    let (written, left) = rest.split_at_checked(count).unwrap_or((rest, &[]));
                    self.torn = !written.ends_with(b"\n");
                    rest = left;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Write for Descriptor {
    /// Waits for room, also where the descriptor itself does not: whoever shares the pipe may have made it so.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns once what was written to a file survives a power loss. Nothing can make a pipe or a terminal durable.
    fn flush(&mut self) -> io::Result<()> {
        if self.is_regular { self.file.sync_data() } else { Ok(()) }
    }
}

/// Returns whether `file` is a regular file in which a line without a line feed stands before the
/// place of the next write: the process that wrote there before may have died within that line.
fn ends_torn(file: &File) -> io::Result<bool> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(false);
    }
    let end = if fcntl_getfl(file)?.contains(OFlags::APPEND) { meta.len() } else { tell(file)?.min(meta.len()) };
    let Some(last) = end.checked_sub(1) else { return Ok(false) };
    // The descriptor itself is hardly open for reading.
    let read = || {
        let mut byte = [0];
        File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?.read_exact_at(&mut byte, last)?;
        io::Result::Ok(byte)
    };
    // Where that may not be read, an empty line does less harm than two lines in one.
    Ok(read().map_or(true, |byte| byte != *b"\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sink::testing::batch;

    /// What was written, and what had been flushed by then.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Recorder {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let mut state = self.0.lock();
            state.1 = state.0.len();
            Ok(())
        }
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn payloads_are_lines_and_flushed_before_they_count_as_accepted() {
        let recorder = Recorder::default();
        let sink = StdoutSink::to(recorder.clone());
        assert_eq!(sink.deliver(&batch("acme", &["{\"n\":1}", "{\n\"n\":2}"])), Answer::Accepted);
        let state = recorder.0.lock();
        assert_eq!(String::from_utf8_lossy(&state.0), "{\"n\":1}\n{ \"n\":2}\n");
        assert_eq!(state.1, state.0.len());
    }

    #[test]
    fn lines_of_many_threads_stay_whole() {
        let recorder = Recorder::default();
        let sink = StdoutSink::to(recorder.clone());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let sink = &sink;
                scope.spawn(move || {
                    for _ in 0..50 {
                        let payload = format!("\"{}\"", thread.to_string().repeat(100));
                        assert_eq!(sink.deliver(&batch("acme", &[&payload, &payload])), Answer::Accepted);
                    }
                });
            }
        });
        let written = String::from_utf8(recorder.0.lock().0.clone()).unwrap();
        assert_eq!(written.lines().count(), 8 * 50 * 2);
        for line in written.lines() {
            let digit = line.chars().nth(1).unwrap().to_string();
            assert_eq!(line, format!("\"{}\"", digit.repeat(100)));
        }
    }

    /// Takes a number of bytes, then fails once, then takes everything.
    struct Fails(Recorder, Option<usize>);

    impl Write for Fails {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match &mut self.1 {
                Some(0) => {
                    self.1 = None;
                    Err(ErrorKind::StorageFull.into())
                }
                Some(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    self.0.write(&bytes[..taken])
                }
                None => self.0.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_failure_tore_takes_no_other_with_it() {
        for taken in 0..16 {
            let recorder = Recorder::default();
            let sink = StdoutSink::to(Fails(recorder.clone(), Some(taken)));
            let batch = batch("acme", &["{\"n\":1}", "{\"n\":2}"]);
            assert_ne!(sink.deliver(&batch), Answer::Accepted);
            assert_eq!(sink.deliver(&batch), Answer::Accepted);
            assert_eq!(sink.deliver(&batch), Answer::Accepted);
            let written = String::from_utf8(recorder.0.lock().0.clone()).unwrap();
            for line in ["{\"n\":1}", "{\"n\":2}"] {
                assert!(written.lines().filter(|written| *written == line).count() >= 2, "{taken}: {written:?}");
            }
            assert!(written.lines().all(|line| !line.is_empty()), "no line is empty: {taken}: {written:?}");
        }
    }

    #[test]
    fn a_file_that_ends_within_a_line_is_continued_on_the_next() {
        for (before, after) in [("", "1\n"), ("0\n", "0\n1\n"), ("{\"n\":", "{\"n\":\n1\n")] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out.jsonl");
            std::fs::write(&path, before).unwrap();
            let out = File::options().append(true).open(&path).unwrap();
            assert_eq!(StdoutSink::on(out.as_fd()).unwrap().deliver(&batch("acme", &["1"])), Answer::Accepted);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn what_may_not_be_written_is_refused() {
        let error = StdoutSink::on(File::open("/dev/null").unwrap().as_fd()).err().unwrap();
        assert!(error.to_string().contains("reading only"), "{error}");
        StdoutSink::on(File::create("/dev/null").unwrap().as_fd()).unwrap();
        StdoutSink::on(File::options().read(true).write(true).open("/dev/null").unwrap().as_fd()).unwrap();
    }

    /// `/proc` takes the line, but syncs nothing.
    #[test]
    fn what_is_written_to_a_file_is_accepted_once_it_is_synced() {
        let out = File::options().write(true).open("/proc/self/comm").unwrap();
        let answer = StdoutSink::on(out.as_fd()).unwrap().deliver(&batch("acme", &["1"]));
        assert!(matches!(&answer, Answer::Unreachable { reason } if reason.contains("Invalid argument")), "{answer:?}");
    }

    #[test]
    fn a_pipe_that_does_not_block_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let sink = StdoutSink::on(writer.as_fd()).unwrap();
        drop(writer);
        // More than a pipe holds.
        let payload = "x".repeat(1 << 20);
        let written = std::thread::scope(|scope| {
            let payload = &payload;
            let flush = scope.spawn(move || {
                let answer = sink.deliver(&batch("acme", &[payload]));
                drop(sink);
                answer
            });
            let written = io::read_to_string(&mut reader).unwrap();
            assert_eq!(flush.join().unwrap(), Answer::Accepted);
            written
        });
        assert_eq!(written, payload.clone() + "\n");
    }

    #[test]
    fn a_closed_pipe_is_unreachable_and_says_so() {
        let Answer::Unreachable { reason } = StdoutSink::to(Gone).deliver(&batch("acme", &["1"])) else {
            panic!("a closed pipe accepted a batch");
        };
        assert!(reason.contains("reader of the pipe"), "{reason}");
    }
}
