//! The engine: channels, threads, and the order in which they stop. It joins the pure dispatcher to the
//! queues, handlers and sinks.
//!
//! | thread | does |
//! |---|---|
//! | `poll-QUEUE-N` | receives from one queue as many messages as it has demand for ([`poller`]) |
//! | `handle-NN` | runs handlers, a fixed pool ([`pool`]) |
//! | `dispatch` | owns the dispatcher and runs the main loop's `select!` ([`shell`]) |
//! | `deliver-N` | hands batches to partners ([`deliver`]) |
//! | `deliver-start` | starts the delivery threads ([`deliver`]) |
//! | `ack-QUEUE-N` | deletes, returns, extends and sets aside messages ([`acker`]) |
//! | `park-QUEUE-0` | moves deliveries into the queue's parking and back ([`parker`]) |
//! | `close-QUEUE-0` | closes the files of a queue that a reload removed, then ends |
//! | `facts` | asks one queue's service about the queue when it is opened, then ends ([`lane`]) |
//! | `watchdog` | checks that all of this makes progress ([`health`]) |
//!
//! Architecture invariant: `dispatch` never waits for anything but its own inbox. Whatever it hands over fits into the
//! channel, line or pile in question, since the dispatcher counts what it has handed out; a full one is a bug and ends the
//! process.
//!
//! `lane` is a queue with what its threads need, and `edge` those threads; `threads` starts and joins all of them, `tasks`
//! says how many the system allows. `job` and `pile` are what passes to the pool and to the delivery threads, and `crowd`
//! shares the pool's threads out. `open`, `rules`, `plan`, `reload` and `restart` turn settings into queues and rules, at the
//! start and at a reload. `remote` and `inquiries` serve other threads; `notes`, `describe`, `duty`, `stall`, `cost` and
//! `report` are what operators see; `error` and `fault` say what went wrong.

mod acker;
mod cost;
mod crowd;
mod deliver;
mod describe;
mod duty;
mod edge;
mod error;
mod fault;
mod forgotten;
mod health;
mod inquiries;
mod job;
mod lane;
mod notes;
mod open;
mod parker;
mod pile;
mod plan;
mod poller;
mod pool;
mod reload;
mod remote;
mod report;
mod restart;
mod rules;
mod shell;
mod stall;
mod tasks;
mod threads;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use crate::dispatch::{Dispatcher, Rules, Status};
use crate::handler::registry::Registry;
use crate::queue::Queue;
use crate::settings::{SHORTEST_INTERVAL, Settings, within_reach};
use crate::sink::{self, Sinks};

pub use self::duty::ThreadReport;
pub use self::error::{Death, ReloadError, RunError, StartError};
pub use self::forgotten::{Forgotten, forgotten};
pub use self::health::{EngineHealth, LastReload};
use self::health::{Pulse, Watchdog};
use self::inquiries::Inquiry;
pub use self::inquiries::Operated;
use self::lane::Lane;
pub use self::open::{open_parking, open_queue};
use self::plan::Queues;
pub use self::pool::HANDLER_STACK;
use self::reload::InForce;
use self::remote::Asked;
pub use self::remote::{Remote, Silent, Snapshot};
pub use self::report::Report;
use self::shell::{Control, Requests, Shell, Watched};
use self::tasks::Others;
use self::threads::Crew;
pub use self::threads::DeathGuard;

/// How long the end of the engine waits for its threads once everything is settled. Threads that are not blocked in a
/// call end within this time, and the process must not outlast its `shutdown_timeout` for the others.
const LEFT_BEHIND: Duration = Duration::from_millis(200);

/// A service that is set up and not yet started. Dropping it closes its queues.
///
/// Several engines may run in one process. They may share the file of an `sqlite` queue, and must not share a `parking`: the
/// lock on its file tells only processes apart, so both would deliver the same rows.
pub struct Engine {
    lanes: Vec<Lane>,
    sinks: Arc<Sinks>,
    in_force: InForce,
    rules: Rules,
    handler_threads: usize,
    flush_interval: Duration,
    shutdown_timeout: Duration,
}

/// How an engine is to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Whether the engine ends once every queue is empty and every message is settled.
    pub until_empty: bool,
    /// The seed for jitter. The same seed leads to the same jitter.
    pub seed: u64,
}

impl Engine {
    /// Opens the queues, looks up the handlers and sets up the sinks. The settings are those that [`crate::config`] has
    /// checked; see [`crate::settings`] for what becomes of others.
    ///
    /// Blocks for as long as opening the stores takes, plus at most 5 s for services that are asked about their queues.
    ///
    /// # Errors
    ///
    /// A queue, handler or sink that cannot be set up: see [`StartError`].
    pub fn new(settings: &Settings, registry: &Registry) -> Result<Self, StartError> {
        let mut opened =
            settings.queues.iter().map(|(name, queue)| lane::open(name, queue, registry)).collect::<Result<Vec<_>, _>>()?;
        if let Some((_, error)) = lane::refused(opened.iter().map(|opened| &opened.lane)) {
            return Err(error.into());
        }
        let queues = Queues::at_start(&opened, settings);
        forgotten::tell(&queues);
        let parkings =
            opened.iter_mut().enumerate().filter_map(|(of, opened)| Some(opened.parking.as_mut()?.rules(of))).collect();
        let (lanes, parking_lanes): (Vec<_>, Vec<_>) = opened.into_iter().map(|opened| (opened.lane, opened.parking)).unzip();
        let limits = sink::Limits::of(settings.engine.delivery_threads);
        let rules = Rules { parkings, ..rules::rules(settings, &lanes) };
        let lanes: Vec<_> = lanes.into_iter().chain(parking_lanes.into_iter().flatten().map(|parking| parking.lane)).collect();
        let others = Others::of(settings.engine.handler_threads, lanes.iter(), &rules.queues);
        let delivery_threads = tasks::delivery_threads(limits.delivery_threads, others);
        let (rules, limits) = (Rules { delivery_threads, ..rules }, sink::Limits { delivery_threads, ..limits });
        let sinks = Sinks::new(&settings.partners, limits, env!("CARGO_PKG_VERSION")).map_err(StartError::Sinks)?;
        sinks.reserve(settings);
        Ok(Self {
            rules,
            lanes,
            sinks: Arc::new(sinks),
            in_force: InForce { settings: settings.clone(), queues },
            handler_threads: settings.engine.handler_threads,
            flush_interval: within_reach(settings.engine.flush_interval).max(SHORTEST_INTERVAL),
            shutdown_timeout: within_reach(settings.engine.shutdown_timeout),
        })
    }

    /// Returns the queue of this name, or `None` if there is none. A caller can send to a queue in memory this way.
    pub fn queue(&self, name: &str) -> Option<Arc<dyn Queue>> {
        self.lanes.iter().find(|lane| &*lane.name == name).and_then(|lane| lane.queue.clone())
    }

    /// Starts the threads without which nothing moves. Further pollers,
    /// delivery threads and ackers start later, when they are needed.
    ///
    /// # Errors
    ///
    /// [`StartError::Thread`] if the system refuses a thread.
    #[expect(clippy::disallowed_methods, reason = "the engine's start is an edge: from here on time is passed in")]
    pub fn start(mut self, options: RunOptions) -> Result<Running, StartError> {
        self.rules.until_empty = options.until_empty;
        self.rules.seed = options.seed;
        let started = Instant::now();
        let (control, controls) = bounded(64);
        let (ask, questions) = bounded(64);
        let (ended, end) = bounded(1);
        let crew = Crew::new();
        let threads = shell::Threads { handlers: self.handler_threads, deliverers: self.rules.delivery_threads };
        let dispatcher = Dispatcher::new(self.rules, started);
        let (pulse, health) = (Arc::new(Pulse::default()), EngineHealth::default());
        let watched = Watched { pulse: Arc::clone(&pulse), health: health.clone(), since: started };
        let shell = Shell::new(dispatcher, self.lanes, Arc::clone(&self.sinks), threads, crew.clone(), watched)?;
        let (interval, grace) = (self.flush_interval, self.shutdown_timeout);
        let (at_work, over) = bounded(0);
        let watchdog = Watchdog { pulse, health: health.clone(), roster: crew.roster().clone() };
        let asked = Arc::new(Asked::new(started, over.clone()));
        crew.spawn("watchdog".to_owned(), None, move |_| watchdog.run(&over))
            .map_err(|why| StartError::Thread { name: "watchdog".into(), why: why.to_string() })?;
        crew.spawn("dispatch".to_owned(), None, move |duty| {
            // Dropped together with the dispatcher, which ends the watchdog and those that wait to search too.
            let _at_work: Sender<()> = at_work;
            let result = shell.run(Requests { controls, questions }, interval, duty);
            // The receiver may be gone: a caller that does not wait does not need the result.
            let _ = ended.send(result);
        })
        .map_err(|why| StartError::Thread { name: "dispatch".into(), why: why.to_string() })?;
        let in_force = Arc::new(Mutex::new(self.in_force));
        Ok(Running {
            control,
            ask,
            end,
            crew,
            health,
            sinks: self.sinks,
            in_force,
            reloading: Arc::default(),
            asked,
            started,
            shutdown_timeout: grace,
        })
    }
}

/// A running engine. If it is dropped and no [`Remote`] is left, the engine stops without a drain: what is on the wire
/// ends, everything else is returned. Nobody waits for that then, so a program calls [`Running::wait`] before it ends.
#[must_use = "the engine stops when this is dropped"]
pub struct Running {
    control: Sender<Control>,
    ask: Sender<Inquiry>,
    end: Receiver<Result<Status, Death>>,
    crew: Crew,
    health: EngineHealth,
    sinks: Arc<Sinks>,
    in_force: Arc<Mutex<InForce>>,
    reloading: Arc<Mutex<()>>,
    asked: Arc<Asked>,
    started: Instant,
    shutdown_timeout: Duration,
}

impl Running {
    /// Returns a handle through which other threads control and query the engine.
    pub fn remote(&self) -> Remote {
        Remote {
            control: self.control.clone(),
            ask: self.ask.clone(),
            health: self.health.clone(),
            roster: self.crew.roster().clone(),
            deaths: self.crew.death_line(),
            sinks: Arc::clone(&self.sinks),
            in_force: Arc::clone(&self.in_force),
            reloading: Arc::clone(&self.reloading),
            shutdown_timeout: self.shutdown_timeout,
            started: self.started,
            asked: Arc::clone(&self.asked),
        }
    }

    /// Blocks until the engine ends, by `until_empty` or after [`Remote::stop`]. Threads that are still blocked in
    /// a call are left behind.
    ///
    /// # Errors
    ///
    /// [`RunError::Died`] if a thread panicked or an invariant broke.
    pub fn wait(self) -> Result<Report, RunError> {
        // Deaths are received here too, because a dispatcher that hangs does not receive them.
        let end = select! {
            recv(self.end) -> end => end.map_err(|_| None),
            recv(self.crew.deaths()) -> death => Err(death.ok()),
        };
        if let Err(Some(death)) = &end {
            // Only one receives the report. The dispatcher must hear of it too, or it goes on for as long as somebody
            // keeps a handle.
            self.crew.death_line().pass_on(death.clone());
        }
        let end = match end {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(why)) | Err(Some(why)) => Err(RunError::Died(why)),
            Err(None) => Err(RunError::Died(self.crew.first_death().unwrap_or_else(|| Death::panicked("dispatch")))),
        };
        drop(self.control);
        self.crew.join(LEFT_BEHIND);
        let elapsed = self.started.elapsed();
        Ok(Report::new(end?, self.health.last_reload(self.started + elapsed), elapsed))
    }
}

#[cfg(test)]
mod tests;
