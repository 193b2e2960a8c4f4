//! The pool in which handlers run: a fixed number of rayon threads. A job is some messages of one queue, in order.
//! `dispatch` owns the pool and never waits for it.
//!
//! Each queue has its own line of jobs, whose length the dispatcher bounds. If one message of a job takes long, the
//! dispatcher can take back the messages that were not begun and the outcomes so far ([`Pool::take_back`]).
//!
//! A *runner* takes jobs, on one of the threads, from the line of one queue until the line has been empty for long. A busy
//! queue thus costs nothing per job beside the job itself, and a queue whose handler blocks occupies only its own runners. A waiting runner takes no thread from another queue, since the pool has a thread for every
//! runner that any queue may have. Only after a reload it may have too few for a while, and they are
//! [shared](super::crowd).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::{ThreadPool, ThreadPoolBuilder, Yield};

use crate::dispatch::{Event, Handled, QUICK, QueueIndex, SLOW, TakenBack, Ticket, ToHandle, jobs_ahead};
use crate::handler::Handler;
use crate::handler::guard::run_caught;

use super::crowd::{Crowd, Stopped};
use super::duty::Duty;
use super::error::{Death, StartError};
use super::job::Job;
use super::lane::Lane;
use super::threads::Crew;

/// The number of messages of a quick handler between two readings of the clock. Reading it for each message would be
/// noticeable. A handler that begins to block is noticed after this many messages at the latest.
const STRIDE: u32 = 8;

/// Bytes of a handler thread's stack, also where a handler runs outside of the pool. A jq program needs more stack the
/// deeper the values are that it builds, and an overflow ends the process. Unused stack costs only address space.
pub const HANDLER_STACK: usize = 16 * 1024 * 1024;

/// How long a runner waits for another job, so that a queue with a little to do needs no new runner for each job.
const LINGER: Duration = Duration::from_secs(10);

/// The pool, owned by `dispatch`.
pub struct Pool {
    threads: Threads,
    /// What the pool knows of each queue, by index.
    lanes: Vec<Given>,
    inbox: Sender<Event>,
}

/// The threads, and the runners that share them.
struct Threads {
    /// Its threads end once this is dropped and the crowd has ended.
    _pool: ThreadPool,
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

/// A line that accepts jobs. Once this is dropped, the line's runners end when no job is left.
struct Open {
    jobs: Sender<Next>,
    recalls: Sender<Recall>,
    line: Arc<Line>,
}

/// What a runner that waits for a job is given.
enum Next {
    Job(Arc<Job>),
    /// Another queue waits for a thread.
    GiveWay,
}

/// Why a resting runner need not rest any longer.
enum Recall {
    /// It is needed again.
    Needed,
    /// Another queue waits for its thread.
    GiveWay,
}

/// The jobs of one queue and the runners that serve them.
struct Line {
    queue: QueueIndex,
    name: Arc<str>,
    handler: Arc<dyn Handler>,
    waiting: Receiver<Next>,
    /// The number of runners beyond the limit, which rest until they are needed again.
    resting: AtomicUsize,
    /// One entry for each resting runner that is not to rest any longer.
    recalled: Receiver<Recall>,
    /// The number of runners, without the resting ones.
    runners: AtomicUsize,
    /// The largest number of runners, as the dispatcher last set it for this line and the earlier ones of the queue.
    at_most: AtomicUsize,
    inbox: Sender<Event>,
}

impl Pool {
    /// Starts the threads and opens a line for each lane with a handler. An error means that the
    /// system refuses a thread.
    pub(super) fn new(threads: usize, lanes: &[Lane], inbox: &Sender<Event>, crew: &Crew) -> Result<Self, StartError> {
        let threads = threads.max(1);
        let duties: Arc<[_]> = (0..threads).map(|index| crew.roster().enlist(&name(index))).collect();
        let (pool, crowd) = (build(threads, crew)?, Arc::new(Crowd::<Line>::new(threads)));
        // Each thread serves before it looks for anything else that it could do.
        let served = Arc::clone(&crowd);
        pool.spawn_broadcast(move |thread| {
            if let Some(duty) = duties.get(thread.index()) {
                served.serve(|line| line.run(duty, &served));
            }
        });
        let threads = Threads { _pool: pool, crowd };
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
        given.open = lane.handler.as_ref().map(|handler| {
            // One place more, for a call to give way.
            let (jobs, waiting) = bounded(jobs_ahead(lane.concurrency) + 1);
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
        open.jobs.try_send(Next::Job(job)).map_err(|_| open.line.broken("more jobs wait for its handler than there may be"))?;
        open.run(&self.threads)?;
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
        if let Some(open) = given.open.as_ref().filter(|open| !open.line.waiting.is_empty()) {
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
        self.threads.crowd.end();
    }
}

/// Returns the name of a thread.
fn name(index: usize) -> String {
    format!("handle-{index:02}")
}

/// Starts the threads.
fn build(threads: usize, crew: &Crew) -> Result<ThreadPool, StartError> {
    // A handler's panic is caught where the handler is called, so a panic that gets here is a bug in octoconf, or that of
    // work that a handler has left to rayon. Without this, rayon would abort the process without a reason.
    let deaths = crew.death_line();
    let died = move |_| deaths.tell(std::thread::current().name().unwrap_or("handle"));
    let threads = ThreadPoolBuilder::new().num_threads(threads).thread_name(name).panic_handler(died).stack_size(HANDLER_STACK);
    threads.build().map_err(|error| StartError::Thread { name: "handle".into(), why: error.to_string() })
}

impl Given {
    /// Ends the line for new jobs, but not the jobs in it.
    fn end_line(&mut self) {
        self.earlier.retain(|line| line.strong_count() > 0);
        self.earlier.extend(self.open.take().map(|open| Arc::downgrade(&open.line)));
    }

    /// Sets the number of threads that the queue's jobs may have together. A job of an earlier line may keep its thread for
    /// ever; those in the line for new jobs get the others. They get at least one: the dispatcher starts a job only if
    /// the queue has a thread for it, but a runner counts for a moment after its job has ended.
    fn allow(&self, at_most: usize) {
        let Some(open) = &self.open else { return };
        let earlier = self.earlier.iter().filter_map(Weak::upgrade).map(|line| line.runners.load(Ordering::SeqCst));
        open.line.at_most.store(at_most.saturating_sub(earlier.sum()).max(1), Ordering::SeqCst);
    }
}

impl Open {
    /// Adds a runner to the line, unless the line has as many as it may have.
    fn run(&self, threads: &Threads) -> Result<(), Death> {
        let Self { recalls, line, .. } = self;
        if !line.add_runner() {
            return Ok(());
        }
        if line.take_resting() {
            let full = |_| line.broken("more runners are recalled than rest");
            return recalls.try_send(Recall::Needed).map_err(full);
        }
        threads.crowd.add(Arc::clone(line));
        Ok(())
    }

    /// Calls upon one idle runner, if there is one, to give its thread to a runner that waits for one. A busy
    /// runner looks for itself once its job has ended.
    fn call(&self) {
        if self.line.take_resting() {
            // There is a place for each runner that rests.
            let _ = self.recalls.try_send(Recall::GiveWay);
        } else if self.line.waiting.is_empty() {
            let _ = self.jobs.try_send(Next::GiveWay);
        }
    }
}

impl Line {
    fn broken(&self, what: &str) -> Death {
        Death::broken(format!("queue {}: {what}", self.name))
    }

    /// Counts a new runner. Returns `false` if there are as many as there may be.
    fn add_runner(&self) -> bool {
        let at_most = self.at_most.load(Ordering::SeqCst);
        let add = |runners| (runners < at_most).then_some(runners + 1);
        self.runners.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok()
    }

    /// Returns whether there was a runner too many, which is then no longer counted.
    fn drop_runner(&self) -> bool {
        let at_most = self.at_most.load(Ordering::SeqCst);
        let drop = |runners| (runners > at_most).then(|| runners - 1);
        self.runners.fetch_update(Ordering::SeqCst, Ordering::SeqCst, drop).is_ok()
    }

    /// Returns whether a runner rests; if so, one is no longer counted as resting. The caller must recall it, and it
    /// counts as a runner already.
    fn take_resting(&self) -> bool {
        let take = |resting: usize| resting.checked_sub(1);
        self.resting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    /// Waits until this runner, which is beyond the limit, is needed again. A handler that takes about [`QUICK`] is
    /// given two threads at one moment and ten at the next. Returns `false` if the runner was not needed for
    /// [`LINGER`], its thread is needed elsewhere, or the line is closed.
    fn rest(&self, crowd: &Crowd<Self>) -> bool {
        self.resting.fetch_add(1, Ordering::SeqCst);
        let linger = if crowd.is_short() { Duration::ZERO } else { LINGER };
        if let Ok(recall) = self.recalled.recv_timeout(linger) {
            return matches!(recall, Recall::Needed);
        }
        // If the count of resting runners no longer includes this one, its recall is on its way, or the line is closed.
        !self.take_resting() && matches!(self.recalled.recv(), Ok(Recall::Needed))
    }

    /// Runs a runner: takes jobs until the line has been empty, or the runner not needed, for [`LINGER`], or others need
    /// its thread.
    fn run(&self, duty: &Duty, crowd: &Crowd<Self>) -> Stopped {
        loop {
            while let Some(job) = self.next(crowd) {
                let event = self.handle(&job, duty);
                // The send fails only once the engine has ended: the leases then lapse.
                let _ = self.inbox.send(event);
                // What handlers have left to rayon: no thread looks for it there.
                while rayon::yield_local() == Some(Yield::Executed) {}
                if self.drop_runner() && !self.rest(crowd) {
                    return Stopped::ForGood;
                }
                if crowd.is_short() {
                    return Stopped::ForOthers;
                }
            }
            self.runners.fetch_sub(1, Ordering::SeqCst);
            // A job put in before the decrement relied on this runner.
            if self.waiting.is_empty() || !self.add_runner() {
                return Stopped::ForGood;
            }
        }
    }

    /// Waits for the next job. If none is there, a thread that is about to bring one gets the core first, which is
    /// cheaper than being woken. Returns `None` if none came for [`LINGER`], or others need the thread.
    fn next(&self, crowd: &Crowd<Self>) -> Option<Arc<Job>> {
        loop {
            let next = self.waiting.try_recv().ok().or_else(|| {
                thread::yield_now();
                let linger = if crowd.is_short() { Duration::ZERO } else { LINGER };
                self.waiting.recv_timeout(linger).ok()
            })?;
            match next {
                Next::Job(job) => return Some(job),
                // By now another runner may have given way.
                Next::GiveWay => {}
            }
        }
    }

    /// Runs the handler over the job's messages, in order, until one takes long.
    ///
    /// The clock is read after the first message, then ever less often, down to once every [`STRIDE`] messages.
    /// The mean of the messages between two readings counts as their slowest. If that mean is not quick, each
    /// message is timed again.
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
            // The rest goes back to the dispatcher, which shares it among more threads.
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
        let crowd = Crowd::new(1);
        thread::scope(|scope| {
            let rests = scope.spawn(|| line.rest(&crowd));
            while !line.take_resting() {
                thread::yield_now();
            }
            recalls.send(Recall::Needed).unwrap();
            assert!(rests.join().unwrap());
            let rests = scope.spawn(|| line.rest(&crowd));
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
        // The line's handler turned out to be quick.
        line.at_most.store(1, Ordering::SeqCst);
        assert_eq!([(); 3].map(|()| line.drop_runner()), [true, true, false]);
    }

    #[test]
    fn a_thread_of_the_pool_that_panics_is_heard() {
        let crew = Crew::new();
        build(1, &crew).unwrap().spawn(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(crew.deaths().recv_timeout(Duration::from_secs(10)).unwrap(), Death::panicked("handle-00"));
    }
}
