//! One message of a dead letter queue, read as a letter. Pure functions.

use std::time::{Duration, UNIX_EPOCH};

use compact_str::CompactString;

use crate::message::Attribute;
use crate::queue::DeadLetter;
use crate::queue::sqs::content::{ALONE, DEAD};
use crate::queue::sqs::envelope::{LetterFacts, Open, Redriven, Unpacked};
use crate::queue::sqs::receive::Record;
use crate::queue::sqs::remote::Named;

/// A letter, the receipt handle of its lease, and what a redrive needs in addition.
pub(super) struct Letter {
    pub letter: DeadLetter,
    /// The receipt handle of the lease.
    pub handle: Box<str>,
    /// The name of the queue that the letter comes from, if it is known.
    pub source: Option<String>,
    /// The message group on the queue that the letter comes from, if it had one.
    pub group: Option<CompactString>,
    /// The facts that a redriven message carries.
    pub redriven: Redriven,
}

impl Letter {
    pub(super) fn of(record: Record) -> Self {
        let Record { id, handle, body, attributes, group, sent, receives, moved_from } = record;
        // What SQS itself moved here is no letter of ours, whatever its producer wrote into the attribute of that name.
        let Unpacked { facts, attributes, dropped, payload } = match moved_from {
            None => LetterFacts::unpack(attributes),
            Some(_) => Unpacked { attributes, ..Unpacked::default() },
        };
        let dead_at = at(sent);
        let Some(facts) = facts else {
            let (attributes, before) = Redriven::unpack(attributes);
            let source = moved_from.as_deref().and_then(Named::of_arn).map(|named| named.name().to_owned());
            let (kind, reason) = match &source {
                Some(source) => ("moved", format!("SQS itself moved it here from {source}, by its redrive policy")),
                None => (
                    "unknown",
                    "nothing is known about it: it was put here by another program, or its body leaves no room".to_owned(),
                ),
            };
            let before = before.unwrap_or(Redriven { redrives: 0, open: Open::default() });
            let letter = DeadLetter {
                id: id.clone(),
                message_id: id,
                kind: kind.to_owned(),
                reason,
                account: None,
                index: None,
                payload,
                body,
                attributes,
                receives,
                redrives: before.redrives,
                sent_at: dead_at,
                dead_at,
            };
            return Self {
                letter,
                handle,
                source,
                group: group.filter(|group| !group.starts_with(ALONE) && !group.starts_with(DEAD)),
                redriven: next(before),
            };
        };
        let reason = match dropped {
            0 => facts.reason,
            dropped => format!("{} ({dropped} of its attributes had no room here)", facts.reason),
        };
        let letter = DeadLetter {
            id,
            message_id: facts.id.into(),
            kind: facts.kind,
            reason,
            account: facts.account.map(Into::into),
            index: facts.index,
            payload,
            body,
            attributes,
            receives: facts.receives,
            redrives: facts.redrives,
            sent_at: at(facts.sent_at),
            dead_at,
        };
        let redriven = next(Redriven { redrives: facts.redrives, open: facts.open });
        Self { letter, handle, source: Some(facts.source), group: facts.group.map(Into::into), redriven }
    }

    /// Returns the attributes with which the letter goes back to
    /// its queue, which accepts messages of at most `most` bytes.
    pub(super) fn attributes(&self, most: usize) -> Result<Vec<Attribute>, String> {
        let body = self.letter.body.len();
        match self.redriven.clone().pack(&self.letter.attributes, most.saturating_sub(body)) {
            Some(attributes) => Ok(attributes),
            None if self.redriven.open.is_all() => Ok(self.letter.attributes.clone()),
            None => Err(format!(
                "dead letter {}: its body of {body} bytes leaves no room to say which delivery is open, and the others must not be repeated; \
                 deliver it by hand and purge it",
                self.letter.id
            )),
        }
    }
}

fn next(before: Redriven) -> Redriven {
    Redriven { redrives: before.redrives.saturating_add(1), ..before }
}

fn at(millis: u64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::AttributeValue;

    #[test]
    fn facts_of_no_kind_of_ours_are_those_of_a_producer() {
        let of = |kind: &str, moved_from: Option<&str>| {
            let facts = serde_json::json!({
                "kind": kind, "reason": "r", "source": "elsewhere", "id": "1", "sent_at": 0, "receives": 1, "redrives": 7,
            });
            let ours = Attribute::new("octoconf".into(), AttributeValue::String(facts.to_string()));
            Letter::of(Record {
                id: "1b9d".into(),
                handle: "h".into(),
                body: "b".into(),
                attributes: vec![ours],
                group: None,
                sent: 0,
                receives: 3,
                moved_from: moved_from.map(str::to_owned),
            })
        };
        let Letter { letter, source, .. } = of("refused", None);
        assert_eq!((letter.kind.as_str(), source.as_deref(), letter.attributes.len()), ("refused", Some("elsewhere"), 0));
        for foreign in ["\u{1b}[2J", "Refused", ""] {
            let Letter { letter, source, .. } = of(foreign, None);
            assert_eq!((letter.kind.as_str(), source, letter.attributes.len()), ("unknown", None, 1));
        }
        for any in ["Refused", "refused"] {
            let Letter { letter, source, .. } = of(any, Some("arn:aws:sqs:eu-west-1:1:stock"));
            assert_eq!((letter.kind.as_str(), source.as_deref(), letter.attributes.len()), ("moved", Some("stock"), 1));
            assert_eq!((letter.id.as_str(), letter.receives, letter.redrives), ("1b9d", 3, 0));
        }
    }
}
