//! A delivery as SQS takes it: body, attributes, and on a FIFO queue the account as group and an id by which SQS knows it again.
//!
//! Pure. What SQS would refuse is found here, since one such entry can make it refuse the whole request.

use std::borrow::Cow;

use percent_encoding::{CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::message::{AttributeValue, Batch, Item};

/// Most bytes of a message and of a request, attributes included (SQS quota, 1 MiB since August 2025).
const LARGEST: usize = 1 << 20;
/// Most entries of a request (SQS quota).
pub const MOST_ENTRIES: usize = 10;
/// The longest group id (SQS quota).
const LONGEST_GROUP: usize = 128;
/// What a group id that is a digest begins with. An account that begins so is hashed too: no two accounts share a group.
const HASHED: &str = "sha256-";
/// As SQS counts an attribute: its name, its type and its value.
const TYPE: &str = "String";

/// One entry of a `SendMessageBatch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    pub body: &'a str,
    /// Text attributes, by name.
    pub attributes: Vec<(&'static str, Cow<'a, str>)>,
    /// On FIFO queues: `MessageGroupId` and `MessageDeduplicationId`.
    pub fifo: Option<Fifo>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fifo {
    pub group: String,
    /// The same for each try of one delivery, another after a redrive, since that gives the message another id. SQS takes a delivery
    /// once within five minutes, so that a retry after an answer that got lost makes no second copy.
    pub deduplication: String,
}

impl<'a> Entry<'a> {
    /// The entry for one delivery; the error says why SQS can never take it.
    pub fn new(batch: &'a Batch, item: &'a Item, fifo: bool) -> Result<Self, String> {
        let body = std::str::from_utf8(&item.payload).map_err(|_| "SQS takes text, and the payload is not UTF-8".to_owned())?;
        if body.is_empty() {
            return Err("SQS takes no empty message".to_owned());
        }
        if let Some(character) = body.chars().find(|character| !is_allowed(*character)) {
            return Err(format!(
                "SQS takes no {character:?} (U+{:04X}) in a message; have the handler encode it",
                u32::from(character)
            ));
        }
        let mut attributes = vec![
            ("octoconf-message", Cow::Owned(printable(&item.id()).into_owned())),
            ("octoconf-queue", printable(&batch.queue)),
        ];
        attributes.extend(traceparent(item).map(|trace| ("traceparent", Cow::Borrowed(trace))));
        // SQS takes no empty attribute.
        attributes.retain(|(_, value)| !value.is_empty());
        let fifo = fifo.then(|| Fifo { group: group(&batch.account), deduplication: deduplication(&batch.queue, &item.id()) });
        let entry = Self { body, attributes, fifo };
        match entry.bytes() {
            bytes if bytes > LARGEST => {
                Err(format!("SQS takes at most {LARGEST} bytes a message; with its attributes it has {bytes}"))
            }
            _ => Ok(entry),
        }
    }

    /// Its size as SQS counts it.
    fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + TYPE.len() + value.len());
        self.body.len() + attributes.sum::<usize>()
    }
}

/// How many of these, from the first on, one request takes; at least one.
pub fn fitting(entries: &[Entry<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry<'_>| {
        bytes += entry.bytes();
        bytes <= LARGEST
    };
    entries.iter().take(MOST_ENTRIES).take_while(fits).count().max(1)
}

/// The account, where it can be a group id: 1 to 128 letters, digits and punctuation of ASCII. Else its digest.
fn group(account: &str) -> String {
    let fits = (1..=LONGEST_GROUP).contains(&account.len()) && account.bytes().all(|byte| byte.is_ascii_graphic());
    if fits && !account.starts_with(HASHED) { account.to_owned() } else { format!("{HASHED}{}", digest(&[account])) }
}

/// The delivery's id holds message id, index and number of the redrive; ids are unique within their queue.
fn deduplication(queue: &str, id: &str) -> String {
    digest(&[queue, id])
}

/// SHA-256 in hexadecimal. Each part goes in with its length, so that no two lists give the same bytes.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The characters of an SQS message: those of XML 1.0 (section 2.2), and nothing else.
fn is_allowed(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => character >= ' ',
    }
}

/// A name or id as the value of an attribute: what SQS would refuse is percent-encoded.
fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_allowed) { Cow::Borrowed(text) } else { utf8_percent_encode(text, CONTROLS).into() }
}

/// The trace that the message came with.
fn traceparent(item: &Item) -> Option<&str> {
    let attribute = item.message.attributes.iter().find(|attribute| attribute.name == "traceparent")?;
    match &attribute.value {
        AttributeValue::String(trace) if trace.chars().all(is_allowed) => Some(trace),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::message::{Attribute, Message};
    use crate::sink::testing::batch;

    fn refusal(payload: &[u8]) -> String {
        let mut batch = batch("acme", &["x"]);
        batch.items[0].payload = Bytes::copy_from_slice(payload);
        Entry::new(&batch, &batch.items[0], false).unwrap_err()
    }

    #[test]
    fn an_entry_says_whose_it_is_and_where_it_came_from() {
        let mut batch = batch("acme", &["{\"n\":1}"]);
        let trace = Attribute { name: "traceparent".into(), value: AttributeValue::String("00-a-b-01".into()) };
        let message = Message { attributes: vec![trace], ..(*batch.items[0].message).clone() };
        batch.items[0] = Item { message: Arc::new(message), index: Some(2), ..batch.items[0].clone() };
        let entry = Entry::new(&batch, &batch.items[0], true).unwrap();
        assert_eq!(entry.body, "{\"n\":1}");
        let expected = [("octoconf-message", "m0-2"), ("octoconf-queue", "stock"), ("traceparent", "00-a-b-01")];
        assert_eq!(entry.attributes, expected.map(|(name, value)| (name, Cow::Borrowed(value))));
        assert_eq!(entry.fifo.unwrap().group, "acme");
        assert_eq!(Entry::new(&batch, &batch.items[0], false).unwrap().fifo, None);
    }

    #[test]
    fn a_group_is_the_account_or_its_digest() {
        let longest = "x".repeat(128);
        for account in ["acme", "1", "a-b_c.d:e/f@g!~", longest.as_str()] {
            assert_eq!(group(account), account);
        }
        let long = "x".repeat(129);
        let hashed: Vec<String> = ["", "a b", "ümlaut", "a\n", "sha256-x", long.as_str()].into_iter().map(group).collect();
        for group in &hashed {
            assert!(group.starts_with("sha256-") && group.len() == 71, "{group}");
        }
        assert!((1..hashed.len()).all(|at| !hashed[..at].contains(&hashed[at])));
    }

    #[test]
    fn a_delivery_is_known_again_and_told_from_all_others() {
        let same = || deduplication("stock", "m0-2");
        assert_eq!(same(), same());
        assert_eq!(same().len(), 64);
        for (queue, id) in [("stock", "m0-3"), ("stock", "m0"), ("stock", "m0-r7-2"), ("orders", "m0-2"), ("stockm", "0-2")] {
            assert_ne!(deduplication(queue, id), same());
        }
    }

    #[test]
    fn what_sqs_never_takes_is_said_before_it_is_asked() {
        assert!(refusal(b"\xff").contains("not UTF-8"));
        assert!(refusal(b"").contains("empty"));
        assert!(refusal(b"a\0b").contains("U+0000"));
        assert!(refusal("\u{ffff}".as_bytes()).contains("U+FFFF"));
        assert!(refusal(&[b'x'; LARGEST]).contains("at most 1048576 bytes"));
    }

    #[test]
    fn a_request_has_ten_entries_and_a_mebibyte_at_most() {
        let entry = |bytes: usize| Entry { body: &"x".repeat(bytes).leak()[..], attributes: vec![], fifo: None };
        let small: Vec<_> = (0..25).map(|_| entry(1)).collect();
        assert_eq!(fitting(&small), 10);
        assert_eq!(fitting(&small[..3]), 3);
        let half = LARGEST / 2;
        assert_eq!(fitting(&[entry(half), entry(half), entry(1)]), 2);
        assert_eq!(fitting(&[entry(half), entry(half + 1), entry(1)]), 1);
        assert_eq!(fitting(&[entry(LARGEST), entry(1)]), 1);
    }

    #[test]
    fn names_become_attributes_that_sqs_takes() {
        assert_eq!(printable("a\0b\u{ffff}"), "a%00b%EF%BF%BF");
        assert_eq!(printable("plain é"), "plain é");
    }
}
