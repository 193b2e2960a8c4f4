//! The health of a partner: whether it may be trusted with delivery threads that other partners need too. Part of the
//! dispatcher's state machine.

use std::time::{Duration, Instant};

/// The age below which a flush on the wire is never slow, however quick the partner's other flushes were.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How much of the delivery threads a partner may have. An earlier class is served before a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Class {
    /// The last flush was accepted, and none on the wire is slow: the partner may have any thread.
    Well,
    /// The partner has not accepted anything yet: it shares the smaller half of the threads, and is served first there.
    #[default]
    NotProven,
    /// A flush on the wire is slow, or the last one failed: the partner shares the smaller half of the threads too, and is
    /// served last there.
    SlowOrFailing,
}

/// The health of one partner.
#[derive(Debug, Default)]
pub struct Health {
    /// Whether the last flush failed.
    failing: bool,
    /// How long the last accepted flush took, if there was one.
    last_success: Option<Duration>,
    /// The class as of the last [`Health::judge`].
    class: Class,
}

impl Health {
    /// Returns the class as it was when the partner was last [judged](Health::judge).
    pub fn class(&self) -> Class {
        self.class
    }

    /// Returns the age from which on a flush is slow: a second, or twice what the last accepted one
    /// took, if that is longer.
    pub fn patience(&self) -> Duration {
        self.last_success.map_or(PATIENCE, |took| (took * 2).max(PATIENCE))
    }

    /// Records that a flush was accepted, which took this long.
    pub fn succeeded(&mut self, took: Duration) {
        self.failing = false;
        self.last_success = Some(took);
    }

    /// Records that a flush failed.
    pub fn failed(&mut self) {
        self.failing = true;
    }

    /// Determines the class again, by the age of the oldest flush on the wire. Returns the previous
    /// class if it has changed.
    pub fn judge(&mut self, oldest: Option<Instant>, now: Instant) -> Option<Class> {
        let slow = oldest.is_some_and(|began| began + self.patience() <= now);
        let class = match (self.failing || slow, self.last_success) {
            (true, _) => Class::SlowOrFailing,
            (false, None) => Class::NotProven,
            (false, Some(_)) => Class::Well,
        };
        let before = std::mem::replace(&mut self.class, class);
        (before != class).then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::start;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn is_not_proven_until_its_first_success_and_failing_from_a_failure_to_the_next_one() {
        let (mut health, now) = (Health::default(), start());
        assert_eq!((health.class(), health.judge(None, now)), (Class::NotProven, None));
        health.failed();
        assert_eq!((health.judge(None, now), health.class()), (Some(Class::NotProven), Class::SlowOrFailing));
        health.succeeded(SECOND);
        assert_eq!((health.judge(None, now), health.class()), (Some(Class::SlowOrFailing), Class::Well));
    }

    #[test]
    fn is_slow_after_a_second_or_twice_its_own_last_success() {
        let (mut health, start) = (Health::default(), start());
        let class = |health: &mut Health, age: Duration| {
            health.judge(Some(start), start + age);
            health.class()
        };
        assert_eq!(class(&mut health, SECOND - Duration::from_nanos(1)), Class::NotProven);
        assert_eq!(class(&mut health, SECOND), Class::SlowOrFailing, "its first flush included");
        health.succeeded(SECOND / 10);
        assert_eq!((class(&mut health, SECOND / 2), class(&mut health, SECOND)), (Class::Well, Class::SlowOrFailing));
        health.succeeded(SECOND * 4);
        assert_eq!((class(&mut health, SECOND * 7), class(&mut health, SECOND * 8)), (Class::Well, Class::SlowOrFailing));
    }
}
