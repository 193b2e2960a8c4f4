//! `dead`: how dead letters look, as a listing and one by one.

use std::io::{self, Write};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::message::{Attribute, AttributeValue};
use crate::queue::DeadLetter;

/// Writes letters as they come: nothing is collected, so that a listing of millions costs no memory.
pub struct Listing<'a> {
    out: &'a mut dyn Write,
    json: bool,
    any: bool,
}

impl<'a> Listing<'a> {
    /// Blocks for the output alone, as all of its methods do.
    pub fn new(out: &'a mut dyn Write, json: bool) -> io::Result<Self> {
        if json {
            out.write_all(b"[")?;
        }
        Ok(Self { out, json, any: false })
    }

    pub fn letter(&mut self, letter: &DeadLetter) -> io::Result<()> {
        let separator = if self.any { ",\n" } else { "\n" };
        if self.json {
            write!(self.out, "{separator}{}", object(letter))?;
        } else {
            if !self.any {
                writeln!(self.out, "{:>8}  {:20}  {:12}  {:20}  REASON", "ID", "DEAD SINCE", "KIND", "PARTNER")?;
            }
            let account = letter.account.as_deref().unwrap_or("-");
            let (dead_at, reason) = (time(letter.dead_at), one_line(&letter.reason));
            writeln!(self.out, "{:>8}  {dead_at:20}  {:12}  {:20}  {reason}", letter.id, letter.kind, one_line(account))?;
        }
        self.any = true;
        Ok(())
    }

    pub fn end(self) -> io::Result<()> {
        match (self.json, self.any) {
            (true, true) => self.out.write_all(b"\n]\n"),
            (true, false) => self.out.write_all(b"]\n"),
            (false, true) => Ok(()),
            (false, false) => self.out.write_all(b"no dead letters\n"),
        }
    }
}

/// One letter as JSON. A body or payload that is JSON is shown as such, another as text in which what is not UTF-8 is replaced.
pub fn object(letter: &DeadLetter) -> Value {
    json!({
        "id": id(&letter.id),
        "message_id": letter.message_id.as_str(),
        "kind": letter.kind,
        "reason": letter.reason,
        "account": letter.account.as_deref(),
        "index": letter.index,
        "payload": letter.payload.as_deref().map(value),
        "body": value(&letter.body),
        "attributes": attributes(&letter.attributes),
        "receives": letter.receives,
        "redrives": letter.redrives,
        "sent_at": time(letter.sent_at),
        "dead_at": time(letter.dead_at),
    })
}

/// One letter for a person, a line a field.
pub fn text(letter: &DeadLetter) -> String {
    let Value::Object(fields) = object(letter) else { return String::new() };
    let shown = fields.iter().filter(|(_, value)| !value.is_null());
    shown
        .map(|(name, value)| format!("{name:12} {}\n", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}

/// A number stays one in JSON, as ids of embedded queues are.
fn id(id: &str) -> Value {
    id.parse::<i64>().map_or_else(|_| id.into(), Value::from)
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
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

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn letter() -> DeadLetter {
        DeadLetter {
            id: "7".into(),
            message_id: "m1".into(),
            kind: "rejected".into(),
            reason: "account: is\nnull".into(),
            account: None,
            index: None,
            payload: None,
            body: r#"{"account":null}"#.into(),
            attributes: vec![Attribute { name: "source".into(), value: AttributeValue::String("shop".into()) }],
            receives: 1,
            sent_at: SystemTime::UNIX_EPOCH,
            dead_at: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
            redrives: 0,
        }
    }

    fn listed(json: bool, letters: &[DeadLetter]) -> String {
        let mut out = Vec::new();
        let mut listing = Listing::new(&mut out, json).unwrap();
        for letter in letters {
            listing.letter(letter).unwrap();
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
        assert!(table.lines().last().unwrap().ends_with("account: is null"), "{table}");
        assert_eq!(listed(false, &[]), "no dead letters\n");
    }
}
