//! The shared vocabulary of all modules: a message, the outcome of its handler, the batch that is sent to a
//! partner, and the partner's answer.
//!
//! Plain data: no threads, channels, clocks, logging or I/O here. Every other module may depend on this
//! one; it depends on none of them.

pub mod dead;
pub mod park;
pub mod service;
pub mod settle;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;
use uuid::Uuid;

/// The partner account that a delivery is for: any non-empty text, as the producer wrote it.
pub type Account = CompactString;

/// A function that returns the FIFO group of a body when it is sent or redriven; `None` if the message
/// stands alone. It sees only the body, must not call the queue, and runs on the thread of the sender.
pub type Grouping = Arc<dyn Fn(&[u8]) -> Option<CompactString> + Send + Sync>;

/// A message as received from its queue. It is shared by the thread that handles it, the ledger and
/// the deliveries that it leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The id, unique within the message's queue. It holds no dots, since a dot separates the parts
    /// that a webhook signature covers.
    pub id: CompactString,
    /// The body's bytes as they were sent, at most 1 MiB (the limit of SQS).
    pub body: Bytes,
    /// The attributes that the producer attached, in the queue's order; at most 10 (the limit of SQS).
    pub attributes: Vec<Attribute>,
    /// The FIFO group; `None` on a standard queue and for a message that stands alone.
    pub group: Option<CompactString>,
    /// When the queue accepted the message, by the queue's clock.
    pub sent_at: SystemTime,
    /// The number of times the message has been received, this time included: 1 or more. An embedded queue leaves out copies
    /// that went back through no doing of their own, see [`settle::VisibilityChange::uncounted`].
    pub receives: u32,
    /// The deliveries for which the message was redriven. `None`: all of them.
    pub open: Option<Arc<[DeliveryName]>>,
}

impl Message {
    /// Creates a message as a handler sees one that was just sent: received once, without attributes and group, with all
    /// of its deliveries open. When it was sent is not known, which is [`SystemTime::UNIX_EPOCH`].
    pub fn new(id: impl Into<CompactString>, body: impl Into<Bytes>) -> Self {
        Self {
            id: id.into(),
            body: body.into(),
            attributes: Vec::new(),
            group: None,
            sent_at: SystemTime::UNIX_EPOCH,
            receives: 1,
            open: None,
        }
    }

    /// Returns the bytes of memory that the message keeps for as long as it is held: those of its body, of its
    /// attributes, of its group, which on an embedded queue may be as long as its body, and of the
    /// names of its open deliveries. The few bytes that every message needs do not count.
    pub fn weight(&self) -> usize {
        let attributes = self.attributes.iter().map(Attribute::len);
        let name = |name: &DeliveryName| size_of::<DeliveryName>() + name.account.as_ref().map_or(0, CompactString::len);
        let open = self.open.iter().flat_map(|open| open.iter().map(name));
        let group = self.group.as_ref().map_or(0, CompactString::len);
        self.body.len() + group + attributes.chain(open).sum::<usize>()
    }
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
    /// The attribute's name.
    pub name: CompactString,
    /// The attribute's value with its type.
    pub value: AttributeValue,
    /// What the producer appended to the type behind a dot, as in `Number.float` (SQS: a custom type). It means nothing here,
    /// and stays with the attribute.
    pub label: Option<Box<str>>,
}

impl Attribute {
    /// Creates an attribute whose type has no label.
    pub fn new(name: CompactString, value: AttributeValue) -> Self {
        Self { name, value, label: None }
    }

    /// Returns the size of the attribute in bytes, without its type.
    fn len(&self) -> usize {
        self.name.len() + self.value.len() + self.label.as_deref().map_or(0, str::len)
    }
}

/// The value of an attribute, of one of the three types that SQS knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// Text.
    String(String),
    /// A number as text, since SQS keeps up to 38 digits of it.
    Number(String),
    /// Bytes.
    Binary(Bytes),
}

impl AttributeValue {
    /// Returns the size of the value in bytes.
    fn len(&self) -> usize {
        match self {
            Self::String(text) | Self::Number(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// What a queue needs to delete, hide or extend one received copy. A later receive of the same
/// message yields a newer receipt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// The receipt of an embedded queue: the row, and the number of its receive.
    Row {
        /// The id of the message's row.
        row: i64,
        /// Which receive of the row this was.
        receive: i64,
    },
    /// The receipt handle of SQS.
    Handle(Box<str>),
    /// No receipt: the message has left its queue because its deliveries were parked. A dead letter about it is written
    /// without deleting anything from the queue.
    Parked,
}

/// One received copy of a message.
#[derive(Debug, Clone)]
pub struct Received {
    /// The message that was received.
    pub message: Arc<Message>,
    /// The receipt of this copy.
    pub receipt: Receipt,
    /// The copy's number in the order of receive: without gaps per queue and process, from 0.
    pub sequence: u64,
    /// Which deliveries of the message its queue knows to be settled; `None` for nearly every message.
    pub settled: Option<Box<settle::SettledPart>>,
}

/// A handler's decision about one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Deliver one payload or more, each to the bucket of its account; at most [`MAX_DELIVERIES`], and no account longer
    /// than [`MAX_ACCOUNT`].
    Deliver(SmallVec<[Delivery; 1]>),
    /// Deliver nothing: the message is acked.
    Discard,
    /// Try again later: the message is returned to its queue and hidden for `after` (1 s to 11 h). A delay below an
    /// hour doubles with each receive, up to an hour.
    Retry {
        /// How long the message stays hidden.
        after: Duration,
        /// Why the handler wants the message later.
        reason: String,
    },
    /// Never deliver: the message becomes a dead letter.
    Reject {
        /// The cause: which field is at fault, and what was found in it.
        reason: String,
    },
}

/// The largest message body in bytes, on every queue: the limit of SQS.
pub const MAX_BODY: usize = 1024 * 1024;

/// The largest number of deliveries of one message: a message that leads to more is rejected.
pub const MAX_DELIVERIES: usize = 1000;

/// The largest size of an account in bytes. It is copied for each delivery, and is shown in logs, pages and metrics.
pub const MAX_ACCOUNT: usize = 1024;

impl Outcome {
    /// Returns the outcome that delivers one payload to one bucket.
    pub fn deliver(account: impl Into<Account>, payload: impl Into<Bytes>) -> Self {
        let mut deliveries = SmallVec::new();
        deliveries.push(Delivery { account: account.into(), payload: payload.into() });
        Self::Deliver(deliveries)
    }

    /// Returns the outcome that makes the message a dead letter, with a reason for people to read.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { reason: reason.into() }
    }

    /// Returns the outcome's name in logs, in metrics and in the output of `try`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Deliver(_) => "deliver",
            Self::Discard => "discard",
            Self::Retry { .. } => "retry",
            Self::Reject { .. } => "reject",
        }
    }
}

/// One payload for one partner account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The account whose bucket the payload enters.
    pub account: Account,
    /// The bytes for the partner.
    pub payload: Bytes,
}

/// A delivery as it waits in a bucket and travels to the partner.
#[derive(Debug, Clone)]
pub struct Item {
    /// The message that led to this delivery.
    pub message: Arc<Message>,
    /// The delivery's index among the deliveries of its message; `None` if it is the only one.
    pub index: Option<u16>,
    /// The bytes for the partner.
    pub payload: Bytes,
}

impl Item {
    /// Returns the delivery's own id: the message's id, or `ID-INDEX` if the message led to several deliveries.
    pub fn id(&self) -> CompactString {
        match self.index {
            None => self.message.id.clone(),
            Some(index) => compact_str::format_compact!("{}-{index}", self.message.id),
        }
    }
}

/// The deliveries that one flush sends to a partner. A batch keeps its composition and its id over retries;
/// only a split makes new batches.
#[derive(Debug)]
pub struct Batch {
    /// The account that all items are for.
    pub account: Account,
    /// The name of the queue that the bucket belongs to.
    pub queue: Arc<str>,
    /// The deliveries in order: at least one, at most `max_batch`.
    pub items: SmallVec<[Item; 1]>,
    /// The sum of the payloads' sizes in bytes.
    pub bytes: usize,
}

impl Batch {
    /// Returns the value of `webhook-id` and `idempotency-key`: the delivery's id if there is only one, else an id
    /// derived from the ids of all deliveries. The same composition has the same id even after a restart, and a
    /// different composition has a different one.
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

/// The name space of batch ids (RFC 9562, version 5). Message ids hold no dots, so that ids
/// joined by dots are unambiguous.
const BATCHES: Uuid = uuid::uuid!("6f63746f-636f-5e66-8000-626174636865");

/// The most bytes of a partner's answer that are kept for logs, reports and dead letters (1 KiB).
pub const MAX_EXCERPT: usize = 1024;

/// A partner's answer to one batch. [`crate::dispatch`] turns it into a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Every delivery of the batch is accepted, or durably written.
    Accepted,
    /// An HTTP status line other than 2xx.
    Status {
        /// The status code.
        code: u16,
        /// The wait that the partner asked for in `Retry-After`.
        retry_after: Option<Duration>,
        /// At most [`MAX_EXCERPT`] bytes of the answer's body, as text.
        excerpt: Box<str>,
    },
    /// There was no answer: no connection, a TLS failure, a timeout, a full disk, a panic in the sink.
    Unreachable {
        /// What happened, in words.
        reason: Box<str>,
    },
    /// The sink, or a service that does not answer by HTTP status codes, refuses the batch.
    Refused {
        /// What would have to be different.
        cause: RefusalCause,
        /// Why it is refused, in words.
        reason: Box<str>,
    },
    /// A service that answers for each delivery separately accepted some of them.
    Partly {
        /// The places in the batch of the deliveries that were accepted. All others stay open: a place that is left out by
        /// mistake leads to a duplicate, never to a loss.
        accepted: Box<[usize]>,
        /// The answer for the other deliveries.
        rest: Box<Answer>,
    },
}

/// Why a batch is refused. The order is that of the consequences, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalCause {
    /// The partner's set-up, such as its keys or what they permit. Nothing is wrong with the deliveries.
    SetUp,
    /// The place where this queue's deliveries go does not exist.
    Place,
    /// The size of the batch.
    Size,
    /// The content of a delivery in the batch.
    Content,
    /// The sink can never deliver any of these deliveries, for example because no file name can hold the account.
    Impossible,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_weighs_what_its_producer_wrote() {
        let mut message = Message::new("1b9d", "12345");
        assert_eq!(message.weight(), 5);
        for (value, bytes) in [
            (AttributeValue::String("x".repeat(1000)), 1000),
            (AttributeValue::Number("17".into()), 2),
            (AttributeValue::Binary(vec![0; 300].into()), 300),
        ] {
            let before = message.weight();
            message.attributes.push(Attribute::new("name".into(), value));
            assert_eq!(message.weight() - before, bytes + 4);
        }
        let before = message.weight();
        let labelled =
            Attribute { label: Some("float".into()), ..Attribute::new("n".into(), AttributeValue::Number("1".into())) };
        message.attributes.push(labelled);
        assert_eq!(message.weight() - before, 7);
        let before = message.weight();
        let name = |account: &str| DeliveryName { index: 1, account: Some(account.into()) };
        message.open = Some([name(""), name(&"y".repeat(500))].into());
        assert_eq!(message.weight() - before, 2 * size_of::<DeliveryName>() + 500);
        let before = message.weight();
        message.group = Some("z".repeat(1000).into());
        assert_eq!(message.weight() - before, 1000);
    }
}
