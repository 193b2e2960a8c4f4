//! Setting messages aside: each letter is written to the dead letter
//! queue before its message leaves the queue. Acker threads call it.

use std::collections::HashSet;
use std::time::UNIX_EPOCH;

use compact_str::CompactString;
use sha2::{Digest as _, Sha256};

use crate::message::{Account, DeliveryName, Receipt};
use crate::queue::sqs::apart::{for_a_while, send_apart};
use crate::queue::sqs::call::Entry;
use crate::queue::sqs::content::{DEAD, check_text};
use crate::queue::sqs::envelope::{LetterFacts, Open};
use crate::queue::sqs::error::{EntryFault, Fault};
use crate::queue::sqs::remote::RemoteQueue;
use crate::queue::sqs::{SqsQueue, handle, no_result};
use crate::queue::{EntryError, EntryResult, QueueError, SetAside};

impl SqsQueue {
    pub(in crate::queue::sqs) fn write_letters(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
        if self.dead.is_nowhere() {
            return Ok(letters.iter().map(|_| Err(EntryError::Gone)).collect());
        }
        let failed = self.failed("set aside");
        let target = self.dead.of(&self.queue).map_err(&failed)?.ok_or_else(|| {
            self.refused("set aside", "it has no dead letter queue: set dead_letter, or a redrive policy on the queue".to_owned())
        })?;
        let mut most = target.most();
        if letters.iter().any(|letter| letter.message.body.len() > most) {
            // The operator may have raised the limit since, as the error asks.
            target.forget_most();
            most = target.most();
        }
        let written: Vec<_> = letters.iter().map(|letter| self.entry(letter, &target, most)).collect();
        let entries: Vec<_> = written.iter().flatten().cloned().collect();
        let sent = send_apart(&entries, for_a_while(), |entries| target.send(entries));
        let is_missing = match &sent {
            Ok(sent) => sent.iter().any(|sent| matches!(sent, Err(EntryFault::Missing(_)))),
            Err(fault) => matches!(fault, Fault::Missing(_)),
        };
        if is_missing {
            self.dead.forget();
        }
        let mut sent = sent
            .map_err(|fault| fault.of(&format!("{}: its dead letter queue {}", self.name, target.name()), "set aside"))?
            .into_iter();
        let mut results: Vec<EntryResult> = written
            .iter()
            .zip(letters)
            .map(|(written, letter)| match written {
                Ok(_) => sent.next().unwrap_or_else(no_result).map(drop).map_err(|fault| refused(fault, letter, &target)),
                Err(why) => Err(EntryError::Failed(format!("message {}: {why}", letter.message.id))),
            })
            .collect();
        self.take_off(letters, &mut results);
        Ok(results)
    }

    /// Deletes the messages whose letters settle them. The letters are written by now, so a
    /// delete that fails is reported as [`EntryError::NotDeleted`]. A message stays if
    /// another letter of it failed in this call, since that letter then exists nowhere else.
    fn take_off(&self, letters: &[SetAside], results: &mut [EntryResult]) {
        let failed: HashSet<_> =
            letters.iter().zip(&*results).filter(|(_, result)| result.is_err()).map(|(letter, _)| &letter.receipt).collect();
        let mut settled = Vec::new();
        for (letter, result) in letters.iter().zip(results).filter(|(letter, result)| letter.last && result.is_ok()) {
            if failed.contains(&letter.receipt) {
                *result = Err(EntryError::Failed(
                    "another letter of its message failed, and the message stays until all do".to_owned(),
                ));
            } else if let Some(handle) = handle(&letter.receipt) {
                settled.push((handle, result));
            }
        }
        if settled.is_empty() {
            return;
        }
        let handles: Vec<_> = settled.iter().map(|(handle, _)| *handle).collect();
        let deleted = self
            .queue
            .delete(&handles)
            .unwrap_or_else(|fault| handles.iter().map(|_| Err(EntryFault::Transient(fault.why().to_owned()))).collect());
        for ((_, result), deleted) in settled.into_iter().zip(deleted) {
            *result = deleted.map_err(|fault| EntryError::NotDeleted(EntryError::from(fault).to_string()));
        }
    }

    /// Returns a letter as it is sent to a queue that accepts
    /// messages of at most `most` bytes, else why it cannot be sent.
    fn entry<'a>(&self, letter: &'a SetAside, target: &RemoteQueue, most: usize) -> Result<Entry<'a>, String> {
        let SetAside { message, delivery, reason, receipt, .. } = letter;
        let (fifo, body) = (target.is_fifo(), message.body.len());
        let room = most.checked_sub(body).ok_or_else(|| {
            let name = target.name();
            format!("its body of {body} bytes is larger than {name} takes, {most} bytes: raise MaximumMessageSize of {name}")
        })?;
        if handle(receipt).is_none() && *receipt != Receipt::Parked {
            return Err("its receipt is not from SQS".to_owned());
        }
        let index = delivery.as_ref().and_then(|delivery| delivery.index);
        let account = delivery.as_ref().map(|delivery| &delivery.account);
        let open = match index {
            Some(index) => Open::of(Some(&[DeliveryName { index, account: account.cloned() }])),
            None => Open::of(message.open.as_deref()),
        };
        let sent_at = message.sent_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let facts = LetterFacts {
            kind: reason.kind.word().to_owned(),
            reason: reason.text.clone(),
            source: self.queue.name().to_owned(),
            id: message.id.to_string(),
            account: account.map(ToString::to_string),
            index,
            group: message.group.as_ref().map(ToString::to_string),
            open,
            sent_at: u64::try_from(sent_at.as_millis()).unwrap_or(u64::MAX),
            receives: message.receives,
            redrives: redrives(&message.id),
        };
        let payload = delivery.as_ref().map(|delivery| &delivery.payload);
        let key = fifo.then(|| key(self.queue.name(), &message.id, index, account));
        let attributes = facts.pack(&message.attributes, payload, room);
        // Each letter is a group of its own; otherwise a listing would see only the first letters of each group. Where its
        // facts have no room, nothing but its group tells to which group a redrive returns it.
        let group = match &message.group {
            Some(group) if fifo && !LetterFacts::are_in(&attributes) => Some(group.clone()),
            _ => key.clone(),
        };
        Ok(Entry { body: check_text(&message.body)?, attributes: attributes.into(), delay: 0, group, deduplication: key })
    }
}

/// Converts the failure of a letter. The text names its message, and
/// what may be done if the dead letter queue refuses it as it is.
fn refused(fault: EntryFault, letter: &SetAside, target: &RemoteQueue) -> EntryError {
    let why = match fault.lasting() {
        Ok(why) => why,
        Err(fault) => return fault.into(),
    };
    // If the refusal is for its size, the limit has been lowered.
    target.forget_most();
    let (id, bytes, name) = (&letter.message.id, letter.message.body.len(), target.name());
    EntryError::Failed(format!("message {id}, of {bytes} bytes, is refused by its dead letter queue {name}: {why}"))
}

/// Returns how often a message was redriven, which its id shows by ending in `-rN`.
fn redrives(id: &str) -> u32 {
    id.rsplit_once("-r").and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// Names a letter, within what SQS takes for a group and a deduplication id.
/// The name is the same for the same delivery of the same message.
fn key(source: &str, id: &str, index: Option<u16>, account: Option<&Account>) -> CompactString {
    // A letter without an index is about its whole message, whatever its account.
    let account = account.filter(|_| index.is_some());
    let hash = Sha256::digest(format!("{source}\n{id}\n{index:?}\n{account:?}"));
    let digits = hash.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once(DEAD.to_owned()).chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_known_by_its_delivery() {
        let key = |source, id, index, account: &str| super::key(source, id, index, Some(&account.into()));
        let first = key("stock", "1", Some(1), "acme");
        assert_eq!(first, key("stock", "1", Some(1), "acme"));
        assert!(crate::queue::sqs::content::is_group(&first), "{first}");
        let others = [("stock", "1", None, "acme"), ("stock", "1", Some(2), "acme"), ("stock", "2", Some(1), "acme")];
        for (source, id, index, account) in
            others.into_iter().chain([("other", "1", Some(1), "acme"), ("stock", "1", Some(1), "b")])
        {
            let other = key(source, id, index, account);
            assert_ne!(first, other);
        }
    }

    #[test]
    fn an_id_tells_how_often_its_message_was_redriven() {
        assert_eq!(["1b9d-r3", "1b9d", "1b9d-r", "r-rx"].map(redrives), [3, 0, 0, 0]);
    }
}
