//! What the dispatcher and the queues exchange: the parameters of a receive, facts, counts, and requests about the copies
//! received, with the result of each entry. The dispatcher decides what becomes of a copy, and the queues carry it out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Account, DeliveryName, Message, Receipt};

/// The parameters of one receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The largest number of messages to receive, 1 or more; an implementation may return fewer.
    pub max: usize,
    /// How long the call waits for a first message (the long poll).
    pub wait: Duration,
    /// How long a received message stays hidden from other receivers.
    pub lease: Duration,
    /// The most bytes ([`Message::weight`]) that the messages should have together: the call ends with the message that
    /// reaches them. SQS has no such parameter, and a queue in memory no need for it.
    pub bytes: usize,
}

/// The number of receives below which a message becomes a dead letter after few returns, as an absent partner causes them.
pub const FEW_RECEIVES: u32 = 10;

/// What a queue service does to messages by itself. `None` in a field: the service never does it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The `maxReceiveCount` of the redrive policy: after this number of receives the service itself moves a message
    /// that comes back to the dead letter queue, without our reason (AWS: 1 to 1,000).
    pub redrive_after: Option<u32>,
    /// How long the service keeps a message, from when it was sent; then it is gone (AWS: 1 minute
    /// to 14 days, 4 days by default).
    pub retention: Option<Duration>,
    /// The largest number of messages that may be hidden at once (AWS: 120,000 in flight per queue, over all
    /// consumers). At this limit a receive returns nothing (FIFO) or fails (standard: `OverLimit`).
    pub hidden_limit: Option<u64>,
    /// The longest time that a message stays hidden, counted from its receive, extensions included (AWS: 12 hours).
    pub longest_lease: Option<Duration>,
    /// The largest size of a message in bytes, attributes included (AWS: `MaximumMessageSize`,
    /// 1 KiB to 1 MiB, set per queue).
    pub longest_message: Option<usize>,
    /// The same limit for a dead letter, if dead letters are on another queue. A message close to this size leaves no
    /// room for the reason and the payload in its letter; a longer one cannot be set aside at all.
    pub longest_letter: Option<usize>,
    /// Whether there is no place for dead letters: a rejected message then comes back for
    /// as long as the queue keeps it.
    pub circulates: bool,
}

/// The result of one entry of a batch call.
pub type EntryResult = Result<(), EntryError>;

/// Why one entry of a batch call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The receipt is no longer the newest: the lease was lost, or the message is deleted. The copy is dropped.
    #[error("the lease is lost: the message was received again or deleted")]
    Gone,
    /// The entry failed, but may succeed when tried again; the service retries until the lease ends.
    #[error("{0}")]
    Failed(String),
    /// The dead letter is written, but its message could not be taken off the queue. Only
    /// the delete is tried again: writing the letter again would make it two letters. As the result of a
    /// delete: no further attempt would succeed.
    #[error("it is accepted or the dead letter is written, but its message cannot be deleted: {0}")]
    NotDeleted(String),
}

/// The number of messages in a queue, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages that can be received, or that wait only for their FIFO group.
    pub visible: u64,
    /// Messages leased by a receiver, or returned with a delay.
    pub hidden: u64,
    /// Messages sent with a delay and not yet visible.
    pub delayed: u64,
}

impl Count {
    /// Returns whether the queue holds no message in any state.
    pub fn is_empty(&self) -> bool {
        self.visible == 0 && self.hidden == 0 && self.delayed == 0
    }
}

/// A change of how long one received copy stays hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibilityChange {
    /// The receipt of the copy.
    pub receipt: Receipt,
    /// How long the copy stays hidden from now on; zero makes it visible at once.
    pub hidden: Duration,
    /// What is settled of a copy that is returned: the queue hands it out with the next copy of the message. `None`:
    /// nothing is known, and what the queue knows stays.
    pub settled: Option<Box<SettledPart>>,
}

impl VisibilityChange {
    /// Creates a change that says nothing of the copy's deliveries.
    pub fn new(receipt: Receipt, hidden: Duration) -> Self {
        Self { receipt, hidden, settled: None }
    }
}

/// What is settled of a message that leads to several deliveries, while others are open: a copy of the message that
/// is received later leads only to the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettledPart {
    /// The settled deliveries: accepted, parked, or in a written dead letter. None is named twice, the order means
    /// nothing. As many as its handler makes, at most [`MAX_DELIVERIES`](super::MAX_DELIVERIES); the accounts may have
    /// any length.
    pub deliveries: Vec<DeliveryName>,
    /// Whether one of them was accepted or parked. Otherwise all of them are dead letters.
    pub accepted: bool,
}

impl SettledPart {
    /// Adds what `other` knows. Returns whether anything of it is new.
    pub fn learn(&mut self, other: Self) -> bool {
        let before = (self.deliveries.len(), self.accepted);
        for name in other.deliveries {
            // A name that occurred twice would be found at two places of the same account.
            if !self.deliveries.contains(&name) {
                self.deliveries.push(name);
            }
        }
        self.accepted |= other.accepted;
        before != (self.deliveries.len(), self.accepted)
    }
}

/// One dead letter to write: about a whole message, or about one delivery of it.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// The message that the letter is about.
    pub message: Arc<Message>,
    /// The receipt of the held copy.
    pub receipt: Receipt,
    /// The delivery that the letter is about; `None`: the whole message.
    pub delivery: Option<DeadDelivery>,
    /// Why the message or the delivery is dead.
    pub reason: DeadReason,
    /// Whether this letter settles the message, so that its copy leaves the queue when the letter is written.
    pub last: bool,
}

/// The delivery that a dead letter is about.
#[derive(Debug, Clone)]
pub struct DeadDelivery {
    /// The account that the delivery was for.
    pub account: Account,
    /// The delivery's index, as in [`crate::message::Item::index`].
    pub index: Option<u16>,
    /// The bytes for the partner.
    pub payload: Bytes,
}

impl DeadDelivery {
    /// Returns the name by which the message finds the delivery again; `None` for its only delivery.
    pub fn name(&self) -> Option<DeliveryName> {
        Some(DeliveryName { index: self.index?, account: Some(self.account.clone()) })
    }
}

/// Why something is a dead letter: a kind to filter by, and a sentence for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadReason {
    /// The kind of the reason.
    pub kind: DeadKind,
    /// The sentence: it names the field, the status, or the first KiB of the partner's answer.
    pub text: String,
}

/// The kind of reason for a dead letter: `dead list --reason` filters by its word, which is
/// also a label of `octoconf_messages_dead_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadKind {
    /// The handler rejected the message or broke a rule, or it no longer makes the delivery that a redrive is for.
    Rejected,
    /// The partner refused the delivery.
    Refused,
    /// The delivery alone is too large for the partner (413).
    TooLarge,
    /// The sink can never take the delivery.
    Impossible,
    /// The message was received more often than is allowed.
    MaxReceives,
    /// The delivery was older than `give_up_after`.
    Expired,
    /// An operator set the delivery aside.
    Skipped,
    /// The partner was away, and the message could neither stay nor be returned.
    PartnerUnavailable,
    /// The same, with a partner that accepts deliveries, but fewer than come for it.
    PartnerTooSlow,
}

impl DeadKind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Rejected,
        Self::Refused,
        Self::TooLarge,
        Self::Impossible,
        Self::MaxReceives,
        Self::Expired,
        Self::Skipped,
        Self::PartnerUnavailable,
        Self::PartnerTooSlow,
    ];

    /// Returns the kind's word: in stored dead letters, filters and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Impossible => "impossible",
            Self::MaxReceives => "max_receives",
            Self::Expired => "expired",
            Self::Skipped => "skipped",
            Self::PartnerUnavailable => "partner_unavailable",
            Self::PartnerTooSlow => "partner_too_slow",
        }
    }
}
