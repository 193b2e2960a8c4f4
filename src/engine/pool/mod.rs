//! The pool in which handlers run: a fixed number of rayon threads, each of which is a rayon pool by itself. A job is some
//! messages of one queue, in order. `dispatch` owns the pool and never waits for it.
//!
//! Each queue has its own line of jobs, whose length the dispatcher bounds. If one message of a job takes long, the
//! dispatcher can take back the messages that were not begun and the outcomes so far ([`Pool::take_back`]).
//!
//! A *runner* takes jobs, on one of the threads, from the line of one queue until the line has been empty for long. A busy
//! queue thus costs nothing per job beside the job itself, and a queue whose handler blocks occupies only its own runners.
//! A waiting runner takes no thread from another queue, since the pool has a thread for every runner that any queue may
//! have. Only after a reload it may have too few for a while, and they are [shared](super::crowd).

use std::sync::{Arc, Weak};

use crossbeam_channel::Sender;
use rayon::{ThreadPool, ThreadPoolBuilder};

use self::line::{Line, Open};
use super::crowd::Crowd;
use super::error::{Death, StartError};
use super::job::Job;
use super::lane::Lane;
use super::threads::Crew;
use crate::dispatch::{Event, QueueIndex, TakenBack, Ticket, ToHandle};

mod line;

/// Bytes of a handler thread's stack, also where a handler runs outside of the pool. A jq program needs more stack the
/// deeper the values are that it builds, and an overflow ends the process. Unused stack costs only address space.
pub const HANDLER_STACK: usize = 16 * 1024 * 1024;

/// The pool, owned by `dispatch`.
pub struct Pool {
    threads: Threads,
    /// What the pool knows of each queue, by index.
    lanes: Vec<Given>,
    inbox: Sender<Event>,
}

/// The threads, and the runners that share them.
struct Threads {
    /// Each ends once this is dropped and the crowd has ended.
    _each: Vec<ThreadPool>,
    crowd: Arc<Crowd<Line>>,
}

/// What the pool knows of one queue.
#[derive(Default)]
struct Given {
    /// The line for new jobs; `None` for a queue without a handler, and for a closed one.
    open: Option<Open>,
    /// The lines before that one. Each ends with its last runner.
    earlier: Vec<Weak<Line>>,
    /// The jobs that were put in, by name. Some may have ended.
    jobs: Vec<(Ticket, Weak<Job>)>,
}

impl Pool {
    /// Starts the threads and opens a line for each lane with a handler. An error means that the
    /// system refuses a thread.
    pub(super) fn new(threads: usize, lanes: &[Lane], inbox: &Sender<Event>, crew: &Crew) -> Result<Self, StartError> {
        let threads = threads.max(1);
        let each = (0..threads).map(|index| thread(name(index), crew)).collect::<Result<Vec<_>, _>>()?;
        let crowd = Arc::new(Crowd::<Line>::new(threads));
        for (index, thread) in each.iter().enumerate() {
            let (crowd, duty, member) = (Arc::clone(&crowd), crew.roster().enlist(&name(index)), crew.member());
            thread.spawn(move || {
                let _member = member;
                crowd.serve(|line| line.run(&duty, &crowd));
            });
        }
        let threads = Threads { _each: each, crowd };
        let mut pool = Self { threads, lanes: Vec::new(), inbox: inbox.clone() };
        for (queue, lane) in lanes.iter().enumerate() {
            pool.open(queue, lane);
        }
        Ok(pool)
    }

    /// Opens a new line for the queue's jobs. Jobs in an earlier line are run there, by the handler of that line.
    pub(super) fn open(&mut self, queue: QueueIndex, lane: &Lane) {
        if self.lanes.len() <= queue {
            self.lanes.resize_with(queue + 1, Given::default);
        }
        let Some(given) = self.lanes.get_mut(queue) else { return };
        given.end_line();
        given.open = lane.handler.as_ref().map(|handler| Open::new(queue, lane, handler, &self.inbox));
    }

    /// Closes the queue's line: no more jobs are accepted.
    pub(super) fn close(&mut self, queue: QueueIndex) {
        if let Some(given) = self.lanes.get_mut(queue) {
            given.end_line();
        }
    }

    /// Puts a job into its queue's line, and sets the number of threads that the queue's jobs may have together. Does
    /// not wait. An error means that the dispatcher started more jobs than there may be, which is a bug.
    pub fn start(&mut self, queue: QueueIndex, messages: Vec<ToHandle>, at_most: usize) -> Result<(), Death> {
        let given = self.lanes.get_mut(queue).ok_or_else(|| Death::broken("a job of an unknown queue"))?;
        given.allow(at_most);
        let open = given.open.as_ref().ok_or_else(|| Death::broken("a job of a queue without a handler"))?;
        let Some(job) = Job::new(messages).map(Arc::new) else { return Ok(()) };
        if given.jobs.len() == given.jobs.capacity() {
            given.jobs.retain(|(_, job)| job.strong_count() > 0);
            given.jobs.reserve(given.jobs.len());
        }
        given.jobs.push((job.name(), Arc::downgrade(&job)));
        open.put(job, &self.threads)?;
        self.share();
        Ok(())
    }

    /// Takes back from a job the outcomes so far and the messages that were not begun, and sets the number of
    /// threads that the queue's jobs may have. Returns `None` if no thread has begun with the job. Does not
    /// wait. An error means a bug.
    pub fn take_back(&mut self, queue: QueueIndex, job: Ticket, at_most: usize) -> Result<Option<TakenBack>, Death> {
        let Some(given) = self.lanes.get_mut(queue) else { return Ok(Some(TakenBack::default())) };
        // A job that has ended reports itself.
        let job = given.jobs.iter().rev().find(|(name, _)| *name == job).and_then(|(_, job)| job.upgrade());
        let back = job.map_or_else(|| Some(TakenBack::default()), |job| job.take_back());
        given.allow(at_most);
        if let Some(open) = given.open.as_ref().filter(|open| open.has_jobs()) {
            open.run(&self.threads)?;
            self.share();
        }
        Ok(back)
    }

    /// While runners wait for a thread, calls upon idle ones to give way.
    fn share(&self) {
        if self.threads.crowd.is_short() {
            self.lanes.iter().filter_map(|given| given.open.as_ref()).for_each(Open::call);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Nobody would hear of their outcomes: their messages are back in the queues, or come back.
        self.lanes.iter().flat_map(|given| &given.jobs).filter_map(|(_, job)| job.upgrade()).for_each(|job| job.forget_rest());
        self.threads.crowd.end();
    }
}

/// Returns the name of a thread.
fn name(index: usize) -> String {
    format!("handle-{index:02}")
}

/// Starts a thread, which is a rayon pool of its own.
fn thread(name: String, crew: &Crew) -> Result<ThreadPool, StartError> {
    // A handler's panic is caught where the handler is called, so a panic that gets here is a bug in octoconf, or that of
    // work that a handler has left to rayon. Without this, rayon would abort the process without a reason.
    let (deaths, dead) = (crew.death_line(), name.clone());
    let died = move |_| deaths.tell(&dead);
    let thread = ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| name.clone());
    let thread = thread.panic_handler(died).stack_size(HANDLER_STACK).build();
    thread.map_err(|error| StartError::Thread { name: "handle".into(), why: error.to_string() })
}

impl Given {
    /// Ends the line for new jobs, but not the jobs in it.
    fn end_line(&mut self) {
        self.earlier.retain(|line| line.strong_count() > 0);
        self.earlier.extend(self.open.take().map(|open| open.line()));
    }

    /// Sets the number of threads that the queue's jobs may have together. A job of an earlier line may keep its thread for
    /// ever; those in the line for new jobs get the others. They get at least one: the dispatcher starts a job only if
    /// the queue has a thread for it, but a runner counts for a moment after its job has ended.
    fn allow(&self, at_most: usize) {
        let Some(open) = &self.open else { return };
        let earlier = self.earlier.iter().filter_map(Weak::upgrade).map(|line| line.runners());
        open.allow(at_most.saturating_sub(earlier.sum()).max(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_of_the_pool_that_panics_is_heard() {
        let crew = Crew::new();
        thread(name(0), &crew).unwrap().spawn(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(crew.deaths().recv_timeout(Duration::from_secs(10)).unwrap(), Death::panicked("handle-00"));
    }
}
