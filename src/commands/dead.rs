//! `dead`: how dead letters look, as a listing and one by one.

use serde_json::{Map, Value, json};

use super::listing::{Entry, time};
use super::plain::{Visible, one_line};
use crate::message::{Attribute, AttributeValue};
use crate::queue::DeadLetter;

impl Entry for DeadLetter {
    const NONE: &'static str = "no dead letters";

    fn head() -> String {
        format!("{:>8}  {:20}  {:12}  {:20}  REASON", "ID", "DEAD SINCE", "KIND", "PARTNER")
    }

    fn row(&self) -> String {
        let account = one_line(self.account.as_deref().unwrap_or("-"));
        format!("{:>8}  {:20}  {:12}  {account:20}  {}", self.id, time(self.dead_at), self.kind, one_line(&self.reason))
    }

    fn object(&self) -> Value {
        object(self)
    }
}

/// One letter as JSON. A body or payload that is JSON is shown as such, another as text in which what is not UTF-8 is replaced.
pub fn object(letter: &DeadLetter) -> Value {
    Value::Object(fields(letter, value))
}

/// `show`: how a body or payload is shown.
fn fields(letter: &DeadLetter, show: impl Fn(&[u8]) -> Value) -> Map<String, Value> {
    let fields = json!({
        "id": id(&letter.id),
        "message_id": letter.message_id.as_str(),
        "kind": letter.kind,
        "reason": letter.reason,
        "account": letter.account.as_deref(),
        "index": letter.index,
        "payload": letter.payload.as_deref().map(&show),
        "body": show(&letter.body),
        "attributes": attributes(&letter.attributes),
        "receives": letter.receives,
        "redrives": letter.redrives,
        "sent_at": time(letter.sent_at),
        "dead_at": time(letter.dead_at),
    });
    if let Value::Object(fields) = fields { fields } else { Map::new() }
}

/// One letter for a person, a line a field. Body and payload stand as they are: the reason may name a column of them.
pub fn text(letter: &DeadLetter) -> String {
    let fields = fields(letter, as_text);
    let shown = fields.iter().filter(|(_, value)| !value.is_null());
    shown
        .map(|(name, value)| format!("{name:12} {}\n", Visible(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))))
        .collect()
}

/// A number stays one in JSON, as ids of embedded queues are.
fn id(id: &str) -> Value {
    id.parse::<i64>().map_or_else(|_| id.into(), Value::from)
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| as_text(bytes))
}

fn as_text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

fn attributes(attributes: &[Attribute]) -> Value {
    let pairs = attributes.iter().map(|attribute| {
        let value = match &attribute.value {
            AttributeValue::String(text) | AttributeValue::Number(text) => text.clone(),
            AttributeValue::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        (attribute.name.to_string(), Value::String(value))
    });
    Value::Object(pairs.collect::<Map<_, _>>())
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
            attributes: vec![Attribute { name: "source".into(), value: AttributeValue::String("shop".into()) }],
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
            assert_eq!(array, vec![object(&letter()); count]);
        }
        assert_eq!(object(&letter())["body"]["account"], Value::Null);
    }

    #[test]
    fn a_table_keeps_each_letter_on_its_line() {
        let table = listed(false, &[letter(), letter()]);
        assert_eq!(table.lines().count(), 3);
        assert!(table.lines().last().unwrap().ends_with("account: is null "), "{table}");
        let shown = text(&letter());
        assert!(shown.contains("account: is\\nnull\\u{202e}\n"), "{shown}");
        assert!(shown.contains(r#"{"account":"a", "account":null}"#), "as it was received: {shown}");
        assert_eq!(listed(false, &[]), "no dead letters\n");
    }
}
