//! The guard between a handler and the engine: a panic, or an outcome that breaks a rule, becomes an
//! outcome that the engine can act on.
//!
//! Called by the pool's threads, for every message.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::Handler;
use crate::message::{Delivery, MAX_ACCOUNT, MAX_DELIVERIES, Message, Outcome};
use crate::panics::text_of;

/// The largest size of a reason in bytes: together with a message's other facts it must fit
/// into one SQS attribute of 2 KiB.
pub const MAX_REASON: usize = 1024;

/// The shortest time after which a message is tried again; a shorter one would be a hot loop through the queue service.
pub const MIN_RETRY: Duration = Duration::from_secs(1);

/// Runs a handler on a message. Blocks for as long as the handler does and never panics. The outcome keeps these rules:
///
/// * a panic is a reject with the panic's text (the handler is not replaced, so it must keep its own state intact);
/// * no deliveries are a discard, more than [`MAX_DELIVERIES`] a reject, one without an account, or with one of more than
///   [`MAX_ACCOUNT`] bytes, a reject that names it;
/// * a retry waits for at least [`MIN_RETRY`];
/// * a reason has at most [`MAX_REASON`] bytes.
pub fn run_caught(handler: &dyn Handler, message: &Message) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| handler.handle(message))) {
        Ok(outcome) => hold_to_rules(outcome),
        Err(panic) => {
            let outcome = reject(&format!("the handler panicked: {}", text_of(&*panic).unwrap_or("without a text")));
            // What a handler panics with may panic again when it is dropped. What that panics with is not dropped.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(again);
            }
            outcome
        }
    }
}

fn hold_to_rules(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Deliver(deliveries) if deliveries.is_empty() => Outcome::Discard,
        Outcome::Deliver(deliveries) if deliveries.len() > MAX_DELIVERIES => {
            reject(&format!("{} deliveries of one message, {MAX_DELIVERIES} are the limit", deliveries.len()))
        }
        Outcome::Deliver(deliveries) => {
            let wrong = |delivery: &Delivery| match delivery.account.len() {
                0 => Some("an empty account".to_owned()),
                1..=MAX_ACCOUNT => None,
                bytes => Some(format!("an account of {bytes} bytes, {MAX_ACCOUNT} are the limit")),
            };
            match deliveries.iter().map(wrong).enumerate().find_map(|(index, why)| Some((index, why?))) {
                None => Outcome::Deliver(deliveries),
                Some((index, why)) => reject(&format!("delivery {} of {} has {why}", index + 1, deliveries.len())),
            }
        }
        Outcome::Discard => Outcome::Discard,
        Outcome::Retry { after, reason } => Outcome::Retry { after: after.max(MIN_RETRY), reason: shorten(reason) },
        Outcome::Reject { reason } => Outcome::Reject { reason: shorten(reason) },
    }
}

fn reject(reason: &str) -> Outcome {
    Outcome::Reject { reason: shorten(reason.to_owned()) }
}

/// Cuts a long reason at a character boundary, and marks the cut.
fn shorten(mut reason: String) -> String {
    const MARK: &str = "…";
    if reason.len() > MAX_REASON {
        reason.truncate(reason.floor_char_boundary(MAX_REASON - MARK.len()));
        reason.push_str(MARK);
    }
    reason
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use bytes::Bytes;
    use smallvec::SmallVec;

    use super::*;

    fn message() -> Message {
        Message::new("1", "{}")
    }

    fn outcome(handler: impl Fn(&Message) -> Outcome + Send + Sync) -> Outcome {
        run_caught(&handler, &message())
    }

    fn reason(handler: impl Fn(&Message) -> Outcome + Send + Sync) -> String {
        match outcome(handler) {
            Outcome::Reject { reason } => reason,
            other => panic!("not rejected: {other:?}"),
        }
    }

    fn deliver_to<'a>(accounts: impl IntoIterator<Item = &'a str>) -> Outcome {
        let payload = Bytes::from_static(b"1");
        Outcome::Deliver(
            accounts.into_iter().map(|account| Delivery { account: account.into(), payload: payload.clone() }).collect(),
        )
    }

    #[test]
    fn a_panic_rejects_with_its_text() {
        assert_eq!(reason(|_| panic!("no stock")), "the handler panicked: no stock");
        assert_eq!(reason(|message| panic!("message {}", message.id)), "the handler panicked: message 1");
        assert_eq!(reason(|_| panic_any(7)), "the handler panicked: without a text");
    }

    #[test]
    fn what_a_handler_panics_with_may_panic_itself() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic_any(Bomb)
            }
        }
        assert_eq!(reason(|_| panic_any(Bomb)), "the handler panicked: without a text");
    }

    #[test]
    fn the_next_message_finds_the_handler_well() {
        let handler = |message: &Message| if message.receives == 1 { panic!("first") } else { Outcome::Discard };
        assert_eq!(run_caught(&handler, &message()).word(), "reject");
        assert_eq!(run_caught(&handler, &Message { receives: 2, ..message() }), Outcome::Discard);
    }

    #[test]
    fn long_reasons_are_cut_at_a_character() {
        let text = reason(|_| panic!("{}", "ü".repeat(5000)));
        assert!(text.starts_with("the handler panicked: üü") && text.ends_with("ü…"), "{text}");
        assert!((MAX_REASON - 3..=MAX_REASON).contains(&text.len()), "{}", text.len());
        assert_eq!(reason(|_| Outcome::reject("x".repeat(MAX_REASON))), "x".repeat(MAX_REASON));
        assert_eq!(
            outcome(|_| Outcome::Retry { after: Duration::from_secs(2), reason: "y".repeat(2000) }),
            Outcome::Retry { after: Duration::from_secs(2), reason: "y".repeat(MAX_REASON - 3) + "…" }
        );
    }

    #[test]
    fn a_retry_waits_a_second_at_least() {
        let retry = |after| Outcome::Retry { after, reason: "busy".into() };
        assert_eq!(outcome(|_| retry(Duration::ZERO)), retry(Duration::from_secs(1)));
        assert_eq!(outcome(|_| retry(Duration::from_secs(90))), retry(Duration::from_secs(90)));
    }

    #[test]
    fn deliveries_are_bounded_and_have_accounts() {
        assert_eq!(outcome(|_| Outcome::Deliver(SmallVec::new())), Outcome::Discard);
        assert_eq!(outcome(|_| deliver_to(["a"; MAX_DELIVERIES])), deliver_to(["a"; MAX_DELIVERIES]));
        assert_eq!(reason(|_| deliver_to(["a"; MAX_DELIVERIES + 1])), "1001 deliveries of one message, 1000 are the limit");
        assert_eq!(reason(|_| deliver_to(["a", "", "b"])), "delivery 2 of 3 has an empty account");
        let of_bytes = |bytes: usize| move |_: &Message| deliver_to([&*"a".repeat(bytes)]);
        assert_eq!(outcome(of_bytes(MAX_ACCOUNT)), deliver_to([&*"a".repeat(MAX_ACCOUNT)]));
        assert_eq!(reason(of_bytes(1025)), "delivery 1 of 1 has an account of 1025 bytes, 1024 are the limit");
    }
}
