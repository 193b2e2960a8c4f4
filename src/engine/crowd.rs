//! How the lines of all queues share the threads of the pool.
//!
//! Ordinarily the pool has a thread for every runner that there may be. After a reload it may not: a handler that is no
//! longer in force, or that of a queue that retires, keeps a thread for as long as it runs, which may be for ever. Then a
//! runner that waits for a thread gets that of the first runner that is idle or ends a job, whichever queue that serves, so
//! that no queue waits for another's work to run out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The runners of all lines, and which of them wait for a thread.
pub struct Crowd<Line> {
    /// The number of threads.
    threads: usize,
    /// The number of runners: those with a thread, and those that wait for one.
    runners: AtomicUsize,
    at_work: Mutex<AtWork<Line>>,
}

/// The runners that wait, and the threads that take them.
struct AtWork<Line> {
    /// The line of each runner that waits for a thread, in the order in which they get one. Bounded, since the number of
    /// each line's runners is.
    waiting: VecDeque<Arc<Line>>,
    /// The number of threads that serve, or were asked to: at most as many as there are.
    serving: usize,
}

/// Why a runner stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It is not needed any more.
    ForGood,
    /// Others wait for its thread. It goes on once it is its turn again.
    ForOthers,
}

impl<Line> Crowd<Line> {
    pub fn new(threads: usize) -> Self {
        let at_work = AtWork { waiting: VecDeque::new(), serving: 0 };
        Self { threads, runners: AtomicUsize::new(0), at_work: Mutex::new(at_work) }
    }

    /// Adds a runner for this line. Returns whether the caller has to have one more thread call [`Crowd::serve`]. If all
    /// serve already, one of them takes the runner: a further call would wait in the pool's queue, which has no bound, and
    /// a thread that is never without a runner never gets to it.
    #[must_use = "nobody else has a thread serve"]
    pub fn add(&self, line: Arc<Line>) -> bool {
        self.runners.fetch_add(1, Ordering::SeqCst);
        let mut at_work = self.at_work.lock();
        at_work.waiting.push_back(line);
        let needs_one = at_work.serving < self.threads;
        at_work.serving += usize::from(needs_one);
        needs_one
    }

    /// Returns whether there are more runners than threads.
    pub fn is_short(&self) -> bool {
        self.runners.load(Ordering::SeqCst) > self.threads
    }

    /// Runs runners, one after the other, until none waits for a thread.
    pub fn serve(&self, run: impl Fn(&Line) -> Stopped) {
        while let Some(line) = self.next() {
            match run(&line) {
                Stopped::ForGood => _ = self.runners.fetch_sub(1, Ordering::SeqCst),
                Stopped::ForOthers => self.at_work.lock().waiting.push_back(line),
            }
        }
    }

    /// Returns the line of the next runner. If none waits, the calling thread no longer serves.
    fn next(&self) -> Option<Arc<Line>> {
        let mut at_work = self.at_work.lock();
        let line = at_work.waiting.pop_front();
        if line.is_none() {
            at_work.serving -= 1;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::{Receiver, Sender, bounded};

    use super::*;
    use crate::dispatch::tests::{message, tickets};
    use crate::dispatch::{Event, QueueIndex, Ticket, ToHandle};
    use crate::handler::Handler;
    use crate::message::{Message, Outcome};
    use crate::queue::Limits;

    use crate::engine::lane::Lane;
    use crate::engine::pool::Pool;
    use crate::engine::threads::Crew;

    /// Longer than anything here takes, and shorter than a runner is idle before it ends by itself.
    const SOON: Duration = Duration::from_secs(5);

    fn lane(concurrency: usize, handler: Arc<dyn Handler>) -> Lane {
        Lane {
            name: "a".into(),
            source: "memory",
            handler_name: String::new(),
            limits: Limits {
                receive: 10,
                entries: 10,
                fifo: false,
                remote: false,
                price: None,
                letter_requests: 1,
                linger: Duration::ZERO,
            },
            queue: None,
            handler: Some(handler),
            concurrency,
            parking: None,
            parks_for: None,
            retires: false,
        }
    }

    /// A handler that says when it begins with a message, and ends once it is let.
    fn halting() -> (Arc<dyn Handler>, Receiver<()>, Sender<()>) {
        let ((begins, begun), (lets, is_let)) = (bounded(100), bounded::<()>(100));
        let handler = move |_: &Message| {
            begins.send(()).unwrap();
            let _ = is_let.recv();
            Outcome::Discard
        };
        (Arc::new(handler), begun, lets)
    }

    fn quick() -> Arc<dyn Handler> {
        Arc::new(|_: &Message| Outcome::Discard)
    }

    /// A pool with an endless supply of jobs.
    struct Supply {
        pool: Pool,
        events: Receiver<Event>,
        tickets: Vec<Ticket>,
    }

    impl Supply {
        fn new(threads: usize, lanes: &[Lane]) -> Self {
            let (inbox, events) = bounded(1024);
            Self { pool: Pool::new(threads, lanes, &inbox, &Crew::new()).unwrap(), events, tickets: tickets(100) }
        }

        fn start(&mut self, queue: QueueIndex, at_most: usize) {
            let ticket = self.tickets.pop().unwrap();
            self.pool.start(queue, vec![ToHandle { ticket, message: Arc::new(message("m", None)) }], at_most).unwrap();
        }

        /// Waits for the end of a job, and returns its queue.
        fn ended(&self) -> QueueIndex {
            match self.events.recv_timeout(SOON).unwrap() {
                Event::Handled { queue, .. } => queue,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn as_many_threads_are_asked_to_serve_as_there_are() {
        let crowd = Crowd::new(2);
        assert_eq!([1, 2, 3, 4].map(|line| crowd.add(Arc::new(line))), [true, true, false, false]);
        let served = Mutex::new(Vec::new());
        crowd.serve(|line| {
            served.lock().push(*line);
            // A runner that is added while both serve is taken by one of them.
            assert!(*line > 1 || !crowd.add(Arc::new(5)));
            Stopped::ForGood
        });
        assert_eq!(*served.lock(), [1, 2, 3, 4, 5]);
        assert!(crowd.add(Arc::new(6)), "one of them has ended");
        assert!(!crowd.is_short());
    }

    #[test]
    fn runs_of_an_earlier_handler_count_among_those_of_its_queue() {
        let (stuck, stuck_begun, let_stuck) = halting();
        let (mended, begun, lets) = halting();
        let mut supply = Supply::new(3, &[lane(2, stuck), lane(1, quick())]);
        supply.start(0, 2);
        stuck_begun.recv_timeout(SOON).unwrap();
        supply.pool.open(0, &lane(2, mended));
        (0..3).for_each(|_| supply.start(0, 2));
        begun.recv_timeout(SOON).unwrap();
        // The third thread is that of the other queue, and is there at once.
        supply.start(1, 1);
        assert_eq!(supply.ended(), 1);
        assert!(begun.is_empty(), "the queue has two threads, of which the earlier handler has one");
        drop(let_stuck);
        assert_eq!(supply.ended(), 0);
        let is_second = |_| {
            supply.start(0, 2);
            begun.recv_timeout(Duration::from_millis(200)).is_ok()
        };
        assert!((0..10).any(is_second), "a job finds that the thread is free, once its runner has ended");
        drop(lets);
    }

    #[test]
    fn an_idle_runner_gives_its_thread_to_a_queue_that_waits_for_one() {
        let (stuck, stuck_begun, let_stuck) = halting();
        let mut supply = Supply::new(2, &[lane(1, stuck)]);
        supply.start(0, 1);
        stuck_begun.recv_timeout(SOON).unwrap();
        // The queue is renamed, so that the old one retires, and a thread that it had counts as free.
        for queue in [1, 2] {
            supply.pool.open(queue, &lane(1, quick()));
        }
        for queue in [1, 2, 1, 2] {
            supply.start(queue, 1);
            assert_eq!(supply.ended(), queue);
        }
        drop(let_stuck);
    }

    #[test]
    fn a_runner_that_rests_gives_its_thread_to_a_queue_that_waits_for_one() {
        let (busy, begun, lets) = halting();
        let mut supply = Supply::new(2, &[lane(2, busy), lane(2, quick())]);
        (0..2).for_each(|_| supply.start(0, 2));
        (0..2).for_each(|_| begun.recv_timeout(SOON).unwrap());
        // Its handler turned out to be quick, and one thread is enough.
        supply.start(0, 1);
        lets.send(()).unwrap();
        assert_eq!(supply.ended(), 0);
        supply.start(1, 1);
        assert_eq!(supply.ended(), 1);
        drop(lets);
    }

    #[test]
    fn a_busy_runner_gives_its_thread_to_a_queue_that_waits_for_one() {
        let (stuck, stuck_begun, let_stuck) = halting();
        let (busy, begun, lets) = halting();
        let mut supply = Supply::new(2, &[lane(1, stuck)]);
        supply.start(0, 1);
        stuck_begun.recv_timeout(SOON).unwrap();
        supply.pool.open(1, &lane(1, busy));
        supply.pool.open(2, &lane(1, quick()));
        (0..3).for_each(|_| supply.start(1, 1));
        begun.recv_timeout(SOON).unwrap();
        supply.start(2, 1);
        lets.send(()).unwrap();
        assert_eq!([supply.ended(), supply.ended()], [1, 2]);
        // The rest of the busy one follows.
        drop(lets);
        assert_eq!([supply.ended(), supply.ended()], [1, 1]);
        drop(let_stuck);
    }
}
