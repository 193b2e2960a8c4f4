//! The words that every part shares: a message, what a handler makes of it, what is sent to a partner, what came back.
//!
//! Plain data: no thread, channel, clock, log or I/O in here. Everything above may depend on this module, it depends on nothing.

pub mod park;
pub mod settle;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;
use uuid::Uuid;

/// The partner account that a delivery is for: any non-empty text, as the producer wrote it.
pub type Account = CompactString;

/// A message as its queue gave it. Shared by the thread that handles it, the ledger and the deliveries that it led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Unique within its queue, without dots (a dot separates the parts of what a webhook signature covers).
    pub id: CompactString,
    /// The bytes as they were sent, up to 1 MiB (the limit of SQS).
    pub body: Bytes,
    /// What the producer attached, in the queue's order; at most 10 (the limit of SQS).
    pub attributes: Vec<Attribute>,
    /// The FIFO group; `None` on a standard queue and for a message that stands alone.
    pub group: Option<CompactString>,
    /// When the queue took it, by the queue's clock.
    pub sent_at: SystemTime,
    /// How often it has been received, this time included: 1 or more.
    pub receives: u32,
    /// The deliveries for which the message was redriven. `None`: all of them.
    pub open: Option<Arc<[DeliveryName]>>,
}

/// Names one of several deliveries of a message, so that the message finds it again when it comes back. Handlers change: the delivery at
/// that place may be for another account by then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeliveryName {
    /// The place of the delivery among those that the handler made of the message, from 0.
    pub index: u16,
    /// The account that the delivery is for. `None`: a dead letter of an earlier version, which did not note it, or one in which it had no
    /// room.
    pub account: Option<Account>,
}

/// One attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: CompactString,
    pub value: AttributeValue,
}

/// The three types of a value that SQS knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    String(String),
    /// A number in text, since SQS keeps up to 38 digits of it.
    Number(String),
    Binary(Bytes),
}

/// What a queue needs to delete, hide or extend one received copy. A later receive of the same message gives a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// Embedded queues: the row, and which receive of it this was.
    Row { row: i64, receive: i64 },
    /// SQS: its receipt handle.
    Handle(Box<str>),
    /// The message is on its queue no more, since its deliveries were parked: a letter about it is written, and nothing is taken off.
    Parked,
}

/// One received copy of a message.
#[derive(Debug, Clone)]
pub struct Received {
    pub message: Arc<Message>,
    pub receipt: Receipt,
    /// Its place in the order of receive: gapless per queue and process, from 0.
    pub sequence: u64,
}

/// What a handler makes of one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// One payload or more, each to the bucket of its account; at most [`MAX_DELIVERIES`].
    Deliver(SmallVec<[Delivery; 1]>),
    /// Nothing to deliver: the message is acked.
    Discard,
    /// Not now: the message is returned to its queue, hidden for `after` (1 s to 11 h; below an hour doubled with each receive, up to an
    /// hour).
    Retry { after: Duration, reason: String },
    /// Never: the message becomes a dead letter. The reason says which field, and what was found there.
    Reject { reason: String },
}

/// The largest body in bytes, on every queue: that of SQS.
pub const MAX_BODY: usize = 1024 * 1024;

/// More deliveries than this from one message reject it.
pub const MAX_DELIVERIES: usize = 1000;

impl Outcome {
    /// One payload to one bucket.
    pub fn deliver(account: impl Into<Account>, payload: impl Into<Bytes>) -> Self {
        let mut deliveries = SmallVec::new();
        deliveries.push(Delivery { account: account.into(), payload: payload.into() });
        Self::Deliver(deliveries)
    }

    /// A dead letter, with the reason that a person will read.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { reason: reason.into() }
    }

    /// The word that logs, metrics and `try` use for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Deliver(_) => "deliver",
            Self::Discard => "discard",
            Self::Retry { .. } => "retry",
            Self::Reject { .. } => "reject",
        }
    }
}

/// One payload for one partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub account: Account,
    pub payload: Bytes,
}

/// One delivery as it waits in a bucket and travels to the partner.
#[derive(Debug, Clone)]
pub struct Item {
    pub message: Arc<Message>,
    /// Its place among the deliveries of its message; `None` when it is the only one.
    pub index: Option<u16>,
    pub payload: Bytes,
}

impl Item {
    /// The delivery's own id: the message's, or `ID-INDEX` when the message led to several.
    pub fn id(&self) -> CompactString {
        match self.index {
            None => self.message.id.clone(),
            Some(index) => compact_str::format_compact!("{}-{index}", self.message.id),
        }
    }
}

/// What one flush hands to a partner. Its composition and id stay the same over retries; only a split makes new ones.
#[derive(Debug)]
pub struct Batch {
    pub account: Account,
    /// The name of the queue that the bucket belongs to.
    pub queue: Arc<str>,
    /// In order, at least one, at most `max_batch`.
    pub items: SmallVec<[Item; 1]>,
    /// The payloads' bytes together.
    pub bytes: usize,
}

impl Batch {
    /// `webhook-id` and `idempotency-key`: the delivery's id where there is one, else derived from all of them, so that the same
    /// composition has the same id after a restart too, and another one never has.
    pub fn id(&self) -> CompactString {
        match self.items.as_slice() {
            [item] => item.id(),
            items => {
                let ids: Vec<_> = items.iter().map(Item::id).collect();
                compact_str::format_compact!("{}", Uuid::new_v5(&BATCHES, ids.join(".").as_bytes()))
            }
        }
    }
}

/// The name space of batch ids (RFC 9562, version 5); ids of messages hold no dots, so that joining them is unambiguous.
const BATCHES: Uuid = uuid::uuid!("6f63746f-636f-5e66-8000-626174636865");

/// What came back from a partner for one batch. [`crate::dispatch`] makes a verdict of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Every delivery of the batch is accepted, or durably written.
    Accepted,
    /// A status line other than 2xx. The excerpt is at most 1 KiB of the body, as text.
    Status { code: u16, retry_after: Option<Duration>, excerpt: Box<str> },
    /// No answer: no connection, TLS failure, timeout, a full disk, a panic in the sink.
    Unreachable { reason: Box<str> },
    /// The sink itself cannot ever take these deliveries, for example an account that no file name can hold.
    Refused { reason: Box<str> },
    /// A service that answers for each delivery accepted some, so that these are done. `rest` is the answer for the others, which are at
    /// the places `open` of the batch: ascending, at least one.
    Partly { open: Box<[usize]>, rest: Box<Answer> },
}
