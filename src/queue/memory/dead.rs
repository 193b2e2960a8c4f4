//! The dead letters of a queue in memory, used under its lock: bounded, since they are never written to a disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::{CompactString, ToCompactString as _};
use hashbrown::HashMap;

use crate::message::DeliveryName;
use crate::message::dead::DeadDelivery;
use crate::queue::{DeadFilter, DeadLetter, SetAside, SettledPart};

/// The largest total size of the letters: of their messages, attributes included, and their payloads.
const MAX_BYTES: usize = 256 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Dead {
    letters: BTreeMap<i64, Letter>,
    /// The same delivery set aside twice is one letter.
    by_delivery: HashMap<(CompactString, Option<DeliveryName>), i64>,
    /// The last id given; none is given twice.
    last: i64,
    bytes: usize,
}

/// A dead letter, and the deliveries that a redrive opens.
pub(super) struct Letter {
    pub letter: DeadLetter,
    pub open: Option<Arc<[DeliveryName]>>,
    /// What was settled of a message that was set aside as a whole.
    pub settled: Option<Box<SettledPart>>,
    bytes: usize,
}

impl Dead {
    /// Returns whether `letters` fit beside the letters that are
    /// there, with at most `max` letters and [`MAX_BYTES`] in all.
    pub(super) fn has_room(&self, letters: &[SetAside], max: usize) -> bool {
        let bytes: usize = letters.iter().map(weight).sum();
        self.letters.len() + letters.len() <= max && self.bytes + bytes <= MAX_BYTES
    }

    /// `settled`: what is known to be settled of the message. It is kept with a letter about the whole message.
    pub(super) fn write(
        &mut self,
        aside: &SetAside,
        redrives: u32,
        settled: Option<Box<SettledPart>>,
        now: std::time::SystemTime,
    ) {
        let message = &aside.message;
        let delivery = aside.delivery.as_ref();
        let name = delivery.and_then(DeadDelivery::name);
        let key = (message.id.clone(), name.clone());
        let known = self.by_delivery.get(&key).copied();
        let id = known.unwrap_or(self.last + 1);
        self.remove(id);
        self.last = self.last.max(id);
        let letter = DeadLetter {
            id: id.to_compact_string(),
            message_id: message.id.clone(),
            kind: aside.reason.kind.word().to_owned(),
            reason: aside.reason.text.clone(),
            account: delivery.map(|delivery| delivery.account.clone()),
            index: name.as_ref().map(|name| name.index),
            payload: delivery.map(|delivery| delivery.payload.clone()),
            body: message.body.clone(),
            attributes: message.attributes.clone(),
            receives: message.receives,
            redrives,
            sent_at: message.sent_at,
            dead_at: now,
        };
        let (open, settled) = match name {
            Some(name) => (Some([name].into()), None),
            None => (message.open.clone(), settled),
        };
        let bytes = weight(aside);
        self.bytes += bytes;
        self.by_delivery.insert(key, id);
        self.letters.insert(id, Letter { letter, open, settled, bytes });
    }

    /// Returns the first letter that passes the filter and whose number is above `after`, with its number.
    pub(super) fn next(&self, filter: &DeadFilter, after: i64) -> Option<(i64, &DeadLetter)> {
        let mut later = self.letters.range(after.saturating_add(1)..).map(|(number, letter)| (*number, &letter.letter));
        later.find(|(_, letter)| filter.passes(letter))
    }

    pub(super) fn get(&self, number: i64) -> Option<&DeadLetter> {
        self.letters.get(&number).map(|letter| &letter.letter)
    }

    pub(super) fn remove(&mut self, id: i64) -> Option<Letter> {
        let removed = self.letters.remove(&id)?;
        self.bytes -= removed.bytes;
        let name = removed.letter.index.map(|index| DeliveryName { index, account: removed.letter.account.clone() });
        self.by_delivery.remove(&(removed.letter.message_id.clone(), name));
        Some(removed)
    }
}

fn weight(letter: &SetAside) -> usize {
    letter.message.weight() + letter.delivery.as_ref().map_or(0, |delivery| delivery.payload.len())
}
