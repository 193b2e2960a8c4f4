//! The gate of a partner: decides whether a flush may start although there is something to send and a thread to send
//! it. What stops only one bucket of the partner is that bucket's own gate.
//!
//! The gate holds the wait that the partner asked for, the wait after failures (back-off, then the
//! breaker) and the operator's pause. After a wait that followed a failure it lets one probe at a time
//! through, until a flush is accepted.
//!
//! Of a breaker, *open* means that nothing but probes passes, as in an electric circuit: its gate is shut then.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::dispatch::pause::{backoff, jittered};
use crate::dispatch::rules::PartnerRules;

use super::Wait;

/// The longest wait that a partner's `Retry-After` is granted.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The gate of one partner. Nothing is allocated for a healthy partner: most partners are healthy, and
/// there may be a million of them.
#[derive(Debug, Default)]
pub struct PartnerGate(Option<Box<Shut>>);

/// The state of a gate that is not open, or was not open.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shut {
    /// The number of failures in a row. Flushes that were on the wire together and failed count as one failure.
    failures: u32,
    /// Whether one of these failures showed that the set-up is wrong: the breaker is then open, whatever their number.
    set_up_wrong: bool,
    /// When the last counted failure landed. A flush that began before this moment and also
    /// fails is part of the same failure.
    failed_at: Option<Instant>,
    /// When the wait of the back-off or of the breaker ends.
    until: Option<Instant>,
    /// When the wait that the partner asked for ends. Neither an accepted flush nor an operator ends this wait early.
    asked_until: Option<Instant>,
    paused: bool,
}

impl Shut {
    fn breaker_is_open(&self, rules: &PartnerRules) -> bool {
        self.failures > 0 && self.severity(rules) >= rules.breaker_failures
    }

    /// Returns the failures in a row, or at least the number that opens the breaker if one
    /// of them showed a wrong set-up.
    fn severity(&self, rules: &PartnerRules) -> u32 {
        if self.set_up_wrong { self.failures.max(rules.breaker_failures) } else { self.failures }
    }

    /// Counts a failure unless it is part of the last one. Returns whether it counted.
    fn count(&mut self, now: Instant, began: Instant) -> bool {
        let is_news = self.failed_at.is_none_or(|failed_at| began >= failed_at);
        if is_news {
            self.failures = self.failures.saturating_add(1);
            self.failed_at = Some(now);
        }
        is_news
    }

    fn asks(&mut self, now: Instant, wait: Duration) {
        self.asked_until = self.asked_until.max(Some(now + wait.min(LONGEST_RETRY_AFTER)));
    }
}

impl PartnerGate {
    fn shut(&mut self) -> &mut Shut {
        self.0.get_or_insert_default()
    }

    /// Returns the number of failures in a row.
    pub fn failures(&self) -> u32 {
        self.0.as_ref().map_or(0, |shut| shut.failures)
    }

    pub fn is_paused(&self) -> bool {
        self.0.as_ref().is_some_and(|shut| shut.paused)
    }

    /// Returns whether the breaker is open, the phase of its single probe included.
    pub fn breaker_is_open(&self, rules: &PartnerRules) -> bool {
        self.0.as_ref().is_some_and(|shut| shut.breaker_is_open(rules))
    }

    /// Returns the end and the kind of the wait that ends last; `None` if no wait is left.
    pub fn wait(&self, now: Instant, rules: &PartnerRules) -> Option<(Instant, Wait)> {
        let shut = self.0.as_ref().filter(|shut| shut.until.max(shut.asked_until).is_some_and(|at| at > now))?;
        let own = if shut.breaker_is_open(rules) { Wait::Breaker } else { Wait::Backoff };
        let waits = [shut.until.map(|at| (at, own)), shut.asked_until.map(|at| (at, Wait::Asked))];
        waits.into_iter().flatten().max_by_key(|(at, _)| *at)
    }

    /// Returns when the wait that the partner asked for ends; `None` if there is none left.
    pub fn asked_until(&self, now: Instant) -> Option<Instant> {
        self.0.as_ref()?.asked_until.filter(|at| *at > now)
    }

    /// Forgets the wait that the partner asked for if it is over. Returns whether there was one.
    pub fn drop_asked_wait(&mut self, now: Instant) -> bool {
        self.0.as_mut().and_then(|shut| shut.asked_until.take_if(|at| *at <= now)).is_some()
    }

    /// Returns when the wait after failures ends; `None` if there is none left.
    pub fn backs_off_until(&self, now: Instant) -> Option<Instant> {
        self.0.as_ref()?.until.filter(|at| *at > now)
    }

    /// Returns how many flushes may be on the wire at once: a single probe while the partner fails, until an
    /// accepted flush opens the gate.
    pub fn at_once(&self, rules: &PartnerRules) -> usize {
        if self.failures() > 0 { 1 } else { rules.parallel }
    }

    /// Returns until when the gate must be remembered although the partner has no bucket: until its waits end, and for
    /// one `idle_timeout` more after a failure.
    pub fn remembered_until(&self, rules: &PartnerRules) -> Option<Instant> {
        let shut = self.0.as_ref()?;
        let longer = if shut.failures > 0 { rules.idle_timeout } else { Duration::ZERO };
        shut.until.max(shut.asked_until).map(|until| until + longer)
    }

    /// Ends the failures and their wait, since a flush was accepted. Returns the number of failures that this ended.
    pub fn succeeded(&mut self) -> u32 {
        let Some(shut) = &mut self.0 else { return 0 };
        let Shut { failures, asked_until, paused, .. } = **shut;
        if asked_until.is_none() && !paused {
            self.0 = None;
        } else {
            **shut = Shut { asked_until, paused, ..Shut::default() };
        }
        failures
    }

    /// Shuts the gate after a flush that began at `began` found the partner unavailable: for as long as the partner
    /// asked, else for the back-off with full jitter.
    pub fn failed(
        &mut self,
        now: Instant,
        began: Instant,
        retry_after: Option<Duration>,
        rules: &PartnerRules,
        random: &mut Rng,
    ) {
        let shut = self.shut();
        let is_news = shut.count(now, began);
        // A partner that asks for no wait at all gets the back-off: without any, it would be tried in a loop.
        match retry_after.filter(|wait| !wait.is_zero()) {
            Some(wait) => shut.asks(now, wait),
            None if is_news => {
                let wait = jittered(backoff(rules.min_backoff, rules.max_backoff, shut.severity(rules)), random);
                shut.until = shut.until.max(Some(now + wait));
            }
            None => {}
        }
    }

    /// Records that the partner wants no request for this long. No time at all is no wait, whose end would be said.
    pub fn asks(&mut self, now: Instant, wait: Duration) {
        if !wait.is_zero() {
            self.shut().asks(now, wait);
        }
    }

    /// Records that the partner's set-up is wrong: the breaker opens at once, for the longest back-off.
    pub fn misconfigured(&mut self, now: Instant, began: Instant, rules: &PartnerRules) {
        let shut = self.shut();
        shut.count(now, began);
        shut.set_up_wrong = true;
        shut.until = shut.until.max(Some(now + rules.max_backoff));
    }

    /// Starts or ends the operator's pause. Returns whether this changed anything.
    pub fn pause(&mut self, paused: bool) -> bool {
        self.is_paused() != paused && std::mem::replace(&mut self.shut().paused, paused) != paused
    }

    /// Ends the wait of back-off and breaker because an operator wants the next attempt now.
    /// The next flush remains a probe.
    pub fn skip_backoff(&mut self, now: Instant) {
        if let Some(shut) = &mut self.0 {
            shut.until = shut.until.map(|until| until.min(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::{partner_rules, start};

    const SECOND: Duration = Duration::from_secs(1);

    fn wait(gate: &PartnerGate, now: Instant) -> Option<(Duration, Wait)> {
        gate.wait(now, &partner_rules()).map(|(at, wait)| (at - now, wait))
    }

    #[test]
    fn back_off_doubles_between_its_bounds_and_ends_with_a_success() {
        let (rules, mut random) = (partner_rules(), Rng::with_seed(7));
        let (mut gate, mut now) = (PartnerGate::default(), start());
        for failure in 1..=20 {
            gate.failed(now, now, None, &rules, &mut random);
            let (waits, why) = wait(&gate, now).expect("a wait");
            let longest = backoff(rules.min_backoff, rules.max_backoff, failure);
            assert!(waits <= longest && waits >= longest / 20, "{failure}: {waits:?}");
            assert_eq!(why, if failure < 5 { Wait::Backoff } else { Wait::Breaker });
            now += waits;
        }
        assert_eq!((gate.succeeded(), gate.failures(), wait(&gate, now)), (20, 0, None));
    }

    #[test]
    fn failures_side_by_side_are_one_and_the_probe_after_them_is_the_next() {
        let (rules, mut random, start) = (partner_rules(), Rng::with_seed(7), start());
        let mut gate = PartnerGate::default();
        for flush in 0..8 {
            gate.failed(start + SECOND * (flush + 1), start, None, &rules, &mut random);
        }
        assert_eq!(gate.failures(), 1);
        let (at, _) = gate.wait(start + SECOND, &rules).expect("a wait");
        assert!(at <= start + SECOND * 2, "the first failure's back-off, not that of the eighth");
        let probe = start + SECOND * 10;
        gate.failed(probe + SECOND, probe, None, &rules, &mut random);
        assert_eq!(gate.failures(), 2);
    }

    #[test]
    fn retry_after_is_obeyed_in_full_up_to_a_day_and_outlasts_a_success() {
        let (rules, mut random, start) = (partner_rules(), Rng::with_seed(7), start());
        let mut gate = PartnerGate::default();
        gate.failed(start, start, Some(SECOND * 3600), &rules, &mut random);
        gate.failed(start, start, None, &rules, &mut random);
        assert_eq!(wait(&gate, start), Some((SECOND * 3600, Wait::Asked)), "the longer wait counts");
        gate.succeeded();
        gate.skip_backoff(start);
        assert_eq!(wait(&gate, start), Some((SECOND * 3600, Wait::Asked)));
        gate.failed(start, start, Some(SECOND * 1_000_000), &rules, &mut random);
        assert_eq!(wait(&gate, start), Some((LONGEST_RETRY_AFTER, Wait::Asked)));
    }

    #[test]
    fn a_side_by_side_failure_that_asks_for_a_wait_gets_it() {
        let (rules, mut random, start) = (partner_rules(), Rng::with_seed(7), start());
        let mut gate = PartnerGate::default();
        gate.failed(start + SECOND, start, None, &rules, &mut random);
        gate.failed(start + SECOND * 2, start, Some(SECOND * 60), &rules, &mut random);
        assert_eq!(gate.failures(), 1);
        assert_eq!(wait(&gate, start + SECOND * 2), Some((SECOND * 60, Wait::Asked)));
    }

    #[test]
    fn a_wrong_set_up_opens_the_breaker_at_once() {
        let (rules, start) = (partner_rules(), start());
        let mut gate = PartnerGate::default();
        gate.misconfigured(start, start, &rules);
        assert!(gate.breaker_is_open(&rules) && gate.at_once(&rules) == 1);
        assert_eq!((wait(&gate, start), gate.failures()), (Some((rules.max_backoff, Wait::Breaker)), 1));
        assert_eq!((gate.succeeded(), gate.breaker_is_open(&rules)), (1, false));
    }

    #[test]
    fn an_operator_ends_a_back_off_and_the_next_attempt_is_still_a_probe() {
        let rules = PartnerRules { parallel: 8, ..partner_rules() };
        let start = start();
        let mut gate = PartnerGate::default();
        gate.misconfigured(start, start, &rules);
        gate.skip_backoff(start + SECOND);
        assert_eq!((wait(&gate, start + SECOND), gate.at_once(&rules)), (None, 1));
        let longer = Some(start + SECOND + rules.idle_timeout);
        assert_eq!(gate.remembered_until(&rules), longer, "it still fails");
        gate.succeeded();
        gate.asks(start, SECOND * 60);
        assert_eq!(gate.remembered_until(&rules), Some(start + SECOND * 60));
    }
}
