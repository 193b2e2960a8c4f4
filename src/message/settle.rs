//! What is asked of a queue for the copies that it gave, and how each entry of it ended.
//!
//! Shared by the dispatcher, which decides, and the queues, which do it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Account, Message, Receipt};

/// What a poller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// 1 or more; an implementation may give fewer.
    pub max: usize,
    /// The long poll.
    pub wait: Duration,
    /// How long a taken message stays hidden.
    pub lease: Duration,
}

/// What a service does to messages by itself. `None`: it never does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// `maxReceiveCount` of the redrive policy: a message that comes back after so many receives is moved to the dead letter queue by the
    /// service itself, without our reason (AWS: 1 to 1,000).
    pub redrive_after: Option<u32>,
    /// How long a message is kept, from when it was sent (AWS: 1 minute to 14 days, 4 days by default). Then it is gone.
    pub retention: Option<Duration>,
    /// Most messages that may be hidden at once (AWS: 120,000 in flight a queue, over all consumers). At it, a receive gives nothing
    /// (FIFO) or fails (standard: `OverLimit`).
    pub hidden_limit: Option<u64>,
    /// The longest that a message stays hidden, extensions included, from its receive (AWS: 12 hours).
    pub longest_lease: Option<Duration>,
    /// Most bytes of a message, attributes included (AWS: `MaximumMessageSize`, 1 KiB to 1 MiB, set by queue).
    pub longest_message: Option<usize>,
    /// The same of a dead letter, where these are on another queue: of a message that is nearly as long, letter, reason and payload have no
    /// room, and one that is longer cannot be set aside at all.
    pub longest_letter: Option<usize>,
    /// Dead letters go nowhere: what is rejected comes back, for as long as it is kept.
    pub circulates: bool,
}

/// How an entry of a batch call ended.
pub type EntryResult = Result<(), EntryError>;

/// Why one entry of a batch call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The receipt is not the newest any more: the lease was lost, or the message is deleted. The copy is dropped.
    #[error("the lease is lost: the message was received again or deleted")]
    Gone,
    /// It may work when tried again; the service retries until the lease ends.
    #[error("{0}")]
    Failed(String),
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Ready to be received, or waiting only for their FIFO group.
    pub visible: u64,
    /// Leased by someone, or returned with a delay.
    pub hidden: u64,
    /// Sent with a delay and not yet visible.
    pub delayed: u64,
}

impl Count {
    pub fn is_empty(&self) -> bool {
        self.visible == 0 && self.hidden == 0 && self.delayed == 0
    }
}

/// One dead letter to write: a whole message, or one delivery of it.
#[derive(Debug, Clone)]
pub struct SetAside {
    pub message: Arc<Message>,
    pub receipt: Receipt,
    /// `None`: the whole message.
    pub delivery: Option<DeadDelivery>,
    pub reason: DeadReason,
    /// Whether this settles the message, so that its copy leaves the queue with this letter.
    pub last: bool,
}

/// The delivery that a dead letter is about.
#[derive(Debug, Clone)]
pub struct DeadDelivery {
    pub account: Account,
    /// As in [`crate::message::Item::index`].
    pub index: Option<u16>,
    pub payload: Bytes,
}

/// Why something is a dead letter: a word to filter by, and a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadReason {
    /// `rejected`, `max_receives`, `refused`, `expired`, …
    pub kind: &'static str,
    /// Names the field, the status, the first KiB of the partner's answer.
    pub text: String,
}
