//! What becomes of the deliveries of a held copy: how many are open, on the wire, accepted and dead, and which of
//! several are settled. Each change of these counts has a method of its own here.

use super::held::{Exit, Held, Several};
use crate::message::dead::DeadKind;
use crate::message::settle::SettledPart;
use crate::message::{Account, DeliveryName};

/// The bytes counted for each of several deliveries beside its payload: its place in its bucket and its name. A thousand
/// deliveries of one byte each take a hundred times what their payloads do.
pub const DELIVERY_BYTES: usize = 128;

/// Bytes of payloads that a copy no longer holds: the room is to be told.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the room counts these bytes until it is told"]
pub struct Freed(usize);

impl Freed {
    /// Returns the number of bytes.
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl Held {
    /// Returns the number of deliveries that are neither accepted nor parked nor dead.
    pub fn open(&self) -> u16 {
        self.open
    }

    /// Returns the number of open deliveries that are on the wire.
    pub fn on_wire(&self) -> u16 {
        self.on_wire
    }

    /// Returns the bytes that count against the room.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the kind of the newest dead letter about the message or one of its deliveries.
    pub fn dead_kind(&self) -> Option<DeadKind> {
        self.special().dead_kind
    }

    /// Returns whether a delivery of the message is on its way to the disk.
    pub fn is_on_way_to_disk(&self) -> bool {
        self.on_way_to_disk() > 0
    }

    /// Returns the number of deliveries on their way to the disk.
    pub fn on_way_to_disk(&self) -> u16 {
        self.special().parking
    }

    /// Returns how the copy leaves once nothing of it is open.
    pub fn exit(&self) -> Exit {
        if self.accepted > 0 || self.dead == 0 { Exit::Acked } else { Exit::Dead }
    }

    /// Returns the deliveries that were accepted, parked or set aside, by this copy and those before it, if there are several.
    pub fn settled(&self) -> &[DeliveryName] {
        self.several.as_ref().map(|several| several.settled.as_slice()).unwrap_or_default()
    }

    /// Records what earlier copies of the message settled.
    pub fn inherit(&mut self, settled: SettledPart) {
        self.accepted = u16::from(settled.accepted);
        self.dead = u16::from(!settled.accepted && !settled.deliveries.is_empty());
        self.several = Some(Box::new(Several { settled: settled.deliveries, ..Several::default() }));
    }

    /// Records the payloads that the handler made: how many, and their bytes in all. Returns the bytes that they count.
    pub fn add_payloads(&mut self, payloads: u16, bytes: usize) -> usize {
        let mut bytes = bytes;
        if payloads > 1 {
            self.several.get_or_insert_default().weighed = payloads;
            bytes += usize::from(payloads) * DELIVERY_BYTES;
        }
        self.bytes += bytes;
        bytes
    }

    /// Drops a payload that is not sent, since its delivery was settled before.
    pub fn drop_payload(&mut self, bytes: usize) -> Freed {
        let mut bytes = bytes;
        if let Some(several) = self.several.as_mut().filter(|several| several.weighed > 0) {
            several.weighed -= 1;
            bytes += DELIVERY_BYTES;
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        Freed(bytes)
    }

    /// Returns whether the message leads to several deliveries.
    pub fn has_several(&self) -> bool {
        self.several.is_some()
    }

    /// Records the number of deliveries that are open now that the handler's outcome was acted upon.
    pub fn opened(&mut self, deliveries: u16) {
        self.open = deliveries;
    }

    /// Records the one delivery of a row of a parking.
    pub fn opened_as_row(&mut self, payload: usize) {
        self.open = 1;
        self.bytes += payload;
    }

    /// Records that a delivery went to the wire.
    pub fn took_off(&mut self) {
        self.on_wire += 1;
    }

    /// Records that a delivery is back from the wire, whatever the answer.
    pub fn landed(&mut self) {
        self.on_wire = self.on_wire.saturating_sub(1);
    }

    /// Records that a delivery is accepted, or on the disk of the parking, which needs the message no more.
    pub fn delivered(&mut self, index: Option<u16>, account: &Account, payload: usize) -> Freed {
        self.open = self.open.saturating_sub(1);
        self.accepted = self.accepted.saturating_add(1);
        self.record_settled(index, account);
        self.drop_payload(payload)
    }

    /// Records that a delivery becomes a dead letter. Its payload is held until the letter is written.
    pub fn dies(&mut self, kind: DeadKind) {
        self.open = self.open.saturating_sub(1);
        self.dead += 1;
        self.special_mut().dead_kind = Some(kind);
    }

    /// Records that the whole message becomes a dead letter, which counts as one more.
    pub fn dies_whole(&mut self, kind: DeadKind) {
        self.dead = self.dead.saturating_add(1);
        self.special_mut().dead_kind = Some(kind);
    }

    /// Records that a dead letter about a single delivery is to be written; the message may not be deleted before.
    pub fn awaits_letter(&mut self) {
        self.special_mut().letters += 1;
    }

    /// Records that the dead letter about a single delivery is written.
    pub fn letter_written(&mut self, index: Option<u16>, account: &Account, payload: usize) -> Freed {
        let special = self.special_mut();
        special.letters = special.letters.saturating_sub(1);
        self.record_settled(index, account);
        self.drop_payload(payload)
    }

    /// Reopens the delivery that a letter was about, since the letter is not written. Nothing more of the copy is sent: its
    /// lease is lost, or it is to be returned.
    pub fn reopen(&mut self) {
        let special = self.special_mut();
        special.letters = special.letters.saturating_sub(1);
        self.dead = self.dead.saturating_sub(1);
        self.open += 1;
    }

    /// The delivery is accepted or parked, or its dead letter written: a later copy does not lead to it again.
    fn record_settled(&mut self, index: Option<u16>, account: &Account) {
        if let (Some(index), Some(several)) = (index, &mut self.several) {
            several.settled.push(DeliveryName { index, account: Some(account.clone()) });
        }
    }

    /// Returns what the queue has to keep for the next copy of the message. `None`: no delivery is settled, or the
    /// message leads to one only.
    pub fn settled_part(&self) -> Option<SettledPart> {
        let settled = Some(self.settled()).filter(|settled| !settled.is_empty())?;
        Some(SettledPart { deliveries: settled.to_vec(), accepted: self.accepted > 0 })
    }
}
