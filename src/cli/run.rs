//! The command `run`: the service, from the configuration to the exit status.
//!
//! It runs on the main thread, which starts the engine and its companions (the log, the admin server, the threads
//! `signal`, `reload`, `systemd`, `timer` and `watch`) and then blocks until the engine has stopped.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, bounded};
use indicatif::{MultiProgress, ProgressBar};
use octoconf::admin::Admin;
use octoconf::dispatch::{QueueStage, QueueStatus, Status};
use octoconf::engine::{Engine, Remote, Report, RunOptions, StartError};
use octoconf::queue::{Queue, QueueError};

use super::args::Run;
use super::failure::{Failure, in_full};
use super::reload::Reloads;
use super::setup::Setup;
use super::signals::{self, Caught};
use super::systemd::{self, Notify};
use super::{logger, progress, report};

/// The interval at which a running engine is shown: on a terminal, and as lines in the log.
const BAR_INTERVAL: Duration = Duration::from_millis(200);
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The interval between attempts to open a queue.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the service until a signal, `--until-empty` or `--for` stops it.
#[expect(clippy::disallowed_methods, reason = "how long it was tried is a part of the report")]
pub fn run(config: &Path, options: &Run, caught: Option<Caught>) -> Result<ExitCode, Failure> {
    // From here on no first signal ends the process, and each is kept until the engine can receive it.
    let caught = caught.map_or_else(signals::catch, Ok).context("cannot take signals over")?;
    let (_open, stops) = caught.stops.clone();
    let setup = Setup::new(config)?;
    if let Some(path) = &options.report {
        report::check(path)?;
    }
    let began = Instant::now();
    let bars = MultiProgress::new();
    let mut report = None;
    let (_log, mut outcome) = match logger::start(&setup.settings.engine.log, &bars).context("cannot start the thread log") {
        Ok(log) => (Some(log), serve(config, options, &setup, &bars, caught, &mut report)),
        Err(error) => (None, Err(error.into())),
    };
    if let Some(path) = &options.report {
        // However the run ended: the report of an earlier run must not pass for this one's.
        let report = report.unwrap_or_else(|| Report::of_nothing(&setup.settings, began.elapsed()));
        if let Err(error) = report::write(path, &report, &stops) {
            match outcome {
                Ok(_) => outcome = Err(error.into()),
                Err(_) => log::error!("{}", in_full(&error)),
            }
        }
    }
    match outcome {
        // Logged like everything else: standard error itself may have no reader.
        Err(Failure::Failed(error)) if log::log_enabled!(log::Level::Error) => {
            log::error!("failed: {}", in_full(&error));
            Ok(ExitCode::from(1))
        }
        Err(Failure::Refused(why)) if log::log_enabled!(log::Level::Error) => {
            log::error!("refused: {why}");
            Ok(ExitCode::from(2))
        }
        outcome => outcome,
    }
}

/// Returns how the run ended. `report` is set if the engine ran and it is known what it did.
fn serve(
    config: &Path,
    options: &Run,
    setup: &Setup,
    bars: &MultiProgress,
    mut caught: Caught,
    report: &mut Option<Report>,
) -> Result<ExitCode, Failure> {
    let notify = Notify::of_environment();
    for warning in &setup.warnings {
        log::warn!("configuration: {warning}");
    }
    let (admin, engine) = match open(setup, &mut caught, options.at_most, &notify)? {
        Opened::Engine(admin, engine) => (admin, engine),
        Opened::Nothing { late } => {
            let Some(why) = late else {
                log::info!("stopped before the queues could be opened");
                return Ok(ExitCode::SUCCESS);
            };
            let error = anyhow::Error::from(why).context("a queue could not be opened within the time given by --for");
            return Err(Failure::Failed(error));
        }
    };
    log::info!(
        "starting: version={} config={} queues={}",
        env!("CARGO_PKG_VERSION"),
        config.display(),
        setup.settings.queues.len()
    );
    caught.spare();
    let running = engine.start(RunOptions { until_empty: options.until_empty, seed: fastrand::u64(..) })?;
    if let Some(admin) = &admin {
        admin.shows(running.remote());
    }
    // Dropped at the end of the run, which ends the threads that wait on its other end.
    let (at_work, end) = bounded::<()>(0);
    let (remote, told) = (running.remote(), notify.clone());
    let reloads = Reloads::start(config.to_owned(), remote, admin, told).context("cannot start the thread reload")?;
    let stopped = caught.pass_to(running.remote(), notify.clone(), reloads).context("cannot start the thread signal")?;
    notify.ready();
    systemd::start(&notify, running.remote(), end.clone())?;
    let has_end = options.until_empty || options.at_most.is_some();
    let watch = watch(running.remote(), bars, has_end, end.clone())?;
    let timer = options.at_most.map(|at_most| stop_after(running.remote(), at_most, end, stopped)).transpose()?;
    let remote = running.remote();
    let ended = running.wait();
    notify.stopping();
    drop(at_work);
    let timed_out = timer.is_some_and(|timer| timer.join().unwrap_or(true));
    if let Some(watch) = watch {
        // If the thread had panicked, the engine would have ended with that as its reason.
        let _ = watch.join();
    }
    let report = match ended {
        Ok(ended) => report.insert(ended),
        Err(died) => {
            *report = remote.last_report();
            return Err(died.into());
        }
    };
    let [received, acked, dead, returned] = totals(&report.status);
    // Logged before the report is written, so that the figures are not lost if writing fails.
    log::info!("stopped: elapsed_s={:.1} received={received} acked={acked} dead={dead} returned={returned}", report.elapsed_s);
    let unreached = unreached(&report.status);
    if timed_out && !unreached.is_empty() {
        log::error!("queues could not be opened within the time that --for gave: queues={}", unreached.join(","));
        return Ok(ExitCode::from(1));
    }
    if options.until_empty && timed_out && !all_empty(&remote.queues())? {
        log::error!("the queues are not empty after the time given by --for");
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// The result of opening the queues.
enum Opened {
    Engine(Option<Admin>, Box<Engine>),
    /// The run ended before all queues were open. `late` is the last error if the time of `--for` ran out, and `None`
    /// if a signal stopped the run.
    Nothing {
        late: Option<QueueError>,
    },
}

/// Starts the admin server and creates the engine.
fn open(setup: &Setup, caught: &mut Caught, at_most: Option<Duration>, notify: &Notify) -> Result<Opened, Failure> {
    // Before anything is received, because a port in use is a reason not to start.
    let admin = Admin::start(&setup.settings.admin)?;
    if let Some(admin) = &admin {
        log::info!("the admin server listens: address={}", admin.address());
    }
    let engine = engine(setup, caught, at_most, notify);
    Ok(
        match engine
            .map_err(|error| if error.is_of_configuration() { Failure::Refused(error.to_string()) } else { error.into() })?
        {
            Ok(engine) => Opened::Engine(admin, engine),
            Err(late) => Opened::Nothing { late },
        },
    )
}

/// Creates the engine. While a store is locked or full this is tried again, until a signal arrives or the time is over:
/// then the result is the last error, or `None` for a signal.
fn engine(
    setup: &Setup,
    caught: &mut Caught,
    at_most: Option<Duration>,
    notify: &Notify,
) -> Result<Result<Box<Engine>, Option<QueueError>>, StartError> {
    let too_late = at_most.map_or_else(crossbeam_channel::never, crossbeam_channel::after);
    let mut said = false;
    loop {
        match Engine::new(&setup.settings, &setup.handlers) {
            Err(StartError::Queue(error)) if error.is_transient() => {
                if !std::mem::replace(&mut said, true) {
                    log::warn!("a queue cannot be opened yet, trying again: reason={:?}", error.to_string());
                }
                // Allows as long as it takes: a restart by systemd would not open the queue any sooner.
                notify.say(&["EXTEND_TIMEOUT_USEC=60000000", &format!("STATUS=waiting for a queue: {error}")]);
                let is_late = too_late.recv_timeout(RETRY_INTERVAL).is_ok();
                let is_stopped = caught.stops();
                if is_late || is_stopped {
                    return Ok(Err((!is_stopped).then_some(error)));
                }
            }
            outcome => return outcome.map(|engine| Ok(Box::new(engine))),
        }
    }
}

/// Returns the names of the queues whose service has answered nothing. Embedded queues were opened before the start.
fn unreached(status: &Status) -> Vec<&str> {
    let asked = |queue: &&QueueStatus| queue.source == "sqs" && queue.state == QueueStage::Serving;
    status.queues.iter().filter(asked).filter(|queue| !queue.reached).map(|queue| queue.name.as_str()).collect()
}

fn all_empty(queues: &[Arc<dyn Queue>]) -> anyhow::Result<bool> {
    for queue in queues {
        if !queue.count()?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Starts a thread that stops the engine after a time, unless the engine ends or a signal has `stopped` it earlier. The
/// thread returns whether it stopped the engine.
fn stop_after(
    remote: Remote,
    at_most: Duration,
    end: Receiver<()>,
    stopped: Arc<AtomicBool>,
) -> anyhow::Result<thread::JoinHandle<bool>> {
    let timer = thread::Builder::new().name("timer".to_owned()).spawn(move || {
        let _guard = remote.guard("timer");
        let timed_out =
            end.recv_timeout(at_most) == Err(crossbeam_channel::RecvTimeoutError::Timeout) && !stopped.load(Ordering::Acquire);
        if timed_out {
            log::info!("stopping: the time given by --for is over");
            remote.drain();
        }
        timed_out
    });
    timer.context("cannot start the thread timer")
}

/// Starts a thread that shows the progress of a running engine: a bar on a terminal; elsewhere lines in the log if the
/// run has an end, and nothing (`None`) if the run is a service.
fn watch(
    remote: Remote,
    bars: &MultiProgress,
    has_end: bool,
    end: Receiver<()>,
) -> anyhow::Result<Option<thread::JoinHandle<()>>> {
    let terminal = std::io::stderr().is_terminal();
    if !terminal && !has_end {
        return Ok(None);
    }
    let glance = if terminal { BAR_INTERVAL } else { LINE_INTERVAL };
    let bar = bars.add(ProgressBar::no_length().with_style(progress::counting("messages settled")));
    let body = move || {
        let _guard = remote.guard("watch");
        while end.recv_timeout(glance) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            let Some(status) = remote.status() else { break };
            let [received, acked, dead, returned] = totals(&status);
            if !terminal {
                let (held, waiting) = (status.in_flight, status.partners.waiting);
                log::info!(
                    "running: received={received} acked={acked} dead={dead} returned={returned} held={held} partners_waiting={waiting}"
                );
            }
            bar.set_position(acked + dead + returned);
            bar.set_message(format!("{} held, {} partners wait, {dead} dead", status.in_flight, status.partners.waiting));
        }
        bar.finish_and_clear();
    };
    Ok(Some(thread::Builder::new().name("watch".to_owned()).spawn(body).context("cannot start the thread watch")?))
}

fn totals(status: &Status) -> [u64; 4] {
    status.queues.iter().map(|queue| &queue.counts).fold([0; 4], |[received, acked, dead, returned], queue| {
        [received + queue.received, acked + queue.acked, dead + queue.dead, returned + queue.returned]
    })
}
