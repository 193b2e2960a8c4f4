//! Where messages come from: one trait, one conformance suite (`tests/queue_conformance/`) that every implementation passes.
//!
//! Called by poller and acker threads, several at once; every call may block for as long as its doc says. An implementation keeps no
//! thread of its own and never logs: what goes wrong is in the error.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use compact_str::CompactString;

pub use crate::message::settle::{Ask, Count, DeadDelivery, DeadReason, EntryError, EntryResult, Facts, SetAside};
use crate::message::{Account, Attribute, Receipt, Received};

pub mod clock;
pub mod embedded;
pub mod memory;
pub mod parking;
pub mod space;
pub mod sqlite;
pub mod sqs;
mod waiting;

/// A queue in the sense of SQS: at least once, leases, receive counts, FIFO groups, dead letters.
///
/// All calls but [`Queue::limits`] and [`Queue::interrupt`] block: on SQS for a request (10 s at most, a send 30 s), on an embedded queue for
/// as long as its store is locked and its disk takes, a few seconds at most. They fail with a [`QueueError`]; then no entry is known to be
/// done. Those that take entries take [`Limits::entries`] of them at most, and refuse more.
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

    /// Puts messages on the queue, in order, and gives their ids. What a durable queue reports as sent survives a power loss.
    fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError>;

    /// How many messages there are, without taking any; on SQS an estimate.
    fn count(&self) -> Result<Count, QueueError>;

    /// What this queue can do at once. Never blocks and never changes.
    fn limits(&self) -> Limits;

    /// What the service says of the queue: the bounds by which it would lose, hide or set aside messages by itself.
    ///
    /// Blocks for as long as a request takes; called once, before the first receive. Embedded queues, which do none of
    /// that, give `Facts::default()`.
    ///
    /// # Errors
    ///
    /// Those of every call, and [`QueueError::Unusable`] where the service must not start on this queue.
    fn facts(&self) -> Result<Facts, QueueError>;

    /// Ends the waits of [`Queue::receive`] that are under way, now and for good, where the service allows that. Long polls on SQS
    /// cannot be ended: they must be awaited, or what they bring is lost until the lease lapses.
    fn interrupt(&self) {}

    /// Its dead letters, for the `dead` commands; `None` where rejected messages circulate.
    fn dead_letters(&self) -> Option<&dyn DeadLetters>;
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
    /// Whether each request has its price (SQS), so that asking for few messages at once is dearer than waiting for room for many.
    pub priced: bool,
    /// How long deletes wait for others, where many in one call cost less than one by one.
    pub linger: Duration,
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
    /// Of messages that were to be sent the service refused these for good, by their places from 0, each with why; the others are sent. A
    /// person has to mend them.
    #[error("queue {queue}: send: {} of {of} messages were sent; refused: {}", of - failed.len(), by_place(.failed))]
    PartlySent { queue: String, of: usize, failed: Vec<(usize, String)> },
    /// As it is configured, the service must not start on this queue: messages would be lost or circulate for ever. It can be reached,
    /// and waiting mends nothing.
    #[error("queue {queue} cannot be used as it is configured: {why}")]
    Unusable { queue: String, why: String },
}

fn by_place(failed: &[(usize, String)]) -> String {
    let each = failed.iter().map(|(at, why)| format!("message {}: {why}", at + 1));
    each.collect::<Vec<_>>().join(", ")
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

/// What the `dead` commands do; called by one command at a time, never by the engine.
pub trait DeadLetters {
    /// Calls `each` with the letters that pass the filter, oldest first, until it returns `false`. Gives what it could not see, where it came to
    /// the end.
    fn list(&self, filter: &DeadFilter, each: &mut dyn FnMut(DeadLetter) -> bool) -> Result<Unseen, QueueError>;

    /// The letter of that id; `None`: there is none (any more), or it is no id of this queue.
    fn find(&self, id: &str) -> Result<Option<DeadLetter>, QueueError>;

    /// Puts the named letters back on the queue, as sent now, in one transaction each; gives how many there still were.
    fn redrive(&self, ids: &[CompactString]) -> Result<usize, QueueError>;

    /// Deletes the named letters for good; gives how many there still were.
    fn purge(&self, ids: &[CompactString]) -> Result<usize, QueueError>;

    /// The same as [`DeadLetters::redrive`] for any number of letters, portion by portion. One that fails holds up no other.
    fn redrive_in(&self, portions: Portions<'_>, ids: &[CompactString]) -> Changed {
        portions.of(ids, |portion| self.redrive(portion))
    }

    /// The same as [`DeadLetters::purge`] for any number of letters, portion by portion. One that fails holds up no other.
    fn purge_in(&self, portions: Portions<'_>, ids: &[CompactString]) -> Changed {
        portions.of(ids, |portion| self.purge(portion))
    }
}

/// Letters that are there and that a walk through a queue could not see, whether they pass its filter or not.
#[derive(Debug, Clone, Default)]
pub struct Unseen {
    /// How many, as far as the service knows.
    pub letters: u64,
    /// A sentence for a person; `None`: it saw all.
    pub why: Option<String>,
}

/// How far it came with letters that were to be put back or deleted.
#[derive(Debug, Default)]
pub struct Changed {
    /// With how many it was done.
    pub done: usize,
    /// With which it failed, and why.
    pub failed: Vec<(CompactString, String)>,
    /// Why it ended before it came to the others.
    pub ended: Option<QueueError>,
}

impl Changed {
    /// How many there were, where all went well; else the first that did not.
    pub fn all(self, queue: &str, what: &'static str) -> Result<usize, QueueError> {
        let failed = self.failed.into_iter().next().map(|(id, why)| QueueError::Unavailable {
            queue: queue.to_owned(),
            what,
            why: format!("dead letter {id}: {why}"),
        });
        self.ended.or(failed).map_or(Ok(self.done), Err)
    }
}

/// How much work is done in parts.
pub struct Portions<'a> {
    /// Most letters at once, at least one.
    pub most: usize,
    /// Called after each portion with the number of letters in it; may wait, and so sets the pace.
    pub after: &'a mut dyn FnMut(usize),
}

impl Portions<'_> {
    /// Does something with each portion of these, up to the first that fails; gives the sum.
    pub fn of<T>(self, all: &[T], mut act: impl FnMut(&[T]) -> Result<usize, QueueError>) -> Changed {
        let mut changed = Changed::default();
        for portion in all.chunks(self.most.max(1)) {
            match act(portion) {
                Ok(done) => changed.done += done,
                Err(error) => {
                    changed.ended = Some(error);
                    break;
                }
            }
            (self.after)(portion.len());
        }
        changed
    }
}

/// Which dead letters are meant. Empty: all.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    pub partner: Option<Account>,
    /// Matches the kind exactly, or is contained in the text.
    pub reason: Option<String>,
}

impl DeadFilter {
    /// Whether a letter is meant.
    pub fn passes(&self, letter: &DeadLetter) -> bool {
        let reason = |reason: &String| letter.kind == *reason || letter.reason.contains(reason.as_str());
        self.partner.as_ref().is_none_or(|partner| letter.account.as_ref() == Some(partner))
            && self.reason.as_ref().is_none_or(reason)
    }
}

/// One dead letter as it is stored.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Names it in `show`, `redrive` and `purge`: a number on embedded queues, the id of the message on the dead letter queue on SQS.
    pub id: CompactString,
    pub message_id: CompactString,
    pub kind: String,
    pub reason: String,
    pub account: Option<Account>,
    pub index: Option<u16>,
    pub payload: Option<Bytes>,
    pub body: Bytes,
    pub attributes: Vec<Attribute>,
    pub receives: u32,
    /// How often what became this letter had been redriven before.
    pub redrives: u32,
    pub sent_at: SystemTime,
    pub dead_at: SystemTime,
}
