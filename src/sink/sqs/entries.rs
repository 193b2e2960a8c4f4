//! A delivery in the form that SQS accepts: body, attributes, and for a FIFO queue the account as group and an id by
//! which SQS recognises a repeated send.
//!
//! Pure. Content that SQS would refuse is found here, since one such entry can make SQS refuse the whole request.

use std::borrow::Cow;

use compact_str::{CompactString, ToCompactString as _, format_compact};
use percent_encoding::{CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::message::{Attribute, AttributeValue, Batch, Item};
use crate::queue::sqs::Entry;
use crate::queue::sqs::content::{self, is_allowed};

/// The prefix of a group id that is a digest. An account with this prefix is hashed too, so that no
/// two accounts share a group.
const HASHED: &str = "sha256-";

/// The prefixes of accounts that are hashed although SQS would accept them. A message whose group has one of the last two
/// counts as one that stands alone, on the queue or as a dead letter, so its account's order would be lost.
const RESERVED: [&str; 3] = [HASHED, content::ALONE, content::DEAD];

/// Returns the entry for one delivery. The error says why SQS can never accept the delivery.
///
/// For a FIFO queue, the deduplication id is the same for each attempt of one delivery, and differs after a redrive,
/// which gives the message another id. SQS accepts a delivery once within five minutes, so a retry after a lost
/// answer makes no second copy.
pub fn entry<'a>(batch: &Batch, item: &'a Item, fifo: bool) -> Result<Entry<'a>, String> {
    let id = item.id();
    let mut attributes = vec![text("octoconf-message", &id), text("octoconf-queue", &batch.queue)];
    // SQS refuses empty attributes.
    attributes.retain(|attribute| !matches!(&attribute.value, AttributeValue::String(value) if value.is_empty()));
    attributes.extend(traceparent(item).cloned());
    let body = content::check(&item.payload, &attributes)?;
    Ok(Entry {
        body,
        attributes: attributes.into(),
        delay: 0,
        group: fifo.then(|| group(&batch.account)),
        deduplication: fifo.then(|| deduplication(&batch.queue, &id)),
    })
}

/// Returns the account if it may be a group id, else its digest.
fn group(account: &str) -> CompactString {
    if content::is_group(account) && !RESERVED.iter().any(|prefix| account.starts_with(prefix)) {
        account.to_compact_string()
    } else {
        format_compact!("{HASHED}{}", digest(&[account]))
    }
}

/// Returns the deduplication id of a delivery. `id` contains the message id, the index and the number of the redrive,
/// and is unique within its queue.
fn deduplication(queue: &str, id: &str) -> CompactString {
    digest(&[queue, id]).into()
}

/// Returns a SHA-256 digest in hexadecimal. Each part is hashed with its length, so that no two
/// lists hash the same bytes.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a name or id as an attribute, in which characters that SQS would refuse are percent-encoded.
fn text(name: &str, value: &str) -> Attribute {
    let value = if value.chars().all(is_allowed) { Cow::Borrowed(value) } else { utf8_percent_encode(value, CONTROLS).into() };
    Attribute::new(name.into(), AttributeValue::String(value.into()))
}

/// Returns the trace context that the message came with, if SQS accepts it.
fn traceparent(item: &Item) -> Option<&Attribute> {
    let fits = |value: &AttributeValue| matches!(value, AttributeValue::String(trace) if !trace.is_empty() && trace.chars().all(is_allowed));
    item.message.attributes.iter().find(|attribute| attribute.name == "traceparent").filter(|trace| fits(&trace.value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::message::Message;
    use crate::sink::testing::batch;

    fn refusal(payload: &[u8]) -> String {
        let mut batch = batch("acme", &["x"]);
        batch.items[0].payload = Bytes::copy_from_slice(payload);
        entry(&batch, &batch.items[0], false).unwrap_err()
    }

    #[test]
    fn an_entry_says_whose_it_is_and_where_it_came_from() {
        let mut batch = batch("acme", &["{\"n\":1}"]);
        let trace = text("traceparent", "00-a-b-01");
        let message = Message { attributes: vec![trace.clone(), text("other", "x")], ..(*batch.items[0].message).clone() };
        batch.items[0] = Item { message: Arc::new(message), index: Some(2), ..batch.items[0].clone() };
        let fifo = entry(&batch, &batch.items[0], true).unwrap();
        assert_eq!(fifo.body, "{\"n\":1}");
        assert_eq!(*fifo.attributes, [text("octoconf-message", "m0-2"), text("octoconf-queue", "stock"), trace]);
        assert_eq!((fifo.group.as_deref(), fifo.deduplication.unwrap().len()), (Some("acme"), 64));
        let standard = entry(&batch, &batch.items[0], false).unwrap();
        assert_eq!((standard.group, standard.deduplication), (None, None));
    }

    #[test]
    fn a_group_is_the_account_or_its_digest() {
        let longest = "x".repeat(128);
        for account in ["acme", "1", "a-b_c.d:e/f@g!~", longest.as_str()] {
            assert_eq!(group(account), account);
        }
        let long = "x".repeat(129);
        // The reader of the queue would take each message of the last two to stand alone.
        let hashed: Vec<_> = ["", "a b", "ümlaut", "a\n", "sha256-x", long.as_str(), "octoconf.alone.x", "octoconf.dead.x"]
            .into_iter()
            .map(group)
            .collect();
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
        assert!(refusal(&[b'x'; 1 << 20]).contains("at most 1048576"));
    }

    #[test]
    fn names_become_attributes_that_sqs_takes() {
        let value = |name: &str| match text("name", name).value {
            AttributeValue::String(value) => value,
            other => panic!("{other:?} is no text"),
        };
        assert_eq!(value("a\0b\u{ffff}"), "a%00b%EF%BF%BF");
        assert_eq!(value("plain é"), "plain é");
    }
}
