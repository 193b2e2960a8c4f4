//! The thread `log`: writes lines that others hand over without waiting.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Lines that may wait to be written: a report on a thousand threads and on what happens meanwhile.
const WAITING: usize = 4096;

/// How long the end waits for whoever reads.
const PATIENCE: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    /// Everything before it is written once this end is dropped.
    End(Sender<()>),
}

/// Where lines are handed over; each call of `write` is one of them.
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

/// Kept until the end: its drop waits for what was handed over to be written, for a second at most.
pub struct Writer {
    items: Sender<Item>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let (done, all_written) = bounded(0);
        if self.items.send_timeout(Item::End(done), PATIENCE).is_ok() {
            // Nothing is ever sent: this ends when the thread drops its end, or when nobody reads.
            let _ = all_written.recv_timeout(PATIENCE);
        }
    }
}

/// Starts the thread. `write` takes whole lines and may block; `complaint` gives the line that says how many were lost. The thread ends
/// with the process: it may be blocked in a write that nothing else ends.
pub fn start(
    write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    complaint: impl Fn(u64) -> String + Send + 'static,
) -> io::Result<(LogLines, Writer)> {
    let (items, to_write) = bounded(WAITING);
    let lost = Arc::new(AtomicU64::new(0));
    let lines = LogLines { items: items.clone(), lost: Arc::clone(&lost) };
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        let _end = Death;
        run(&to_write, &lost, write, complaint);
    })?;
    Ok((lines, Writer { items }))
}

/// Without this thread nobody would hear of anything any more: its panic ends the process, and that is said by itself.
struct Death;

impl Drop for Death {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody may be there to read it.
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
    // A line that cannot be written is lost; there is no other place to say so, and the next one may do better.
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

    /// Waits for a machine under load.
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
        let (read_on, may_write) = bounded::<()>(0);
        let (to_test, written) = bounded(2 * WAITING);
        let write = move |line: &[u8]| {
            // Waits until the test reads on; an end that is dropped lets everything through.
            let _ = may_write.recv();
            to_test.send(String::from_utf8_lossy(line).into_owned()).map_err(io::Error::other)
        };
        let (mut lines, _writer) = start(write, |lost| format!("{lost} lost")).unwrap();
        for _ in 0..WAITING + 100 {
            lines.say("x");
        }
        // The thread may hold one of them already.
        let held = lines.items.len();
        drop(read_on);
        let all: Vec<String> = std::iter::from_fn(|| written.recv_timeout(LONG).ok()).take(held + 1).collect();
        let lost = all.iter().find_map(|line| line.strip_suffix(" lost")).unwrap();
        assert!((99..=100).contains(&lost.parse::<usize>().unwrap()), "{lost}");
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
