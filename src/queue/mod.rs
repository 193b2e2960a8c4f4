//! The edge to the queue services: one trait, [`Queue`], and one conformance
//! suite (`tests/queue_conformance/`) that every implementation passes.
//!
//! Poller and acker threads call a queue, several of them at once; a call may block for as long as its documentation
//! says. An implementation keeps no thread of its own, and every failure is in the error that it returns. It logs only
//! what fails no call, once: a proxy or a server that cannot do what it should.

use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;

pub use self::dead_letters::{Attendant, Changed, DeadFilter, DeadLetter, DeadLetters, Portions, Unseen};
pub use crate::message::dead::{DeadDelivery, DeadKind, DeadReason, SetAside};
pub use crate::message::service::{Ask, Count, Facts};
pub use crate::message::settle::{EntryError, EntryResult, SettledPart, VisibilityChange};
use crate::message::{Attribute, Receipt, Received};

pub mod clock;
mod dead_letters;
pub mod embedded;
pub mod memory;
pub mod parking;
pub mod space;
pub mod sqlite;
pub mod sqs;
mod waiting;

/// A queue in the sense of SQS: at-least-once delivery, leases, receive counts, FIFO groups and dead letters.
///
/// All calls except [`Queue::limits`] and [`Queue::interrupt`] block. On SQS each request takes at most
/// 10 s, a send 30 s, and a receive its long poll and 10 s; an embedded queue blocks for as long as its
/// store is locked and its disk takes, a few seconds at most. The calls fail with a [`QueueError`]; the
/// caller must then assume that no entry is done. Callers pass at most [`Limits::entries`] entries to
/// one call: embedded queues refuse more, and on SQS more entries take several requests. Entries of a send that SQS refuses
/// together are sent one by one, for half a minute.
///
/// A message may lead to several deliveries, of which some are settled before the others. An embedded queue keeps
/// which these are: it learns them from returned copies and from dead letters, and reports them with each later copy of
/// the message ([`Received::settled`]), also to another process. The record goes with its message: it is deleted with
/// it, and if the message is set aside as a whole, a redrive brings it back. SQS has no place for it, so a copy
/// from there reports none.
///
/// # What an implementation owes
///
/// A message is lost, or comes for ever, where one of these does not hold; `tests/queue_conformance` tests them.
///
/// * An entry is answered `Ok` only once it is durable. A dead letter with `last` is durable before its message is deleted.
/// * A receipt is [`EntryError::Gone`] only if the copy is no longer this process's: the copy is then forgotten. What
///   merely failed is [`EntryError::Failed`], and is tried again.
/// * [`Queue::set_aside`] also writes letters with [`Receipt::Parked`]: the message of such a letter is not on the queue
///   any more, and there is nothing to take off it.
/// * A message that [`DeadLetters::redrive`] puts back has another id than it had: by its old id it would be taken for one
///   that is settled, and be deleted unsent.
/// * [`Received::sequence`] has no gaps: on a standard queue the outcomes behind a number that never comes would wait for it.
pub trait Queue: Send + Sync {
    /// Receives up to `ask.max` messages, oldest first, and hides each for `ask.lease`.
    ///
    /// Blocks for up to `ask.wait` while no message can be received. Sequence numbers are
    /// gapless, in the order in which the messages were received. No message of a FIFO
    /// group is returned while an earlier message of that group is leased or hidden.
    fn receive(&self, ask: &Ask) -> Result<Vec<Received>, QueueError>;

    /// Deletes received copies for good. Returns one result per entry, in the order of `receipts`.
    fn delete(&self, receipts: &[Receipt]) -> Result<Vec<EntryResult>, QueueError>;

    /// Sets how long each copy stays hidden from now on: a longer time extends its lease, a shorter one returns it
    /// to the queue, and zero makes it visible at once. Returns one result per entry, in the order of `changes`.
    ///
    /// An embedded queue adds the settled deliveries that a change names to what it knows of the message, in the same
    /// transaction. It may leave them out if its disk has no room for them. It does not count the receive of a copy whose
    /// change says so, in [`Message::receives`](crate::message::Message::receives) of later copies.
    fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<Vec<EntryResult>, QueueError>;

    /// Writes dead letters. A letter with `last` also takes its message off the queue, in the same
    /// transaction if the service has transactions. Any other letter settles its delivery, which an embedded queue
    /// keeps in that transaction too. Returns one result per entry, in the order of `letters`.
    fn set_aside(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError>;

    /// Puts messages on the queue, in order, and returns their ids. On a
    /// durable queue, messages that are reported as sent survive a power loss.
    fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError>;

    /// Returns how many messages the queue holds, without receiving any; on SQS the numbers are estimates.
    fn count(&self) -> Result<Count, QueueError>;

    /// Returns the bounds of one call on this queue. Never blocks, and always returns the same value.
    fn limits(&self) -> Limits;

    /// Returns what the service itself does to messages of this queue:
    /// the bounds at which it loses, hides or sets aside messages.
    ///
    /// Blocks for as long as a request takes. It is called before the first receive, possibly by
    /// several threads. Embedded queues do nothing of the kind and return `Facts::default()`.
    ///
    /// # Errors
    ///
    /// The errors of every call, and [`QueueError::Unusable`] if the service must not start on this queue.
    fn facts(&self) -> Result<Facts, QueueError>;

    /// Ends the waits of all [`Queue::receive`] calls, those under way and later
    /// ones, if the service allows it. A long poll on SQS cannot be ended: it must be
    /// awaited, or the messages that it brings stay hidden until their leases lapse.
    fn interrupt(&self) {}

    /// Returns the queue's dead letters, for the `dead` commands; `None` if rejected messages circulate instead.
    fn dead_letters(&self) -> Option<&dyn DeadLetters>;
}

/// The bounds of one call, and whether messages are ordered by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest number of messages that one receive returns.
    pub receive: usize,
    /// The largest number of entries of one delete, change of visibility, set-aside or send.
    pub entries: usize,
    /// Whether messages carry FIFO groups.
    pub fifo: bool,
    /// Whether a service answers from afar (SQS): each request takes a round trip, so that several may be under way at
    /// once, the service cannot wake a poller, and its counts may lag behind.
    pub remote: bool,
    /// What the service charges for a request, in billionths of a dollar; `None`: nothing. Where requests have a price,
    /// asking often for a few messages costs more than waiting until there is room for many.
    pub price: Option<u32>,
    /// The number of requests in which messages are set aside as dead letters.
    pub letter_requests: u64,
    /// How long a delete waits for others to share its call, on queues
    /// where many deletes in one call cost less than single ones.
    pub linger: Duration,
}

/// The reason why a whole call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// The service cannot be reached, throttles, is locked or is full. The call is retried with back-off; the messages
    /// stay where they are.
    #[error("queue {queue}: {what}: {why}")]
    Unavailable {
        /// The name of the queue.
        queue: String,
        /// The operation that failed, in a word or two.
        what: &'static str,
        /// The cause, as a sentence for the operator.
        why: String,
    },
    /// The queue does not exist, or no longer exists. The call is retried, and readiness is red.
    #[error("queue {queue} does not exist: {why}")]
    Missing {
        /// The name of the queue.
        queue: String,
        /// The answer of the service.
        why: String,
    },
    /// The service refuses the call as octoconf is set up: a wrong path, wrong keys, a denied action, or a store of a
    /// newer version. The call is retried slowly, since a person has to act.
    #[error("queue {queue}: {what} was refused: {why}")]
    Refused {
        /// The name of the queue.
        queue: String,
        /// The operation that was refused, in a word or two.
        what: &'static str,
        /// The cause, as a sentence for the operator.
        why: String,
    },
    /// Some of the messages to be sent are not known to be on the queue; the others are. A person has to correct the
    /// refused ones, and may send those again that were not confirmed.
    #[error("queue {queue}: send: {} of {of} messages were sent{}{}", of - failed.len() - unconfirmed.len(),
        by_place("; refused: ", .failed), by_place("; not confirmed: ", .unconfirmed))]
    PartlySent {
        /// The name of the queue.
        queue: String,
        /// The number of messages in the call.
        of: usize,
        /// The index in the call (from 0) of each message that was refused for good, and why.
        failed: Vec<(usize, String)>,
        /// The index of each message that the service did not confirm, and why. It may be on the queue or not.
        unconfirmed: Vec<(usize, String)>,
    },
    /// The queue cannot take a message as it is, so that nothing of the call was sent. A person has to correct the
    /// message.
    #[error("queue {queue}: send: message {}: {why}; nothing was sent", at + 1)]
    Unsendable {
        /// The name of the queue.
        queue: String,
        /// The index in the call (from 0) of the message.
        at: usize,
        /// The cause, as a sentence for the operator.
        why: String,
    },
    /// The service must not start on this queue as it is configured: messages would be lost or circulate for ever. The
    /// queue can be reached, so waiting does not help.
    #[error("queue {queue} cannot be used as it is configured: {why}")]
    Unusable {
        /// The name of the queue.
        queue: String,
        /// The cause, as a sentence for the operator.
        why: String,
    },
}

fn by_place(head: &str, failed: &[(usize, String)]) -> String {
    let each: Vec<_> = failed.iter().map(|(at, why)| format!("message {}: {why}", at + 1)).collect();
    if each.is_empty() { String::new() } else { format!("{head}{}", each.join(", ")) }
}

impl QueueError {
    /// Returns whether the failure may pass without anyone acting.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// A message to put on a queue.
#[derive(Debug, Clone, Default)]
pub struct NewMessage {
    /// The body, as a handler sees it.
    pub body: Bytes,
    /// The attributes of the message; at most 10 (the limit of SQS).
    pub attributes: Vec<Attribute>,
    /// How long the message is hidden after it is sent; at most 15 minutes (the limit of SQS).
    pub delay: Duration,
}
