//! `dead`: shows dead letters, as a listing and one at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::listing::{Entry, time};
use crate::json;
use crate::message::{Attribute, AttributeValue};
use crate::plain::{Visible, name, one_line};
use crate::queue::DeadLetter;

impl Entry for DeadLetter {
    const NONE: &'static str = "no dead letters";

    fn head() -> String {
        format!("{:>8}  {:20}  {:12}  {:20}  REASON", "ID", "DEAD SINCE", "KIND", "PARTNER")
    }

    fn row(&self) -> String {
        let account = self.account.as_deref().map_or("-".into(), name);
        let (id, kind) = (one_line(&self.id), one_line(&self.kind));
        format!("{id:>8}  {:20}  {kind:12}  {account:20}  {}", time(self.dead_at), one_line(&self.reason))
    }

    fn object(&self) -> impl Serialize {
        object(self)
    }
}

/// Returns one dead letter as JSON. A body or payload that is JSON is included as written, except for its line breaks.
/// Any other becomes a string, in which bytes that are not UTF-8 are replaced.
pub fn object(letter: &DeadLetter) -> impl Serialize {
    Shown::of(letter, as_it_is)
}

/// Returns one dead letter for a person, one field per line. Body and payload are shown unchanged, since the reason
/// may refer to a column in them.
pub fn text(letter: &DeadLetter) -> String {
    // All fields are text and numbers, so the conversion cannot fail.
    let Ok(Value::Object(fields)) = serde_json::to_value(Shown::of(letter, as_text)) else { return String::new() };
    let shown = fields.iter().filter(|(_, value)| !value.is_null());
    shown
        .map(|(field, value)| match value.as_str() {
            Some(account) if field == "account" => format!("{field:12} {}\n", name(account)),
            text => format!("{field:12} {}\n", Visible(&text.map_or_else(|| value.to_string(), str::to_owned))),
        })
        .collect()
}

/// The fields of a dead letter, in the order in which they are shown.
#[derive(Serialize)]
struct Shown<'a, T> {
    id: Id<'a>,
    message_id: &'a str,
    kind: &'a str,
    reason: &'a str,
    account: Option<&'a str>,
    index: Option<u16>,
    payload: Option<T>,
    body: T,
    attributes: BTreeMap<&'a str, Cow<'a, str>>,
    receives: u32,
    redrives: u32,
    sent_at: String,
    dead_at: String,
}

/// The id of a dead letter. The ids of embedded queues are numbers, and stay numbers in JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Id<'a> {
    Number(i64),
    Text(&'a str),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Json(Box<RawValue>),
    Text(String),
}

impl<'a, T> Shown<'a, T> {
    /// Collects the fields of a letter; `show` converts bodies and payloads.
    fn of(letter: &'a DeadLetter, show: impl Fn(&[u8]) -> T) -> Self {
        Self {
            id: letter.id.parse().map_or(Id::Text(&letter.id), Id::Number),
            message_id: &letter.message_id,
            kind: &letter.kind,
            reason: &letter.reason,
            account: letter.account.as_deref(),
            index: letter.index,
            payload: letter.payload.as_deref().map(&show),
            body: show(&letter.body),
            attributes: letter.attributes.iter().map(|attribute| (attribute.name.as_str(), value(attribute))).collect(),
            receives: letter.receives,
            redrives: letter.redrives,
            sent_at: time(letter.sent_at),
            dead_at: time(letter.dead_at),
        }
    }
}

/// The deepest JSON that a letter's body is shown as. Within the letter, and the letter within a list, it stays readable
/// for parsers that stop at 128 levels; some stop at a few hundred.
const SHOWN_DEPTH: json::Bounds = json::Bounds { depth: 120, ..json::Bounds::DEPTH };

/// Includes JSON as written, and what is no JSON, or nests deeper than [`SHOWN_DEPTH`], as a string. Parsing and writing it
/// again would round long numbers, sort the keys and drop one of two equal keys.
fn as_it_is(bytes: &[u8]) -> Content {
    let json = json::check(bytes, SHOWN_DEPTH).ok().and_then(|()| serde_json::from_slice::<&RawValue>(bytes).ok());
    let Some(json) = json else { return Content::Text(as_text(bytes)) };
    // JSON strings contain no raw line breaks, so these stand between tokens. A listing has one line per entry.
    let on_one_line = json.get().replace(['\n', '\r'], " ");
    RawValue::from_string(on_one_line).map_or_else(|_| Content::Text(as_text(bytes)), Content::Json)
}

fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn value(attribute: &Attribute) -> Cow<'_, str> {
    match &attribute.value {
        AttributeValue::String(text) | AttributeValue::Number(text) => text.into(),
        AttributeValue::Binary(bytes) => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::listing::Listing;
    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            id: "7".into(),
            message_id: "m1".into(),
            kind: "rejected".into(),
            reason: "account: is\nnull\u{202e}".into(),
            account: None,
            index: None,
            payload: None,
            body: r#"{"account":"a", "account":null}"#.into(),
            attributes: vec![Attribute::new("source".into(), AttributeValue::String("shop".into()))],
            receives: 1,
            sent_at: SystemTime::UNIX_EPOCH,
            dead_at: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
            redrives: 0,
        }
    }

    fn listed(json: bool, letters: &[DeadLetter]) -> String {
        let mut out = Vec::new();
        let mut listing = Listing::new(&mut out, json);
        for letter in letters {
            listing.entry(letter).unwrap();
        }
        listing.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_listing_is_one_array_of_any_length() {
        for count in 0..3 {
            let letters = vec![letter(); count];
            let array: Vec<Value> = serde_json::from_str(&listed(true, &letters)).unwrap();
            assert_eq!(array, vec![serde_json::to_value(object(&letter())).unwrap(); count]);
        }
    }

    #[test]
    fn a_body_is_shown_as_it_was_written_and_stays_on_the_line_of_its_letter() {
        let of = |body: &'static [u8]| listed(true, &[DeadLetter { body: body.into(), ..letter() }]);
        let body = "{\"b\": 12345678901234567890123,\r\n \"a\":1.10, \"a\":null,\"s\":\"\\n\"}";
        let shown = of(body.as_bytes());
        assert!(shown.contains(&format!(r#""body":{},"#, body.replace("\r\n", "  "))), "{shown}");
        assert_eq!(shown.lines().count(), 3);
        for text in [&b"not JSON\n"[..], b"\xff", b"", b"{} {}", b"\"a\nb\""] {
            let array: Value = serde_json::from_str(&of(text)).unwrap();
            assert_eq!(array[0]["body"], String::from_utf8_lossy(text).into_owned());
        }
    }

    #[test]
    fn a_body_that_few_parsers_can_nest_is_shown_as_a_string() {
        for (depth, is_json) in [(120, true), (121, false), (20_000, false)] {
            let body = "[".repeat(depth) + &"]".repeat(depth);
            let shown = listed(true, &[DeadLetter { body: body.clone().into(), ..letter() }]);
            let array: Value = serde_json::from_str(&shown).unwrap();
            assert_eq!((array[0]["body"] == *body, array[0]["body"].is_array()), (!is_json, is_json), "{depth}");
        }
    }

    #[test]
    fn times_that_no_calendar_has_are_shown_as_the_last_that_it_has() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::MAX);
        let letter = DeadLetter { sent_at: far, dead_at: far, ..letter() };
        for shown in [listed(false, std::slice::from_ref(&letter)), listed(true, std::slice::from_ref(&letter)), text(&letter)] {
            assert!(shown.contains("9999-12-31T23:59:59Z"), "{shown}");
        }
    }

    #[test]
    fn a_table_keeps_each_letter_on_its_line() {
        let table = listed(false, &[letter(), letter()]);
        assert_eq!(table.lines().count(), 3);
        assert!(table.lines().last().unwrap().ends_with("account: is null "), "{table}");
        let shown = text(&letter());
        assert!(shown.contains("account: is\\nnull\\u{202e}\n"), "{shown}");
        let hostile = DeadLetter { id: "\u{1b}[2Ja".into(), kind: "\u{9b}2Jb".to_owned(), ..letter() };
        for shown in [listed(false, std::slice::from_ref(&hostile)), text(&hostile)] {
            assert!(!shown.contains(['\u{1b}', '\u{9b}']) && shown.contains("2Ja") && shown.contains("2Jb"), "{shown:?}");
        }
        assert!(shown.contains(r#"{"account":"a", "account":null}"#), "as it was received: {shown}");
        assert_eq!(listed(false, &[]), "no dead letters\n");
        for (account, column) in [(None, "-"), (Some("-"), "\"-\""), (Some("a\nb"), "\"a\\nb\""), (Some("a b"), "a b")] {
            let letter = DeadLetter { account: account.map(Into::into), ..letter() };
            assert!(listed(false, std::slice::from_ref(&letter)).contains(&format!("  {column:20}  ")), "{account:?}");
            assert_eq!(text(&letter).contains(&format!("account      {column}\n")), account.is_some());
        }
    }
}
