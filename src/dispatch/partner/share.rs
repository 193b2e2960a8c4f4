//! A partner's share of the room: what it takes in `hold_for` at its present rate. What it holds beyond that would wait for longer in
//! memory than it has to.

use std::time::{Duration, Instant};

use crate::dispatch::rules::PartnerRules;

/// Deliveries of a share at least, so that a slow partner's batches are worth a request, and one that is away has something to be tried
/// with.
pub const LEAST: usize = 10;

/// What is left of the weight of earlier flushes with each further one: the last five are two thirds of the rate.
const FADING: f32 = 0.8;

/// No flush took less, whatever a clock says.
const SHORTEST: Duration = Duration::from_micros(1);

/// What a partner takes in a second, by its latest successful flushes.
#[derive(Debug, Default)]
pub struct Drain {
    /// Sums over these flushes, the earlier ones weighing less.
    deliveries: f32,
    seconds: f32,
    /// When the last of them landed, where something was held for it ever since: then the time between two is what one takes.
    busy_since: Option<Instant>,
}

impl Drain {
    /// A flush that began at `began` was accepted now.
    pub fn accepted(&mut self, deliveries: usize, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(self.busy_since.unwrap_or(began)).max(SHORTEST);
        self.deliveries = self.deliveries * FADING + deliveries as f32;
        self.seconds = self.seconds * FADING + took.as_secs_f32();
        self.busy_since = Some(now);
    }

    /// Nothing is held for it, or it fails: the time until its next success says nothing about what it takes.
    pub fn rests(&mut self) {
        self.busy_since = None;
    }

    /// Deliveries a second; `None` before the first was accepted.
    pub fn per_second(&self) -> Option<f32> {
        (self.deliveries > 0.0).then(|| self.deliveries / self.seconds)
    }

    /// The share of a partner that takes: deliveries.
    pub fn share(&self, rules: &PartnerRules) -> usize {
        let most = rules.max_waiting;
        // A float beyond the largest integer becomes that integer.
        self.per_second().map_or(most, |rate| ((rate * rules.hold_for.as_secs_f32()) as usize).max(LEAST).min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::{partner_rules, start};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn is_all_that_may_wait_before_anything_was_accepted() {
        assert_eq!(Drain::default().share(&partner_rules()), 1000);
    }

    #[test]
    fn is_what_is_taken_while_it_may_be_held() {
        let (mut drain, start) = (Drain::default(), start());
        drain.accepted(4, start, start + SECOND * 2);
        assert_eq!((drain.per_second(), drain.share(&partner_rules())), (Some(2.0), 60));
        drain.accepted(2, start + SECOND * 2, start + SECOND * 3);
        assert_eq!(drain.share(&partner_rules()), 60, "it goes on like that");
    }

    #[test]
    fn the_time_between_two_flushes_counts_unless_nothing_was_held_then() {
        let (mut busy, mut idle, start) = (Drain::default(), Drain::default(), start());
        for drain in [&mut busy, &mut idle] {
            drain.accepted(10, start, start + SECOND);
        }
        idle.rests();
        // Its rate limit makes it wait for nine seconds between flushes of one.
        for drain in [&mut busy, &mut idle] {
            drain.accepted(10, start + SECOND * 10, start + SECOND * 11);
        }
        assert_eq!(idle.share(&partner_rules()), 300);
        assert_eq!(busy.share(&partner_rules()), 50, "18 deliveries in 10.8 seconds, faded");
    }

    #[test]
    fn is_never_less_than_ten_nor_more_than_may_wait() {
        let (mut drain, start) = (Drain::default(), start());
        drain.accepted(1, start, start + SECOND * 60);
        assert_eq!(drain.share(&partner_rules()), LEAST);
        assert_eq!(drain.share(&PartnerRules { max_waiting: 3, ..partner_rules() }), 3);
        drain.rests();
        drain.accepted(1_000_000, start, start);
        assert_eq!(drain.share(&partner_rules()), 1000);
    }
}
