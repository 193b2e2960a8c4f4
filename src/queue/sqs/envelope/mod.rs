//! The attribute `octoconf`: our facts about a message beside its body and its attributes, as JSON of at most 2 KiB.
//!
//! On a dead letter queue it holds the [`LetterFacts`] of the letter, on the way back to its
//! queue [`Redriven`]. It takes one of SQS's ten attributes and a part of the bytes that its
//! queue accepts (1 MiB at most). If these leave no room, attributes of the producer move
//! into it, as do those that have the name of one of ours; those that do not fit there either
//! are dropped and counted. Pure functions.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::call::MAX_ATTRIBUTES;
use super::content::{attribute_bytes, is_allowed};
use crate::message::dead::DeadKind;
use crate::message::{Account, Attribute, AttributeValue, DeliveryName, MAX_DELIVERIES};

const ATTR_FACTS: &str = "octoconf";
/// The payload of a dead delivery, if there is room for it. It may be left out, since a redrive produces it anew.
const ATTR_PAYLOAD: &str = "octoconf-payload";
/// The largest size of the JSON, in bytes.
const MAX_JSON_BYTES: usize = 2048;
/// The bytes of the attribute `octoconf` beside its value.
const HEAD_BYTES: usize = ATTR_FACTS.len() + "String".len();
/// The bytes reserved for the number of dropped attributes.
const COUNT_BYTES: usize = 24;
/// The largest size of JSON that may be ours, in bytes: if the facts alone fill [`MAX_JSON_BYTES`], the number of dropped
/// attributes still goes with them. A producer may write the attribute with up to 1 MiB, and what its JSON
/// names would be searched for among all deliveries of the message.
const MAX_READ_BYTES: usize = MAX_JSON_BYTES + COUNT_BYTES;

/// The facts about a dead letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterFacts {
    /// The word of a [`DeadKind`].
    pub kind: String,
    pub reason: String,
    /// The queue that the letter comes from.
    pub source: String,
    /// The id of its message on that queue.
    pub id: String,
    /// The account whose delivery is dead; `None` for a whole message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The index of the delivery in its message; `None` for a whole message, or for its only delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u16>,
    /// The message group; `None` if the message stood alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The deliveries that a redrive opens; `None`: all.
    #[serde(flatten)]
    pub open: Open,
    /// Milliseconds since 1970.
    pub sent_at: u64,
    /// How often the message had been received.
    pub receives: u32,
    /// How often the message had been redriven before.
    pub redrives: u32,
}

/// The facts about a message that was a dead letter before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// How often the message was redriven, 1 or more.
    pub redrives: u32,
    #[serde(flatten)]
    pub open: Open,
}

/// Which of a message's deliveries are open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Their indices. `None`: all are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<Vec<u16>>,
    /// Their accounts, in the same order; fewer where there was no room, or where an earlier version wrote it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    open_accounts: Vec<Option<String>>,
}

impl Open {
    /// `None`: all are open.
    pub fn of(names: Option<&[DeliveryName]>) -> Self {
        let accounts: Vec<_> = names.into_iter().flatten().map(|name| name.account.as_ref().map(ToString::to_string)).collect();
        let open_accounts = if accounts.iter().all(Option::is_none) { Vec::new() } else { accounts };
        Self { open: names.map(|names| names.iter().map(|name| name.index).collect()), open_accounts }
    }

    /// `None`: all are open.
    pub fn names(self) -> Option<Arc<[DeliveryName]>> {
        let accounts = self.open_accounts.into_iter().chain(std::iter::repeat(None));
        let names = self
            .open?
            .into_iter()
            .zip(accounts)
            .map(|(index, account)| DeliveryName { index, account: account.map(Account::from) });
        Some(names.collect())
    }

    /// Whether a message can have so many deliveries. Otherwise a producer wrote the list.
    fn is_possible(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.len() <= MAX_DELIVERIES)
    }

    /// Whether all are open.
    pub fn is_all(&self) -> bool {
        self.open.is_none()
    }
}

/// A dead letter taken apart.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// The facts; `None` if the letter was not set aside by us, or if its body left no room for them.
    pub facts: Option<LetterFacts>,
    /// The attributes of the producer.
    pub attributes: Vec<Attribute>,
    /// The number of the producer's attributes that were dropped.
    pub dropped: u32,
    /// The payload of the dead delivery, if there was room for it.
    pub payload: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    #[serde(flatten)]
    facts: T,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<Folded>,
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it serialises by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An attribute of the producer within the JSON: its name, its value, and the label of its type if it has one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Folded {
    String(Vec<String>),
    Number(Vec<String>),
    /// The value is in base64.
    Binary(Vec<String>),
}

impl Folded {
    fn of(attribute: &Attribute) -> Self {
        let label = attribute.label.as_deref().map(str::to_owned);
        let with = |value: String| [attribute.name.to_string(), value].into_iter().chain(label).collect();
        match &attribute.value {
            AttributeValue::String(text) => Self::String(with(text.clone())),
            AttributeValue::Number(text) => Self::Number(with(text.clone())),
            AttributeValue::Binary(bytes) => Self::Binary(with(STANDARD.encode(bytes))),
        }
    }

    fn unfold(self) -> Option<Attribute> {
        let (Self::String(parts) | Self::Number(parts) | Self::Binary(parts)) = &self;
        let (name, text) = (parts.first()?.as_str(), parts.get(1)?);
        let value = match &self {
            Self::String(_) => AttributeValue::String(text.clone()),
            Self::Number(_) => AttributeValue::Number(text.clone()),
            Self::Binary(_) => AttributeValue::Binary(STANDARD.decode(text).ok()?.into()),
        };
        Some(Attribute { name: name.into(), value, label: parts.get(2).map(|label| label.as_str().into()) })
    }
}

impl LetterFacts {
    /// Returns the attributes of a dead letter that has `room` bytes beside its
    /// body. If there is no room even for its kind, the letter goes without facts.
    pub fn pack(mut self, attributes: &[Attribute], payload: Option<&Bytes>, room: usize) -> Vec<Attribute> {
        let most = MAX_JSON_BYTES.min(room.saturating_sub(HEAD_BYTES + COUNT_BYTES));
        // A long reason is cut before anything else is lost, then the accounts that are noted twice, and then the one for people.
        while json(&self).len() > most && shorten(&mut self.reason) {}
        if json(&self).len() > most {
            self.open.open_accounts.clear();
        }
        while json(&self).len() > most && self.account.as_mut().is_some_and(shorten) {}
        let Some(mut packed) = pack(self, attributes, room) else {
            let all: usize = attributes.iter().map(attribute_bytes).sum();
            return if all <= room { attributes.to_vec() } else { Vec::new() };
        };
        if let Some(payload) = payload {
            let payload = Attribute::new(ATTR_PAYLOAD.into(), AttributeValue::Binary(payload.clone()));
            let bytes = packed.iter().map(attribute_bytes).sum::<usize>() + attribute_bytes(&payload);
            // SQS does not accept an empty value.
            if packed.len() < MAX_ATTRIBUTES && bytes <= room && attribute_bytes(&payload) > ATTR_PAYLOAD.len() + "Binary".len() {
                packed.push(payload);
            }
        }
        packed
    }

    /// Returns whether the attributes of a dead letter hold its facts. They do unless there was no room.
    pub fn are_in(attributes: &[Attribute]) -> bool {
        attributes.iter().any(|attribute| Self::read(attribute).is_some())
    }

    /// Reads the facts if their kind is one of ours. Any producer may write the attribute, and SQS's redrive policy
    /// moves it along with its message.
    fn read(attribute: &Attribute) -> Option<Envelope<Self>> {
        read::<Self>(attribute).filter(|envelope| DeadKind::ALL.iter().any(|kind| kind.word() == envelope.facts.kind))
    }

    /// Takes the attributes of a dead letter apart.
    pub fn unpack(attributes: Vec<Attribute>) -> Unpacked {
        let (mut attributes, envelope) = unpack(attributes, Self::read);
        let Some(Envelope { facts, attributes: folded, dropped }) = envelope else {
            return Unpacked { attributes, ..Unpacked::default() };
        };
        let at = attributes.iter().position(|attribute| attribute.name == ATTR_PAYLOAD);
        let payload = at.map(|at| attributes.remove(at)).and_then(|attribute| match attribute.value {
            AttributeValue::Binary(payload) => Some(payload),
            _ => None,
        });
        attributes.extend(folded.into_iter().filter_map(Folded::unfold));
        Unpacked { facts: Some(facts), attributes, dropped, payload }
    }
}

impl Redriven {
    /// Returns the attributes of a redriven message that has `room` bytes beside
    /// its body; `None` if there is no room to state which deliveries are open.
    pub fn pack(self, attributes: &[Attribute], room: usize) -> Option<Vec<Attribute>> {
        pack(self, attributes, room)
    }

    /// Returns the producer's attributes, and our facts if the message has any.
    pub fn unpack(attributes: Vec<Attribute>) -> (Vec<Attribute>, Option<Self>) {
        if !attributes.iter().any(|attribute| attribute.name == ATTR_FACTS) {
            return (attributes, None);
        }
        // These are the facts of a letter, on a dead letter queue that is consumed as an ordinary queue; or they look so.
        if attributes.iter().find_map(read::<LetterFacts>).is_some() {
            return (attributes, None);
        }
        let ours = |attribute: &Attribute| read::<Self>(attribute).filter(|envelope| envelope.facts.open.is_possible());
        let (mut attributes, envelope) = unpack(attributes, ours);
        let redriven = envelope.map(|envelope| {
            attributes.extend(envelope.attributes.into_iter().filter_map(Folded::unfold));
            envelope.facts
        });
        (attributes, redriven)
    }
}

/// Returns the producer's attributes and the envelope; `None` if there is no room even for the facts alone.
fn pack<T: Serialize>(facts: T, attributes: &[Attribute], room: usize) -> Option<Vec<Attribute>> {
    let mut envelope = Envelope { facts, attributes: Vec::new(), dropped: 0 };
    let alone = HEAD_BYTES + json(&envelope).len() + COUNT_BYTES;
    if alone > room || json(&envelope).len() > MAX_JSON_BYTES {
        return None;
    }
    let mut kept = Vec::with_capacity(MAX_ATTRIBUTES);
    let mut bytes = 0;
    let mut rest = Vec::new();
    for attribute in attributes {
        let with = bytes + attribute_bytes(attribute);
        // A message has one attribute of a name, so a producer's of ours would be lost beside it.
        let is_free = attribute.name != ATTR_FACTS && attribute.name != ATTR_PAYLOAD;
        if is_free && kept.len() + 1 < MAX_ATTRIBUTES && alone + with <= room {
            bytes = with;
            kept.push(attribute.clone());
        } else {
            rest.push(attribute);
        }
    }
    let most = MAX_JSON_BYTES.min(room - bytes - HEAD_BYTES).saturating_sub(COUNT_BYTES);
    for attribute in rest {
        envelope.attributes.push(Folded::of(attribute));
        if json(&envelope).len() > most {
            envelope.attributes.pop();
            envelope.dropped += 1;
        }
    }
    kept.push(Attribute::new(ATTR_FACTS.into(), AttributeValue::String(json(&envelope))));
    Some(kept)
}

fn unpack<T>(
    mut attributes: Vec<Attribute>,
    read: impl Fn(&Attribute) -> Option<Envelope<T>>,
) -> (Vec<Attribute>, Option<Envelope<T>>) {
    let found = attributes.iter().enumerate().find_map(|(at, attribute)| Some((at, read(attribute)?)));
    match found {
        Some((at, envelope)) => {
            attributes.remove(at);
            (attributes, Some(envelope))
        }
        None => (attributes, None),
    }
}

/// Reads the envelope; `None` if the attribute is not ours, since a producer may use the same name.
fn read<T: DeserializeOwned>(attribute: &Attribute) -> Option<Envelope<T>> {
    match &attribute.value {
        AttributeValue::String(text) if attribute.name == ATTR_FACTS && text.len() <= MAX_READ_BYTES => {
            serde_json::from_str(text).ok()
        }
        _ => None,
    }
}

/// Returns the value as JSON of characters that SQS accepts:
/// characters that JSON need not escape but SQS refuses are escaped.
fn json<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    if text.chars().all(is_allowed) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_allowed(c) { escaped.push(c) } else { escaped.push_str(&format!("\\u{:04x}", u32::from(c))) }
    }
    escaped
}

/// Cuts a quarter off. Returns `false` if nothing is left to cut.
fn shorten(text: &mut String) -> bool {
    if text.is_empty() {
        return false;
    }
    text.truncate(text.floor_char_boundary(text.len() * 3 / 4));
    true
}

#[cfg(test)]
mod tests;
