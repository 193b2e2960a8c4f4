//! The delivery threads: each hands one batch at a time to its partner and reports the answer. A batch that waits for a
//! disk sync is reported by the thread that syncs for all waiting batches. Threads start when needed, up to a limit.
//!
//! Starting a thread costs tens of microseconds, and a thousand may be needed at once. The thread `deliver-start` does
//! it, so that `dispatch` does not have to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select, tick};

use crate::dispatch::{Event, FlushId};
use crate::log_limit::LogLimit;
use crate::message::Batch;
use crate::sink::{Reply, Sink, Sinks};

use super::duty::Duty;
use super::error::Death;
use super::pile::{Pile, Popped};
use super::threads::Crew;

/// Bytes of a delivery thread's stack: enough for a request with TLS. Most of it is never touched.
const STACK: usize = 256 * 1024;

/// How long newly started threads get to take waiting flushes before more are started. As many threads are started at
/// once as there are cores.
///
/// Partners that answer quickly thus share a few dozen threads, and if a thousand partners hang at once, there is a
/// thread for each within 300 ms on two cores. A new thread and its connection take some 200 µs of a core. If more were
/// started at once, they would queue for the cores ahead of the threads that serve the partners that answer, and would
/// all run into their timeouts together.
const START_PAUSE: Duration = Duration::from_micros(500);

/// The pause before the next attempt when the system refuses a thread.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long a thread without work waits before it ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The interval between two sweeps for connections that have been idle for long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// A flush on its way to a delivery thread.
type Flush = (FlushId, Arc<Batch>);

/// The dispatcher's end: it hands flushes over and waits for nothing, not even for a thread to start.
/// Dropping it ends the threads.
pub struct Deliverers {
    pile: Arc<Pile<Flush>>,
    /// Asks for another thread. The channel is full if one was already asked for.
    wake: Sender<()>,
    /// The number of flushes handed over and not yet answered.
    on_wire: AtomicUsize,
    /// The number of flushes handed over since the start.
    handed: AtomicU64,
    /// The number of delivery threads that exist.
    alive: Arc<AtomicUsize>,
    /// The largest number of delivery threads.
    at_most: usize,
}

impl Deliverers {
    /// Starts the thread that starts the others. `at_most` is the largest number of delivery threads.
    pub fn new(sinks: Arc<Sinks>, at_most: usize, results: Sender<Event>, crew: &Crew) -> io::Result<Self> {
        let pile = Arc::new(Pile::new(at_most));
        let (wake, woken) = bounded(1);
        let (on_wire, handed, alive) = (AtomicUsize::new(0), AtomicU64::new(0), Arc::new(AtomicUsize::new(0)));
        let starter = Starter {
            deliverer: Deliverer { pile: Arc::clone(&pile), results, sinks, over: Arc::default(), alive: Arc::clone(&alive) },
            crew: crew.clone(),
            number: 0,
            refusals: LogLimit::default(),
            at_most,
            at_once: thread::available_parallelism().map_or(1, usize::from),
        };
        crew.spawn("deliver-start".to_owned(), None, move |_| starter.run(&woken))?;
        Ok(Self { pile, wake, on_wire, handed, alive, at_most })
    }

    /// Hands a flush to the delivery threads without waiting. An error means that the dispatcher has more flushes on
    /// the wire than there may be threads, which is a bug.
    pub fn hand_over(&self, now: Instant, flush: FlushId, batch: Arc<Batch>) -> Result<(), Death> {
        let on_wire = self.on_wire.fetch_add(1, Ordering::AcqRel) + 1;
        self.handed.fetch_add(1, Ordering::Relaxed);
        if !self.pile.push(now, (flush, batch)) {
            return Err(Death::broken("more flushes on the wire than delivery threads"));
        }
        if on_wire > self.alive.load(Ordering::Acquire) && on_wire <= self.at_most {
            // A full channel means that the starter will look again anyway.
            let _ = self.wake.try_send(());
        }
        Ok(())
    }

    /// Returns how many flushes no thread has taken yet, and how many were taken since the start.
    pub fn progress(&self) -> (usize, u64) {
        let waiting = self.pile.len();
        (waiting, self.handed.load(Ordering::Relaxed).saturating_sub(waiting as u64))
    }

    /// Counts an answer. The caller must call this once for each answer that arrives.
    pub fn answered(&self) {
        self.on_wire.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Deliverers {
    fn drop(&mut self) {
        self.pile.close();
    }
}

/// Starts threads while flushes wait for one, and closes connections that have been idle for long.
struct Starter {
    deliverer: Deliverer,
    crew: Crew,
    at_most: usize,
    at_once: usize,
    /// The number of the next thread. Numbers are not reused, so that no two threads share a name.
    number: u64,
    refusals: LogLimit,
}

impl Starter {
    /// Runs the thread until the engine stops.
    fn run(mut self, woken: &Receiver<()>) {
        let sweep = tick(SWEEP_INTERVAL);
        loop {
            select! {
                recv(woken) -> woken => if woken.is_err() { return },
                recv(sweep) -> _ => {
                    self.deliverer.sinks.sweep();
                    self.crew.forget_ended();
                }
            }
            loop {
                let waiting = self.deliverer.pile.unserved();
                let room = self.at_most.saturating_sub(self.deliverer.alive.load(Ordering::Acquire));
                if waiting.min(room) == 0 {
                    break;
                }
                let pause = match self.start(waiting.min(room).min(self.at_once)) {
                    Ok(()) => START_PAUSE,
                    Err(error) => {
                        // The waiting flushes have only the threads that exist. There may be none, and no further flush
                        // may come to wake this thread, so it tries again by itself.
                        self.complain(&error);
                        RETRY_PAUSE
                    }
                };
                if woken.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "when a line was last written is known where it is")]
    fn complain(&mut self, error: &io::Error) {
        if self.refusals.allows(Instant::now()) {
            let alive = self.deliverer.alive.load(Ordering::Acquire);
            log::warn!(
                "cannot start more than {alive} delivery threads: {error}; trying again; raise the limits on tasks and on memory"
            );
        }
    }

    fn start(&mut self, threads: usize) -> io::Result<()> {
        for _ in 0..threads {
            let deliverer = self.deliverer.clone();
            // The kernel keeps at most 15 bytes of a thread's name.
            let name = format!("deliver-{}", self.number % 10_000_000);
            self.number += 1;
            self.crew.spawn(name, Some(STACK), move |duty| deliverer.run(duty))?;
            self.deliverer.alive.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// What one delivery thread needs.
#[derive(Clone)]
struct Deliverer {
    pile: Arc<Pile<Flush>>,
    results: Sender<Event>,
    sinks: Arc<Sinks>,
    /// Set once the dispatcher is gone: flushes that no thread has begun with stay undone.
    over: Arc<AtomicBool>,
    /// The number of delivery threads that exist.
    alive: Arc<AtomicUsize>,
}

impl Deliverer {
    /// Waits for the next flush. `None` means that this thread has to end: the engine stops, or there
    /// was no flush for [`IDLE_TIMEOUT`].
    #[expect(clippy::disallowed_methods, reason = "what has waited for long is known where it is taken")]
    fn next(&self) -> Option<Flush> {
        loop {
            match self.pile.pop(Instant::now, IDLE_TIMEOUT) {
                Popped::One(flush) => return Some(flush),
                Popped::Closed => return None,
                Popped::Nothing => {
                    self.alive.fetch_sub(1, Ordering::AcqRel);
                    // A concurrent hand-over either sees one thread less, or its flush is seen here.
                    if self.pile.unserved() == 0 {
                        return None;
                    }
                    self.alive.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    }

    /// Runs the thread until the engine stops or the thread has been idle for long.
    fn run(self, duty: &Duty) {
        while let Some((flush, batch)) = self.next() {
            duty.begin("delivers", &batch.account);
            let results = self.results.clone();
            let over = Arc::clone(&self.over);
            let reply = Reply::new(move |answer| {
                if results.send(Event::Answered { flush, answer }).is_err() {
                    over.store(true, Ordering::Release);
                }
            });
            let work = self.sinks.begin(&batch, reply);
            drop(batch);
            if let Some(work) = work {
                duty.begin(work.what, "");
                work.run();
            }
            duty.rest();
            if self.over.load(Ordering::Acquire) {
                return;
            }
        }
    }
}
