//! One held copy: its stage, and what has become of its deliveries so far. Owned by the [`Ledger`](super::Ledger).
//!
//! Each copy is looked at a dozen times on its way, among thousands of others. So what all copies need is small and
//! lies together; what only few need is kept apart, in [`Special`].

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::message::dead::DeadKind;
use crate::message::{DeliveryName, Message, Receipt};

use crate::dispatch::exits::reason::ReturnReason;
use crate::dispatch::keys::{PartnerKey, QueueIndex};
use crate::dispatch::ledger::leases::GroupKey;
use crate::dispatch::waiting::Spot;

/// How a copy left the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Deleted from its queue, since everything that the message led to is settled.
    Acked,
    /// Set aside as a dead letter, and none of its deliveries was accepted.
    Dead,
    /// Returned to its queue. For a row of a parking: dropped from memory, while the row stays on the disk.
    Returned,
    /// Dropped as a duplicate: another copy of the message is held, or all of the message was settled before.
    Duplicate,
    /// Lost: the queue may have given the message to another consumer.
    LeaseLost,
}

/// The stage of a held copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The copy waits for a place in its queue's handler.
    Pending,
    /// The copy is with its handler.
    Handling,
    /// The copy's outcome waits for those before it.
    Ordering,
    /// The copy's deliveries are in buckets, on the wire or on their way to the disk.
    Delivering,
    /// The queue is asked to let the copy go by this exit; its answer decides.
    Leaving(Exit),
}

/// A copy that arrives.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The queue that the copy was received from.
    pub queue: QueueIndex,
    /// The message.
    pub message: &'a Arc<Message>,
    /// What is known of a row of a parking; `None` for a message from a queue.
    pub row: Option<RowOnDisk>,
    /// The receipt, which names this copy to its queue.
    pub receipt: Receipt,
    /// The copy's number in the order of receive of its queue.
    pub sequence: u64,
    /// The hash that the copy is found by, see [`Ledger::hash`](super::Ledger::hash).
    pub hash: u64,
    /// How long before its receive the message was sent, in milliseconds.
    pub sent_before_ms: u32,
    /// When the copy's lease ends.
    pub leased_until: Instant,
}

/// One held copy.
#[derive(Debug)]
pub struct Held {
    /// The queue that the copy was received from.
    pub queue: QueueIndex,
    /// The message.
    pub message: Arc<Message>,
    /// The newest receipt: each copy that arrives while this one is held brings another.
    pub receipt: Receipt,
    /// The copy's number in the order of receive of its queue.
    pub sequence: u64,
    /// When the copy was received.
    pub received_at: Instant,
    /// When the copy's lease ends.
    pub leased_until: Instant,
    /// Where the only delivery of the message waits or waited; unused if there are several.
    pub spot: Option<Spot>,
    /// The bytes that count against the room: those of the message, and of the payloads that are open.
    pub(super) bytes: usize,
    /// The group with which the lease is looked after, if it is to be.
    pub(super) lease: Option<GroupKey>,
    /// The hash of queue, message id and delivery index. Kept here since another thread wrote the id, which is no
    /// longer in the cache when the copy leaves.
    pub(super) hash: u64,
    /// How often the message was received. A copy that arrives while this one is held may count more than the message
    /// does.
    pub receives: u32,
    /// How long before its receive the message was sent, in milliseconds, by the clocks of both sides. Kept here since
    /// the message is no longer in the cache when the copy leaves.
    pub sent_before_ms: u32,
    /// The number of newer receipts that came. What a call did with an older receipt has to be done again.
    pub renewals: u32,
    /// The number of deliveries that are neither accepted nor parked nor dead.
    pub(super) open: u16,
    /// The number of deliveries that were accepted or parked; those of earlier copies count as one.
    pub(super) accepted: u16,
    /// The number of deliveries that became dead letters, written or about to be.
    pub(super) dead: u16,
    /// The number of open deliveries that are on the wire.
    pub(super) on_wire: u16,
    /// See [`Stage`]; changed by [`Ledger::advance`](super::Ledger::advance).
    pub(super) stage: Stage,
    /// Whether the queue reported that the lease is gone, while a delivery was on the wire.
    pub lost: bool,
    /// Whether a call that changes the copy's visibility is under way. There is one at a time, since a
    /// second one could end first.
    pub hiding: bool,
    /// What is kept of the deliveries if there are several.
    pub(super) several: Option<Box<Several>>,
    /// What is kept of few copies, see [`Held::special`].
    pub(super) special: Option<Box<Special>>,
}

/// A row of a parking, as the disk knows it.
#[derive(Debug, Clone, Copy)]
pub struct RowOnDisk {
    /// The index of its delivery, as in [`Item::index`](crate::message::Item::index).
    pub index: Option<u16>,
    /// Its place in the line of its account.
    pub place: i64,
    /// Since when its delivery has waited.
    pub since: Instant,
}

/// What is kept of few copies.
#[derive(Debug, Clone)]
pub struct Special {
    /// When the newest receipt came, if it is not the first one; earlier by the time that the machine has slept since.
    pub renewed_at: Option<Instant>,
    /// The copy is to be returned, hidden until then, once what is on the wire has landed. Nothing more of it is sent.
    pub withdrawn: Option<Instant>,
    /// The number of dead letters of single deliveries that are not confirmed yet. The message may not be
    /// deleted before they are.
    pub(super) letters: u16,
    /// The number of deliveries on their way to the disk. The message may not be deleted before they are there.
    pub(super) parking: u16,
    /// Whether all open deliveries are on their way to the disk.
    pub(super) leaves_for_disk: bool,
    /// What is known of a row of a parking. Its queue no longer has a copy of it.
    pub row: Option<RowOnDisk>,
    /// The partner that holds more than its share, for which the copy is returned.
    pub shed_by: Option<PartnerKey>,
    /// Why the copy is returned, if it is to be.
    pub return_reason: Option<ReturnReason>,
    /// The kind of the newest dead letter about the message or one of its deliveries.
    pub(super) dead_kind: Option<DeadKind>,
}

/// What holds for a copy that has nothing special.
static NOTHING_SPECIAL: Special = Special {
    renewed_at: None,
    withdrawn: None,
    letters: 0,
    parking: 0,
    leaves_for_disk: false,
    row: None,
    shed_by: None,
    return_reason: None,
    dead_kind: None,
};

/// What is kept of a message that leads to several deliveries.
#[derive(Debug, Default)]
pub(super) struct Several {
    /// Where the deliveries wait or waited.
    pub(super) spots: Vec<Spot>,
    /// The deliveries that are accepted, parked or in a written dead letter, those of earlier copies included.
    pub(super) settled: Vec<DeliveryName>,
    /// The number of deliveries whose payloads are held, each of which counts a few bytes more than its payload.
    pub(super) weighed: u16,
}

impl Special {
    /// Creates what is kept of a row of a parking.
    pub(super) fn of_row(row: RowOnDisk) -> Box<Self> {
        Box::new(Self { row: Some(row), ..NOTHING_SPECIAL.clone() })
    }
}

impl Held {
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns the deliveries for which the message was redriven; `None` for all of them. An
    /// empty list, which a foreign sender may write, names no delivery and counts as all.
    pub fn redriven_for(&self) -> Option<&[DeliveryName]> {
        self.message.open.as_deref().filter(|open| !open.is_empty())
    }

    /// Returns what is kept of few copies; nothing of it is set for most.
    pub fn special(&self) -> &Special {
        self.special.as_deref().unwrap_or(&NOTHING_SPECIAL)
    }

    /// Returns the same for a change, and allocates it if there is none.
    pub fn special_mut(&mut self) -> &mut Special {
        self.special.get_or_insert_with(|| Box::new(NOTHING_SPECIAL.clone()))
    }

    /// Returns whether the copy is a row of a parking: it has no lease that could end, and stays on the disk when it leaves.
    pub fn is_row(&self) -> bool {
        self.special().row.is_some()
    }

    /// Returns when the newest receipt came.
    pub fn renewed_at(&self) -> Instant {
        self.special().renewed_at.unwrap_or(self.received_at)
    }

    /// Returns whether the copy's deliveries in buckets may be sent.
    pub fn may_be_sent(&self) -> bool {
        self.stage == Stage::Delivering && !self.lost && self.special().withdrawn.is_none()
    }

    /// Returns whether everything that the message leads to is settled, and nothing of it is under way any more.
    pub fn is_settled(&self) -> bool {
        self.stage == Stage::Delivering && self.open == 0 && !self.is_under_way()
    }

    /// Returns whether the copy is about to be returned to its queue with open deliveries that are not on the wire: the
    /// queue is asked to take it, or will be once what is on the wire has landed.
    pub fn goes_back(&self) -> bool {
        let is_withdrawn = self.special().withdrawn.is_some() && self.open > self.on_wire;
        is_withdrawn || self.stage == Stage::Leaving(Exit::Returned)
    }

    /// Records where one more delivery waits.
    pub fn waits_at(&mut self, spot: Spot) {
        match &mut self.several {
            Some(several) => several.spots.push(spot),
            None => self.spot = Some(spot),
        }
    }

    /// Returns whether something is under way that may settle a part of the message.
    pub fn is_under_way(&self) -> bool {
        self.on_wire > 0 || self.special.as_deref().is_some_and(|special| special.letters > 0 || special.parking > 0)
    }

    /// Returns where the deliveries wait or waited.
    pub fn spots(&self) -> SmallVec<[Spot; 1]> {
        let several = self.several.iter().flat_map(|several| several.spots.iter().copied());
        self.spot.into_iter().chain(several).collect()
    }

    /// Returns whether this is the copy of that message, or the row of that delivery.
    pub(super) fn is(&self, queue: QueueIndex, id: &str, index: Option<u16>) -> bool {
        self.queue == queue && self.message.id == id && self.special().row.and_then(|row| row.index) == index
    }

    pub fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving(_))
    }
}
