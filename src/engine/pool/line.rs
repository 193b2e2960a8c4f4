//! The line of one queue's jobs, and the runners that serve it on the pool's threads.
//!
//! `dispatch` puts jobs in and calls upon runners, without waiting; everything that waits is in [`Line::run`], on the threads
//! `handle-NN`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::Yield;

use super::Threads;
use crate::dispatch::{Event, Handled, QUICK, QueueIndex, SLOW, TakenBack, ToHandle, jobs_ahead};
use crate::engine::crowd::{Crowd, Stopped};
use crate::engine::duty::Duty;
use crate::engine::error::Death;
use crate::engine::job::Job;
use crate::engine::lane::Lane;
use crate::handler::Handler;
use crate::handler::guard::run_caught;

/// The number of messages of a quick handler between two readings of the clock. Reading it for each message would be
/// noticeable. A handler that begins to block is noticed after this many messages at the latest.
const STRIDE: u32 = 8;

/// How long a runner waits for another job, so that a queue with a little to do needs no new runner for each job.
const LINGER: Duration = Duration::from_secs(10);

/// A line that accepts jobs. Once this is dropped, the line's runners end when no job is left.
pub(super) struct Open {
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
pub(super) struct Line {
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

impl Open {
    /// Opens a line for the jobs of a queue.
    pub(super) fn new(queue: QueueIndex, lane: &Lane, handler: &Arc<dyn Handler>, inbox: &Sender<Event>) -> Self {
        // One place more, for a call to give way.
        let (jobs, waiting) = bounded(jobs_ahead(lane.concurrency) + 1);
        let (recalls, recalled) = bounded(lane.concurrency.max(1));
        let line = Line {
            queue,
            name: Arc::clone(&lane.name),
            handler: Arc::clone(handler),
            waiting,
            resting: AtomicUsize::new(0),
            recalled,
            runners: AtomicUsize::new(0),
            at_most: AtomicUsize::new(1),
            inbox: inbox.clone(),
        };
        Self { jobs, recalls, line: Arc::new(line) }
    }

    /// Returns the line, which lives until its last runner has ended.
    pub(super) fn line(&self) -> Weak<Line> {
        Arc::downgrade(&self.line)
    }

    /// Returns whether jobs wait for a runner.
    pub(super) fn has_jobs(&self) -> bool {
        !self.line.waiting.is_empty()
    }

    /// Sets the largest number of runners.
    pub(super) fn allow(&self, at_most: usize) {
        self.line.at_most.store(at_most, Ordering::SeqCst);
    }

    /// Puts a job into the line, and adds a runner for it if the line may have one more.
    pub(super) fn put(&self, job: Arc<Job>, threads: &Threads) -> Result<(), Death> {
        let full = |_| self.line.broken("more jobs wait for its handler than there may be");
        self.jobs.try_send(Next::Job(job)).map_err(full)?;
        self.run(threads)
    }

    /// Adds a runner to the line, unless the line has as many as it may have.
    pub(super) fn run(&self, threads: &Threads) -> Result<(), Death> {
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
    pub(super) fn call(&self) {
        if self.line.take_resting() {
            // There is a place for each runner that rests.
            let _ = self.recalls.try_send(Recall::GiveWay);
        } else if self.line.waiting.is_empty() {
            let _ = self.jobs.try_send(Next::GiveWay);
        }
    }
}

impl Line {
    /// Returns the number of runners, without the resting ones.
    pub(super) fn runners(&self) -> usize {
        self.runners.load(Ordering::SeqCst)
    }

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
    pub(super) fn run(&self, duty: &Duty, crowd: &Crowd<Self>) -> Stopped {
        loop {
            while let Some(job) = self.next(crowd) {
                let event = self.handle(&job, duty);
                // The send fails only once the engine has ended: the leases then lapse.
                let _ = self.inbox.send(event);
                // What handlers have left to rayon: no thread looks for it there.
                while rayon::yield_local() == Some(Yield::Executed) {}
                duty.rest();
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
}
