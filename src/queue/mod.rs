//! Where messages come from: one trait, one conformance suite (`tests/queue_conformance.rs`) that every implementation passes.
//!
//! Called by poller and acker threads, several at once; every call may block for as long as its doc says. An implementation keeps no
//! thread of its own and never logs: what goes wrong is in the error.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use compact_str::CompactString;

use crate::message::{Account, Attribute, Message, Receipt, Received};

pub mod memory;
pub mod sqlite;

/// A queue in the sense of SQS: at least once, leases, receive counts, FIFO groups, dead letters.
pub trait Queue: Send + Sync {
    /// Takes up to `ask.max` messages, oldest first, and hides each for `ask.lease`.
    ///
    /// Blocks for up to `ask.wait` while there is nothing to take. Sequence numbers are gapless in the order in which
    /// the messages were taken. In a FIFO group nothing is given while an earlier message of it is leased or hidden.
    fn receive(&self, ask: &Ask) -> Result<Vec<Received>, QueueError>;

    /// Deletes received copies for good. One result per entry, in the order given.
    fn delete(&self, receipts: &[Receipt]) -> Result<Vec<EntryResult>, QueueError>;

    /// Sets how long each copy stays hidden from now on: longer to extend a lease, shorter to return it; zero makes it visible at once.
    fn change_visibility(&self, changes: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError>;

    /// Writes dead letters; those with `last` also take their message off the queue, in the same transaction where the service has any.
    fn set_aside(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError>;

    /// Puts messages on the queue, in order. What it reports as sent survives a power loss.
    fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError>;

    /// How many messages there are, without taking any.
    fn count(&self) -> Result<Count, QueueError>;

    /// What this queue can do at once.
    fn limits(&self) -> Limits;

    /// Ends the waits of [`Queue::receive`] that are under way, now and for good, where the service allows that. Long polls on SQS
    /// cannot be ended: they must be awaited, or what they bring is lost until the lease lapses.
    fn interrupt(&self) {}

    /// Its dead letters, for the `dead` commands; `None` where rejected messages circulate.
    fn dead_letters(&self) -> Option<&dyn DeadLetters>;
}

/// What a poller asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// 1 or more; an implementation may give fewer.
    pub max: usize,
    /// The long poll.
    pub wait: Duration,
    /// How long a taken message stays hidden.
    pub lease: Duration,
}

/// Bounds of one call, and whether order is by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most messages that one receive gives.
    pub receive: usize,
    /// Most entries that one delete, change of visibility, set-aside or send takes.
    pub entries: usize,
    /// Whether messages carry FIFO groups.
    pub fifo: bool,
}

/// How an entry of a batch call ended.
pub type EntryResult = Result<(), EntryError>;

/// Why one entry of a batch call did not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The receipt is not the newest any more: the lease was lost, or the message is deleted. The copy is dropped.
    #[error("the lease is lost: the message was received again or deleted")]
    Gone,
    /// It may work when tried again; the service retries until the lease ends.
    #[error("{0}")]
    Failed(String),
}

/// Why a whole call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// The service cannot be reached, throttles, is locked or full. Retried with back-off; the messages stay where they are.
    #[error("queue {queue}: {what}: {why}")]
    Unavailable { queue: String, what: &'static str, why: String },
    /// The queue does not exist (any more). Retried, readiness is red.
    #[error("queue {queue} does not exist: {why}")]
    Missing { queue: String, why: String },
    /// The service will not do this as we are set up: a wrong path, wrong keys, a denied action, a store of a newer version.
    /// Retried slowly, since a person has to act.
    #[error("queue {queue}: {what} was refused: {why}")]
    Refused { queue: String, what: &'static str, why: String },
}

impl QueueError {
    /// Whether waiting alone may mend it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// A message to put on a queue.
#[derive(Debug, Clone, Default)]
pub struct NewMessage {
    pub body: Bytes,
    pub attributes: Vec<Attribute>,
    /// Hidden for this long first; at most 15 minutes (the limit of SQS).
    pub delay: Duration,
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
    pub message: std::sync::Arc<Message>,
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

/// What the `dead` commands do; called by one command at a time, never by the engine.
pub trait DeadLetters {
    /// Calls `each` with the letters that pass the filter, oldest first, until it returns `false`.
    fn list(&self, filter: &DeadFilter, each: &mut dyn FnMut(DeadLetter) -> bool) -> Result<(), QueueError>;

    /// Puts the named letters back on the queue, as sent now, in one transaction each; gives how many there still were.
    fn redrive(&self, ids: &[i64]) -> Result<usize, QueueError>;

    /// Deletes the named letters for good; gives how many there still were.
    fn purge(&self, ids: &[i64]) -> Result<usize, QueueError>;
}

/// Which dead letters are meant. Empty: all.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    pub partner: Option<Account>,
    /// Matches the kind exactly, or is contained in the text.
    pub reason: Option<String>,
}

/// One dead letter as it is stored.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Names it in `show`, `redrive` and `purge`.
    pub id: i64,
    pub message_id: CompactString,
    pub kind: String,
    pub reason: String,
    pub account: Option<Account>,
    pub index: Option<u16>,
    pub payload: Option<Bytes>,
    pub body: Bytes,
    pub attributes: Vec<Attribute>,
    pub receives: u32,
    pub sent_at: SystemTime,
    pub dead_at: SystemTime,
}
