//! Health: whether a partner may be trusted with delivery threads that others need too.

use std::time::{Duration, Instant};

/// A flush on the wire is not held against a partner before this age, however quick its others were.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How much of the delivery threads a partner may have; the earlier in this order, the sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Class {
    /// Its last flush was accepted, and none is on the wire for suspiciously long: it may have any thread.
    Well,
    /// It never accepted anything yet: it shares the lesser half, and comes first there.
    #[default]
    NotProven,
    /// Slow or failing: it shares the lesser half with the others like it.
    Suspect,
}

#[derive(Debug, Default)]
pub struct Health {
    /// The last flush failed.
    failing: bool,
    /// How long the last flush that was accepted took.
    last_success: Option<Duration>,
    class: Class,
}

impl Health {
    /// As it was when it was last [judged](Health::judge).
    pub fn class(&self) -> Class {
        self.class
    }

    /// A flush is slow from this age on: a second, or twice what the last accepted one took.
    pub fn patience(&self) -> Duration {
        self.last_success.map_or(PATIENCE, |took| (took * 2).max(PATIENCE))
    }

    pub fn succeeded(&mut self, took: Duration) {
        self.failing = false;
        self.last_success = Some(took);
    }

    pub fn failed(&mut self) {
        self.failing = true;
    }

    /// Judges it again, by the age of its oldest flush on the wire. Gives the class that it had, where it is another now.
    pub fn judge(&mut self, oldest: Option<Instant>, now: Instant) -> Option<Class> {
        let slow = oldest.is_some_and(|began| began + self.patience() <= now);
        let class = match (self.failing || slow, self.last_success) {
            (true, _) => Class::Suspect,
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
    fn is_not_proven_until_its_first_success_and_suspect_from_a_failure_to_the_next_one() {
        let (mut health, now) = (Health::default(), start());
        assert_eq!((health.class(), health.judge(None, now)), (Class::NotProven, None));
        health.failed();
        assert_eq!((health.judge(None, now), health.class()), (Some(Class::NotProven), Class::Suspect));
        health.succeeded(SECOND);
        assert_eq!((health.judge(None, now), health.class()), (Some(Class::Suspect), Class::Well));
    }

    #[test]
    fn is_slow_after_a_second_or_twice_its_own_last_success() {
        let (mut health, start) = (Health::default(), start());
        let class = |health: &mut Health, age: Duration| {
            health.judge(Some(start), start + age);
            health.class()
        };
        assert_eq!(class(&mut health, SECOND - Duration::from_nanos(1)), Class::NotProven);
        assert_eq!(class(&mut health, SECOND), Class::Suspect, "its first flush included");
        health.succeeded(SECOND / 10);
        assert_eq!((class(&mut health, SECOND / 2), class(&mut health, SECOND)), (Class::Well, Class::Suspect));
        health.succeeded(SECOND * 4);
        assert_eq!((class(&mut health, SECOND * 7), class(&mut health, SECOND * 8)), (Class::Well, Class::Suspect));
    }
}
