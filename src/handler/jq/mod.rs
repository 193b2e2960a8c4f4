//! Pipelines without code: `[handlers.NAME]` with a jq program for the payloads and one for the
//! bucket, run by the jaq crates.
//!
//! The programs are compiled at start and at a reload, and run by the pool's threads, many at once (a compiled program
//! is plain data, and each run has its own values).
//!
//! * **`jq`** sees the body and returns the payloads: no result discards the message, each result is one
//!   payload, written as compact JSON. An error, `error("…")` included, rejects the message with its text,
//!   even if results came before it.
//! * **`bucket`** also sees the body, not the results: a payload for a partner seldom repeats the partner's account.
//!   One result is the account of all payloads; as many results as there are payloads are the accounts of each, so
//!   that one message can go to several partners: `jq = '.lines[]'`, `bucket = '.lines[].account'`. A string or an
//!   integer names an account; null, a missing field, an empty string and anything else rejects the message. The
//!   program is not run if there is no payload.
//! * **`$message`** holds what else is known: `{id, sent_at, receives, group, attributes}`, with `sent_at` in seconds
//!   since 1970 (`$message.sent_at | todate`), `group` null on standard queues, and attributes by name: strings as
//!   strings, numbers as numbers, binary ones as byte strings (`@base64` makes text of them).
//!
//! A pipeline only computes: filters that read input, the environment or files, write to the log or end the
//! process are left out (see [`program`]). Numbers that are only passed on keep every digit; of two fields
//! with one name the last counts.
//!
//! **Limits.** A body nests at most [`json::MAX_DEPTH`] deep, and so does a result; its numbers have at most
//! [`json::MAX_NUMBER`] characters. The size of a program is bounded too (see [`size`]).
//! Results are bounded by [`MAX_DELIVERIES`] and [`MAX_OUTPUT`], so that `repeat(.)`
//! is rejected instead of running for ever. What a program does before it returns a result cannot be bounded, since jaq
//! cannot be interrupted: a program that loops without a result holds its thread for ever; one that builds a huge value
//! takes the memory for it; one that recurses without end, or builds a value thousands of levels deep and then prints
//! or compares it, overflows the stack, which ends the process. A program must therefore not let a body decide how far
//! it goes: no `range(.n)` within an array, no `"x" * .n`, no depth by count.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};
use jaq_json::{Map, Num, Val};
use smallvec::SmallVec;

use super::{Handler, unreadable};
use crate::json;
use crate::message::{Account, Attribute, AttributeValue, Delivery, Grouping, MAX_ACCOUNT, MAX_DELIVERIES, Message, Outcome};

mod one_result;
mod program;
mod size;
mod write;

pub(crate) use one_result::gives_one_result;
pub use program::{JqError, Program};

/// The largest size in bytes of all payloads of one message together.
pub const MAX_OUTPUT: usize = 16 * 1024 * 1024;

/// Compiles a pipeline. The error is that of the first program that does not compile.
pub fn compile(jq: &str, bucket: &str) -> Result<JqHandler, JqError> {
    Ok(JqHandler::new(Program::compile(jq)?, Program::compile(bucket)?))
}

/// Checks that a program compiles as the path of a group.
pub fn check_group(program: &str) -> Result<(), JqError> {
    Program::compile_within(program, &size::GROUP).map(drop)
}

/// Compiles the path of the FIFO group of an embedded queue. Its program sees the body as `bucket` does, without
/// `$message`, and its first result counts. Null, a missing field, an error, a body that is not JSON, and anything but
/// a string or an integer mean no group.
pub fn group_path(program: &str) -> Result<Grouping, JqError> {
    let program = Program::compile_within(program, &size::GROUP)?;
    Ok(Arc::new(move |body| {
        let first = program.run(parse(body).ok()?, Val::Null).next()?;
        first.ok().as_ref().and_then(name_of)
    }))
}

/// A pipeline of two jq programs; see the [module](self).
#[derive(Debug)]
pub struct JqHandler {
    jq: Program,
    bucket: Program,
}

impl Handler for JqHandler {
    fn handle(&self, message: &Message) -> Outcome {
        match self.deliveries(message) {
            Ok(deliveries) if deliveries.is_empty() => Outcome::Discard,
            Ok(deliveries) => Outcome::Deliver(deliveries),
            Err(reason) => Outcome::Reject { reason },
        }
    }
}

impl JqHandler {
    /// Creates a pipeline of a program for the payloads and one for the bucket.
    pub fn new(jq: Program, bucket: Program) -> Self {
        Self { jq, bucket }
    }

    fn deliveries(&self, message: &Message) -> Result<SmallVec<[Delivery; 1]>, String> {
        let body = parse(&message.body)?;
        // Most programs never use `$message`.
        let about = if self.jq.asks_for_message() || self.bucket.asks_for_message() { describe(message) } else { Val::Null };

        let payloads = self.payloads(body.clone(), about.clone())?;
        if payloads.is_empty() {
            return Ok(SmallVec::new());
        }
        let mut accounts = self.accounts(body, about)?;
        if let ([account], 2..) = (accounts.as_slice(), payloads.len()) {
            let account = account.clone();
            accounts.resize(payloads.len(), account);
        }
        if accounts.len() != payloads.len() {
            return Err(format!(
                "bucket `{}` gave {} accounts for {} payloads",
                self.bucket.text(),
                accounts.len(),
                payloads.len()
            ));
        }
        Ok(accounts.into_iter().zip(payloads).map(|(account, payload)| Delivery { account, payload }).collect())
    }

    fn payloads(&self, body: Val, about: Val) -> Result<SmallVec<[Bytes; 1]>, String> {
        let mut payloads = SmallVec::new();
        let mut room = MAX_OUTPUT;
        for result in self.jq.run(body, about) {
            if payloads.len() == MAX_DELIVERIES {
                return Err(format!("jq gave more than {MAX_DELIVERIES} results"));
            }
            let payload = write::to_json(result?, room).map_err(|error| format!("jq result {}: {error}", payloads.len() + 1))?;
            room -= payload.len();
            payloads.push(payload);
        }
        Ok(payloads)
    }

    /// Returns at least one account and at most [`MAX_DELIVERIES`].
    fn accounts(&self, body: Val, about: Val) -> Result<SmallVec<[Account; 1]>, String> {
        let path = self.bucket.text();
        let mut accounts = SmallVec::new();
        for result in self.bucket.run(body, about).take(MAX_DELIVERIES) {
            let value = result.map_err(|error| format!("bucket `{path}`: {error}"))?;
            match (name_of(&value), value) {
                (Some(account), _) if account.len() > MAX_ACCOUNT => {
                    return Err(format!(
                        "bucket `{path}` gave an account of {} bytes, {MAX_ACCOUNT} are the limit",
                        account.len()
                    ));
                }
                (Some(account), _) => accounts.push(account),
                (None, Val::Null) => return Err(format!("bucket `{path}` is null or missing")),
                (None, Val::TStr(text)) if text.is_empty() => return Err(format!("bucket `{path}` is empty")),
                (None, _) => return Err(format!("bucket `{path}` is neither a string nor an integer")),
            }
        }
        if accounts.is_empty() { Err(format!("bucket `{path}` gave no account")) } else { Ok(accounts) }
    }
}

/// Parses a body as strict JSON: jaq's own reader would also accept comments, `NaN` and more, and
/// recurse as deep as the body goes.
fn parse(body: &[u8]) -> Result<Val, String> {
    json::check(body, json::Bounds::VALUE).map_err(|error| unreadable(&error))?;
    jaq_json::read::parse_single(body).map_err(|error| format!("the body is not JSON: {error}"))
}

/// Returns the text that names an account or a group: a non-empty string, or an integer in decimal. Other numbers name
/// nothing, since 1, 1.0 and 1e0 would be three partners.
fn name_of(value: &Val) -> Option<CompactString> {
    match value {
        Val::TStr(text) if !text.is_empty() => CompactString::from_utf8(text.as_ref()).ok(),
        Val::Num(number @ (Num::Int(_) | Num::BigInt(_))) => Some(number.to_compact_string()),
        _ => None,
    }
}

/// Returns the value of `$message`.
fn describe(message: &Message) -> Val {
    let text = |text: &str| Val::utf8_str(text.to_owned());
    let attribute = |Attribute { name, value, .. }: &Attribute| {
        let value = match value {
            AttributeValue::String(value) => text(value),
            AttributeValue::Number(number) if number.len() <= json::MAX_NUMBER && json::is_number(number) => {
                // This keeps all digits.
                Val::Num(Num::from_str_radix(number, 10).unwrap_or_else(|| Num::Dec(number.clone().into())))
            }
            AttributeValue::Number(other) => text(other),
            AttributeValue::Binary(bytes) => Val::byte_str(bytes.clone()),
        };
        (text(name), value)
    };
    let sent_at = message.sent_at.duration_since(UNIX_EPOCH).map_or(0.0, |age| age.as_secs_f64());
    let fields: Map = [
        (text("id"), text(&message.id)),
        (text("sent_at"), Val::from(sent_at)),
        (text("receives"), Val::Num(Num::from_integral(message.receives))),
        (text("group"), message.group.as_deref().map_or(Val::Null, text)),
        (text("attributes"), Val::obj(message.attributes.iter().map(attribute).collect())),
    ]
    .into_iter()
    .collect();
    Val::obj(fields)
}

#[cfg(test)]
mod tests;
