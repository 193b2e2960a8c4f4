//! `deliver = "stdout"`: one payload per line, to look at or for pipes.
//!
//! Called by delivery threads, many at once; a lock keeps the lines whole. Blocks for as long as the reader of the pipe
//! does not read, which holds up every partner that delivers here, since they share one pipe. The dispatcher has at most
//! two delivery threads call this, so that the others stay free.

use std::io::{self, ErrorKind, Write};

use parking_lot::Mutex;

use super::{Sink, lines};
use crate::message::{Answer, Batch};

/// Standard output, or a replacement for it.
pub struct StdoutSink {
    out: Mutex<Box<dyn Write + Send>>,
}

impl Default for StdoutSink {
    fn default() -> Self {
        Self::to(io::stdout())
    }
}

impl StdoutSink {
    /// Creates a sink that writes to `out` instead of standard output.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)) }
    }
}

impl Sink for StdoutSink {
    /// Writes the whole batch and flushes it. A batch that fails half-way is written again in full by its retry, since
    /// nothing can be taken back from a pipe.
    fn deliver(&self, batch: &Batch) -> Answer {
        let lines = lines::of(&batch.items);
        let mut out = self.out.lock();
        match out.write_all(&lines).and_then(|()| out.flush()) {
            Ok(()) => Answer::Accepted,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Answer::Unreachable {
                reason: "standard output: the reader of the pipe has gone; start it again together with octoconf".into(),
            },
            Err(error) => Answer::Unreachable { reason: format!("standard output: {error}").into() },
        }
    }
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

    #[test]
    fn a_closed_pipe_is_unreachable_and_says_so() {
        let Answer::Unreachable { reason } = StdoutSink::to(Gone).deliver(&batch("acme", &["1"])) else {
            panic!("a closed pipe accepted a batch");
        };
        assert!(reason.contains("reader of the pipe"), "{reason}");
    }
}
