//! What the embedded queues, [`super::sqlite`] and [`super::memory`], have in common: the bounds of a call, and the ids of
//! redriven messages. Everything here is computed from its arguments; nothing blocks.

use std::time::Duration;

use compact_str::{CompactString, format_compact};

use super::{Limits, NewMessage, QueueError};
use crate::message::Grouping;
use crate::message::MAX_BODY;

/// The largest number of messages in one receive. Beyond some hundreds, a larger
/// transaction saves nothing worth having, and the poller's messages arrive late.
pub const RECEIVE: usize = 500;
/// The largest number of entries of one delete, change of visibility, set-aside or send.
const MAX_ENTRIES: usize = 1000;
/// The largest number of attributes of a message, as on SQS.
const MAX_ATTRIBUTES: usize = 10;
/// The longest delay of a message, as on SQS.
const MAX_DELAY: Duration = Duration::from_secs(15 * 60);

pub(super) fn limits(grouping: Option<&Grouping>) -> Limits {
    Limits {
        receive: RECEIVE,
        entries: MAX_ENTRIES,
        fifo: grouping.is_some(),
        remote: false,
        price: None,
        letter_requests: 1,
        linger: Duration::ZERO,
    }
}

/// Returns the number by which an embedded queue knows a dead letter; `None` if the text is not the id of one.
pub(super) fn letter_number(id: &str) -> Option<i64> {
    id.parse().ok()
}

/// Refuses a call with more entries than [`Limits::entries`].
pub(super) fn check_entries(queue: &str, what: &'static str, entries: usize) -> Result<(), QueueError> {
    if entries <= MAX_ENTRIES {
        return Ok(());
    }
    Err(QueueError::Refused {
        queue: queue.into(),
        what,
        why: format!("{entries} entries in one call; give at most {MAX_ENTRIES}"),
    })
}

/// Refuses what SQS would refuse too, so that a pipeline tried on an embedded queue does not fail on
/// its first day on SQS. The one exception is an empty body, which is allowed here and not on SQS.
pub(super) fn check_messages(queue: &str, messages: &[NewMessage]) -> Result<(), QueueError> {
    check_entries(queue, "send", messages.len())?;
    for (at, message) in messages.iter().enumerate() {
        let why = if message.body.len() > MAX_BODY {
            format!("its body has {} bytes; a body has at most {MAX_BODY}", message.body.len())
        } else if message.attributes.len() > MAX_ATTRIBUTES {
            format!("it has {} attributes; a message has at most {MAX_ATTRIBUTES}", message.attributes.len())
        } else if message.delay > MAX_DELAY {
            format!("its delay is {} s; a delay is at most {} s", message.delay.as_secs(), MAX_DELAY.as_secs())
        } else {
            continue;
        };
        return Err(QueueError::Unsendable { queue: queue.into(), at, why });
    }
    Ok(())
}

/// Returns the id of a message redriven from a dead letter: the
/// first id of the message, followed by the letter's number.
///
/// It differs from the first id because the engine knows messages by their id: a copy with
/// the id of a message that is held, or that is remembered as delivered, would be dropped
/// as a duplicate. A letter's number is never used twice, so neither is such an id.
pub(super) fn redriven_id(id: &str, letter: i64) -> CompactString {
    let first = match id.rsplit_once("-r") {
        Some((first, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => first,
        _ => id,
    };
    format_compact!("{first}-r{letter}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::{Attribute, AttributeValue};

    #[test]
    fn a_redriven_message_shows_its_first_id_however_often_it_is_redriven() {
        let once = redriven_id("0198c0de-7000-7000-8000-00000000000a", 7);
        assert_eq!(once, "0198c0de-7000-7000-8000-00000000000a-r7");
        assert_eq!(redriven_id(&once, 12), "0198c0de-7000-7000-8000-00000000000a-r12");
        assert_eq!(redriven_id("a-r", 1), "a-r-r1");
    }

    #[test]
    fn what_sqs_would_refuse_is_refused_by_its_place() {
        let fine = NewMessage { body: Bytes::from(vec![0; MAX_BODY]), ..NewMessage::default() };
        let attribute = Attribute::new("a".into(), AttributeValue::String("v".into()));
        let wrong = [
            (NewMessage { body: Bytes::from(vec![0; MAX_BODY + 1]), ..NewMessage::default() }, "1048577 bytes"),
            (NewMessage { attributes: vec![attribute; 11], ..NewMessage::default() }, "11 attributes"),
            (NewMessage { delay: Duration::from_secs(901), ..NewMessage::default() }, "901 s"),
        ];
        check_messages("q", std::slice::from_ref(&fine)).unwrap();
        for (message, says) in wrong {
            let error = check_messages("q", &[fine.clone(), message]).unwrap_err();
            assert!(matches!(&error, QueueError::Unsendable { at: 1, why, .. } if why.contains(says)), "{error}");
        }
        assert!(check_messages("q", &vec![NewMessage::default(); MAX_ENTRIES + 1]).is_err());
    }
}
