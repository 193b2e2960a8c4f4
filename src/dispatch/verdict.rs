//! What an answer means: a pure function of the answer and of what came before it.

use std::time::Duration;

use crate::message::Answer;

/// What the answer is judged against.
#[derive(Debug, Clone, Copy, Default)]
pub struct History {
    /// In the batch that drew the answer.
    pub deliveries: usize,
    /// Answers of 409 in a row that this delivery alone has drawn before.
    pub conflicts: u32,
    /// Culprits in a row, without a success between them.
    pub culprits: u32,
    /// The partner's threshold.
    pub breaker_failures: u32,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// The whole partner waits: as long as it asks, else for the back-off.
    Unavailable {
        retry_after: Option<Duration>,
    },
    /// The batch is too large for the partner: halve it, and remember.
    TooLarge,
    /// A message in the batch is at fault: find it by halving.
    Bisect,
    /// This one delivery is at fault: a dead letter. Counts as a culprit.
    Culprit {
        kind: &'static str,
    },
    /// The sink can never take any of these.
    Impossible,
    /// The set-up is wrong: nothing is lost, it is tried again at the longest back-off.
    Misconfigured {
        gate: Gate,
    },
}

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Bucket,
    Partner,
}

/// The table of the contract's section on flow control, row by row.
pub fn verdict(answer: &Answer, history: History) -> Verdict {
    let (code, retry_after) = match answer {
        Answer::Accepted => return Verdict::Delivered,
        Answer::Unreachable { .. } => return Verdict::Unavailable { retry_after: None },
        Answer::Refused { .. } => return Verdict::Impossible,
        // Of what was not accepted: that is all that is left of the batch when it is judged.
        Answer::Partly { rest, .. } => return verdict(rest, history),
        Answer::Status { code, retry_after, .. } => (*code, *retry_after),
    };
    match code {
        200..=299 => Verdict::Delivered,
        // 409 at first means: still at work on it.
        409 if history.deliveries == 1 && history.conflicts + 1 >= history.breaker_failures => at_fault(history),
        408 | 409 | 425 | 429 => Verdict::Unavailable { retry_after },
        413 if history.deliveries > 1 => Verdict::TooLarge,
        413 => Verdict::Culprit { kind: "too_large" },
        404 | 410 => Verdict::Misconfigured { gate: Gate::Bucket },
        300..=399 | 401 | 402 | 403 | 405 | 406 | 407 | 415 | 421 | 426 | 451 => Verdict::Misconfigured { gate: Gate::Partner },
        400..=499 => at_fault(history),
        // 5xx, and what no specification knows.
        _ => Verdict::Unavailable { retry_after },
    }
}

/// A message is at fault; but a partner that refuses one after the other is at fault itself.
fn at_fault(history: History) -> Verdict {
    if history.deliveries > 1 {
        Verdict::Bisect
    } else if history.culprits >= history.breaker_failures {
        Verdict::Misconfigured { gate: Gate::Partner }
    } else {
        Verdict::Culprit { kind: "refused" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u16, history: History) -> Verdict {
        let retry_after = Some(Duration::from_secs(7));
        verdict(&Answer::Status { code, retry_after, excerpt: "".into() }, history)
    }

    const ONE: History = History { deliveries: 1, conflicts: 0, culprits: 0, breaker_failures: 5 };
    const MANY: History = History { deliveries: 10, ..ONE };

    #[test]
    fn accepted_is_delivered() {
        assert_eq!(verdict(&Answer::Accepted, MANY), Verdict::Delivered);
        assert_eq!(of(204, ONE), Verdict::Delivered);
    }

    #[test]
    fn an_unavailable_partner_waits_as_long_as_it_asks() {
        for code in [408, 409, 425, 429, 500, 501, 502, 503, 504, 599, 600, 199] {
            assert_eq!(of(code, ONE), Verdict::Unavailable { retry_after: Some(Duration::from_secs(7)) }, "{code}");
            assert_eq!(of(code, MANY), of(code, ONE), "{code}");
        }
        assert_eq!(verdict(&Answer::Unreachable { reason: "no route".into() }, ONE), Verdict::Unavailable { retry_after: None });
    }

    #[test]
    fn a_conflict_that_stays_is_a_culprit() {
        assert_eq!(of(409, History { conflicts: 3, ..ONE }), Verdict::Unavailable { retry_after: Some(Duration::from_secs(7)) });
        assert_eq!(of(409, History { conflicts: 4, ..ONE }), Verdict::Culprit { kind: "refused" });
        assert_eq!(of(409, History { conflicts: 4, ..MANY }), Verdict::Unavailable { retry_after: Some(Duration::from_secs(7)) });
    }

    #[test]
    fn too_large_is_halved_and_alone_is_dead() {
        assert_eq!(of(413, MANY), Verdict::TooLarge);
        assert_eq!(of(413, ONE), Verdict::Culprit { kind: "too_large" });
    }

    #[test]
    fn a_message_at_fault_is_found_by_halving() {
        for code in [400, 411, 412, 414, 416, 417, 418, 422, 423, 424, 428, 431, 499] {
            assert_eq!(of(code, MANY), Verdict::Bisect, "{code}");
            assert_eq!(of(code, ONE), Verdict::Culprit { kind: "refused" }, "{code}");
        }
    }

    #[test]
    fn a_partner_that_refuses_all_is_at_fault_itself() {
        assert_eq!(of(400, History { culprits: 4, ..ONE }), Verdict::Culprit { kind: "refused" });
        assert_eq!(of(400, History { culprits: 5, ..ONE }), Verdict::Misconfigured { gate: Gate::Partner });
    }

    #[test]
    fn a_wrong_set_up_loses_nothing() {
        for code in [300, 301, 302, 304, 307, 308, 401, 402, 403, 405, 406, 407, 415, 421, 426, 451] {
            assert_eq!(of(code, MANY), Verdict::Misconfigured { gate: Gate::Partner }, "{code}");
        }
        for code in [404, 410] {
            assert_eq!(of(code, ONE), Verdict::Misconfigured { gate: Gate::Bucket }, "{code}");
        }
    }

    #[test]
    fn what_the_sink_cannot_take_is_impossible() {
        assert_eq!(verdict(&Answer::Refused { reason: "no file name".into() }, MANY), Verdict::Impossible);
    }
}
