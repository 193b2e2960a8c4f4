//! The handle through which other threads stop, query and act upon a running engine. Questions wait for the dispatcher for
//! bounded times only, a reload until it has answered. What only tells it something waits for nothing, unless it was told
//! 64 things before that it has not heard yet. Cheap to clone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, bounded};
use parking_lot::Mutex;
use serde::Serialize;

use crate::dispatch::{Action, FoundPartner, Histogram, PartnerReport, Status};
use crate::message::Account;
use crate::queue::Queue;
use crate::sink::Sinks;

use super::duty::{Roster, ThreadReport};
use super::error::Death;
use super::health::{EngineHealth, LastReload};
use super::inquiries::{ANSWER_TIMEOUT, Answered, Claim, Inquiry, Operated};
use super::reload::InForce;
use super::report::Report;
use super::shell::Control;
use super::threads::{DeathGuard, DeathLine};

/// How many times longer than its cost a snapshot stays valid. Snapshots thus take at most 2% of the dispatcher's time,
/// whatever the number of partners.
const VALIDITY_PER_COST: u32 = 50;

/// The longest pause between two searches.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// A handle to a running engine. While there is one, the engine goes on although [`Running`](super::Running) is dropped. One
/// that is kept beyond the end keeps the files of the queues open.
#[derive(Clone)]
pub struct Remote {
    pub(super) control: Sender<Control>,
    pub(super) ask: Sender<Inquiry>,
    pub(super) health: EngineHealth,
    pub(super) roster: Roster,
    pub(super) deaths: DeathLine,
    pub(super) sinks: Arc<Sinks>,
    pub(super) in_force: Arc<Mutex<InForce>>,
    /// Locked while a reload is under way.
    pub(super) reloading: Arc<Mutex<()>>,
    pub(super) shutdown_timeout: Duration,
    pub(super) started: Instant,
    pub(super) asked: Arc<Asked>,
}

/// What all remotes of an engine share, so that together they do not ask too much of the dispatcher.
pub struct Asked {
    /// The newest snapshot, if there was one.
    pub(super) newest: Mutex<Option<Moment>>,
    /// How often the engine was changed: a snapshot that was asked for before the last change does not show it.
    changes: AtomicU64,
    /// When the next search may begin. Locked while a search is under way.
    next_search: Mutex<Instant>,
    /// Disconnected once the dispatcher has ended.
    pub(super) over: Receiver<()>,
}

impl Asked {
    pub fn new(started: Instant, over: Receiver<()>) -> Self {
        Self { newest: Mutex::default(), changes: AtomicU64::new(0), next_search: Mutex::new(started), over }
    }
}

/// A snapshot with its validity.
pub(super) struct Moment {
    at: Instant,
    good_for: Duration,
    /// How often the engine had been changed when the snapshot was asked for.
    changes: u64,
    snapshot: Arc<Snapshot>,
}

/// The state of a running engine at one moment. The keys are a contract.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// The version of octoconf.
    pub version: &'static str,
    /// The time since the engine's start, in seconds.
    pub uptime_s: f64,
    /// How the last reload went; `None` if there was none.
    pub last_reload: Option<LastReload>,
    /// The dispatcher's state: totals, queues and partners.
    #[serde(flatten)]
    pub status: Status,
    /// How long the dispatcher's turns took.
    #[serde(skip)]
    pub turns: Histogram,
}

/// Why the engine did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Silent {
    /// It has ended. If it died, the log says of what.
    #[error("the engine has ended")]
    Ended,
    /// The dispatcher makes no turns.
    #[error("the dispatcher gave no answer within {} s: it hangs; see the log", ANSWER_TIMEOUT.as_secs())]
    Hangs,
    /// Others are before it: of a search, that the searches that wait and rest before it took too long.
    #[error("too many searches came before this one: its turn did not come within {} s", (ANSWER_TIMEOUT + LONGEST_REST).as_secs())]
    Busy,
}

impl Remote {
    /// Stops receiving, delivers what can be delivered within `shutdown_timeout`, and returns the rest. A second call
    /// returns everything that is not on the wire at once. Does not wait for the end.
    pub fn stop(&self) {
        // An error means that the engine has ended already.
        let _ = self.control.send(Control::Stop { drain: self.shutdown_timeout });
    }

    /// Does the same as the first [`Remote::stop`], and nothing if the engine is stopping already. So
    /// two reasons to stop do not add up to a second call.
    pub fn drain(&self) {
        // An error means that the engine has ended already.
        let _ = self.control.send(Control::Drain { drain: self.shutdown_timeout });
    }

    /// Makes the engine end once every queue is empty and every message is settled. Does not wait for the end.
    pub fn finish_when_empty(&self) {
        let _ = self.control.send(Control::FinishWhenEmpty);
    }

    /// Ends the engine with this reason. For threads that the process needs but the engine did not start.
    pub fn died(&self, why: String) {
        let _ = self.control.send(Control::Died(Death::Reported(why)));
    }

    /// Returns the present state of the engine, or `None` once it has ended or does not answer. Blocks for a few of the
    /// dispatcher's turns, at most 4 s in all.
    pub fn status(&self) -> Option<Status> {
        self.snapshot(Duration::ZERO).ok().map(|snapshot| snapshot.status.clone())
    }

    /// Returns the report of an engine that died: the newest snapshot that somebody asked for, whose state is therefore
    /// not `stopped`. `None` if there is none. Asks nobody, and blocks for at most 2 s.
    pub fn last_report(&self) -> Option<Report> {
        let newest = self.asked.newest.try_lock_for(ANSWER_TIMEOUT)?;
        let last = &newest.as_ref()?.snapshot;
        Some(Report::new(last.status.clone(), last.last_reload.clone(), self.started.elapsed()))
    }

    /// Returns a snapshot of the engine that is at most `at_most` old, or older if the last snapshot was costly. A
    /// caller that asks more often gets the same snapshot again, without a request to the dispatcher. Blocks for at
    /// most 4 s: 2 s for a snapshot that another thread is taking, and 2 s for the dispatcher.
    ///
    /// # Errors
    ///
    /// [`Silent`] if the dispatcher has ended, or does not answer in time.
    #[expect(clippy::disallowed_methods, reason = "how old an answer is shows here alone")]
    pub fn snapshot(&self, at_most: Duration) -> Result<Arc<Snapshot>, Silent> {
        // Callers that come while a snapshot is being taken wait here and find the new one.
        let mut newest = self.asked.newest.try_lock_for(ANSWER_TIMEOUT).ok_or_else(|| self.silent())?;
        let changes = self.asked.changes.load(Ordering::Acquire);
        if let Some(moment) = &*newest
            && moment.changes == changes
            && moment.at.elapsed() < moment.good_for.max(at_most)
        {
            return Ok(Arc::clone(&moment.snapshot));
        }
        let Answered { status, turns, cost } = self.ask(|reply| Inquiry::Status { reply })?;
        let uptime_s = self.started.elapsed().as_secs_f64();
        let last_reload = self.health.last_reload(Instant::now());
        let snapshot = Arc::new(Snapshot { version: env!("CARGO_PKG_VERSION"), uptime_s, last_reload, status, turns });
        *newest =
            Some(Moment { at: Instant::now(), good_for: cost * VALIDITY_PER_COST, changes, snapshot: Arc::clone(&snapshot) });
        Ok(snapshot)
    }

    /// Returns the queues in force, then their parkings, also after the engine has ended. Does not
    /// wait for the dispatcher.
    pub fn queues(&self) -> Vec<Arc<dyn Queue>> {
        self.in_force.lock().queues.all()
    }

    /// Returns the health of the engine. Never waits.
    pub fn health(&self) -> &EngineHealth {
        &self.health
    }

    /// Returns what each thread is doing: busy threads first, the longest busy of them first. Does not
    /// wait for the dispatcher.
    pub fn threads(&self, now: Instant) -> Vec<ThreadReport> {
        self.roster.report(now)
    }

    /// Returns a guard for a thread that the process needs but the engine did not start: if the thread that holds the
    /// guard panics, the engine ends with a reason.
    pub fn guard(&self, name: &str) -> DeathGuard {
        self.deaths.guard(name)
    }

    /// Waits for a turn of the dispatcher, at most 2 s: the sign that it lives, however long a [`Remote::snapshot`] of all
    /// partners takes.
    ///
    /// # Errors
    ///
    /// [`Silent`] if the dispatcher has ended, or makes no turn in time.
    pub fn answers(&self) -> Result<(), Silent> {
        self.ask(|reply| Inquiry::Life { reply })
    }

    /// Returns what is known of a partner, or `None` if nothing is. Blocks for a turn, at most 2 s.
    ///
    /// # Errors
    ///
    /// [`Silent`] if the dispatcher has ended, or does not answer in time.
    pub fn partner(&self, account: Account) -> Result<Option<PartnerReport>, Silent> {
        self.ask(|reply| Inquiry::Partner { account, reply })
    }

    /// Returns at most 50 partners whose account contains this text, ignoring case. Blocks for at most 5 s: for a few
    /// turns, and before that for nine times as long as the last search took (1 s at most), so that short searches take
    /// at most a tenth of the dispatcher's time.
    ///
    /// # Errors
    ///
    /// [`Silent`] if the dispatcher has ended, or does not answer in time, or if too many searches are before this one.
    #[expect(clippy::disallowed_methods, reason = "how long a search takes shows here alone")]
    pub fn search(&self, text: String) -> Result<Vec<FoundPartner>, Silent> {
        let too_late = Instant::now() + ANSWER_TIMEOUT + LONGEST_REST;
        let (mut next, begin) = loop {
            let next = self.asked.next_search.try_lock_until(too_late).ok_or_else(|| self.ended_or(Silent::Busy))?;
            let (now, due) = (Instant::now(), *next);
            if due <= now {
                break (next, now);
            }
            drop(next);
            // Of those that wait here, one is the next to search, and the others rest again after it.
            if due >= too_late || self.asked.over.recv_deadline(due) == Err(RecvTimeoutError::Disconnected) {
                return Err(self.ended_or(Silent::Busy));
            }
        };
        let found = self.ask(|reply| Inquiry::Search { text, reply });
        *next = Instant::now() + (begin.elapsed() * 9).min(LONGEST_REST);
        found
    }

    /// Acts upon a partner. Returns the partner as it is afterwards, or why nothing was done. Blocks
    /// for a turn, at most 2 s, or 4 s if the action has begun by then.
    ///
    /// # Errors
    ///
    /// [`Silent`] if the dispatcher has ended, or does not answer in time. Nothing is done then, not even later, unless the
    /// action had begun: in a turn that takes too long, or in which the engine ends.
    pub fn operate(&self, account: Account, action: Action) -> Result<Operated, Silent> {
        let claim = Claim::default();
        let withdrawn = claim.clone();
        let question = |reply| Inquiry::Operate { account, action, claim, reply };
        let operated = self.ask_unless(question, || withdrawn.take())?;
        self.outdate_snapshot();
        Ok(operated)
    }

    /// Records how a reload ended: well, or refused for this reason. [`Remote::reload`] does so itself; this is for what
    /// does not come so far, such as a file with a problem. Does not wait.
    pub fn reload_ended(&self, now: Instant, refused: Option<&str>) {
        self.health.reloaded(now, refused);
        self.outdate_snapshot();
    }

    /// Has the next caller of [`Remote::snapshot`] get a new one, since the engine was just changed. Does not wait.
    fn outdate_snapshot(&self) {
        self.asked.changes.fetch_add(1, Ordering::Release);
    }

    /// Returns whether the dispatcher has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.asked.over.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Returns why there is no answer.
    fn silent(&self) -> Silent {
        self.ended_or(Silent::Hangs)
    }

    /// Returns that the engine has ended, or if it has not, this reason.
    fn ended_or(&self, why: Silent) -> Silent {
        if self.has_ended() { Silent::Ended } else { why }
    }

    /// Sends a request to the dispatcher and waits for its answer, at most [`ANSWER_TIMEOUT`] in all.
    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Inquiry) -> Result<T, Silent> {
        self.ask_unless(question, || true)
    }

    /// Does the same, and withdraws a request that is not answered in time. One that cannot be withdrawn is being
    /// worked on in the present turn, so its answer is waited for once more.
    #[expect(clippy::disallowed_methods, reason = "whoever asks waits for so long in all")]
    fn ask_unless<T>(&self, question: impl FnOnce(Sender<T>) -> Inquiry, withdraw: impl FnOnce() -> bool) -> Result<T, Silent> {
        let (reply, answer) = bounded(1);
        let too_late = Instant::now() + ANSWER_TIMEOUT;
        self.ask.send_deadline(question(reply), too_late).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => Silent::Hangs,
            SendTimeoutError::Disconnected(_) => Silent::Ended,
        })?;
        let answered = match answer.recv_deadline(too_late) {
            Err(RecvTimeoutError::Timeout) if !withdraw() => answer.recv_timeout(ANSWER_TIMEOUT),
            answered => answered,
        };
        answered.map_err(|error| match error {
            // A request that arrives while the engine ends stays in its channel, unanswered.
            RecvTimeoutError::Timeout => self.silent(),
            RecvTimeoutError::Disconnected => Silent::Ended,
        })
    }
}
