//! A partner: what it takes, over all its buckets.
//!
//! [`gate`](PartnerGate) says when it may be tried, [`pace`](Pace) how often, [`health`](Health) how much of the delivery threads it may
//! have. [`Partner::access`] is the one answer to whether a flush may start, and if not, when and why: flushing, the drain, status and
//! `why` all ask it.

mod gate;
mod health;
mod pace;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::{Serialize, Serializer};
use smallvec::SmallVec;

use crate::message::Account;

use super::bucket::Bucket;
use super::due::Alarm;
use super::keys::{BucketKey, FlushId};
use super::rules::PartnerRules;

use self::gate::PartnerGate;
use self::pace::Pace;

pub use self::gate::BucketGate;
pub use self::health::{Class, Health, PATIENCE};

#[derive(Debug)]
pub struct Partner {
    pub account: Account,
    pub rules: Arc<PartnerRules>,
    pub buckets: SmallVec<[BucketKey; 1]>,
    /// On the wire, the oldest first.
    pub flights: SmallVec<[FlushId; 1]>,
    pub health: Health,
    /// Culprits in a row, without a success between them.
    pub culprits: u32,
    /// Deliveries of one flush that the partner was found to take.
    pub learned_batch: Option<usize>,
    pub last_error: Option<Box<str>>,
    /// An operator wanted what waited at that moment to leave without lingering.
    pub hurried_at: Option<Instant>,
    pub alarm: Alarm,
    gate: PartnerGate,
    pace: Pace,
}

/// Whether a flush may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Open,
    /// When a flush on the wire has landed.
    Busy,
    /// When an operator resumes it.
    Paused,
    /// Not before then, for this reason.
    At(Instant, Wait),
}

/// What a partner waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The partner asked for it (`Retry-After`).
    Asked,
    /// It failed.
    Backoff,
    /// It failed too often in a row, or its set-up is wrong.
    Breaker,
    /// The endpoint for this queue is set up wrongly.
    Endpoint,
    Rate,
}

/// The state of a partner in a word; the words are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartnerState {
    Healthy,
    BackingOff,
    /// Its breaker is, or that of one of its buckets.
    Open,
    /// It waits for nothing but its rate.
    Limited,
    Paused,
}

impl PartnerState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::BackingOff => "backing_off",
            Self::Open => "open",
            Self::Limited => "limited",
            Self::Paused => "paused",
        }
    }
}

impl fmt::Display for PartnerState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl Serialize for PartnerState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl Partner {
    pub fn new(account: Account, rules: Arc<PartnerRules>) -> Self {
        Self {
            account,
            rules,
            buckets: SmallVec::new(),
            flights: SmallVec::new(),
            health: Health::default(),
            culprits: 0,
            learned_batch: None,
            last_error: None,
            hurried_at: None,
            alarm: Alarm::default(),
            gate: PartnerGate::default(),
            pace: Pace::default(),
        }
    }

    /// Whether a flush may start: of this bucket, or of any where none is named.
    pub fn access(&self, bucket: Option<&Bucket>, now: Instant) -> Access {
        if self.gate.is_paused() {
            return Access::Paused;
        }
        let endpoint = bucket.and_then(|bucket| bucket.gate.wait(now)).map(|at| (at, Wait::Endpoint));
        let gate = self.gate.wait(now, &self.rules).into_iter().chain(endpoint).max_by_key(|(at, _)| *at);
        if let Some((at, wait)) = gate {
            return Access::At(at, wait);
        }
        let is_probed = bucket.is_some_and(|bucket| bucket.gate.is_shut() && bucket.in_flight > 0);
        if is_probed || self.flights.len() >= self.gate.at_once(&self.rules) {
            return Access::Busy;
        }
        self.pace.wait(now, &self.rules).map_or(Access::Open, |at| Access::At(at, Wait::Rate))
    }

    /// Its state as far as this bucket is concerned, or without regard to any.
    pub fn state(&self, bucket: Option<&Bucket>, now: Instant) -> PartnerState {
        let is_shut = bucket.is_some_and(|bucket| bucket.gate.is_shut());
        match (self.access(bucket, now), self.trouble()) {
            (Access::Paused, _) => PartnerState::Paused,
            (_, Some(PartnerState::Open)) => PartnerState::Open,
            _ if is_shut => PartnerState::Open,
            (_, Some(trouble)) => trouble,
            (Access::At(_, Wait::Rate), None) => PartnerState::Limited,
            // The wait that it asked for outlasts the success of an older flush.
            (Access::At(..), None) => PartnerState::BackingOff,
            (Access::Open | Access::Busy, None) => PartnerState::Healthy,
        }
    }

    /// Where failures brought it.
    fn trouble(&self) -> Option<PartnerState> {
        match self.gate.failures() {
            0 => None,
            _ if self.gate.is_open(&self.rules) => Some(PartnerState::Open),
            _ => Some(PartnerState::BackingOff),
        }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.gate.failures()
    }

    pub fn is_paused(&self) -> bool {
        self.gate.is_paused()
    }

    /// When the wait that the partner asked for ends, if it is not over.
    pub fn asked_until(&self, now: Instant) -> Option<Instant> {
        self.gate.asked_until(now)
    }

    /// Until when it must be remembered although it has no bucket. A pause is remembered until it ends: see [`Partner::is_paused`].
    pub fn remembered_until(&self) -> Option<Instant> {
        self.gate.remembered_until(&self.rules).max(self.pace.remembered_until())
    }

    /// Deliveries that one flush may hold.
    pub fn batch_limit(&self) -> usize {
        self.learned_batch.map_or(self.rules.max_batch, |learned| learned.min(self.rules.max_batch))
    }

    /// A larger batch was too large. What was learned is never unlearned by an older batch that lands late.
    pub fn takes_at_most(&mut self, deliveries: usize) {
        self.learned_batch = Some(deliveries.clamp(1, self.batch_limit().max(1)));
    }

    /// A flush goes out.
    pub fn flushes(&mut self, flush: FlushId, now: Instant) {
        self.flights.push(flush);
        self.pace.spend(now, &self.rules);
    }

    /// A flush is off the wire.
    pub fn lands(&mut self, flush: FlushId) {
        self.flights.retain(|other| *other != flush);
    }

    /// A flush was accepted after so long. Gives the failures that this ended.
    pub fn succeeded(&mut self, took: Duration) -> u32 {
        self.culprits = 0;
        self.last_error = None;
        self.health.succeeded(took);
        self.gate.succeeded()
    }

    /// A flush that began at `began` found the partner unavailable. Gives the state, where that brought it there.
    pub fn failed(
        &mut self,
        now: Instant,
        began: Instant,
        retry_after: Option<Duration>,
        error: Box<str>,
        random: &mut Rng,
    ) -> Option<PartnerState> {
        self.refused(error, |gate, rules| gate.failed(now, began, retry_after, rules, random))
    }

    /// The set-up is wrong. Gives the state, where that brought it there.
    pub fn misconfigured(&mut self, now: Instant, began: Instant, error: Box<str>) -> Option<PartnerState> {
        self.refused(error, |gate, rules| gate.misconfigured(now, began, rules))
    }

    fn refused(&mut self, error: Box<str>, change: impl FnOnce(&mut PartnerGate, &PartnerRules)) -> Option<PartnerState> {
        let before = self.trouble();
        change(&mut self.gate, &self.rules);
        self.health.failed();
        self.last_error = Some(error);
        self.trouble().filter(|after| Some(*after) != before)
    }

    /// One of its buckets was refused for good: that bucket's gate is shut, not this partner's.
    pub fn endpoint_refused(&mut self, error: Box<str>) {
        self.health.failed();
        self.last_error = Some(error);
    }

    /// The operator's pause, or its end. Gives whether that changed anything.
    pub fn pause(&mut self, paused: bool) -> bool {
        self.gate.pause(paused)
    }

    /// An operator wants an attempt now: what waits is not to linger, and back-off and breaker wait no longer.
    pub fn hurry(&mut self, now: Instant) {
        self.gate.skip_backoff(now);
        self.hurried_at = Some(now);
    }
}
