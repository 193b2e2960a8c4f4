//! A partner: how much it takes, summed over all its buckets.
//!
//! [`gate`](PartnerGate) decides when a partner may be tried, [`pace`](Pace) how often, [`health`](super::health) how
//! many of the delivery threads it may use, and [`share`](Drain) how much of the room. [`buckets`](Buckets) tells which
//! of its buckets hold something. [`Partner::obstacle`] is the one answer to whether gates, rate and `parallel` let a flush
//! start, and if not, when and why.

mod batch_size;
mod buckets;
mod gate;
mod pace;
mod share;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::{Serialize, Serializer};
use smallvec::SmallVec;

use crate::message::Account;

use super::bucket::{Bounds, Bucket};
use super::due::Alarm;
use super::health::{Class, Health};
use super::keys::FlushId;
use super::obstacle::{Obstacle, Wait};
use super::rules::PartnerRules;
use super::standing::Standing;

use self::batch_size::BatchSize;
use self::buckets::Buckets;
use self::gate::PartnerGate;
use self::pace::Pace;

pub use self::share::{Drain, LEAST};

/// The state of one partner. It outlives the partner's buckets for as long as it must be remembered.
#[derive(Debug)]
pub struct Partner {
    /// The partner's account.
    pub account: Account,
    /// The partner's settings. A reload replaces them.
    pub rules: Arc<PartnerRules>,
    /// The partner's buckets.
    pub buckets: Buckets,
    /// The flushes on the wire, the oldest first.
    pub flights: SmallVec<[FlushId; 1]>,
    /// The number of deliveries on the wire.
    pub on_wire: usize,
    /// Whether the partner may use delivery threads freely.
    pub health: Health,
    /// The rate at which the partner takes deliveries.
    pub drain: Drain,
    /// The partner's rank among the partners that hold more than their share.
    pub standing: Standing,
    /// Whether the standing is to be determined again, when room is next made.
    pub touched: bool,
    /// The number of messages returned to the queue because of this partner that are still
    /// hidden and could be shown again.
    pub hidden: usize,
    /// When the next of the hidden messages may be shown, at the earliest.
    pub shows_at: Option<Instant>,
    /// The number of culprits (deliveries at fault) in a row, without an accepted flush between them.
    pub culprits: u32,
    /// How many deliveries in one flush the partner accepts, as far as is known.
    pub batch_size: BatchSize,
    /// The partner's last error; `None` once a flush is accepted. [`Partner::error`] is what is shown of it.
    pub last_error: Option<Box<str>>,
    /// When an operator last asked for a flush: deliveries that waited at that moment leave without lingering.
    pub hurried_at: Option<Instant>,
    /// The timer that looks at the partner again.
    pub alarm: Alarm,
    /// The partner's index in the list of all partners.
    pub place: usize,
    gate: PartnerGate,
    pace: Pace,
}

/// The state of a partner in one word. The words are part of the contract with users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartnerState {
    /// The partner has no failures in a row and waits for nothing: it may be tried.
    Healthy,
    /// The partner waits after failures, or because it asked for a wait.
    BackingOff,
    /// The partner's breaker is open, or the gate of one of its buckets is shut.
    Open,
    /// The partner waits for nothing but its rate limit.
    Limited,
    /// An operator has paused the partner.
    Paused,
}

impl PartnerState {
    /// Returns the state's name in metrics, JSON and logs.
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
            buckets: Buckets::default(),
            flights: SmallVec::new(),
            on_wire: 0,
            health: Health::default(),
            drain: Drain::default(),
            standing: Standing::default(),
            touched: false,
            hidden: 0,
            shows_at: None,
            culprits: 0,
            batch_size: BatchSize::default(),
            last_error: None,
            hurried_at: None,
            alarm: Alarm::default(),
            place: 0,
            gate: PartnerGate::default(),
            pace: Pace::default(),
        }
    }

    /// Returns what keeps the partner from taking a flush of this bucket now; without a bucket, of any.
    pub fn obstacle(&self, bucket: Option<&Bucket>, now: Instant) -> Option<Obstacle> {
        if self.gate.is_paused() {
            return Some(Obstacle::Paused);
        }
        let endpoint = bucket.and_then(|bucket| bucket.gate.wait(now)).map(|at| (at, Wait::Endpoint));
        let rest = bucket.and_then(|bucket| bucket.gate.rest(now)).map(|at| (at, Wait::Backoff));
        let waits = [self.gate.wait(now, &self.rules), endpoint, rest];
        // Of two that end together the first says more.
        let gate = waits.into_iter().rev().flatten().max_by_key(|(at, _)| *at);
        if let Some((at, wait)) = gate {
            return Some(Obstacle::Until(at, wait));
        }
        if bucket.is_some_and(|bucket| bucket.gate.is_shut() && bucket.in_flight > 0) {
            return Some(Obstacle::Probe);
        }
        if self.flights.len() >= self.gate.at_once(&self.rules) {
            return Some(if self.failures() > 0 { Obstacle::Probe } else { Obstacle::Parallel });
        }
        self.pace.wait(now, &self.rules).map(|at| Obstacle::Until(at, Wait::Rate))
    }

    /// Replaces the partner's rules.
    pub fn set_rules(&mut self, rules: Arc<PartnerRules>, now: Instant) {
        self.pace.obey(now, &rules);
        self.rules = rules;
    }

    /// Returns the partner's state as far as this bucket is concerned; without a bucket, its state regardless of any.
    pub fn state(&self, bucket: Option<&Bucket>, now: Instant) -> PartnerState {
        let is_shut = bucket.is_some_and(|bucket| bucket.gate.is_shut());
        match (self.obstacle(bucket, now), self.trouble()) {
            (Some(Obstacle::Paused), _) => PartnerState::Paused,
            (_, Some(PartnerState::Open)) => PartnerState::Open,
            _ if is_shut => PartnerState::Open,
            (_, Some(trouble)) => trouble,
            (Some(Obstacle::Until(_, Wait::Rate)), None) => PartnerState::Limited,
            // The wait that the partner asked for outlasts the success of an older flush, and the rest of a bucket that of
            // another bucket.
            (Some(Obstacle::Until(_, Wait::Asked | Wait::Backoff | Wait::Breaker | Wait::Endpoint)), None) => {
                PartnerState::BackingOff
            }
            (Some(Obstacle::Parallel | Obstacle::Probe | Obstacle::InOrder | Obstacle::Lease | Obstacle::Thread), None)
            | (Some(Obstacle::Turn { .. } | Obstacle::Until(_, Wait::Linger)) | None, None) => PartnerState::Healthy,
        }
    }

    /// Returns the state that failures have led to; `None` without failures.
    fn trouble(&self) -> Option<PartnerState> {
        match self.gate.failures() {
            0 => None,
            _ if self.gate.breaker_is_open(&self.rules) => Some(PartnerState::Open),
            _ => Some(PartnerState::BackingOff),
        }
    }

    /// Returns the number of failures in a row.
    pub fn failures(&self) -> u32 {
        self.gate.failures()
    }

    /// Returns whether the breaker is open, the phase of its single probe included.
    pub fn breaker_is_open(&self) -> bool {
        self.gate.breaker_is_open(&self.rules)
    }

    /// Returns whether a delivery behind a front that may be at fault is tried in place of it: while the breaker is open.
    /// Of several buckets each one's accepted flushes close it, however often the front of another is refused.
    pub fn tries_what_is_behind(&self) -> bool {
        self.breaker_is_open() || self.buckets.are_several()
    }

    /// Returns the partner's last error while it fails, or for as long as it asked for a pause with it.
    pub fn error(&self, now: Instant) -> Option<&str> {
        self.last_error.as_deref().filter(|_| self.failures() > 0 || self.asked_until(now).is_some())
    }

    /// Returns the error because of which this bucket waits; `None` if there is none.
    pub fn error_at<'a>(&'a self, bucket: &'a Bucket, now: Instant) -> Option<&'a str> {
        bucket.gate.error().or(self.error(now))
    }

    /// Returns the number of failures in a row of the partner, or of this bucket of it if those are more.
    pub fn failures_at(&self, bucket: &Bucket) -> u32 {
        self.failures().max(bucket.gate.failures())
    }

    pub fn is_paused(&self) -> bool {
        self.gate.is_paused()
    }

    /// Returns whether the partner takes nothing now: it is slow or failing, or an operator paused it.
    pub fn is_away(&self) -> bool {
        self.health.class() == Class::SlowOrFailing || self.gate.is_paused()
    }

    /// Returns whether the endpoint of this bucket refuses or fails, although the partner is not away: what waits there is
    /// apart from what the partner takes.
    pub fn fails_only_at(&self, bucket: &Bucket) -> bool {
        bucket.gate.fails() && !self.is_away()
    }

    /// Returns when the wait that the partner asked for ends; `None` if there is none left.
    pub fn asked_until(&self, now: Instant) -> Option<Instant> {
        self.gate.asked_until(now)
    }

    /// Returns when the wait after failures ends; `None` if there is none left.
    pub fn backs_off_until(&self, now: Instant) -> Option<Instant> {
        self.gate.backs_off_until(now)
    }

    /// Returns whether nothing of it is in memory, on the wire or parked, and no operator's pause keeps it.
    pub fn has_nothing(&self) -> bool {
        self.buckets.is_empty() && self.flights.is_empty() && !self.is_paused()
    }

    /// Returns until when the partner must be remembered although it has no bucket. A pause is remembered until it
    /// ends: see [`Partner::is_paused`].
    pub fn remembered_until(&self) -> Option<Instant> {
        self.gate.remembered_until(&self.rules).max(self.pace.remembered_until())
    }

    /// Returns the largest number of deliveries in one flush.
    pub fn batch_limit(&self) -> usize {
        self.batch_size.learned(self.rules.max_batch).unwrap_or(self.rules.max_batch)
    }

    /// Returns the bounds of one batch.
    pub fn bounds(&self) -> Bounds {
        Bounds { count: self.batch_limit(), bytes: self.rules.max_batch_bytes }
    }

    /// Records that a flush starts.
    pub fn flushes(&mut self, flush: FlushId, now: Instant) {
        self.flights.push(flush);
        self.pace.spend(now, &self.rules);
    }

    /// Records that a flush is off the wire.
    pub fn lands(&mut self, flush: FlushId) {
        self.flights.retain(|other| *other != flush);
    }

    /// Records that a flush was accepted after `took`. Returns the number of failures in a row that this ended.
    pub fn succeeded(&mut self, now: Instant, took: Duration) -> u32 {
        self.culprits = 0;
        if self.gate.asked_until(now).is_none() {
            // Else the flush was on its way before, and the error is why the partner waits still.
            self.last_error = None;
        }
        self.health.succeeded(took);
        self.is_away_while_it_asks(now);
        self.gate.succeeded()
    }

    /// Counts a wait that the partner asked for as a failure: it takes nothing until then, whatever older flushes of it
    /// are accepted, and would otherwise hold as much of the room as a partner that takes.
    fn is_away_while_it_asks(&mut self, now: Instant) {
        if self.gate.asked_until(now).is_some() {
            self.health.failed();
        }
    }

    /// Records that a flush that began at `began` found the partner unavailable. Returns
    /// the new state if this changed it.
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

    /// Records that the partner refused one delivery, which is at fault. A server error still counts against its health.
    pub fn refused_one(&mut self, is_server_error: bool) {
        self.culprits = self.culprits.saturating_add(1);
        if is_server_error {
            self.health.failed();
        }
    }

    /// Obeys a wait that the partner asked for, whatever its answer means otherwise: it may be busy, the set-up wrong, or
    /// only a part of its deliveries at fault. Returns whether it takes nothing from now on that it took before.
    pub fn asks_to_wait(&mut self, now: Instant, wait: Duration) -> bool {
        let waited = self.failures() > 0 || self.gate.asked_until(now).is_some();
        self.gate.asks(now, wait);
        self.is_away_while_it_asks(now);
        !waited && self.gate.asked_until(now).is_some()
    }

    /// Forgets the wait that the partner asked for if it is over. Returns whether there was one.
    pub fn drop_asked_wait(&mut self, now: Instant) -> bool {
        self.gate.drop_asked_wait(now)
    }

    /// Records that the partner's set-up is wrong. Returns the new state if this changed it.
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

    /// Records that the endpoint of one bucket refused a flush for good: this shuts that bucket's gate, and says nothing
    /// about the partner's health, as which other endpoints would pay for it.
    pub fn endpoint_refused(&mut self, error: Box<str>) {
        self.last_error = Some(error);
    }

    /// Starts or ends the operator's pause. Returns whether this changed anything.
    pub fn pause(&mut self, paused: bool) -> bool {
        self.gate.pause(paused)
    }

    /// Prepares for an attempt that an operator wants now: waiting deliveries do not linger, and the
    /// waits of back-off and breaker end.
    pub fn hurry(&mut self, now: Instant) {
        self.gate.skip_backoff(now);
        self.hurried_at = Some(now);
        if self.is_away() {
            // If all that waits for it is hidden, one of these is shown to try it with.
            self.shows_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::DefaultKey;

    use super::*;
    use crate::dispatch::keys::PartnerKey;
    use crate::dispatch::slab::Slab;
    use crate::dispatch::tests::{partner_rules, start};

    const SECOND: Duration = Duration::from_secs(1);

    fn partner(change: impl FnOnce(&mut PartnerRules)) -> Partner {
        let mut rules = partner_rules();
        change(&mut rules);
        Partner::new("acme".into(), Arc::new(rules))
    }

    fn flush() -> FlushId {
        FlushId(DefaultKey::default())
    }

    fn bucket(now: Instant) -> Bucket {
        Bucket::new(PartnerKey(Slab::<()>::default().next()), 0, now)
    }

    #[test]
    fn its_rate_and_its_flushes_on_the_wire_say_when_the_next_may_start() {
        let (mut partner, now) = (partner(|rules| rules.rate = Some((1, SECOND))), start());
        assert_eq!((partner.obstacle(None, now), partner.state(None, now)), (None, PartnerState::Healthy));
        partner.flushes(flush(), now);
        assert_eq!((partner.obstacle(None, now), partner.state(None, now)), (Some(Obstacle::Parallel), PartnerState::Healthy));
        partner.lands(flush());
        let at = Some(Obstacle::Until(now + SECOND, Wait::Rate));
        assert_eq!((partner.obstacle(None, now), partner.state(None, now)), (at, PartnerState::Limited));
    }

    #[test]
    fn failures_come_before_the_rate_and_a_pause_before_both() {
        let (mut partner, now) = (partner(|rules| rules.rate = Some((1, SECOND))), start());
        partner.flushes(flush(), now);
        partner.lands(flush());
        let edge = partner.failed(now, now, Some(SECOND * 60), "answered 429".into(), &mut Rng::with_seed(7));
        assert_eq!(edge, Some(PartnerState::BackingOff));
        assert_eq!(partner.obstacle(None, now), Some(Obstacle::Until(now + SECOND * 60, Wait::Asked)));
        assert_eq!(partner.state(None, now + SECOND * 60), PartnerState::BackingOff, "until something is accepted");
        let edges = [now, now + SECOND].map(|now| partner.misconfigured(now, now, "answered 401".into()));
        assert_eq!(edges, [Some(PartnerState::Open), None]);
        assert!(partner.pause(true) && !partner.pause(true));
        assert_eq!((partner.obstacle(None, now), partner.state(None, now)), (Some(Obstacle::Paused), PartnerState::Paused));
    }

    #[test]
    fn a_wait_that_it_asked_for_is_one_without_failures_too() {
        let (mut partner, now) = (partner(|_| {}), start());
        partner.failed(now, now, Some(SECOND * 60), "answered 429".into(), &mut Rng::with_seed(7));
        assert_eq!(partner.succeeded(now, SECOND), 1);
        assert_eq!((partner.failures(), partner.state(None, now)), (0, PartnerState::BackingOff));
        assert_eq!(partner.state(None, now + SECOND * 60), PartnerState::Healthy);
    }

    #[test]
    fn a_refused_endpoint_concerns_its_bucket_alone() {
        let (partner, now) = (partner(|rules| rules.parallel = 8), start());
        let mut bucket = bucket(now);
        bucket.gate.refused(now, SECOND * 300, "answered 404".into());
        assert_eq!(partner.obstacle(Some(&bucket), now), Some(Obstacle::Until(now + SECOND * 300, Wait::Endpoint)));
        assert_eq!(partner.obstacle(None, now), None);
        let later = now + SECOND * 300;
        assert_eq!((partner.obstacle(Some(&bucket), later), partner.state(Some(&bucket), later)), (None, PartnerState::Open));
        bucket.in_flight = 1;
        assert_eq!(partner.obstacle(Some(&bucket), later), Some(Obstacle::Probe), "one probe");
    }
}
