//! The pool in which handlers run: a fixed number of rayon threads. A job is some messages of one queue, in order.
//!
//! rayon's own list of jobs is unbounded; the dispatcher bounds it, since it starts no more jobs of a queue than its `concurrency`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::dispatch::{Event, Handled, Job, QueueIndex, SLOW};
use crate::handler::Handler;
use crate::handler::guard::run_caught;

pub struct Pool {
    threads: ThreadPool,
    inbox: Sender<Event>,
}

impl Pool {
    pub fn new(threads: usize, inbox: Sender<Event>) -> Result<Self, String> {
        let threads = ThreadPoolBuilder::new().num_threads(threads.max(1)).thread_name(|index| format!("handle-{index:02}"));
        let threads = threads.build().map_err(|error| error.to_string())?;
        Ok(Self { threads, inbox })
    }

    /// Starts a job. Does not wait.
    pub fn start(&self, queue: QueueIndex, handler: Arc<dyn Handler>, jobs: Vec<Job>) {
        let inbox = self.inbox.clone();
        self.threads.spawn(move || {
            let event = run(queue, handler.as_ref(), jobs);
            // Nobody listens once the engine has ended: the leases lapse.
            let _ = inbox.send(event);
        });
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
        done.push(Handled { ticket, outcome: run_caught(handler, &message) });
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
