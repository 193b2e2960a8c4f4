//! The deliver threads: each hands one batch at a time to its partner and reports the answer; what waits for a sync of the disk is reported
//! by the one that syncs for all. Started when needed, up to a limit.
//!
//! Starting a thread costs tens of microseconds, and a thousand may be needed at once: the thread `deliver-start` does it, so that
//! `dispatch` does not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select, tick};

use crate::dispatch::{Event, FlushId};
use crate::message::Batch;
use crate::sink::{Reply, Sinks};

use super::BUG;
use super::duty::Duty;
use super::pile::{Pile, Popped};
use super::threads::Crew;

/// Enough for a request with TLS; most of it is never touched.
const STACK: usize = 256 * 1024;

/// As many threads are started at once as there are cores, and get this time to take what waits before more are started: partners that
/// answer quickly share a few dozen threads, and where a thousand hang at once there is a thread for each within 300 ms on two cores. A
/// new thread and its connection take some 200 µs of a core: more at once would stand in line for the cores before the threads that serve
/// those who answer, and come back together when their time is out.
const SETTLE: Duration = Duration::from_micros(500);

/// Between tries to start a thread where the system gives none.
const RETRY: Duration = Duration::from_secs(1);

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(60);

/// Between looks for connections that have been idle for long.
const SWEEP: Duration = Duration::from_secs(10);

/// A line that says the same as the last is written at most so often.
const AGAIN: Duration = Duration::from_secs(10);

/// A flush on its way to a thread.
type Flush = (FlushId, Arc<Batch>);

/// The dispatcher's end: it hands over and waits for nothing, not even for a thread to start. Dropped, it ends the threads.
pub struct Deliverers {
    pile: Arc<Pile<Flush>>,
    /// Asks for another thread; full: it was asked for already.
    wake: Sender<()>,
    on_wire: AtomicUsize,
    handed: AtomicU64,
    /// Threads that there are.
    alive: Arc<AtomicUsize>,
    at_most: usize,
}

impl Deliverers {
    /// Starts the thread that starts the others.
    pub fn new(sinks: Arc<Sinks>, at_most: usize, results: Sender<Event>, crew: &Crew) -> io::Result<Self> {
        let pile = Arc::new(Pile::new(at_most));
        let (wake, woken) = bounded(1);
        let (on_wire, handed, alive) = (AtomicUsize::new(0), AtomicU64::new(0), Arc::new(AtomicUsize::new(0)));
        let starter = Starter {
            deliverer: Deliverer { pile: Arc::clone(&pile), results, sinks, over: Arc::default(), alive: Arc::clone(&alive) },
            crew: crew.clone(),
            number: 0,
            complained: None,
            at_most,
            at_once: thread::available_parallelism().map_or(1, usize::from),
            alive: Arc::clone(&alive),
        };
        crew.spawn("deliver-start".to_owned(), None, move |_| starter.run(&woken))?;
        Ok(Self { pile, wake, on_wire, handed, alive, at_most })
    }

    /// Hands a flush over. An error: the dispatcher has more on the wire than there may be, which is a bug.
    pub fn hand_over(&self, now: Instant, flush: FlushId, batch: Arc<Batch>) -> Result<(), String> {
        let on_wire = self.on_wire.fetch_add(1, Ordering::AcqRel) + 1;
        self.handed.fetch_add(1, Ordering::Relaxed);
        if !self.pile.push(now, (flush, batch)) {
            return Err(format!("more flushes on the wire than delivery threads; {BUG}"));
        }
        if on_wire > self.alive.load(Ordering::Acquire) && on_wire <= self.at_most {
            // Full: the starter will look again anyway.
            let _ = self.wake.try_send(());
        }
        Ok(())
    }

    /// Flushes that no thread has taken yet, and how many were taken so far.
    pub fn progress(&self) -> (usize, u64) {
        let waiting = self.pile.len();
        (waiting, self.handed.load(Ordering::Relaxed).saturating_sub(waiting as u64))
    }

    /// To be called for each answer.
    pub fn answered(&self) {
        self.on_wire.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Deliverers {
    fn drop(&mut self) {
        self.pile.close();
    }
}

/// Starts threads while flushes wait for one, and closes connections that nobody uses.
struct Starter {
    deliverer: Deliverer,
    crew: Crew,
    at_most: usize,
    at_once: usize,
    /// Threads that there are.
    alive: Arc<AtomicUsize>,
    /// Of the next thread: no two have one name.
    number: u64,
    /// When it was last said that there can be no more.
    complained: Option<Instant>,
}

impl Starter {
    /// The thread's body: until the engine stops.
    fn run(mut self, woken: &Receiver<()>) {
        let sweep = tick(SWEEP);
        loop {
            select! {
                recv(woken) -> woken => if woken.is_err() { return },
                recv(sweep) -> _ => {
                    self.deliverer.sinks.sweep();
                    self.crew.forget_ended();
                    continue;
                }
            }
            loop {
                let waiting = self.deliverer.pile.unserved();
                let room = self.at_most.saturating_sub(self.alive.load(Ordering::Acquire));
                if waiting.min(room) == 0 {
                    break;
                }
                let pause = match self.start(waiting.min(room).min(self.at_once)) {
                    Ok(()) => SETTLE,
                    Err(error) => {
                        // What waits has the threads that there are. There may be none, and no further flush to ask again.
                        self.complain(&error);
                        RETRY
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
        let now = Instant::now();
        if self.complained.is_none_or(|at| at + AGAIN <= now) {
            self.complained = Some(now);
            let alive = self.alive.load(Ordering::Acquire);
            log::warn!(
                "cannot start more than {alive} delivery threads: {error}; trying again; raise the limits on tasks and on memory"
            );
        }
    }

    fn start(&mut self, threads: usize) -> io::Result<()> {
        for _ in 0..threads {
            let deliverer = self.deliverer.clone();
            // Names have 15 bytes at most.
            let name = format!("deliver-{}", self.number % 10_000_000);
            self.number += 1;
            self.crew.spawn(name, Some(STACK), move |duty| deliverer.run(duty))?;
            self.alive.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// What one deliver thread needs.
#[derive(Clone)]
struct Deliverer {
    pile: Arc<Pile<Flush>>,
    results: Sender<Event>,
    sinks: Arc<Sinks>,
    /// The dispatcher is gone: what it handed over and nobody has begun stays undone.
    over: Arc<AtomicBool>,
    /// Threads that there are.
    alive: Arc<AtomicUsize>,
}

impl Deliverer {
    /// The next flush. `None`: this thread is to end, the engine stops or there was none for long.
    #[expect(clippy::disallowed_methods, reason = "what has waited for long is known where it is taken")]
    fn next(&self) -> Option<Flush> {
        loop {
            match self.pile.pop(Instant::now, IDLE) {
                Popped::One(flush) => return Some(flush),
                Popped::Closed => return None,
                Popped::Nothing => {
                    self.alive.fetch_sub(1, Ordering::AcqRel);
                    // Whoever hands over now either sees one thread less, or is seen here.
                    if self.pile.unserved() == 0 {
                        return None;
                    }
                    self.alive.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    }

    /// The thread's body: until the engine stops.
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
            let sync = self.sinks.begin(&batch, reply);
            drop(batch);
            if let Some(sync) = sync {
                duty.begin("syncs files", "");
                sync.run();
            }
            duty.rest();
            if self.over.load(Ordering::Acquire) {
                return;
            }
        }
    }
}
