//! One held copy: where it is, and what has become of its deliveries so far.
//!
//! Every copy is looked at a dozen times on its way, among thousands of others, so what all of them need lies together and is small; what
//! is true of few stands apart, in [`Special`].

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::message::{Account, DeliveryName, Message, Receipt};

use crate::dispatch::exits::known::Settled;
use crate::dispatch::keys::{PartnerKey, QueueIndex};
use crate::dispatch::leases::GroupKey;
use crate::dispatch::waiting::Spot;

/// How a copy left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Acked,
    Dead,
    Returned,
    Duplicate,
    LeaseLost,
}

/// Where a held copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waits for a place in its queue's handler.
    Pending,
    /// In its handler.
    Handling,
    /// Its outcome waits for those before it.
    Ordering,
    /// Its deliveries are in buckets or on the wire.
    Delivering,
    /// Its queue was told how it ends; the answer decides.
    Leaving(Exit),
}

/// A copy that comes.
#[derive(Debug)]
pub struct Arrival<'a> {
    pub queue: QueueIndex,
    pub message: &'a Arc<Message>,
    /// Of a row of a parking: that of its delivery.
    pub index: Option<u16>,
    pub receipt: Receipt,
    pub sequence: u64,
    /// By [`Ledger::hash`](super::Ledger::hash).
    pub hash: u64,
    /// How old it is, since it was sent; in milliseconds.
    pub sent_before_ms: u32,
    pub leased_until: Instant,
}

/// One held copy.
#[derive(Debug)]
pub struct Held {
    pub queue: QueueIndex,
    pub message: Arc<Message>,
    /// The newest: a copy that arrives while this one is held brings another.
    pub receipt: Receipt,
    pub sequence: u64,
    pub received_at: Instant,
    pub leased_until: Instant,
    /// Where its delivery waits, or waited, if it has only one.
    pub spot: Option<Spot>,
    /// Bytes that count against the room: the body, and the open payloads.
    pub bytes: usize,
    /// With whom its lease has to be looked after, if it has to be.
    pub(super) lease: Option<GroupKey>,
    /// Of queue and id: those were written by another thread, and are far away by the time that it leaves.
    pub(super) hash: u64,
    /// How often it was received; a copy that arrives while this one is held says more than its message does.
    pub receives: u32,
    /// How old it was when it came, since it was sent, by the two clocks; in milliseconds. Told here since the message is far away when it
    /// leaves.
    pub sent_before_ms: u32,
    /// Newer receipts that came: what a call did with an older one must be done again.
    pub renewals: u32,
    /// Deliveries that are neither accepted nor dead.
    pub open: u16,
    pub accepted: u16,
    pub dead: u16,
    /// Of the open deliveries, those that are on the wire.
    pub on_wire: u16,
    pub(super) stage: Stage,
    /// Only some of its deliveries are open: [`Message::open`] says which, or [`Held::settled`] which are not. Told here, since the
    /// message itself is far away by the time that it counts.
    pub is_partial: bool,
    /// The queue said that the lease is gone while a delivery was on the wire.
    pub lost: bool,
    /// A call that changes how long it stays hidden is under way: a second one could end before the first.
    pub hiding: bool,
    /// What is needed beyond that where it leads to several.
    pub several: Option<Box<Several>>,
    pub(super) special: Option<Box<Special>>,
}

/// What is true of few copies.
#[derive(Debug, Clone)]
pub struct Special {
    /// Of a row of a parking: that of its delivery.
    pub index: Option<u16>,
    /// When the newest receipt came, where that is not the one with which it was received.
    pub renewed_at: Option<Instant>,
    /// It is to be returned until then, once what is on the wire has landed: nothing more of it is sent.
    pub withdrawn: Option<Instant>,
    /// Dead letters of single deliveries that are not confirmed yet: the message may not be deleted before they are.
    pub letters: u16,
    /// Deliveries on their way to the disk: neither may the message be deleted before they are there.
    pub parking: u16,
    /// All of it that is open went there.
    pub(super) leaves_for_disk: bool,
    /// It is a row of a parking, from that place of its account's line; its queue has no copy of it any more.
    pub row: Option<i64>,
    /// It goes back to its queue because this partner holds more than its share.
    pub given_up_by: Option<PartnerKey>,
    /// Why it is returned, or became a dead letter, in a word for metrics.
    pub why: Option<&'static str>,
}

/// Nothing of it is true.
static NOTHING_SPECIAL: Special = Special {
    index: None,
    renewed_at: None,
    withdrawn: None,
    letters: 0,
    parking: 0,
    leaves_for_disk: false,
    row: None,
    given_up_by: None,
    why: None,
};

/// Of a message that leads to several deliveries.
#[derive(Debug, Default)]
pub struct Several {
    /// Where they wait, or waited.
    pub spots: Vec<Spot>,
    /// The deliveries that are accepted or in a written dead letter, those of earlier copies included.
    pub settled: Vec<DeliveryName>,
}

impl Special {
    /// It is a row of a parking, of the delivery with that index.
    pub(super) fn of_row(index: u16) -> Box<Self> {
        Box::new(Self { index: Some(index), ..NOTHING_SPECIAL.clone() })
    }
}

impl Held {
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The deliveries for which the message was redriven. `None`: for all. An empty list, which another sender may write, names none.
    pub fn redriven_for(&self) -> Option<&[DeliveryName]> {
        self.message.open.as_deref().filter(|open| self.is_partial && !open.is_empty())
    }

    /// What is true of few copies, and of this one perhaps.
    pub fn special(&self) -> &Special {
        self.special.as_deref().unwrap_or(&NOTHING_SPECIAL)
    }

    pub fn special_mut(&mut self) -> &mut Special {
        self.special.get_or_insert_with(|| Box::new(NOTHING_SPECIAL.clone()))
    }

    /// When the newest receipt came.
    pub fn renewed_at(&self) -> Instant {
        self.special().renewed_at.unwrap_or(self.received_at)
    }

    /// Whether what waits of it in buckets may be sent.
    pub fn may_be_sent(&self) -> bool {
        self.stage == Stage::Delivering && !self.lost && self.special().withdrawn.is_none()
    }

    /// The delivery for that account is accepted, or its dead letter written: a later copy does not lead to it again.
    pub fn settled(&mut self, index: Option<u16>, account: &Account) {
        if let (Some(index), Some(several)) = (index, &mut self.several) {
            several.settled.push(DeliveryName { index, account: Some(account.clone()) });
        }
    }

    /// One more of its deliveries waits there.
    pub fn waits_at(&mut self, spot: Spot) {
        match &mut self.several {
            Some(several) => several.spots.push(spot),
            None => self.spot = Some(spot),
        }
    }

    /// Whether something is under way that may settle some of it.
    pub fn is_under_way(&self) -> bool {
        self.on_wire > 0 || self.special.as_deref().is_some_and(|special| special.letters > 0 || special.parking > 0)
    }

    /// Where its deliveries wait, or waited.
    pub fn spots(&self) -> SmallVec<[Spot; 1]> {
        let several = self.several.iter().flat_map(|several| several.spots.iter().copied());
        self.spot.into_iter().chain(several).collect()
    }

    /// What a copy that comes back must know, where some of it is settled and some is not.
    pub fn known(&self) -> Option<Settled> {
        let settled = self.several.as_ref().map(|several| several.settled.as_slice()).filter(|settled| !settled.is_empty())?;
        (self.open > 0).then(|| Settled::Some { deliveries: settled.into(), accepted: self.accepted > 0 })
    }

    pub(super) fn is(&self, queue: QueueIndex, id: &str, index: Option<u16>) -> bool {
        self.queue == queue && self.message.id == id && self.special().index == index
    }

    pub fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving(_))
    }
}

impl Stage {
    /// Whether what is held on this stage makes room without any handler's help.
    pub(super) fn departs(self) -> bool {
        matches!(self, Self::Delivering | Self::Leaving(_))
    }
}
