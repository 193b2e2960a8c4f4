//! A partner's `rate` and `burst`, over all its buckets (the generic cell rate algorithm, ITU-T I.371).

use std::time::{Duration, Instant};

use crate::dispatch::rules::PartnerRules;

/// The use that a partner has made of its rate so far.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the next request would be exactly on the rate.
    on_rate: Option<Instant>,
}

impl Pace {
    /// Returns when the next request may start; `None` if it may start now.
    pub fn wait(&self, now: Instant, rules: &PartnerRules) -> Option<Instant> {
        let ahead = interval(rules)?.saturating_mul(rules.burst.saturating_sub(1));
        let on_rate = self.on_rate?;
        // A moment before the start of the clock has passed long ago.
        on_rate.checked_sub(ahead).filter(|at| *at > now)
    }

    /// Counts a request that starts now.
    pub fn spend(&mut self, now: Instant, rules: &PartnerRules) {
        if let Some(interval) = interval(rules) {
            self.on_rate = Some(self.on_rate.map_or(now, |at| at.max(now)) + interval);
        }
    }

    /// Takes in changed rules: what is left of a wait is cut to the longest that the new rules could have led to.
    pub fn obey(&mut self, now: Instant, rules: &PartnerRules) {
        let most = interval(rules).map(|interval| now + interval.saturating_mul(rules.burst));
        self.on_rate = self.on_rate.min(most);
    }

    /// Returns until when the pace must be remembered: from then on it equals that of a partner without any requests.
    pub fn remembered_until(&self) -> Option<Instant> {
        self.on_rate
    }
}

fn interval(rules: &PartnerRules) -> Option<Duration> {
    let (requests, per) = rules.rate?;
    // Rounded up, so that the rate is not exceeded even by a nanosecond.
    let nanos = per.as_nanos().div_ceil(u128::from(requests.max(1)));
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::{partner_rules, start};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_lets_a_burst_go_and_then_one_an_interval() {
        let rules = PartnerRules { rate: Some((2, SECOND)), burst: 3, ..partner_rules() };
        let (mut pace, start) = (Pace::default(), start());
        for _ in 0..3 {
            assert_eq!(pace.wait(start, &rules), None);
            pace.spend(start, &rules);
        }
        assert_eq!(pace.wait(start, &rules), Some(start + SECOND / 2));
        assert_eq!(pace.wait(start + SECOND / 2, &rules), None);
        pace.spend(start + SECOND / 2, &rules);
        assert_eq!(pace.wait(start + SECOND / 2, &rules), Some(start + SECOND));
        // Nothing is saved up beyond the burst.
        let later = start + SECOND * 3600;
        (0..3).for_each(|_| pace.spend(later, &rules));
        assert_eq!(pace.wait(later, &rules), Some(later + SECOND / 2));
    }

    #[test]
    fn a_rate_that_does_not_divide_is_not_exceeded() {
        let rules = PartnerRules { rate: Some((3, SECOND)), ..partner_rules() };
        let (mut pace, start) = (Pace::default(), start());
        let mut at = start;
        for _ in 0..3 {
            pace.spend(at, &rules);
            at = pace.wait(at, &rules).expect("one an interval");
        }
        assert!(at >= start + SECOND, "a fourth within the second");
    }

    #[test]
    fn a_higher_rate_counts_at_once() {
        let hour = SECOND * 3600;
        let slow = PartnerRules { rate: Some((1, hour)), burst: 2, ..partner_rules() };
        let quick = PartnerRules { rate: Some((1, SECOND)), burst: 2, ..partner_rules() };
        let (mut pace, start) = (Pace::default(), start());
        (0..2).for_each(|_| pace.spend(start, &slow));
        assert_eq!(pace.wait(start, &slow), Some(start + hour));
        pace.obey(start, &quick);
        assert_eq!(pace.wait(start, &quick), Some(start + SECOND));
        pace.obey(start, &partner_rules());
        assert_eq!((pace.wait(start, &partner_rules()), pace.remembered_until()), (None, None));
    }

    #[test]
    fn without_a_rate_nothing_waits_and_nothing_is_remembered() {
        let (mut pace, start, rules) = (Pace::default(), start(), partner_rules());
        pace.spend(start, &rules);
        assert_eq!((pace.wait(start, &rules), pace.remembered_until()), (None, None));
    }
}
