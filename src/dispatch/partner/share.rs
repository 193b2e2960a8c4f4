//! A partner's share of the room: the deliveries that it takes in `hold_for` at its present rate. Deliveries beyond the
//! share would wait in memory for longer than they have to.

use std::time::{Duration, Instant};

use crate::dispatch::rules::PartnerRules;

/// The smallest share, in deliveries: a slow partner's batches are then still worth a request, and a partner that is
/// away has something to be tried with.
pub const LEAST: usize = 10;

/// The factor by which the weight of earlier flushes fades with each further one: the last
/// five make two thirds of the rate.
const FADING: f32 = 0.8;

/// The shortest duration of a flush, whatever the clock says.
const SHORTEST: Duration = Duration::from_micros(1);

/// The number of deliveries that a partner takes per second, measured over its latest accepted flushes.
#[derive(Debug, Default)]
pub struct Drain {
    /// The deliveries of these flushes; earlier flushes weigh less.
    deliveries: f32,
    /// The time that these flushes took, in seconds; earlier flushes weigh less.
    seconds: f32,
    /// When the last of these flushes landed, if the partner has held something ever since: the time between two
    /// landings is then what one flush takes.
    busy_since: Option<Instant>,
}

impl Drain {
    /// Records that a flush that began at `began` is accepted now.
    pub fn accepted(&mut self, deliveries: usize, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(self.busy_since.unwrap_or(began)).max(SHORTEST);
        self.deliveries = self.deliveries * FADING + deliveries as f32;
        self.seconds = self.seconds * FADING + took.as_secs_f32();
        self.busy_since = Some(now);
    }

    /// Records that nothing is held for the partner, or that it fails: the time until its next accepted flush
    /// then says nothing about its rate.
    pub fn rests(&mut self) {
        self.busy_since = None;
    }

    /// Returns the rate in deliveries per second; `None` before the first flush is accepted.
    pub fn per_second(&self) -> Option<f32> {
        (self.deliveries > 0.0).then(|| self.deliveries / self.seconds)
    }

    /// Returns the share, in deliveries, of a partner that takes its deliveries.
    pub fn share(&self, rules: &PartnerRules) -> usize {
        let most = rules.max_waiting;
        // The cast saturates: a float beyond the largest integer becomes that integer.
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
        // The rate limit makes the partner wait for nine seconds between flushes of one second.
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
