//! A partner: what it takes, over all its buckets. Rate, back-off, breaker, flushes in flight, learned batch size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use smallvec::SmallVec;

use crate::message::Account;

use super::due::Alarm;
use super::keys::BucketKey;
use super::pause::{backoff, jittered};
use super::rules::PartnerRules;

/// The longest wait that a partner's `Retry-After` is granted.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub struct Partner {
    pub account: Account,
    pub rules: Arc<PartnerRules>,
    pub buckets: SmallVec<[BucketKey; 1]>,
    /// Flushes on the wire.
    pub in_flight: usize,
    /// Failures in a row.
    pub failures: u32,
    /// Culprits in a row, without a success between them.
    pub culprits: u32,
    /// No flush before this moment.
    pub until: Option<Instant>,
    /// No flush before this moment, since the partner asked for it: a success side by side does not end that.
    asked_until: Option<Instant>,
    /// Deliveries of one flush that the partner was found to take.
    learned_batch: Option<usize>,
    pub last_error: Option<Box<str>>,
    pub alarm: Alarm,
    /// The moment at which the next request would be exactly on the rate (the generic cell rate algorithm, ITU-T I.371).
    on_rate: Option<Instant>,
}

/// Whether a flush may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Open,
    /// Not before then, for this reason.
    At(Instant, Wait),
    /// When a flush in flight is done.
    Busy,
}

/// What a partner waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Backoff,
    Rate,
}

impl Partner {
    pub fn new(account: Account, rules: Arc<PartnerRules>) -> Self {
        Self {
            account,
            rules,
            buckets: SmallVec::new(),
            in_flight: 0,
            failures: 0,
            culprits: 0,
            until: None,
            asked_until: None,
            learned_batch: None,
            last_error: None,
            alarm: Alarm::default(),
            on_rate: None,
        }
    }

    pub fn access(&self, now: Instant) -> Access {
        if let Some(until) = self.until
            && until > now
        {
            return Access::At(until, Wait::Backoff);
        }
        // While it fails, one probe at a time: the first success opens it for all.
        let parallel = if self.failures > 0 { 1 } else { self.rules.parallel };
        if self.in_flight >= parallel {
            return Access::Busy;
        }
        match self.next_on_rate() {
            Some(at) if at > now => Access::At(at, Wait::Rate),
            _ => Access::Open,
        }
    }

    fn interval(&self) -> Option<Duration> {
        let (requests, per) = self.rules.rate?;
        // Rounded up: not even by a nanosecond is the rate exceeded.
        let nanos = per.as_nanos().div_ceil(u128::from(requests.max(1)));
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    fn next_on_rate(&self) -> Option<Instant> {
        let ahead = self.interval()? * self.rules.burst.saturating_sub(1);
        let on_rate = self.on_rate?;
        Some(on_rate.checked_sub(ahead).unwrap_or(on_rate))
    }

    /// Until when it must be remembered although it has no bucket: while it waits, an idle time more where that was a failure, and
    /// until its rate is as if it had never been asked.
    pub fn remembered_until(&self) -> Option<Instant> {
        let longer = if self.failures > 0 { self.rules.idle_timeout } else { Duration::ZERO };
        self.until.map(|until| until + longer).max(self.on_rate)
    }

    /// A flush goes out.
    pub fn flushes(&mut self, now: Instant) {
        self.in_flight += 1;
        if let Some(interval) = self.interval() {
            self.on_rate = Some(self.on_rate.map_or(now, |at| at.max(now)) + interval);
        }
    }

    /// Deliveries that one flush may hold.
    pub fn batch_limit(&self) -> usize {
        self.learned_batch.map_or(self.rules.max_batch, |learned| learned.min(self.rules.max_batch))
    }

    /// A larger batch was too large. What was learned is never unlearned by an older batch that lands late.
    pub fn takes_at_most(&mut self, deliveries: usize) {
        self.learned_batch = Some(deliveries.clamp(1, self.batch_limit().max(1)));
    }

    /// A flush was accepted. Gives the failures that this ended.
    pub fn succeeded(&mut self, now: Instant) -> u32 {
        self.until = self.asked_until.filter(|until| *until > now);
        self.culprits = 0;
        self.last_error = None;
        std::mem::take(&mut self.failures)
    }

    /// The partner is unavailable: it waits for as long as it asked, else for the back-off with full jitter. Gives the wait.
    pub fn failed(&mut self, now: Instant, retry_after: Option<Duration>, error: Box<str>, random: &mut Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = match retry_after {
            Some(asked) => {
                let asked = asked.min(LONGEST_RETRY_AFTER);
                self.asked_until = self.asked_until.max(Some(now + asked));
                asked
            }
            None => jittered(backoff(self.rules.min_backoff, self.rules.max_backoff, self.failures), random),
        };
        self.wait(now, wait, error);
        wait
    }

    /// The set-up is wrong: the breaker opens at once. Gives the wait.
    pub fn misconfigured(&mut self, now: Instant, error: Box<str>) -> Duration {
        self.failures = self.failures.saturating_add(1).max(self.rules.breaker_failures);
        self.wait(now, self.rules.max_backoff, error);
        self.rules.max_backoff
    }

    fn wait(&mut self, now: Instant, wait: Duration, error: Box<str>) {
        // Several flushes may fail side by side: the longest wait counts, a Retry-After most of all.
        let until = now + wait;
        self.until = Some(self.until.map_or(until, |at| at.max(until)));
        self.last_error = Some(error);
    }

    /// The word for its state, in status and log.
    pub fn state(&self, now: Instant) -> &'static str {
        match self.access(now) {
            Access::At(_, Wait::Rate) => "limited",
            // A pause that it asked for outlasts the success of an older flush.
            Access::At(_, Wait::Backoff) if self.failures == 0 => "backing_off",
            _ if self.failures >= self.rules.breaker_failures && self.failures > 0 => "open",
            _ if self.failures > 0 => "backing_off",
            _ => "healthy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::{partner_rules, start};

    fn partner(change: impl FnOnce(&mut PartnerRules)) -> Partner {
        let mut rules = partner_rules();
        change(&mut rules);
        Partner::new("acme".into(), Arc::new(rules))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_lets_a_burst_go_and_then_one_an_interval() {
        let mut partner = partner(|rules| {
            rules.rate = Some((2, SECOND));
            rules.burst = 3;
            rules.parallel = 100;
        });
        let start = start();
        for _ in 0..3 {
            assert_eq!(partner.access(start), Access::Open);
            partner.flushes(start);
        }
        assert_eq!(partner.access(start), Access::At(start + SECOND / 2, Wait::Rate));
        assert_eq!(partner.access(start + SECOND / 2), Access::Open);
        partner.flushes(start + SECOND / 2);
        assert_eq!(partner.access(start + SECOND / 2), Access::At(start + SECOND, Wait::Rate));
    }

    #[test]
    fn a_rate_that_does_not_divide_is_not_exceeded() {
        let mut partner = partner(|rules| {
            rules.rate = Some((3, SECOND));
            rules.parallel = 10;
        });
        let start = start();
        let mut at = start;
        for _ in 0..3 {
            assert_eq!(partner.access(at), Access::Open);
            partner.flushes(at);
            let Access::At(next, Wait::Rate) = partner.access(at) else { panic!("one an interval") };
            at = next;
        }
        assert!(at >= start + SECOND, "a fourth within the second");
    }

    #[test]
    fn back_off_doubles_between_its_bounds_and_ends_with_a_success() {
        let (min, max) = (SECOND, SECOND * 300);
        let (mut partner, start, mut random) = (partner(|_| {}), start(), Rng::with_seed(7));
        for failure in 1..=20 {
            let wait = partner.failed(start, None, "503".into(), &mut random);
            assert!(wait <= backoff(min, max, failure) && wait >= backoff(min, max, failure) / 20);
        }
        assert_eq!(partner.state(start), "open");
        assert_eq!(partner.succeeded(start), 20);
        assert_eq!((partner.access(start), partner.state(start)), (Access::Open, "healthy"));
    }

    #[test]
    fn retry_after_is_obeyed_in_full_up_to_a_day() {
        let (mut partner, start, mut random) = (partner(|_| {}), start(), Rng::with_seed(7));
        partner.failed(start, Some(SECOND * 3600), "429".into(), &mut random);
        partner.failed(start, None, "503".into(), &mut random);
        assert_eq!(partner.access(start), Access::At(start + SECOND * 3600, Wait::Backoff), "the longer wait counts");
        partner.succeeded(start + SECOND);
        assert_eq!(
            partner.access(start),
            Access::At(start + SECOND * 3600, Wait::Backoff),
            "a success side by side ends no wait"
        );
        assert_eq!(partner.state(start), "backing_off");
        partner.failed(start, Some(SECOND * 1_000_000), "429".into(), &mut random);
        assert_eq!(partner.access(start), Access::At(start + LONGEST_RETRY_AFTER, Wait::Backoff));
    }

    #[test]
    fn a_failing_partner_gets_one_probe_whatever_its_parallel() {
        let (mut partner, start, mut random) = (partner(|rules| rules.parallel = 8), start(), Rng::with_seed(7));
        let wait = partner.failed(start, None, "503".into(), &mut random);
        assert_eq!(partner.access(start + wait), Access::Open);
        partner.flushes(start + wait);
        assert_eq!(partner.access(start + wait), Access::Busy);
    }
}
