//! The gate of a bucket: what stops the bucket alone, although its partner accepts flushes. Part of the
//! dispatcher's state machine.
//!
//! The gate shuts when the endpoint for the bucket's queue is set up wrongly, or refuses one delivery after another: this
//! says nothing about the partner's other buckets. After its wait it stays ajar for one probe at a time, until something is
//! accepted.
//!
//! The bucket also rests for as long as its partner backs off after a failure of it, or longer after several in a row. Other
//! buckets' flushes that are accepted end the partner's wait, but not this one.

use std::time::{Duration, Instant};

/// The gate of one bucket. Nothing is allocated for a bucket that waits for nothing of its own.
#[derive(Debug, Default)]
pub struct BucketGate(Option<Box<Waits>>);

/// The refusals in a row by the queue's endpoint (404, 410, or any once the endpoint is at fault itself) with the wait after
/// the last one, and the failures in a row with the rest after the last one.
#[derive(Debug, Default)]
struct Waits {
    /// The number of refusals.
    refusals: u32,
    /// When the wait ends or ended.
    until: Option<Instant>,
    /// The last refusal or failure, in words.
    error: Box<str>,
    /// The number of failures in a row, each after the rest that the one before it led to.
    failures: u32,
    /// When the rest after a failure ends or ended.
    rests_until: Option<Instant>,
    /// When a message that is hidden because of them may be shown, at the earliest.
    shows_at: Option<Instant>,
}

impl BucketGate {
    /// Returns whether the endpoint has refused something since it last accepted something.
    pub fn is_shut(&self) -> bool {
        self.refusals() > 0
    }

    /// Returns the number of refusals since then.
    pub fn refusals(&self) -> u32 {
        self.0.as_ref().map_or(0, |waits| waits.refusals)
    }

    /// Returns whether the last flush was refused or failed, as far as the bucket keeps account of that: a failure counts if
    /// the partner has other buckets, whose flushes may be accepted meanwhile.
    pub fn fails(&self) -> bool {
        self.failures() > 0
    }

    /// Returns the number of refusals or failures in a row, whichever are more.
    pub fn failures(&self) -> u32 {
        self.0.as_ref().map_or(0, |waits| waits.refusals.max(waits.failures))
    }

    /// Returns the last refusal or failure in words; `None` if there was none since the last success. Another bucket of the
    /// partner may have been accepted since, which ends the partner's last error.
    pub fn error(&self) -> Option<&str> {
        self.0.as_ref().filter(|_| self.fails()).map(|waits| &*waits.error)
    }

    /// Returns when the wait ends, `None` if there is none or it is over.
    pub fn wait(&self, now: Instant) -> Option<Instant> {
        self.remembered_until().filter(|until| *until > now)
    }

    /// Returns when the rest after a failure ends, `None` if there is none or it is over.
    pub fn rest(&self, now: Instant) -> Option<Instant> {
        self.0.as_ref()?.rests_until.filter(|until| *until > now)
    }

    /// Counts a failure, unless it landed in the rest after another: both were on the wire together then. Returns the
    /// number of failures in a row.
    pub fn failed(&mut self, now: Instant, error: Box<str>) -> u32 {
        let rests = self.rest(now).is_some();
        let waits = self.0.get_or_insert_default();
        waits.failures = waits.failures.saturating_add(u32::from(!rests));
        waits.error = error;
        waits.failures
    }

    /// Records that the bucket rests after a failure.
    pub fn rests(&mut self, until: Instant) {
        let waits = self.0.get_or_insert_default();
        waits.rests_until = waits.rests_until.max(Some(until));
    }

    /// Returns when the last wait ends or ended. The bucket is kept until then although it is idle, since a new one
    /// would know nothing of the gate.
    pub fn remembered_until(&self) -> Option<Instant> {
        self.0.as_ref()?.until
    }

    /// Records a refusal and waits for `max_backoff`. Returns whether this is the first refusal in a row.
    pub fn refused(&mut self, now: Instant, max_backoff: Duration, error: Box<str>) -> bool {
        let waits = self.0.get_or_insert_default();
        waits.refusals = waits.refusals.saturating_add(1);
        waits.until = waits.until.max(Some(now + max_backoff));
        waits.error = error;
        waits.refusals == 1
    }

    /// Returns when a message that is hidden because of refusals or failures may be shown, at the earliest.
    pub fn shows_at(&self) -> Option<Instant> {
        self.0.as_ref()?.shows_at
    }

    /// Sets when the next hidden message may be shown.
    pub fn show_at(&mut self, at: Instant) {
        self.0.get_or_insert_default().shows_at = Some(at);
    }

    /// Records that something was accepted, which ends waits and rests. Returns the number of refusals that this ends.
    pub fn succeeded(&mut self) -> u32 {
        self.0.take().map_or(0, |waits| waits.refusals)
    }

    /// Ends the wait, on behalf of an operator; the next flush is still a probe.
    pub fn skip_wait(&mut self, now: Instant) {
        if let Some(waits) = &mut self.0 {
            waits.until = waits.until.map(|until| until.min(now));
            waits.rests_until = waits.rests_until.map(|until| until.min(now));
            waits.shows_at = None;
        }
    }
}
