//! The handle with which other threads ask an engine to stop, how it is, and what becomes of one partner. Cheap to clone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded, never};
use parking_lot::Mutex;
use serde::Serialize;

use crate::dispatch::{Action, FoundPartner, Histogram, PartnerReport, Status};
use crate::message::Account;
use crate::queue::Queue;
use crate::sink::Sinks;

use super::duty::{Roster, ThreadReport};
use super::health::{Health, LastReload};
use super::inquiries::{Answered, Inquiry, Operated, PATIENCE};
use super::reload::InForce;
use super::shell::Control;
use super::threads::{DeathGuard, DeathLine};

/// A moment is good for so many times what it cost: asking takes the dispatcher 2% of its time at most, whatever the number of partners.
const WORTH: u32 = 50;

/// Between two searches at most.
const LONGEST_REST: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Remote {
    pub(super) control: Sender<Control>,
    pub(super) health: Health,
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

/// What all remotes of an engine share, so that together they do not ask too much.
pub struct Asked {
    newest: Mutex<Option<Moment>>,
    /// When the next search may begin.
    next_search: Mutex<Instant>,
}

impl Asked {
    pub fn new(started: Instant) -> Self {
        Self { newest: Mutex::default(), next_search: Mutex::new(started) }
    }
}

/// What was told last.
struct Moment {
    at: Instant,
    good_for: Duration,
    snapshot: Arc<Snapshot>,
}

/// A moment of a running engine. The keys are a contract.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    pub version: &'static str,
    pub uptime_s: f64,
    pub last_reload: Option<LastReload>,
    #[serde(flatten)]
    pub status: Status,
    /// How long the dispatcher's turns took.
    #[serde(skip)]
    pub turns: Histogram,
}

/// The engine gives no answer: it has ended, or the dispatcher makes no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the dispatcher gave no answer within {} s: it has ended or hangs; see the log", PATIENCE.as_secs())]
pub struct Silent;

impl Remote {
    /// Stops receiving, delivers what can be delivered within `shutdown_timeout`, returns the rest. The second time: returns
    /// everything that is not on the wire, now. Does not wait.
    pub fn stop(&self) {
        // The engine has ended where nobody listens.
        let _ = self.control.send(Control::Stop { drain: self.shutdown_timeout });
    }

    /// Ends the engine once every queue is empty and everything is settled.
    pub fn finish_when_empty(&self) {
        let _ = self.control.send(Control::FinishWhenEmpty);
    }

    /// Ends the engine with this reason: a thread that belongs to it and is not its own has died.
    pub fn died(&self, why: String) {
        let _ = self.control.send(Control::Died(why));
    }

    /// A moment of the engine; `None` once it has ended. Waits for a few of the dispatcher's turns, at most 2 s.
    pub fn status(&self) -> Option<Status> {
        self.snapshot(Duration::ZERO).ok().map(|snapshot| snapshot.status.clone())
    }

    /// A moment of the engine that is at most so old, or older where the last one was dear: whoever asks more often than that gets the
    /// same again, and the dispatcher hears nothing of it. Waits for at most 2 s.
    #[expect(clippy::disallowed_methods, reason = "how old an answer is shows here alone")]
    pub fn snapshot(&self, at_most: Duration) -> Result<Arc<Snapshot>, Silent> {
        // Who comes meanwhile waits here and finds a new one.
        let mut newest = self.asked.newest.try_lock_for(PATIENCE).ok_or(Silent)?;
        if let Some(moment) = &*newest
            && moment.at.elapsed() < moment.good_for.max(at_most)
        {
            return Ok(Arc::clone(&moment.snapshot));
        }
        let Answered { status, turns, cost } = self.ask(|reply| Inquiry::Status { reply })?;
        let uptime_s = self.started.elapsed().as_secs_f64();
        let last_reload = self.health.last_reload(Instant::now());
        let snapshot = Arc::new(Snapshot { version: env!("CARGO_PKG_VERSION"), uptime_s, last_reload, status, turns });
        *newest = Some(Moment { at: Instant::now(), good_for: cost * WORTH, snapshot: Arc::clone(&snapshot) });
        Ok(snapshot)
    }

    /// The queues in force, and behind them their parkings; also after the end. Never waits.
    pub fn queues(&self) -> Vec<Arc<dyn Queue>> {
        self.in_force.lock().queues.all()
    }

    /// Whether the engine advances. Never waits.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// What each thread is doing: those that do something first, the longest at it first. Never waits.
    pub fn threads(&self, now: Instant) -> Vec<ThreadReport> {
        self.roster.report(now)
    }

    /// For a thread beside the engine that the process cannot do without: the engine ends with a reason when the thread that holds this
    /// panics.
    pub fn guard(&self, name: &str) -> DeathGuard {
        self.deaths.guard(name)
    }

    /// What is known of a partner; `None`: nothing. Waits for a turn, at most 2 s.
    pub fn partner(&self, account: Account) -> Result<Option<PartnerReport>, Silent> {
        self.ask(|reply| Inquiry::Partner { account, reply })
    }

    /// Partners whose account holds this text, whatever its case; 50 at most. Waits for a few turns, and for nine times what the last
    /// search took, so that searches take the dispatcher a tenth of its time at most; 5 s in all.
    #[expect(clippy::disallowed_methods, reason = "how long a search takes shows here alone")]
    pub fn search(&self, text: String) -> Result<Vec<FoundPartner>, Silent> {
        let mut next = self.asked.next_search.try_lock_for(PATIENCE).ok_or(Silent)?;
        let _ = never::<()>().recv_deadline(*next);
        let begin = Instant::now();
        let found = self.ask(|reply| Inquiry::Search { text, reply });
        *next = Instant::now() + (begin.elapsed() * 9).min(LONGEST_REST);
        found
    }

    /// Acts upon a partner; gives it as it is after that. Waits for a turn, at most 2 s.
    pub fn operate(&self, account: Account, action: Action) -> Result<Operated, Silent> {
        self.ask(|reply| Inquiry::Operate { account, action, reply })
    }

    #[expect(clippy::disallowed_methods, reason = "whoever asks waits for so long in all")]
    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Inquiry) -> Result<T, Silent> {
        let (reply, answer) = bounded(1);
        let too_late = Instant::now() + PATIENCE;
        self.control.send_deadline(Control::Ask(question(reply)), too_late).map_err(|_| Silent)?;
        // A question that comes while the engine ends stays in its channel, unanswered.
        answer.recv_deadline(too_late).map_err(|_| Silent)
    }
}
