//! The deliver threads: each hands one batch at a time to its partner and reports the answer; what waits for a sync of the disk is reported
//! by the one that syncs for all. Started when needed, up to a limit.
//!
//! Starting a thread costs tens of microseconds, and a thousand may be needed at once: the thread `deliver-start` does it, so that
//! `dispatch` does not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::dispatch::{Event, FlushId};
use crate::message::Batch;
use crate::sink::{Reply, Sinks};

use super::duty::Duty;
use super::threads::Crew;

/// Enough for a request with TLS; most of it is never touched.
const STACK: usize = 256 * 1024;

/// Threads started at once, and the time that they get to take what waits before more are started: partners that answer quickly share a
/// few dozen threads, and where a thousand hang at once there is a thread for each within 100 ms.
const AT_ONCE: usize = 32;
const SETTLE: Duration = Duration::from_millis(2);

/// Between tries to start a thread where the system gives none.
const RETRY: Duration = Duration::from_secs(1);

/// A flush on its way to a thread.
type Flush = (FlushId, Arc<Batch>);

/// The dispatcher's end: it hands over and waits for nothing, not even for a thread to start.
pub struct Deliverers {
    work: Sender<Flush>,
    /// Asks for another thread; full: it was asked for already.
    wake: Sender<()>,
    on_wire: AtomicUsize,
    handed: AtomicU64,
    started: Arc<AtomicUsize>,
    at_most: usize,
}

impl Deliverers {
    /// Starts the thread that starts the others.
    pub fn new(sinks: Arc<Sinks>, at_most: usize, results: Sender<Event>, crew: &Crew) -> io::Result<Self> {
        let (work, to_do) = bounded(at_most);
        let (wake, woken) = bounded(1);
        let (on_wire, handed, started) = (AtomicUsize::new(0), AtomicU64::new(0), Arc::new(AtomicUsize::new(0)));
        let starter = Starter {
            deliverer: Deliverer { to_do, results, sinks, over: Arc::default() },
            crew: crew.clone(),
            at_most,
            started: Arc::clone(&started),
        };
        crew.spawn("deliver-start".to_owned(), None, move |_| starter.run(&woken))?;
        Ok(Self { work, wake, on_wire, handed, started, at_most })
    }

    /// Hands a flush over. An error: the dispatcher has more on the wire than there may be, which is a bug.
    pub fn hand_over(&self, flush: FlushId, batch: Arc<Batch>) -> Result<(), String> {
        let on_wire = self.on_wire.fetch_add(1, Ordering::AcqRel) + 1;
        self.handed.fetch_add(1, Ordering::Relaxed);
        self.work.try_send((flush, batch)).map_err(|_| "more flushes on the wire than delivery threads".to_owned())?;
        if on_wire > self.started.load(Ordering::Acquire) && on_wire <= self.at_most {
            // Full: the starter will look again anyway.
            let _ = self.wake.try_send(());
        }
        Ok(())
    }

    /// Flushes that no thread has taken yet, and how many were taken so far.
    pub fn progress(&self) -> (usize, u64) {
        let waiting = self.work.len();
        (waiting, self.handed.load(Ordering::Relaxed).saturating_sub(waiting as u64))
    }

    /// To be called for each answer.
    pub fn answered(&self) {
        self.on_wire.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Starts threads while flushes wait for one.
struct Starter {
    deliverer: Deliverer,
    crew: Crew,
    at_most: usize,
    started: Arc<AtomicUsize>,
}

impl Starter {
    /// The thread's body: until the engine stops.
    fn run(self, woken: &Receiver<()>) {
        while woken.recv() == Ok(()) {
            loop {
                let waiting = self.deliverer.to_do.len();
                let room = self.at_most.saturating_sub(self.started.load(Ordering::Acquire));
                if waiting.min(room) == 0 {
                    break;
                }
                let pause = match self.start(waiting.min(room).min(AT_ONCE)) {
                    Ok(()) => SETTLE,
                    Err(error) => {
                        // What waits has the threads that there are. There may be none, and no further flush to ask again.
                        let started = self.started.load(Ordering::Acquire);
                        log::warn!(
                            "cannot start more than {started} delivery threads: {error}; trying again; raise the limit on tasks"
                        );
                        RETRY
                    }
                };
                if woken.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        }
    }

    fn start(&self, threads: usize) -> io::Result<()> {
        for _ in 0..threads {
            let deliverer = self.deliverer.clone();
            let name = format!("deliver-{}", self.started.load(Ordering::Acquire));
            self.crew.spawn(name, Some(STACK), move |duty| deliverer.run(duty))?;
            self.started.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// What one deliver thread needs.
#[derive(Clone)]
struct Deliverer {
    to_do: Receiver<Flush>,
    results: Sender<Event>,
    sinks: Arc<Sinks>,
    /// The dispatcher is gone: what it handed over and nobody has begun stays undone.
    over: Arc<AtomicBool>,
}

impl Deliverer {
    /// The thread's body: until the engine stops.
    fn run(self, duty: &Duty) {
        for (flush, batch) in &self.to_do {
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
