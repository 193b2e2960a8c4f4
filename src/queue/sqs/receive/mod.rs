//! Reads the messages of an answer to ReceiveMessage, each on its own: one that cannot be
//! read never affects its neighbours, except on FIFO queues those behind it in its group.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use compact_str::{CompactString, ToCompactString as _, format_compact};

use super::answer;
use super::content::ALONE;
use super::envelope::Redriven;
use super::error::Fault;
use super::md5::{self, Digest};
use super::xml::{Element, Malformed};
use crate::message::{Attribute, AttributeValue, Message, Receipt};

/// The copies that a receive brought.
#[derive(Debug, Default)]
pub struct Copies {
    /// The readable copies, in the order of the answer.
    pub good: Vec<(Arc<Message>, Receipt)>,
    /// For each copy that was left out, a text that names it and the
    /// reason. The copy becomes visible again when its lease ends.
    pub bad: Vec<String>,
    /// Whether the answer of a FIFO queue brings messages and names the group of none.
    pub is_groupless: bool,
}

/// One message as it is in the answer.
#[derive(Debug)]
pub struct Record {
    pub id: CompactString,
    /// The receipt handle.
    pub handle: Box<str>,
    pub body: Bytes,
    /// The attributes of the producer, in the order of the answer.
    pub attributes: Vec<Attribute>,
    /// The message group, if the answer names one.
    pub group: Option<CompactString>,
    /// When the message was sent, in milliseconds since 1970.
    pub sent: u64,
    /// How often the message was received, this time included.
    pub receives: u32,
    /// For a dead letter that SQS moved: the ARN of the queue that it came from.
    pub moved_from: Option<String>,
}

/// Why a record is left out.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("it has no {0}")]
    Lacks(&'static str),
    #[error("its body does not match its MD5")]
    Digest,
    #[error("attribute {0}: {1}")]
    Attribute(String, &'static str),
}

/// Returns the messages of a queue. On a standard queue the group is ignored, since SQS uses it only for fairness.
///
/// On a FIFO queue, the records of a group that follow one that is left out are left out as
/// well: the answer lists a group in order, and the leases of all its records end together.
pub fn messages(document: &[u8], fifo: bool) -> Result<Copies, Fault> {
    let mut held_up = HeldUp::default();
    let found: Vec<_> = found(document)?.collect();
    let names_groups = found.iter().any(|found| found.as_ref().map_or_else(|out| &out.group, |record| &record.group).is_some());
    let mut copies = Copies { is_groupless: fifo && !names_groups && found.iter().any(Result::is_ok), ..Copies::default() };
    for found in found {
        match found {
            Ok(record) if fifo && held_up.has(record.group.as_deref()) => {
                copies.bad.push(format!("message {}: one before it in its group cannot be read", record.id));
            }
            Ok(record) if fifo && names_groups && record.group.is_none() => {
                // AWS names the group of each. Without it, nothing would keep the message behind the others of its group. Where no
                // message has one, there is no order to keep.
                held_up.add(None);
                copies.bad.push(format!("message {}: {}", record.id, Bad::Lacks("MessageGroupId")));
            }
            Ok(record) => copies.good.push(message(record, fifo)),
            Err(LeftOut { why, group }) => {
                held_up.add(group);
                copies.bad.push(why);
            }
        }
    }
    Ok(copies)
}

/// Returns the records of an answer, and what is wrong with those that were left out.
pub fn records(document: &[u8]) -> Result<(Vec<Record>, Vec<String>), Fault> {
    let (mut records, mut bad) = (Vec::new(), Vec::new());
    for found in found(document)? {
        match found {
            Ok(record) => records.push(record),
            Err(LeftOut { why, .. }) => bad.push(why),
        }
    }
    Ok((records, bad))
}

/// A record that cannot be read.
struct LeftOut {
    why: String,
    /// The record's group, if it could still be read.
    group: Option<CompactString>,
}

/// The FIFO groups of which a message was left out.
#[derive(Default)]
struct HeldUp {
    groups: Vec<CompactString>,
    /// Whether a group could not be read, so that it may be any.
    all: bool,
}

impl HeldUp {
    fn add(&mut self, group: Option<CompactString>) {
        self.all |= group.is_none();
        self.groups.extend(group);
    }

    fn has(&self, group: Option<&str>) -> bool {
        self.all || group.is_some_and(|group| self.groups.iter().any(|other| other == group))
    }
}

/// Reads the records one by one, then checks the digests of all bodies side by side, which is quicker.
fn found(document: &[u8]) -> Result<impl Iterator<Item = Result<Record, LeftOut>>, Fault> {
    let read: Vec<_> = read(document)?.collect();
    let bodies: Vec<&[u8]> = read.iter().flatten().map(|(record, _)| &*record.body).collect();
    let mut digests = md5::digests(&bodies).into_iter();
    Ok(read.into_iter().map(move |read| {
        let (record, said) = read?;
        match (digests.next(), said) {
            (Some(digest), Some(said)) if said != Some(digest) => {
                Err(LeftOut { why: format!("message {}: {}", record.id, Bad::Digest), group: record.group })
            }
            _ => Ok(record),
        }
    }))
}

/// The digest of a body as the answer states it; `None` if that is not a digest.
type Said = Option<Digest>;

fn read(document: &[u8]) -> Result<impl Iterator<Item = Result<(Record, Option<Said>), LeftOut>>, Fault> {
    let elements = answer::result(document, "ReceiveMessage")?;
    Ok(elements.filter_map(|element| match element {
        Ok(element) if element.name == b"Message" => {
            Some(record(element).map_err(|why| LeftOut { why: complaint(element, &why), group: group(element) }))
        }
        Ok(_) => None,
        Err(malformed) => Some(Err(LeftOut { why: format!("the answer breaks off: {malformed}"), group: None })),
    }))
}

/// Returns the group of a record that cannot be read as a whole, if that part can be.
fn group(element: Element<'_>) -> Option<CompactString> {
    let attributes = element.children().map_while(Result::ok).filter(|child| child.name == b"Attribute");
    let mut pairs = attributes.filter_map(|attribute| name_and_value(attribute).ok());
    let (_, value) = pairs.find(|(name, _)| name.inner == b"MessageGroupId")?;
    value.text().ok().map(|group| group.to_compact_string())
}

fn complaint(element: Element<'_>, why: &Bad) -> String {
    let id = element.children().find("MessageId").and_then(|id| id.text().ok()).unwrap_or("without an id".into());
    let id: String = id.chars().filter(|c| !c.is_control()).take(100).collect();
    format!("message {id}: {why}")
}

fn message(record: Record, fifo: bool) -> (Arc<Message>, Receipt) {
    let Record { id, handle, body, attributes, group, sent, receives, .. } = record;
    let (attributes, redriven) = Redriven::unpack(attributes);
    let (id, open) = match redriven {
        // Like the ids of embedded queues: it shows how often the message was redriven.
        Some(redriven) => (format_compact!("{id}-r{}", redriven.redrives), redriven.open.names()),
        None => (id, None),
    };
    let group = group.filter(|group| fifo && !group.starts_with(ALONE));
    let sent_at = UNIX_EPOCH + Duration::from_millis(sent);
    (Arc::new(Message { id, body, attributes, group, sent_at, receives, open }), Receipt::Handle(handle))
}

/// Reads one record, with the digest of its body if the answer has one.
fn record(element: Element<'_>) -> Result<(Record, Option<Said>), Bad> {
    let (mut id, mut handle, mut digest) = (None, None, None);
    let mut body: Option<Bytes> = None;
    let (mut sent, mut receives, mut group, mut moved_from) = (None, None, None, None);
    let mut attributes = Vec::new();
    for child in element.children() {
        let child = child?;
        match child.name {
            b"MessageId" => id = Some(child.text()?.replace('.', "-")),
            b"ReceiptHandle" => handle = Some(child.text()?.into_owned().into_boxed_str()),
            b"MD5OfBody" => digest = Some(md5::read(&child.text()?)),
            // Copied, because a slice of the answer would keep all of
            // it in memory for as long as any of its messages is held.
            b"Body" => body = Some(child.text()?.into_owned().into()),
            b"Attribute" => {
                let (name, value) = name_and_value(child)?;
                match name.inner {
                    b"SentTimestamp" => sent = value.text()?.parse().ok(),
                    b"ApproximateReceiveCount" => receives = value.text()?.parse().ok(),
                    b"MessageGroupId" => group = Some(value.text()?.to_compact_string()),
                    b"DeadLetterQueueSourceArn" => moved_from = Some(value.text()?.into_owned()),
                    _ => {}
                }
            }
            b"MessageAttribute" => attributes.push(attribute(child)?),
            _ => {}
        }
    }
    let record = Record {
        id: id.filter(|id| !id.is_empty()).ok_or(Bad::Lacks("MessageId"))?.into(),
        // An empty one could make the service refuse a whole call about ten messages.
        handle: handle.filter(|handle| !handle.is_empty()).ok_or(Bad::Lacks("ReceiptHandle"))?,
        body: body.ok_or(Bad::Lacks("Body"))?,
        attributes,
        group,
        sent: sent.ok_or(Bad::Lacks("SentTimestamp"))?,
        receives: receives.ok_or(Bad::Lacks("ApproximateReceiveCount"))?,
        moved_from,
    };
    Ok((record, digest))
}

fn name_and_value(element: Element<'_>) -> Result<(Element<'_>, Element<'_>), Bad> {
    let (mut name, mut value) = (None, None);
    for child in element.children() {
        let child = child?;
        match child.name {
            b"Name" => name = Some(child),
            b"Value" => value = Some(child),
            _ => {}
        }
    }
    Ok((name.ok_or(Bad::Lacks("Name"))?, value.ok_or(Bad::Lacks("Value"))?))
}

fn attribute(element: Element<'_>) -> Result<Attribute, Bad> {
    let (name, value) = name_and_value(element)?;
    let name = name.text()?.to_compact_string();
    let (mut data_type, mut text, mut binary) = (None, None, None);
    for child in value.children() {
        let child = child?;
        match child.name {
            b"DataType" => data_type = Some(child.text()?),
            b"StringValue" => text = Some(child.text()?),
            b"BinaryValue" => binary = Some(child.text()?),
            _ => {}
        }
    }
    // A producer may append a label to a type behind a dot: "Number.float" is a number all the same.
    let data_type = data_type.as_deref().unwrap_or("String");
    let (base, label) = data_type.split_once('.').map_or((data_type, None), |(base, label)| (base, Some(label)));
    let value = match (base, text, binary) {
        ("Binary", _, Some(coded)) => {
            let bytes = STANDARD.decode(&*coded).map_err(|_| Bad::Attribute(name.to_string(), "is no base64"))?;
            AttributeValue::Binary(bytes.into())
        }
        ("Number", Some(text), _) => AttributeValue::Number(text.into_owned()),
        (_, Some(text), _) => AttributeValue::String(text.into_owned()),
        _ => return Err(Bad::Attribute(name.to_string(), "has no value")),
    };
    let label = label.filter(|label| !label.is_empty() && is_type(base)).map(Box::from);
    Ok(Attribute { name, value, label })
}

/// Returns whether SQS knows the type.
fn is_type(base: &str) -> bool {
    matches!(base, "String" | "Number" | "Binary")
}

#[cfg(test)]
mod tests;
