//! The thread `log`, which writes the lines that other threads hand over without waiting.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// The maximum number of lines waiting to be written: enough for a report on a thousand threads and the
/// lines logged in the meantime.
const MAX_WAITING: usize = 4096;

/// How long the end of the log waits for the reader of standard error.
const END_TIMEOUT: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    /// A marker: once this sender is dropped, every line before it has been written.
    End(Sender<()>),
}

/// The writing end of the log. Each call of `write` hands over one line and never blocks; if the channel is full,
/// the line is lost and counted.
#[derive(Clone)]
pub struct LogLines {
    items: Sender<Item>,
    lost: Arc<AtomicU64>,
}

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.items.try_send(Item::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the log open. Dropping it waits until the lines handed over are written, for a second,
/// or two if the channel is full.
pub struct Writer {
    items: Sender<Item>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let (done, all_written) = bounded(0);
        if self.items.send_timeout(Item::End(done), END_TIMEOUT).is_ok() {
            // Nothing is ever sent here: the wait ends when the thread drops its sender, or after [`END_TIMEOUT`] if the
            // output's reader has stopped.
            let _ = all_written.recv_timeout(END_TIMEOUT);
        }
    }
}

/// Starts the thread. `write` takes whole lines and may block; `complaint` returns the line that reports how many were
/// lost. The thread ends with the process: a write may block it, and nothing else ends that.
pub fn start(
    write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    complaint: impl Fn(u64) -> String + Send + 'static,
) -> io::Result<(LogLines, Writer)> {
    let (items, to_write) = bounded(MAX_WAITING);
    let lost = Arc::new(AtomicU64::new(0));
    let lines = LogLines { items: items.clone(), lost: Arc::clone(&lost) };
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        let _end = Death;
        run(&to_write, &lost, write, complaint);
    })?;
    Ok((lines, Writer { items }))
}

/// Ends the process if the thread panics, since without it nothing more could be logged. The panic itself cannot be
/// logged either, so it is written directly.
struct Death;

impl Drop for Death {
    fn drop(&mut self) {
        if thread::panicking() {
            // Standard error may have no reader.
            let _ = io::stderr().write_all(b"octoconf: the thread log panicked\n");
            std::process::exit(1);
        }
    }
}

fn run(
    to_write: &Receiver<Item>,
    lost: &AtomicU64,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
    complaint: impl Fn(u64) -> String,
) {
    // A line that cannot be written is lost. There is no other place to report that, and the next write may succeed.
    let mut write = |line: &[u8]| write(line).is_err().then(|| lost.fetch_add(1, Ordering::Relaxed));
    for item in to_write {
        let unsaid = lost.swap(0, Ordering::Relaxed);
        if unsaid > 0 {
            write(complaint(unsaid).as_bytes());
        }
        match item {
            Item::Line(line) => {
                write(&line);
            }
            Item::End(done) => drop(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A timeout long enough for a machine under load.
    const LONG: Duration = Duration::from_secs(60);

    impl LogLines {
        fn say(&mut self, text: &str) {
            self.write_all(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn lines_are_written_in_order_and_all_before_the_end() {
        let (to_test, written) = bounded(10);
        let (mut lines, writer) =
            start(move |line| to_test.send(line.to_vec()).map_err(io::Error::other), |_| unreachable!("none is lost")).unwrap();
        lines.say("a\n");
        lines.say("b\n");
        drop(writer);
        assert_eq!(written.try_iter().collect::<Vec<_>>(), [b"a\n", b"b\n"]);
    }

    #[test]
    fn a_reader_that_has_stopped_holds_nobody_up_and_what_is_lost_is_counted() {
        let (begun, begins) = bounded(2 * MAX_WAITING);
        let (read_on, may_write) = bounded::<()>(0);
        let (to_test, written) = bounded(2 * MAX_WAITING);
        let write = move |line: &[u8]| {
            begun.send(()).map_err(io::Error::other)?;
            // Waits until the test reads on. After the sender is dropped, every write passes.
            let _ = may_write.recv();
            to_test.send(String::from_utf8_lossy(line).into_owned()).map_err(io::Error::other)
        };
        let (mut lines, _writer) = start(write, |lost| format!("{lost} lost")).unwrap();
        lines.say("first");
        begins.recv_timeout(LONG).unwrap();
        for _ in 0..MAX_WAITING + 100 {
            lines.say("x");
        }
        drop(read_on);
        let all: Vec<String> = std::iter::from_fn(|| written.recv_timeout(LONG).ok()).take(MAX_WAITING + 2).collect();
        let expected = ["first", "100 lost"].into_iter().chain(std::iter::repeat_n("x", MAX_WAITING));
        assert!(all.iter().map(String::as_str).eq(expected), "{} lines, from {:?}", all.len(), all.get(..3));
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_has_stopped() {
        let (_never, stopped) = bounded::<()>(0);
        let write = move |_: &[u8]| stopped.recv().map_err(io::Error::other);
        let (mut lines, writer) = start(write, |lost| lost.to_string()).unwrap();
        lines.say("x");
        drop(writer);
    }
}
