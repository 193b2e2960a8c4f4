//! The pool in which handlers run: a fixed number of rayon threads. A job is some messages of one queue, in order.
//!
//! Each queue has a line of jobs of its own, which the dispatcher bounds. A *runner* is what rayon runs: it takes jobs of one queue from
//! its line until there are none, so that a busy queue costs no task switch for a job, and one that blocks keeps to its own runners.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::dispatch::{Event, Handled, Job, QueueIndex, SLOW};
use crate::handler::Handler;
use crate::handler::guard::run_caught;

use super::Lane;

/// How long a runner waits for another job before its thread goes back to the pool: waking it here costs less than there.
const LINGER: Duration = Duration::from_millis(1);

pub struct Pool {
    threads: ThreadPool,
    lines: Vec<Arc<Line>>,
}

/// The jobs of one queue.
struct Line {
    queue: QueueIndex,
    handler: Arc<dyn Handler>,
    jobs: Sender<Vec<Job>>,
    waiting: Receiver<Vec<Job>>,
    runners: AtomicUsize,
    inbox: Sender<Event>,
}

impl Pool {
    pub(super) fn new(threads: usize, lanes: &[Lane], inbox: &Sender<Event>) -> Result<Self, String> {
        let threads = ThreadPoolBuilder::new().num_threads(threads.max(1)).thread_name(|index| format!("handle-{index:02}"));
        let threads = threads.build().map_err(|error| error.to_string())?;
        let line = |(queue, lane): (QueueIndex, &Lane)| {
            let (jobs, waiting) = bounded(2 * lane.concurrency + 10);
            let (handler, inbox) = (Arc::clone(&lane.handler), inbox.clone());
            Arc::new(Line { queue, handler, jobs, waiting, runners: AtomicUsize::new(0), inbox })
        };
        Ok(Self { threads, lines: lanes.iter().enumerate().map(line).collect() })
    }

    /// Puts a job in its queue's line, whose jobs have `at_most` threads together. Does not wait. An error: the dispatcher gave more
    /// than there may be, which is a bug.
    pub fn start(&self, queue: QueueIndex, jobs: Vec<Job>, at_most: usize) -> Result<(), String> {
        let line = self.lines.get(queue).ok_or("a job of an unknown queue")?;
        line.jobs.try_send(jobs).map_err(|_| "more jobs wait for a handler than there may be".to_owned())?;
        if line.add_runner(at_most) {
            let line = Arc::clone(line);
            self.threads.spawn(move || line.run(at_most));
        }
        Ok(())
    }
}

impl Line {
    fn add_runner(&self, at_most: usize) -> bool {
        let add = |runners| (runners < at_most).then_some(runners + 1);
        self.runners.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok()
    }

    /// A runner's body: until the line is empty.
    fn run(&self, at_most: usize) {
        loop {
            while let Ok(jobs) = self.waiting.recv_timeout(LINGER) {
                let event = run(self.queue, self.handler.as_ref(), jobs);
                // Nobody listens once the engine has ended: the leases lapse.
                let _ = self.inbox.send(event);
            }
            self.runners.fetch_sub(1, Ordering::SeqCst);
            // Whoever put a job in before that counted on this runner.
            if self.waiting.is_empty() || !self.add_runner(at_most) {
                return;
            }
        }
    }
}

/// Runs the handler over the messages, in order, until one takes long.
#[expect(clippy::disallowed_methods, reason = "how long a handler takes decides how its queue's messages are shared out")]
fn run(queue: QueueIndex, handler: &dyn Handler, jobs: Vec<Job>) -> Event {
    let mut done = Vec::with_capacity(jobs.len());
    let mut slowest = Duration::ZERO;
    let mut jobs = jobs.into_iter();
    let mut before = Instant::now();
    for Job { ticket, message } in jobs.by_ref() {
        let outcome = run_caught(handler, &message);
        done.push(Handled { ticket, message, outcome });
        let after = Instant::now();
        slowest = slowest.max(after - before);
        before = after;
        // The rest goes back, to be shared among more threads.
        if slowest > SLOW {
            break;
        }
    }
    Event::Handled { queue, done, left: jobs.collect(), slowest }
}
