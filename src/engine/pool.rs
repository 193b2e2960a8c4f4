//! The pool in which handlers run: a fixed number of rayon threads. A job is some messages of one queue, in order.
//!
//! Each queue has a line of jobs of its own, which the dispatcher bounds. What of a job is not begun, and what is done of it, can be taken
//! back while a message of it takes long ([`Pool::take_back`]). A *runner* is what rayon runs: it takes jobs of one queue from
//! its line until there have been none for long, so that a queue at work costs rayon nothing for a job, and one that blocks keeps to its
//! own runners. A runner that waits takes no thread from another queue: the pool has one for each that any queue may have.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::dispatch::{Event, Handled, QUICK, QueueIndex, SLOW, TakenBack, Ticket, ToHandle, jobs_ahead};
use crate::handler::Handler;
use crate::handler::guard::run_caught;

use super::BUG;
use super::duty::Duty;
use super::job::Job;
use super::lane::Lane;
use super::threads::Crew;

/// Messages of a quick handler between two looks at the clock: one look each is felt. A handler that begins to block is found out after so
/// many at the latest.
const STRIDE: u32 = 8;

/// Bytes of a handler's stack: a program in jq takes more of it the deeper the values that it builds, and an overflow ends the process. What
/// is not used is address space alone.
const STACK: usize = 16 * 1024 * 1024;

/// A runner waits so long for another job. A thread that goes back to rayon looks for work dozens of times before it sleeps, each time at
/// every other thread, and has another wake up to do the same: with 20 queues and their 200 threads that was half of all CPU time.
const LINGER: Duration = Duration::from_secs(10);

pub struct Pool {
    threads: ThreadPool,
    duties: Arc<[Arc<Duty>]>,
    /// By queue.
    lanes: Vec<Given>,
    inbox: Sender<Event>,
}

/// What the pool has of one queue.
#[derive(Default)]
struct Given {
    /// None for a queue without a handler, or one that is closed.
    open: Option<Open>,
    /// The jobs that were put in, by their names; some may have ended.
    jobs: Vec<(Ticket, Weak<Job>)>,
}

/// A line that jobs may be put in. Once this is dropped its runners end when there is nothing left in it.
struct Open {
    jobs: Sender<Arc<Job>>,
    recalls: Sender<()>,
    line: Arc<Line>,
}

/// The jobs of one queue.
struct Line {
    queue: QueueIndex,
    name: Arc<str>,
    handler: Arc<dyn Handler>,
    waiting: Receiver<Arc<Job>>,
    /// Runners that were one too many, and wait to be needed again.
    resting: AtomicUsize,
    /// One for each that is needed.
    recalled: Receiver<()>,
    runners: AtomicUsize,
    /// How many it may have, as the dispatcher said last.
    at_most: AtomicUsize,
    inbox: Sender<Event>,
}

impl Pool {
    pub(super) fn new(threads: usize, lanes: &[Lane], inbox: &Sender<Event>, crew: &Crew) -> Result<Self, String> {
        let (threads, name) = (threads.max(1), |index: usize| format!("handle-{index:02}"));
        let duties = (0..threads).map(|index| crew.roster().enlist(&name(index))).collect();
        // A handler's panic is caught where it is called: one that gets here is a bug of ours. Without this rayon would abort, with no
        // reason said.
        let deaths = crew.death_line();
        let died = move |_| deaths.tell(std::thread::current().name().unwrap_or("handle"));
        let threads = ThreadPoolBuilder::new().num_threads(threads).thread_name(name).panic_handler(died).stack_size(STACK);
        let threads = threads.build().map_err(|error| error.to_string())?;
        let mut pool = Self { threads, duties, lanes: Vec::new(), inbox: inbox.clone() };
        for (queue, lane) in lanes.iter().enumerate() {
            pool.open(queue, lane);
        }
        Ok(pool)
    }

    /// From now on the queue's jobs have this line. What stands in an earlier one is run there, by the handler of then.
    pub(super) fn open(&mut self, queue: QueueIndex, lane: &Lane) {
        if self.lanes.len() <= queue {
            self.lanes.resize_with(queue + 1, Given::default);
        }
        let Some(given) = self.lanes.get_mut(queue) else { return };
        given.open = lane.handler.as_ref().map(|handler| {
            let (jobs, waiting) = bounded(jobs_ahead(lane.concurrency));
            let (recalls, recalled) = bounded(lane.concurrency.max(1));
            let (name, handler, inbox) = (Arc::clone(&lane.name), Arc::clone(handler), self.inbox.clone());
            let line = Line {
                queue,
                name,
                handler,
                waiting,
                resting: AtomicUsize::new(0),
                recalled,
                runners: AtomicUsize::new(0),
                at_most: AtomicUsize::new(1),
                inbox,
            };
            Open { jobs, recalls, line: Arc::new(line) }
        });
    }

    /// No job of the queue comes any more.
    pub(super) fn close(&mut self, queue: QueueIndex) {
        if let Some(given) = self.lanes.get_mut(queue) {
            given.open = None;
        }
    }

    /// Puts a job in its queue's line, whose jobs have `at_most` threads together. Does not wait. An error: the dispatcher gave more
    /// than there may be, which is a bug.
    pub fn start(&mut self, queue: QueueIndex, messages: Vec<ToHandle>, at_most: usize) -> Result<(), String> {
        let given = self.lanes.get_mut(queue).ok_or("a job of an unknown queue")?;
        let open = given.open.as_ref().ok_or("a job of a queue without a handler")?;
        open.line.at_most.store(at_most, Ordering::SeqCst);
        let Some(job) = Job::new(messages).map(Arc::new) else { return Ok(()) };
        if given.jobs.len() == given.jobs.capacity() {
            given.jobs.retain(|(_, job)| job.strong_count() > 0);
            given.jobs.reserve(given.jobs.len());
        }
        given.jobs.push((job.name(), Arc::downgrade(&job)));
        open.jobs
            .try_send(job)
            .map_err(|_| format!("queue {}: more jobs wait for its handler than there may be; {BUG}", open.line.name))?;
        open.run(&self.threads, &self.duties)
    }

    /// Takes back what a job has done and what it has not begun with, and lets the jobs that wait have so many threads. `None`: no thread
    /// has begun with the job. Does not wait. An error is a bug.
    pub fn take_back(&mut self, queue: QueueIndex, job: Ticket, at_most: usize) -> Result<Option<TakenBack>, String> {
        let Some(given) = self.lanes.get_mut(queue) else { return Ok(Some(TakenBack::default())) };
        // What has ended tells so itself.
        let job = given.jobs.iter().rev().find(|(name, _)| *name == job).and_then(|(_, job)| job.upgrade());
        let back = job.map_or_else(|| Some(TakenBack::default()), |job| job.take_back());
        if let Some(open) = &given.open {
            open.line.at_most.store(at_most, Ordering::SeqCst);
            if !open.line.waiting.is_empty() {
                open.run(&self.threads, &self.duties)?;
            }
        }
        Ok(back)
    }
}

impl Open {
    /// Has one more thread of the pool run the line's jobs, where they may have one more.
    fn run(&self, threads: &ThreadPool, duties: &Arc<[Arc<Duty>]>) -> Result<(), String> {
        let Self { recalls, line, .. } = self;
        if !line.add_runner() {
            return Ok(());
        }
        if line.take_resting() {
            let full = |_| format!("queue {}: more runners are recalled than rest; {BUG}", line.name);
            return recalls.try_send(()).map_err(full);
        }
        let (line, duties) = (Arc::clone(line), Arc::clone(duties));
        threads.spawn(move || {
            let duty = rayon::current_thread_index().and_then(|index| duties.get(index));
            if let Some(duty) = duty {
                line.run(duty);
            }
        });
        Ok(())
    }
}

impl Line {
    fn add_runner(&self) -> bool {
        let at_most = self.at_most.load(Ordering::SeqCst);
        let add = |runners| (runners < at_most).then_some(runners + 1);
        self.runners.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok()
    }

    /// Whether a runner is one too many, and was taken off.
    fn drop_runner(&self) -> bool {
        let at_most = self.at_most.load(Ordering::SeqCst);
        let drop = |runners| (runners > at_most).then(|| runners - 1);
        self.runners.fetch_update(Ordering::SeqCst, Ordering::SeqCst, drop).is_ok()
    }

    /// Takes one that rests off their count; it is to be recalled, and counts as a runner.
    fn take_resting(&self) -> bool {
        let take = |resting: usize| resting.checked_sub(1);
        self.resting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    /// A runner that is one too many waits to be needed again: handlers whose time is about [`QUICK`] are given two threads for a moment, and
    /// then ten. Gives false where it is not needed for long.
    fn rest(&self) -> bool {
        self.resting.fetch_add(1, Ordering::SeqCst);
        if self.recalled.recv_timeout(LINGER).is_ok() {
            return true;
        }
        // Where it is not among those that rest any more, its recall is on its way, or the line is closed.
        !self.take_resting() && self.recalled.recv().is_ok()
    }

    /// A runner's body: until the line has been empty for a while.
    fn run(&self, duty: &Duty) {
        loop {
            while let Some(job) = self.next() {
                let event = self.handle(&job, duty);
                // Nobody listens once the engine has ended: the leases lapse.
                let _ = self.inbox.send(event);
                if self.drop_runner() && !self.rest() {
                    return;
                }
            }
            self.runners.fetch_sub(1, Ordering::SeqCst);
            // Whoever put a job in before that counted on this runner.
            if self.waiting.is_empty() || !self.add_runner() {
                return;
            }
        }
    }

    /// The next job. Where none waits, whoever may be about to bring one gets the core first: that is cheaper than to be woken.
    fn next(&self) -> Option<Arc<Job>> {
        self.waiting.try_recv().ok().or_else(|| {
            thread::yield_now();
            self.waiting.recv_timeout(LINGER).ok()
        })
    }

    /// Runs the handler over the messages, in order, until one takes long.
    ///
    /// The clock is read after the first message, then ever more seldom, up to every [`STRIDE`]th: of those between, the mean counts as
    /// the slowest, and where that is not quick, each is timed again.
    #[expect(clippy::disallowed_methods, reason = "how long a handler takes decides how its queue's messages are shared out")]
    fn handle(&self, job: &Job, duty: &Duty) -> Event {
        let mut slowest = Duration::ZERO;
        let (mut stride, mut untimed) = (1, 0);
        let mut before = Instant::now();
        duty.begin_at(before, "handles", &self.name);
        let mut next = job.next(None);
        while let Some(ToHandle { ticket, message }) = next {
            let outcome = run_caught(self.handler.as_ref(), &message);
            next = job.next(Some(Handled { ticket, message, outcome }));
            untimed += 1;
            if untimed < stride && next.is_some() {
                continue;
            }
            let after = Instant::now();
            let took = (after - before) / untimed;
            stride = if took < QUICK { (stride * 2).min(STRIDE) } else { 1 };
            (slowest, before, untimed) = (slowest.max(took), after, 0);
            // The rest goes back, to be shared among more threads.
            if slowest > SLOW {
                break;
            }
        }
        duty.rest_at(before);
        let TakenBack { done, undone } = job.take_back().unwrap_or_default();
        let undone = next.into_iter().chain(undone).collect();
        Event::Handled { queue: self.queue, job: job.name(), done, undone, slowest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, Outcome};

    fn line(at_most: usize) -> Open {
        let ((jobs, waiting), (recalls, recalled), (inbox, _events)) = (bounded(1), bounded(1), bounded(1));
        let line = Line {
            queue: 0,
            name: "a".into(),
            handler: Arc::new(|_: &Message| Outcome::Discard),
            waiting,
            resting: AtomicUsize::new(0),
            recalled,
            runners: AtomicUsize::new(0),
            at_most: AtomicUsize::new(at_most),
            inbox,
        };
        Open { jobs, recalls, line: Arc::new(line) }
    }

    #[test]
    fn a_runner_that_rests_is_recalled_or_ends_with_its_line() {
        let Open { jobs: _jobs, recalls, line } = line(1);
        thread::scope(|scope| {
            let rests = scope.spawn(|| line.rest());
            while !line.take_resting() {
                thread::yield_now();
            }
            recalls.send(()).unwrap();
            assert!(rests.join().unwrap());
            let rests = scope.spawn(|| line.rest());
            drop(recalls);
            assert!(!rests.join().unwrap());
        });
        assert_eq!(line.resting.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn there_are_no_more_runners_than_the_dispatcher_said_last() {
        let line = line(3).line;
        assert_eq!([(); 4].map(|()| line.add_runner()), [true, true, true, false]);
        assert!(!line.drop_runner());
        // Its handler turned out to be quick.
        line.at_most.store(1, Ordering::SeqCst);
        assert_eq!([(); 3].map(|()| line.drop_runner()), [true, true, false]);
    }

    #[test]
    fn a_thread_of_the_pool_that_panics_is_heard() {
        let crew = Crew::new();
        let (inbox, _events) = bounded(1);
        let pool = Pool::new(1, &[], &inbox, &crew).unwrap();
        pool.threads.spawn(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(crew.deaths().recv_timeout(Duration::from_secs(10)).unwrap(), "the thread handle-00 panicked");
    }
}
