//! Tests of `try`: what people and programs see of each outcome.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::handler::jq;
use crate::message::Delivery;

/// A handler that does what the body says.
fn obedient(message: &Message) -> Outcome {
    let delivery = |account: &str, payload: &'static [u8]| Delivery { account: account.into(), payload: payload.into() };
    match &message.body[..] {
        b"one" => Outcome::deliver("17850", r#"{"total":1.50}"#),
        b"two" => Outcome::Deliver([delivery("a", b"1"), delivery("b c\n", b"[2]")].into_iter().collect()),
        b"odd" => Outcome::Deliver([delivery("\u{202e}x", b"not \xff JSON \x1b[2J")].into_iter().collect()),
        b"none" => Outcome::Discard,
        b"later" => Outcome::Retry { after: Duration::from_millis(2500), reason: "the shop is closed".into() },
        b"never" => Outcome::reject("field `account` is null"),
        _ => panic!("what is {}?", message.id),
    }
}

fn run(input: &str, json: bool) -> (Tally, String) {
    let mut out = Vec::new();
    let tally = try_out(&obedient, input.as_bytes(), &mut out, json).unwrap();
    (tally, String::from_utf8(out).unwrap())
}

const INPUT: &str = "one\ntwo\n\nodd\nnone\nlater\nnever\nwhat\n";

#[test]
fn people_see_a_line_for_each_result() {
    let (tally, text) = run(INPUT, false);
    let expected = [
        r#"1 deliver 17850 {"total":1.50}"#,
        r#"2 deliver a 1"#,
        r#"2 deliver "b c\n" [2]"#,
        r#"4 deliver "\u202ex" not � JSON \u{1b}[2J"#,
        r#"5 discard"#,
        r#"6 retry after 2.5 s the shop is closed"#,
        r#"7 reject field `account` is null"#,
        r#"8 reject the handler panicked: what is line-8?"#,
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(tally, Tally { lines: 7, delivered: 3, deliveries: 4, discarded: 1, retried: 1, rejected: 2 });
}

#[test]
fn programs_see_one_array() {
    let (tally, text) = run(INPUT, true);
    let row = |line: u64, outcome: &str, bucket: Value, payload: Value, reason: Value| json!({"line": line, "outcome": outcome, "bucket": bucket, "payload": payload, "reason": reason});
    let mut later = row(6, "retry", Value::Null, Value::Null, json!("the shop is closed"));
    later["after_s"] = json!(2.5);
    let expected = json!([
        row(1, "deliver", json!("17850"), json!({"total": 1.5}), Value::Null),
        row(2, "deliver", json!("a"), json!(1), Value::Null),
        row(2, "deliver", json!("b c\n"), json!([2]), Value::Null),
        row(4, "deliver", json!("\u{202e}x"), json!("not � JSON \u{1b}[2J"), Value::Null),
        row(5, "discard", Value::Null, Value::Null, Value::Null),
        later,
        row(7, "reject", Value::Null, Value::Null, json!("field `account` is null")),
        row(8, "reject", Value::Null, Value::Null, json!("the handler panicked: what is line-8?")),
    ]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    assert!(text.contains(r#""payload":{"total":1.50}}"#), "{text}");
    assert_eq!(tally, run(INPUT, false).0);
}

#[test]
fn no_lines_are_an_empty_array() {
    assert_eq!(run("", true), (Tally::default(), "[]\n".to_owned()));
    assert_eq!(run("\n", false), (Tally::default(), String::new()));
}

#[test]
fn an_input_that_fails_midway_leaves_a_whole_array() {
    let input = format!("one\n{}\n", "7".repeat(crate::message::MAX_BODY + 1));
    let mut out = Vec::new();
    let error = try_out(&obedient, input.as_bytes(), &mut out, true).unwrap_err();
    assert_eq!(error.to_string(), "line 2 is longer than 1048576 bytes, the most that a message may have");
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap().as_array().unwrap().len(), 1);
}

#[test]
fn an_output_that_fails_ends_it() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = try_out(&obedient, &b"one\n"[..], &mut Closed, false).unwrap_err();
    assert!(matches!(error, TryError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe));
}

#[test]
fn a_pipeline_sees_a_message_that_was_just_sent() {
    let handler = jq::compile("[$message.id, $message.receives, $message.sent_at > 1e9]", "\"a\"").unwrap();
    let mut out = Vec::new();
    try_out(&handler, &b"{}"[..], &mut out, false).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "1 deliver a [\"line-1\",1,true]\n");
}
