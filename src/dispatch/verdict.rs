//! What an answer means: a pure function of the answer and of what came before it.

use std::time::Duration;

use crate::message::dead::DeadKind;
use crate::message::{Answer, RefusalCause};

/// The facts that an answer is judged against.
#[derive(Debug, Clone, Copy, Default)]
pub struct History {
    /// The number of deliveries in the batch that drew the answer.
    pub deliveries: usize,
    /// The number of 409 answers in a row that this batch has drawn before.
    pub conflicts: u32,
    /// The number of culprits in a row, without an accepted flush of the partner between them.
    pub culprits: u32,
    /// The same of this bucket alone: another endpoint of the partner may have accepted flushes of other queues meanwhile.
    pub culprits_of_bucket: u32,
    /// Whether the delivery has drawn answers that may be its own fault or the partner's, and the partner has since
    /// accepted a delivery behind it.
    pub on_trial: bool,
    /// The number of failures in a row after which the partner's breaker opens.
    pub breaker_failures: u32,
}

/// What the dispatcher does about an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every delivery of the batch is accepted.
    Delivered,
    /// The whole partner waits: for as long as it asks, else for the back-off.
    Unavailable { retry_after: Option<Duration>, blame: Blame },
    /// The batch is too large for the partner: it is halved, and the size is remembered.
    TooLarge,
    /// A message in the batch is at fault: halving the batch finds it.
    Bisect,
    /// This single delivery is at fault: it becomes a dead letter and counts as a culprit.
    Culprit { kind: DeadKind },
    /// The sink can never take any of these deliveries.
    Impossible,
    /// The set-up is wrong: nothing is lost, and the flush is tried again after the longest back-off.
    Misconfigured { gate: Gate, blame: Blame },
}

impl Verdict {
    /// Returns whether the partner or an endpoint of it fails by this: that is said, with how long the partner waits.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Misconfigured { .. } => true,
            Self::Delivered | Self::TooLarge | Self::Bisect | Self::Culprit { .. } | Self::Impossible => false,
        }
    }
}

/// The side that an answer blames, as far as one answer can tell. The partner may be broken or refuse everything, or it
/// may fail only at the one delivery that it was given; in that case only another delivery can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The partner is at fault.
    Partner,
    /// The delivery may be at fault, if the partner accepts other deliveries.
    InDoubt,
    /// The partner or its endpoint for the queue is at fault: it refused this delivery after too many others.
    Refuses,
}

/// The gate that a wrong set-up shuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The gate of the bucket alone.
    Bucket,
    /// The gate of the whole partner.
    Partner,
}

/// Returns the verdict on an answer, row by row of the table of answers in `README.md` (What partners receive).
pub fn verdict(answer: &Answer, history: History) -> Verdict {
    let (code, retry_after) = match answer {
        Answer::Accepted => return Verdict::Delivered,
        Answer::Unreachable { .. } => return Verdict::Unavailable { retry_after: None, blame: Blame::Partner },
        Answer::Refused { cause, .. } => return on_refusal(*cause, history),
        // Only the deliveries that were not accepted are judged: the others have left the batch by then.
        Answer::Partly { rest, .. } => return verdict(rest, history),
        Answer::Status { code, retry_after, .. } => (*code, *retry_after),
    };
    match code {
        200..=299 => Verdict::Delivered,
        // A first 409 means that the partner is still at work on the batch. If several deliveries draw it for long,
        // only halving tells which one does.
        409 if history.conflicts + 1 >= history.breaker_failures => at_fault(history),
        408 | 409 | 425 | 429 => Verdict::Unavailable { retry_after, blame: Blame::Partner },
        // The partner takes other deliveries and fails at this one.
        code if history.on_trial && history.deliveries == 1 && breaks_at_it(code) => Verdict::Culprit { kind: DeadKind::Refused },
        413 => too_large(history),
        404 | 410 => Verdict::Misconfigured { gate: Gate::Bucket, blame: Blame::Partner },
        code if is_about_the_set_up(code) => Verdict::Misconfigured { gate: Gate::Partner, blame: Blame::Partner },
        400..=499 => at_fault(history),
        // 5xx, and codes that no specification defines.
        code if breaks_at_it(code) => Verdict::Unavailable { retry_after, blame: Blame::InDoubt },
        _ => Verdict::Unavailable { retry_after, blame: Blame::Partner },
    }
}

/// Returns the verdict on a refusal without a status code, as on the code that says the same.
fn on_refusal(cause: RefusalCause, history: History) -> Verdict {
    match cause {
        RefusalCause::SetUp => Verdict::Misconfigured { gate: Gate::Partner, blame: Blame::Partner },
        RefusalCause::Place => Verdict::Misconfigured { gate: Gate::Bucket, blame: Blame::Partner },
        RefusalCause::Size => too_large(history),
        RefusalCause::Content => at_fault(history),
        RefusalCause::Impossible => Verdict::Impossible,
    }
}

fn too_large(history: History) -> Verdict {
    if history.deliveries > 1 { Verdict::TooLarge } else { Verdict::Culprit { kind: DeadKind::TooLarge } }
}

/// Returns whether the code is a server error that one request may have caused. 502 to 504 come from an intermediary,
/// or from a server that is away.
fn breaks_at_it(code: u16) -> bool {
    matches!(code, 500 | 501 | 505..=599)
}

fn is_about_the_set_up(code: u16) -> bool {
    matches!(code, 300..=399 | 401 | 402 | 403 | 405 | 406 | 407 | 415 | 421 | 426 | 451)
}

/// Returns the verdict if a message is at fault. A partner that refuses one message after another is at fault itself, and
/// so is an endpoint that does while the partner's others accept theirs.
fn at_fault(history: History) -> Verdict {
    if history.deliveries > 1 {
        Verdict::Bisect
    } else if history.culprits >= history.breaker_failures {
        Verdict::Misconfigured { gate: Gate::Partner, blame: Blame::Refuses }
    } else if history.culprits_of_bucket >= history.breaker_failures {
        Verdict::Misconfigured { gate: Gate::Bucket, blame: Blame::Refuses }
    } else {
        Verdict::Culprit { kind: DeadKind::Refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u16, history: History) -> Verdict {
        let retry_after = Some(Duration::from_secs(7));
        verdict(&Answer::Status { code, retry_after, excerpt: "".into() }, history)
    }

    const ONE: History =
        History { deliveries: 1, conflicts: 0, culprits: 0, culprits_of_bucket: 0, on_trial: false, breaker_failures: 5 };
    const MANY: History = History { deliveries: 10, ..ONE };

    fn waits(retry_after: Option<u64>, blame: Blame) -> Verdict {
        Verdict::Unavailable { retry_after: retry_after.map(Duration::from_secs), blame }
    }

    fn unreachable() -> Answer {
        Answer::Unreachable { reason: "no route".into() }
    }

    #[test]
    fn accepted_is_delivered() {
        assert_eq!(verdict(&Answer::Accepted, MANY), Verdict::Delivered);
        assert_eq!(of(204, ONE), Verdict::Delivered);
    }

    #[test]
    fn an_unavailable_partner_waits_as_long_as_it_asks() {
        for code in [408, 409, 425, 429, 500, 501, 502, 503, 504, 599, 600, 199] {
            let blame = if matches!(code, 500 | 501 | 599) { Blame::InDoubt } else { Blame::Partner };
            assert_eq!(of(code, ONE), waits(Some(7), blame), "{code}");
            assert_eq!(of(code, MANY), of(code, ONE), "{code}");
        }
        assert_eq!(verdict(&unreachable(), ONE), waits(None, Blame::Partner));
    }

    #[test]
    fn a_conflict_that_stays_is_a_culprit() {
        assert_eq!(of(409, History { conflicts: 3, ..ONE }), waits(Some(7), Blame::Partner));
        assert_eq!(of(409, History { conflicts: 4, ..ONE }), Verdict::Culprit { kind: DeadKind::Refused });
        assert_eq!(of(409, History { conflicts: 3, ..MANY }), waits(Some(7), Blame::Partner));
        assert_eq!(of(409, History { conflicts: 4, ..MANY }), Verdict::Bisect, "which of them is it?");
    }

    #[test]
    fn a_server_error_on_trial_is_a_culprit_and_a_server_that_is_away_is_not() {
        let on_trial = History { on_trial: true, ..ONE };
        for code in [500, 501, 505, 507, 511, 520, 599] {
            assert_eq!(of(code, on_trial), Verdict::Culprit { kind: DeadKind::Refused }, "{code}");
            assert_eq!(of(code, History { on_trial: true, ..MANY }), waits(Some(7), Blame::InDoubt), "{code}");
        }
        for code in [408, 409, 425, 429, 502, 503, 504, 600, 199] {
            assert_eq!(of(code, on_trial), waits(Some(7), Blame::Partner), "{code}");
        }
        assert_eq!(verdict(&unreachable(), on_trial), waits(None, Blame::Partner));
    }

    #[test]
    fn only_what_one_delivery_may_have_caused_is_in_doubt() {
        let whose = |code, history| match of(code, history) {
            Verdict::Unavailable { blame, .. } | Verdict::Misconfigured { blame, .. } => blame,
            verdict => panic!("{code}: {verdict:?} blames no side"),
        };
        let refuses_all = History { culprits: 5, conflicts: 4, ..ONE };
        for code in [500, 501, 505, 599] {
            assert_eq!((whose(code, ONE), whose(code, MANY)), (Blame::InDoubt, Blame::InDoubt), "{code}");
        }
        for code in [400, 409, 411, 418, 422, 431, 499] {
            assert_eq!(whose(code, refuses_all), Blame::Refuses, "{code}");
        }
        for code in [301, 401, 403, 404, 408, 410, 421, 425, 429, 451, 502, 503, 504, 600] {
            assert_eq!((whose(code, ONE), whose(code, refuses_all)), (Blame::Partner, Blame::Partner), "{code}");
        }
    }

    #[test]
    fn too_large_is_halved_and_alone_is_dead() {
        assert_eq!(of(413, MANY), Verdict::TooLarge);
        assert_eq!(of(413, ONE), Verdict::Culprit { kind: DeadKind::TooLarge });
    }

    #[test]
    fn a_message_at_fault_is_found_by_halving() {
        for code in [400, 411, 412, 414, 416, 417, 418, 422, 423, 424, 428, 431, 499] {
            assert_eq!(of(code, MANY), Verdict::Bisect, "{code}");
            assert_eq!(of(code, ONE), Verdict::Culprit { kind: DeadKind::Refused }, "{code}");
        }
    }

    #[test]
    fn a_partner_that_refuses_all_is_at_fault_itself() {
        assert_eq!(of(400, History { culprits: 4, ..ONE }), Verdict::Culprit { kind: DeadKind::Refused });
        assert_eq!(
            of(400, History { culprits: 5, ..ONE }),
            Verdict::Misconfigured { gate: Gate::Partner, blame: Blame::Refuses }
        );
    }

    #[test]
    fn an_endpoint_that_refuses_all_is_at_fault_itself_although_others_of_the_partner_accept() {
        let of_bucket = |culprits_of_bucket| of(422, History { culprits_of_bucket, ..ONE });
        assert_eq!(of_bucket(4), Verdict::Culprit { kind: DeadKind::Refused });
        assert_eq!(of_bucket(5), Verdict::Misconfigured { gate: Gate::Bucket, blame: Blame::Refuses });
    }

    #[test]
    fn a_wrong_set_up_loses_nothing() {
        for code in [300, 301, 302, 304, 307, 308, 401, 402, 403, 405, 406, 407, 415, 421, 426, 451] {
            assert_eq!(of(code, MANY), Verdict::Misconfigured { gate: Gate::Partner, blame: Blame::Partner }, "{code}");
        }
        for code in [404, 410] {
            assert_eq!(of(code, ONE), Verdict::Misconfigured { gate: Gate::Bucket, blame: Blame::Partner }, "{code}");
        }
    }

    #[test]
    fn a_refusal_without_a_status_is_judged_like_the_status_that_says_the_same() {
        let refused = |cause, history| verdict(&Answer::Refused { cause, reason: "no".into() }, history);
        for (cause, code) in
            [(RefusalCause::SetUp, 403), (RefusalCause::Place, 404), (RefusalCause::Size, 413), (RefusalCause::Content, 400)]
        {
            for history in [ONE, MANY, History { culprits: 5, ..ONE }] {
                assert_eq!(refused(cause, history), of(code, history), "{code}");
            }
        }
        assert_eq!(
            [ONE, MANY].map(|history| refused(RefusalCause::Impossible, history)),
            [Verdict::Impossible, Verdict::Impossible]
        );
    }
}
