//! How the lines of all queues share the threads of the pool.
//!
//! Ordinarily the pool has a thread for every runner that there may be. After a reload it may not: a handler that is no
//! longer in force, or that of a queue that retires, keeps a thread for as long as it runs, which may be for ever. Then a
//! runner that waits for a thread gets that of the first runner that is idle or ends a job, whichever queue that serves, so
//! that no queue waits for another's work to run out.
//!
//! Architecture invariant: the threads wait for runners here, never in rayon, and each is a rayon pool by itself. A handler
//! may use rayon, which is then that of its thread. Whoever waits in rayon (for a half of its work, or for a pool of its
//! own) does whatever work it finds in the pool of its thread meanwhile, on the stack of the handler, which cannot end before
//! that does, and holds its locks. So there must be neither runners to find nor what another thread's handler has begun.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

/// The runners of all lines, and which of them wait for a thread.
pub struct Crowd<Line> {
    /// The number of threads.
    threads: usize,
    /// The number of runners: those with a thread, and those that wait for one. Not under the lock, since each runner asks
    /// for it after each job.
    runners: AtomicUsize,
    waiting: Mutex<Waiting<Line>>,
    /// Told of each runner that begins to wait, and of the end.
    changed: Condvar,
}

/// The runners that wait for a thread.
struct Waiting<Line> {
    /// The line of each of them, in the order in which they get one. Bounded, since the number of each line's runners is.
    lines: VecDeque<Arc<Line>>,
    /// Whether no more will come.
    is_over: bool,
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
        let waiting = Waiting { lines: VecDeque::new(), is_over: false };
        Self { threads, runners: AtomicUsize::new(0), waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// Adds a runner for this line. The next thread without a runner takes it.
    pub fn add(&self, line: Arc<Line>) {
        self.runners.fetch_add(1, Ordering::SeqCst);
        self.wait_for_thread(line);
    }

    /// Returns whether there are more runners than threads.
    pub fn is_short(&self) -> bool {
        self.runners.load(Ordering::SeqCst) > self.threads
    }

    /// Runs runners, one after the other, and waits for more, until [`Crowd::end`]. Each thread calls this once.
    pub fn serve(&self, run: impl Fn(&Line) -> Stopped) {
        while let Some(line) = self.next() {
            match run(&line) {
                Stopped::ForGood => _ = self.runners.fetch_sub(1, Ordering::SeqCst),
                Stopped::ForOthers => self.wait_for_thread(line),
            }
        }
    }

    /// Lets the threads end, once no runner waits for one.
    pub fn end(&self) {
        self.waiting.lock().is_over = true;
        self.changed.notify_all();
    }

    fn wait_for_thread(&self, line: Arc<Line>) {
        self.waiting.lock().lines.push_back(line);
        self.changed.notify_one();
    }

    /// Waits for the next runner, and returns its line. `None`: no more will come.
    fn next(&self) -> Option<Arc<Line>> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                return Some(line);
            }
            if waiting.is_over {
                return None;
            }
            self.changed.wait(&mut waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

    use super::*;
    use crate::dispatch::tests::{message, tickets};
    use crate::dispatch::{Event, QueueIndex, Ticket, ToHandle};
    use crate::handler::Handler;
    use crate::message::{Message, Outcome};
    use crate::queue::Limits;

    use crate::engine::duty::Roster;
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
        roster: Roster,
    }

    impl Supply {
        fn new(threads: usize, lanes: &[Lane]) -> Self {
            let ((inbox, events), crew) = (bounded(1024), Crew::new());
            let pool = Pool::new(threads, lanes, &inbox, &crew).unwrap();
            Self { pool, events, tickets: tickets(100), roster: crew.roster().clone() }
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
    fn runners_are_served_in_turn_until_the_end() {
        let crowd = Crowd::new(2);
        (1..=3).for_each(|line| crowd.add(Arc::new((line, AtomicUsize::new(0)))));
        assert!(crowd.is_short());
        let served = Mutex::new(Vec::new());
        crowd.serve(|(line, runs)| {
            served.lock().push(*line);
            match (*line, runs.fetch_add(1, Ordering::SeqCst)) {
                (1, 0) => return Stopped::ForOthers,
                (3, 0) => {
                    // A runner that is added before the end is served.
                    crowd.add(Arc::new((4, AtomicUsize::new(0))));
                    crowd.end();
                }
                _ => {}
            }
            Stopped::ForGood
        });
        assert_eq!(*served.lock(), [1, 2, 3, 1, 4]);
        assert!(!crowd.is_short());
    }

    /// Else the handler would not end before the other queue has had nothing to do for long, and would find the other
    /// queue's handler, or itself, called anew on its own stack.
    #[test]
    fn a_handler_that_uses_rayon_does_not_wait_for_another_queue() {
        let ((begins, begun), (lets, is_let)) = (bounded(1), bounded::<()>(1));
        let (elsewhere, is_elsewhere) = bounded(1);
        let handler = move |_: &Message| {
            let here = || is_elsewhere.recv_timeout(Duration::from_millis(200));
            let there = || (elsewhere.send(()), begins.send(()), is_let.recv());
            let _ = rayon::join(here, there);
            Outcome::Discard
        };
        let mut supply = Supply::new(2, &[lane(1, Arc::new(handler)), lane(1, quick())]);
        supply.start(0, 1);
        begun.recv_timeout(SOON).unwrap();
        supply.start(1, 1);
        assert_eq!(supply.ended(), 1);
        lets.send(()).unwrap();
        assert_eq!(supply.ended(), 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn what_a_handler_leaves_to_rayon_is_done_after_it() {
        let ((does, done), (lets, is_let)) = (bounded(1), bounded::<()>(1));
        let handler = move |_: &Message| {
            let (does, is_let) = (does.clone(), is_let.clone());
            rayon::spawn(move || _ = (does.send(()), is_let.recv()));
            Outcome::Discard
        };
        let mut supply = Supply::new(1, &[lane(1, Arc::new(handler))]);
        supply.start(0, 1);
        assert_eq!(supply.ended(), 0);
        done.recv_timeout(SOON).unwrap();
        assert_eq!(supply.roster.report(Instant::now())[0].doing, Some("handles"), "the thread is not free yet");
        lets.send(()).unwrap();
    }

    /// Else the half would be done on the stack of a handler that waits for something else, and meet the locks that it holds.
    #[test]
    fn a_handler_that_waits_for_a_pool_of_its_own_does_no_work_of_another() {
        let ((begins, begun), (lets, is_let)) = (bounded(1), bounded::<()>(1));
        let (did, done) = bounded(1);
        let own = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let waits = move |_: &Message| {
            let _ = own.install(|| (begins.send(()), is_let.recv()));
            Outcome::Discard
        };
        let splits = move |_: &Message| {
            let (elsewhere, is_elsewhere) = bounded(1);
            let here = || is_elsewhere.recv_timeout(Duration::from_millis(200)).is_ok();
            let (before, there) = rayon::join(here, || (elsewhere.send(()), thread::current().id()).1);
            did.send((before, there == thread::current().id())).unwrap();
            Outcome::Discard
        };
        let mut supply = Supply::new(2, &[lane(1, Arc::new(waits)), lane(1, Arc::new(splits))]);
        supply.start(0, 1);
        begun.recv_timeout(SOON).unwrap();
        supply.start(1, 1);
        assert_eq!(done.recv_timeout(SOON).unwrap(), (false, true));
        assert_eq!(supply.ended(), 1);
        lets.send(()).unwrap();
        assert_eq!(supply.ended(), 0);
    }

    #[test]
    fn what_a_handler_asks_of_all_threads_is_asked_of_its_own() {
        let handler = |_: &Message| Outcome::deliver("acme", format!("{:?}", rayon::broadcast(|thread| thread.index())));
        let mut supply = Supply::new(2, &[lane(1, Arc::new(handler))]);
        supply.start(0, 1);
        assert_eq!(supply.ended(), 0);
    }

    #[test]
    fn what_was_not_begun_at_the_end_of_the_pool_is_not_begun_after_it() {
        let (handler, begun, lets) = halting();
        let mut supply = Supply::new(1, &[lane(1, handler)]);
        (0..2).for_each(|_| supply.start(0, 1));
        begun.recv_timeout(SOON).unwrap();
        drop(supply);
        lets.send(()).unwrap();
        assert_eq!(begun.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected), "the messages are back in their queue");
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
