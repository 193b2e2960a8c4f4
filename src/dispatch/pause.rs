//! Waits after failures: longer with each failure in a row, jittered, ended by a success.

use std::time::{Duration, Instant};

use fastrand::Rng;

/// What only a person can mend is waited for from the start as if it had failed so often before.
const HOPELESS: u32 = 5;

/// The pause of one kind of call to a queue.
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

    /// Whether the last call failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// When the pause ends, or ended.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// A call failed. Gives the wait, and whether it is the first failure in a row. What fails during a pause was under way when it
    /// began and is the same failure.
    pub fn failed(&mut self, now: Instant, transient: bool, random: &mut Rng) -> (Duration, bool) {
        if let Some(until) = self.until.filter(|until| *until > now) {
            return (until - now, false);
        }
        self.failures = self.failures.saturating_add(1);
        let failures = if transient { self.failures } else { self.failures.saturating_add(HOPELESS) };
        let wait = jittered(backoff(self.min, self.max, failures), random);
        self.until = Some(now + wait);
        (wait, self.failures == 1)
    }

    /// A call went well. Gives whether that ends a failure.
    pub fn succeeded(&mut self) -> bool {
        self.until = None;
        std::mem::take(&mut self.failures) > 0
    }
}

/// `min` doubled with each failure after the first, at most `max`.
pub fn backoff(min: Duration, max: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    min.saturating_mul(1 << doublings).min(max)
}

/// A message that its handler wants later is not doubled beyond this: receives after which it was given back for its partner's sake
/// count too, and would hide it for hours.
const LATEST: Duration = Duration::from_secs(3600);

/// How long a return hides a message that its handler wants later: what it asked for, at least a second, doubled with each receive to
/// an hour at most. Where it asked for longer, that; 11 hours at most.
pub fn retry_delay(asked: Duration, receives: u32) -> Duration {
    let asked = asked.clamp(Duration::from_secs(1), LATEST * 11);
    backoff(asked, LATEST.max(asked), receives)
}

/// Full jitter: anything up to the wait, so that many who failed together do not come back together; never nothing at all.
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
        let (wait, first) = pause.failed(start, true, &mut random);
        assert!(first && wait <= SECOND && !pause.is_over(start));
        for _ in 0..20 {
            assert_eq!(pause.failed(start, true, &mut random), (wait, false));
        }
        assert!(pause.is_over(start + wait));
        assert!(pause.failed(start + wait, true, &mut random).0 <= SECOND * 2);
        assert!(pause.succeeded() && pause.is_over(start) && !pause.succeeded());
    }
}
