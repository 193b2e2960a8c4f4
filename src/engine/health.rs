//! Whether the engine makes progress: the dispatcher's pulse, the watchdog's judgement of it, and what is
//! logged when nothing moves.
//!
//! The thread `watchdog` looks once a second. A stall turns [`EngineHealth`] red and is logged with what each thread is
//! doing; health turns green again once the work moves. The watchdog never ends the process. That is left to systemd,
//! which gets no more watchdog notifications while health is red.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use serde::Serialize;

use crate::dispatch::{Medium, Operation, Progress, WorkKind};

use super::deliver::Deliverers;
use super::describe::log_threads;
use super::duty::Roster;
use super::lane::Lane;
use super::stall::{Gauge, Stall, Watch};

/// The interval between two looks of the watchdog, and between two progress reports of the dispatcher.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The health of an engine, shared by all who ask. The watchdog writes the stalls, the dispatcher the failing queues.
/// Cheap to clone; locked only for moments.
#[derive(Debug, Clone, Default)]
pub struct EngineHealth {
    stalls: Arc<Mutex<Vec<Stall>>>,
    /// Why calls to a queue fail, by queue and kind of call.
    troubles: Arc<Mutex<BTreeMap<(String, Operation), String>>>,
    /// How the last reload ended; `None` if there was none.
    last_reload: Arc<Mutex<Option<Ended>>>,
}

/// When a reload ended, and why it was refused, if it was.
#[derive(Debug)]
struct Ended {
    at: Instant,
    refused: Option<String>,
}

/// How the last reload went. The keys are a contract.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastReload {
    /// Whether the reload is in force. If it is not, everything is as it was before.
    pub ok: bool,
    /// How long ago the reload ended, in seconds.
    pub seconds_ago: f64,
    /// Why the reload was refused; `None` if it is in force.
    pub reason: Option<String>,
}

impl EngineHealth {
    /// Returns whether nothing has stalled: all due work was started within a minute, or the longer time
    /// that its kind may take.
    pub fn is_well(&self) -> bool {
        self.stalls.lock().is_empty()
    }

    /// Returns what has stalled, in words; empty while all is well.
    pub fn stalls(&self) -> Vec<String> {
        let stalls = self.stalls.lock();
        stalls.iter().map(|stall| format!("{}: {} due, none for {} s", stall.what, stall.due, stall.lasts.as_secs())).collect()
    }

    /// Returns the queues that fail now, by name, each with the failing call and the reason. A failing queue is no
    /// stall: its calls are tried again.
    pub fn troubles(&self) -> Vec<(String, String)> {
        let troubles = self.troubles.lock();
        troubles.iter().map(|((queue, doing), reason)| (queue.clone(), format!("{doing}: {reason}"))).collect()
    }

    /// Returns why the last reload was refused, or `None` if it was not. After a refusal, the configuration in force
    /// is older than the file.
    pub fn refused_reload(&self) -> Option<String> {
        self.last_reload.lock().as_ref()?.refused.clone()
    }

    /// Returns how the last reload went, or `None` if there was none.
    pub fn last_reload(&self, now: Instant) -> Option<LastReload> {
        let last = self.last_reload.lock();
        last.as_ref().map(|Ended { at, refused }| LastReload {
            ok: refused.is_none(),
            seconds_ago: now.saturating_duration_since(*at).as_secs_f64(),
            reason: refused.clone(),
        })
    }

    /// Records the end of a reload, with the reason if it was refused.
    pub(super) fn reloaded(&self, now: Instant, refused: Option<&str>) {
        *self.last_reload.lock() = Some(Ended { at: now, refused: refused.map(str::to_owned) });
    }

    /// Forgets the failures of a queue.
    pub(super) fn forget(&self, queue: &str) {
        self.troubles.lock().retain(|(of, _), _| of != queue);
    }

    /// Records that a kind of call to the queue fails, or with `None` that it works again.
    pub(super) fn trouble(&self, queue: &str, doing: Operation, reason: Option<&str>) {
        let key = (queue.to_owned(), doing);
        let mut troubles = self.troubles.lock();
        match reason {
            Some(reason) => troubles.insert(key, reason.to_owned()),
            None => troubles.remove(&key),
        };
    }
}

/// What the dispatcher reports about its own progress.
#[derive(Default)]
pub struct Pulse {
    turns: AtomicU64,
    gauges: Mutex<Vec<Gauge>>,
}

impl Pulse {
    /// Counts a turn that has ended.
    pub fn beat(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Publishes how far each kind of work is. The dispatcher calls this every [`LOOK_INTERVAL`].
    pub fn tell(&self, progress: Vec<Progress>, lanes: &[Lane], deliverers: &Deliverers) {
        let mut gauges: Vec<Gauge> = progress
            .into_iter()
            .map(|progress| Gauge {
                what: name(&progress, lanes),
                due: progress.due,
                done: progress.done,
                patience: progress.patience,
            })
            .collect();
        let (due, done) = deliverers.progress();
        let what = "flushes handed to the delivery threads".to_owned();
        gauges.push(Gauge { what, due, done, patience: Duration::ZERO });
        *self.gauges.lock() = gauges;
    }

    /// Returns all kinds of work, the dispatcher's turns included. A turn is always due, since the
    /// ticker causes them steadily.
    fn gauges(&self) -> Vec<Gauge> {
        let mut gauges = self.gauges.lock().clone();
        let (what, done) = ("turns of the dispatcher".to_owned(), self.turns.load(Ordering::Relaxed));
        gauges.push(Gauge { what, due: 1, done, patience: Duration::ZERO });
        gauges
    }
}

fn name(progress: &Progress, lanes: &[Lane]) -> String {
    let queue = progress.queue.and_then(|queue| lanes.get(queue)).map_or_else(|| "?".to_owned(), Lane::label);
    match progress.kind {
        WorkKind::Receive => format!("receives of queue {queue}"),
        WorkKind::Handle => format!("handlers of queue {queue}"),
        WorkKind::Call => format!("acks of queue {queue}"),
        WorkKind::Deliver(Medium::Disk) => "deliveries to files".to_owned(),
        WorkKind::Deliver(Medium::Pipe) => "deliveries to standard output".to_owned(),
        WorkKind::Deliver(_) => "deliveries to partners".to_owned(),
    }
}

/// The state of the thread `watchdog`.
pub struct Watchdog {
    pub pulse: Arc<Pulse>,
    pub health: EngineHealth,
    pub roster: Roster,
}

impl Watchdog {
    /// Runs the thread until the dispatcher has ended, which drops the other end of the channel.
    #[expect(clippy::disallowed_methods, reason = "it watches the clock: once a second")]
    pub fn run(self, end: &Receiver<()>) {
        let mut watch = Watch::new(Instant::now());
        while end.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let now = Instant::now();
            self.judge(now, watch.look(now, &self.pulse.gauges()));
        }
    }

    /// Publishes the stalls found, and logs each beginning and end of a stall once.
    fn judge(&self, now: Instant, stalls: Vec<Stall>) {
        let before = std::mem::replace(&mut *self.health.stalls.lock(), stalls.clone());
        let in_both = |stall: &&Stall, others: &[Stall]| others.iter().any(|other| other.what == stall.what);
        for stall in before.iter().filter(|stall| !in_both(stall, &stalls)) {
            log::info!("it moves again: work={:?}", stall.what);
        }
        let mut is_new = false;
        for Stall { what, due, lasts } in stalls.iter().filter(|stall| !in_both(stall, &before)) {
            log::error!("stalled: work={what:?} due={due} for_s={}; health is red until it moves", lasts.as_secs());
            is_new = true;
        }
        if is_new {
            log_threads(&self.roster.report(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::dispatch::Dispatcher;
    use crate::engine::Engine;
    use crate::engine::shell::{Control, Requests, Shell, Threads, Watched};
    use crate::engine::threads::Crew;

    #[test]
    fn health_is_red_while_something_has_stalled() {
        let (pulse, health, roster) = (Arc::default(), EngineHealth::default(), Roster::default());
        let watchdog = Watchdog { pulse, health: health.clone(), roster };
        let stall = Stall { what: "acks of queue a".into(), due: 3, lasts: Duration::from_secs(61) };
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Instant::now();
        assert!(health.is_well());
        watchdog.judge(now, vec![stall]);
        assert_eq!((health.is_well(), health.stalls()), (false, vec!["acks of queue a: 3 due, none for 61 s".to_owned()]));
        watchdog.judge(now, Vec::new());
        assert!(health.is_well());
    }

    #[test]
    fn a_queue_that_fails_is_named_until_it_is_well() {
        let health = EngineHealth::default();
        health.trouble("invoice", Operation::Receive, Some("it does not exist"));
        assert_eq!(health.troubles(), [("invoice".to_owned(), "receive: it does not exist".to_owned())]);
        assert!(health.is_well(), "that is waited for, and no stall");
        health.trouble("invoice", Operation::Receive, None);
        assert!(health.troubles().is_empty());
    }

    #[test]
    fn a_dispatcher_shows_its_turns_and_how_far_all_work_is() {
        let (settings, registry) = super::super::tests::settings("");
        let Engine { lanes, sinks, rules, .. } = Engine::new(&settings, &registry).unwrap();
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Instant::now();
        let (pulse, crew) = (Arc::new(Pulse::default()), Crew::new());
        let watched = Watched { pulse: Arc::clone(&pulse), health: EngineHealth::default(), since: now };
        let threads = Threads { handlers: 1, deliverers: 1 };
        let shell = Shell::new(Dispatcher::new(rules, now), lanes, sinks, threads, crew.clone(), watched).unwrap();
        let (control, controls) = bounded(1);
        let (_ask, questions) = bounded(1);
        control.send(Control::Stop { drain: Duration::ZERO }).unwrap();
        shell.run(Requests { controls, questions }, LOOK_INTERVAL, &crew.roster().enlist("dispatch")).unwrap();
        let gauges = pulse.gauges();
        let done = |what: &str| gauges.iter().find(|gauge| gauge.what == what).map(|gauge| gauge.done);
        assert!(done("turns of the dispatcher").is_some_and(|turns| turns > 0));
        for what in ["receives of queue invoice", "acks of queue invoice", "flushes handed to the delivery threads"] {
            assert!(done(what).is_some(), "{what} is not among {gauges:?}");
        }
    }

    #[test]
    fn a_dispatcher_without_turns_stalls() {
        let pulse = Pulse::default();
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let mut now = Instant::now();
        let mut watch = Watch::new(now);
        let mut look = |turn: bool| {
            if turn {
                pulse.turns.fetch_add(1, Ordering::Relaxed);
            }
            now += LOOK_INTERVAL;
            watch.look(now, &pulse.gauges()).into_iter().map(|stall| stall.what).collect::<Vec<_>>()
        };
        assert!((0..300).all(|_| look(true).is_empty()));
        assert!((0..59).all(|_| look(false).is_empty()));
        assert_eq!(look(false), ["turns of the dispatcher"]);
        assert!(look(true).is_empty());
    }
}
