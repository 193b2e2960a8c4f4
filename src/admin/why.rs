//! Why a partner waits, in a few plain sentences. Pure.

use std::time::Duration;

use crate::dispatch::{PartnerReport, PartnerState};
use crate::plain::{name, one_line};

/// Returns the sentences worth saying about a partner, the most important first.
pub fn sentences(partner: &PartnerReport) -> Vec<String> {
    let mut said = vec![waits(partner)];
    let is_here = partner.waiting > 0 || partner.held_back > 0 || partner.oldest_age_s.is_some();
    if is_here && partner.state != PartnerState::Paused {
        said.push(format!("Why: {}.", partner.reason));
    }
    if partner.held_back > 0 && partner.waiting > 0 {
        said.push(format!(
            "The turn of {} has not come: a message received before is still with its handler, and order is kept.",
            several(partner.held_back, "more delivery", "more deliveries")
        ));
    }
    if partner.parked > 0 {
        said.push(format!(
            "{} parked on the disk, and {} in order once the partner accepts deliveries.",
            several(count(partner.parked), "delivery is", "deliveries are"),
            if partner.parked == 1 { "comes back" } else { "come back" }
        ));
    }
    if partner.hidden > 0 {
        said.push(format!(
            "{} returned and {} hidden in the queue, to be shown again, oldest first, once the partner accepts deliveries.",
            several(partner.hidden, "message was", "messages were"),
            if partner.hidden == 1 { "is" } else { "are" }
        ));
    }
    if partner.state == PartnerState::Paused {
        said.push("An operator paused it: nothing is sent until an operator resumes it.".to_owned());
    }
    match partner.next_attempt_in_s {
        Some(seconds) if seconds > 0.0 => said.push(format!("The next attempt is in {}.", span(seconds))),
        Some(_) => said.push("The next attempt is due now.".to_owned()),
        None => {}
    }
    if partner.failures > 0 {
        let breaker = if partner.failures >= partner.breaker_failures {
            "its breaker is open, and one attempt at a time is let through until one succeeds".to_owned()
        } else if partner.state == PartnerState::Open {
            "its set-up is wrong, so nothing is dead-lettered, and one attempt at a time is let through until one succeeds"
                .to_owned()
        } else {
            format!("at {} its breaker opens", partner.breaker_failures)
        };
        said.push(format!("{} in a row so far: {breaker}.", several(partner.failures as usize, "failure", "failures")));
    }
    if let Some(error) = &partner.last_error {
        said.push(format!("The last error: {}.", one_line(error).trim_end_matches('.')));
    }
    if let Some(id) = &partner.blocked_by {
        said.push(format!("The delivery {id} at its head may be at fault; octoconf skip sets it aside."));
    }
    if let Some(rate) = &partner.rate {
        let per = if rate.per_s == 1.0 { "a second".to_owned() } else { format!("in {}", span(rate.per_s)) };
        said.push(format!(
            "Its limit is {} {per}, {} at once after a pause.",
            several(rate.requests as usize, "request", "requests"),
            rate.burst
        ));
    }
    if let Some(batch) = partner.learned_batch {
        said.push(format!("It was found to accept {} at a time.", several(batch, "delivery", "deliveries")));
    }
    if let Some(lease) = partner.lease_ends_in_s {
        said.push(format!(
            "The message of the oldest is leased for {} more; the lease is extended for as long as it is held.",
            span(lease)
        ));
    }
    said
}

fn waits(partner: &PartnerReport) -> String {
    let wire = match partner.in_flight {
        0 => "nothing is on the wire".to_owned(),
        1 => format!("one flush is on the wire{}", since(partner, "for")),
        many => format!("{many} flushes are on the wire{}", since(partner, "the oldest for")),
    };
    if partner.waiting == 0 && partner.held_back > 0 {
        return format!(
            "{} for {}, out of the handler and not yet in turn; {wire}.",
            several(partner.held_back, "delivery waits", "deliveries wait"),
            name(&partner.account)
        );
    }
    let oldest = partner.oldest_age_s.map(|age| format!(", the oldest for {}", span(age))).unwrap_or_default();
    if partner.waiting == 0 {
        let account = name(&partner.account);
        // How long what is parked has waited is not known: no less than the report says.
        let (place, longer) = match (partner.in_flight, partner.parked) {
            (_, 0) => ("on the wire", ""),
            (0, _) => ("parked", " or longer"),
            _ => ("on the wire or parked", ""),
        };
        return match oldest.as_str() {
            "" => format!("Nothing waits for {account}; {wire}."),
            oldest => format!("All that waits for {account} is {place}{oldest}{longer}; {wire}."),
        };
    }
    let queues: Vec<&str> = partner.queues.iter().filter(|queue| queue.waiting > 0).map(|queue| queue.queue.as_str()).collect();
    format!(
        "{} for {} (from {}){oldest}; {wire}.",
        several(partner.waiting, "delivery waits", "deliveries wait"),
        name(&partner.account),
        queues.join(", ")
    )
}

fn since(partner: &PartnerReport, word: &str) -> String {
    partner.on_wire_s.map(|seconds| format!(", {word} {}", span(seconds))).unwrap_or_default()
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn several(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Formats a number of seconds with at most two units.
fn span(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).as_secs();
    let parts = [(whole / 86_400, "d"), (whole % 86_400 / 3600, "h"), (whole % 3600 / 60, "min"), (whole % 60, "s")];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{BucketReport, RateReport};

    fn partner(state: PartnerState, reason: &'static str) -> PartnerReport {
        let bucket = BucketReport {
            queue: "stock".into(),
            waiting: 12,
            parked: 0,
            in_flight: 0,
            state,
            reason,
            next_attempt_in_s: None,
            oldest_age_s: Some(75.4),
            failures: 0,
        };
        PartnerReport {
            account: "acme".into(),
            state,
            reason,
            next_attempt_in_s: None,
            waiting: 12,
            parked: 0,
            in_flight: 0,
            on_wire_s: None,
            held_back: 0,
            hidden: 0,
            oldest_age_s: Some(75.4),
            failures: 0,
            last_error: None,
            blocked_by: None,
            learned_batch: None,
            rate: None,
            breaker_failures: 5,
            lease_ends_in_s: None,
            queues: vec![bucket],
        }
    }

    #[test]
    fn a_partner_with_an_open_breaker_is_explained() {
        let report = PartnerReport {
            failures: 7,
            next_attempt_in_s: Some(93.0),
            last_error: Some("answered 503: a\nb".into()),
            lease_ends_in_s: Some(41.2),
            ..partner(PartnerState::Open, "its breaker is open")
        };
        assert_eq!(
            sentences(&report),
            [
                "12 deliveries wait for acme (from stock), the oldest for 1 min 15 s; nothing is on the wire.",
                "Why: its breaker is open.",
                "The next attempt is in 1 min 33 s.",
                "7 failures in a row so far: its breaker is open, and one attempt at a time is let through until one succeeds.",
                "The last error: answered 503: a b.",
                "The message of the oldest is leased for 41 s more; the lease is extended for as long as it is held.",
            ]
        );
    }

    #[test]
    fn limits_pauses_and_idleness_are_told_apart() {
        let rate = Some(RateReport { requests: 5, per_s: 1.0, burst: 1 });
        let limited = sentences(&PartnerReport {
            rate,
            next_attempt_in_s: Some(0.2),
            ..partner(PartnerState::Limited, "its rate allows no more for now")
        });
        assert!(limited.contains(&"Its limit is 5 requests a second, 1 at once after a pause.".to_owned()), "{limited:?}");
        let paused = sentences(&partner(PartnerState::Paused, "an operator paused it"));
        assert!(paused[1].contains("until an operator resumes it") && paused.len() == 2, "{paused:?}");
        let idle = PartnerReport {
            waiting: 0,
            oldest_age_s: None,
            queues: Vec::new(),
            in_flight: 2,
            on_wire_s: Some(31.2),
            ..partner(PartnerState::Healthy, "")
        };
        assert_eq!(sentences(&idle), ["Nothing waits for acme; 2 flushes are on the wire, the oldest for 31 s."]);
        let hangs = PartnerReport { oldest_age_s: Some(75.0), in_flight: 1, reason: "a flush is on the wire", ..idle };
        assert_eq!(
            sentences(&hangs)[..2],
            [
                "All that waits for acme is on the wire, the oldest for 1 min 15 s; one flush is on the wire, for 31 s.",
                "Why: a flush is on the wire."
            ]
        );
    }

    #[test]
    fn a_wrong_set_up_is_no_breaker() {
        let refused =
            PartnerReport { failures: 1, ..partner(PartnerState::Open, "the endpoint for this queue is set up wrongly") };
        let said = sentences(&refused);
        assert!(said[2].starts_with("1 failure in a row so far: its set-up is wrong, so nothing is dead-lettered"), "{said:?}");
    }

    #[test]
    fn what_is_not_in_memory_is_told_too() {
        let parked =
            PartnerReport { parked: 1200, hidden: 1, ..partner(PartnerState::BackingOff, "it backs off after a failure") };
        assert_eq!(
            sentences(&parked)[2..],
            [
                "1200 deliveries are parked on the disk, and come back in order once the partner accepts deliveries.",
                "1 message was returned and is hidden in the queue, to be shown again, oldest first, once the partner accepts deliveries.",
            ]
        );
        let reason = "what is parked waits for room, or to be read from the disk";
        let all_parked = PartnerReport { waiting: 0, parked: 6, ..partner(PartnerState::Healthy, reason) };
        assert_eq!(
            sentences(&all_parked)[..2],
            [
                "All that waits for acme is parked, the oldest for 1 min 15 s or longer; nothing is on the wire.",
                "Why: what is parked waits for room, or to be read from the disk.",
            ]
        );
        let late = PartnerReport { held_back: 3, ..partner(PartnerState::Healthy, "a flush is on the wire") };
        assert_eq!(
            sentences(&late)[2],
            "The turn of 3 more deliveries has not come: a message received before is still with its handler, and order is kept."
        );
        let reason = "a message received before is still with its handler, and order is kept";
        let unseen = PartnerReport {
            waiting: 0,
            held_back: 1,
            oldest_age_s: None,
            queues: Vec::new(),
            ..partner(PartnerState::Healthy, reason)
        };
        assert_eq!(
            sentences(&unseen),
            [
                "1 delivery waits for acme, out of the handler and not yet in turn; nothing is on the wire.".to_owned(),
                format!("Why: {reason}.")
            ]
        );
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let spans = [0.04, 9.96, 59.4, 60.0, 3_600.0, 3_725.0, 90_000.0, f64::MAX].map(span);
        assert_eq!(spans[..7], ["0.0 s", "10.0 s", "59 s", "1 min", "1 h", "1 h 2 min", "1 d 1 h"]);
    }
}
