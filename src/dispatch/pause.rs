//! Waits after failures: they grow with each failure in a row, are jittered, and end with a success.

use std::time::{Duration, Instant};

use fastrand::Rng;

/// The number of failures that are added to the count if only a person can mend the fault, so that
/// the wait is long from the start.
const HOPELESS: u32 = 5;

/// The pause between calls of one kind to a queue.
#[derive(Debug)]
pub struct Pause {
    min: Duration,
    max: Duration,
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0, until: None }
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// Returns whether the last call failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Returns when the pause ends, or ended.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Records a failed call. Returns the wait if this is the first failure in a row. A call that fails during a pause
    /// was under way when the pause began, and counts as the same failure.
    pub fn failed(&mut self, now: Instant, transient: bool, random: &mut Rng) -> Option<Duration> {
        if !self.is_over(now) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let failures = if transient { self.failures } else { self.failures.saturating_add(HOPELESS) };
        let wait = jittered(backoff(self.min, self.max, failures), random);
        self.until = Some(now + wait);
        (self.failures == 1).then_some(wait)
    }

    /// Records a successful call. Returns whether this ends a series of failures.
    pub fn succeeded(&mut self) -> bool {
        self.until = None;
        std::mem::take(&mut self.failures) > 0
    }
}

/// Returns `min`, doubled with each failure after the first, at most `max`.
pub fn backoff(min: Duration, max: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    min.saturating_mul(1 << doublings).min(max)
}

/// The longest delay that doubling reaches, for a message that its handler wants later. Receives after which the
/// message was returned because of its partner count too, and would otherwise hide it for hours.
const LATEST: Duration = Duration::from_secs(3600);

/// Returns how long a message that its handler wants later stays hidden: the delay that the handler asked for, at least
/// a second, doubled with each receive to at most an hour. A longer delay is not doubled; it is at most 11 hours.
pub fn retry_delay(asked: Duration, receives: u32) -> Duration {
    let asked = asked.clamp(Duration::from_secs(1), LATEST * 11);
    backoff(asked, LATEST.max(asked), receives)
}

/// Returns the wait with full jitter: a random part of it, so that many callers that failed together do not come back
/// together, but at least a twentieth.
pub fn jittered(wait: Duration, random: &mut Rng) -> Duration {
    wait.mul_f64(random.f64()).max(wait / 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::start;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn back_off_doubles_between_its_bounds() {
        let waits: Vec<u64> = (1..=11).map(|failures| backoff(SECOND, SECOND * 300, failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff(SECOND, SECOND * 300, u32::MAX), SECOND * 300);
    }

    #[test]
    fn calls_that_fail_side_by_side_are_one_failure() {
        let (mut pause, start, mut random) = (Pause::new(SECOND, SECOND * 300), start(), Rng::with_seed(7));
        let wait = pause.failed(start, true, &mut random).expect("the first failure");
        assert!(wait <= SECOND && !pause.is_over(start));
        for _ in 0..20 {
            assert_eq!(pause.failed(start, true, &mut random), None);
        }
        assert_eq!(pause.until(), Some(start + wait));
        assert_eq!(pause.failed(start + wait, true, &mut random), None, "the second in a row");
        assert!(!pause.is_over(start + wait) && pause.until() <= Some(start + wait + SECOND * 2));
        assert!(pause.succeeded() && pause.is_over(start) && !pause.succeeded());
    }
}
