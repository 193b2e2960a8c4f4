//! The edge to the queue services: one trait, [`Queue`], and one conformance
//! suite (`tests/queue_conformance/`) that every implementation passes.
//!
//! Poller and acker threads call a queue, several of them at once; a call may block for as long as its documentation
//! says. An implementation keeps no thread of its own and never logs: every failure is in the error that it returns.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use compact_str::CompactString;

use self::attendant::Attendant;
pub use crate::message::settle::{
    Ask, Count, DeadDelivery, DeadKind, DeadReason, EntryError, EntryResult, Facts, SetAside, SettledPart, VisibilityChange,
};
use crate::message::{Account, Attribute, Receipt, Received};

pub mod attendant;
pub mod clock;
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
/// one call: embedded queues refuse more, and on SQS more entries take several requests.
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
    /// transaction. It may leave them out if its disk has no room for them.
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

/// The operations behind the `dead` commands. One command calls them at a time; the engine never does.
pub trait DeadLetters {
    /// Calls `each` with every dead letter that passes `filter`, oldest first, until it returns `false`.
    /// Returns how many letters it could not see, which is known only if the walk came to its end.
    fn list(&self, filter: &DeadFilter, each: &mut dyn FnMut(DeadLetter) -> bool) -> Result<Unseen, QueueError>;

    /// Names who waits for the operations from now on. Without an attendant, they fail at the first failure.
    fn attend(&self, _attendant: Arc<dyn Attendant>) {}

    /// Returns the dead letter with this id; `None` if there is no
    /// such letter (any more), or if the id is not one of this queue.
    fn find(&self, id: &str) -> Result<Option<DeadLetter>, QueueError>;

    /// Puts the named letters back on the queue as newly sent messages. Returns how many of
    /// them still existed. An embedded queue does so in one transaction; on SQS a letter is
    /// sent before it is deleted, so if the process dies in between it is on both queues.
    fn redrive(&self, ids: &[CompactString]) -> Result<usize, QueueError>;

    /// Deletes the named letters for good. Returns how many of them still existed.
    fn purge(&self, ids: &[CompactString]) -> Result<usize, QueueError>;

    /// Does the same as [`DeadLetters::redrive`] for any number of letters,
    /// portion by portion. A letter that fails does not hold up the others.
    fn redrive_in(&self, portions: Portions<'_>, ids: &[CompactString]) -> Changed {
        portions.of(ids, |portion| self.redrive(portion))
    }

    /// Does the same as [`DeadLetters::purge`] for any number of letters,
    /// portion by portion. A letter that fails does not hold up the others.
    fn purge_in(&self, portions: Portions<'_>, ids: &[CompactString]) -> Changed {
        portions.of(ids, |portion| self.purge(portion))
    }
}

/// The dead letters that exist but that a walk through the queue could not see, whether they pass its filter or not.
#[derive(Debug, Clone, Default)]
pub struct Unseen {
    /// The number of unseen letters that another walk may see once those are taken off that this one saw, as far as
    /// the service knows.
    pub letters: u64,
    /// The reason, as a sentence for a person; `None` if the walk saw all letters.
    pub why: Option<String>,
}

/// The result of putting back or deleting a list of dead letters.
#[derive(Debug, Default)]
pub struct Changed {
    /// The number of letters that were put back or deleted.
    pub done: usize,
    /// The id of each letter that failed, and why.
    pub failed: Vec<(CompactString, String)>,
    /// The id of each letter that was put back but could not be deleted, and why. It is among those that are done, and
    /// another redrive repeats it.
    pub kept: Vec<(CompactString, String)>,
    /// The error that ended the operation before it came to the remaining letters.
    pub ended: Option<QueueError>,
}

impl Changed {
    fn halve(
        &mut self,
        portion: &[CompactString],
        act: &mut dyn FnMut(&[CompactString]) -> Result<usize, QueueError>,
    ) -> Result<(), QueueError> {
        match (act(portion), portion) {
            (Ok(done), _) => self.done += done,
            (Err(error), _) if error.is_transient() => return Err(error),
            (Err(QueueError::Refused { why, .. }), [id]) => self.failed.push((id.clone(), why)),
            (Err(error), [id]) => self.failed.push((id.clone(), error.to_string())),
            (Err(_), _) => {
                let (first, second) = portion.split_at(portion.len() / 2);
                self.halve(first, act)?;
                self.halve(second, act)?;
            }
        }
        Ok(())
    }

    /// Returns the number of letters done if all went well, else the first failure.
    pub fn all(self, queue: &str, what: &'static str) -> Result<usize, QueueError> {
        let kept = self.kept.into_iter().map(|(id, why)| (id, format!("it is put back, and cannot be deleted here: {why}")));
        let failed = self.failed.into_iter().chain(kept).next().map(|(id, why)| QueueError::Unavailable {
            queue: queue.to_owned(),
            what,
            why: format!("dead letter {id}: {why}"),
        });
        self.ended.or(failed).map_or(Ok(self.done), Err)
    }
}

/// How a long list of dead letters is processed in portions.
pub struct Portions<'a> {
    /// The largest number of letters in one portion; 0 counts as 1.
    pub most: usize,
    /// A callback that runs after each portion with the number of letters in it, and returns
    /// whether to go on. It may block, and so sets the pace.
    pub after: &'a mut dyn FnMut(usize) -> bool,
}

impl Portions<'_> {
    /// Calls `act` with each portion of `all`, up to the first call after which it is not to go on or that fails for a
    /// reason that may pass, and sums up the numbers that it returns. `act` changes all letters of a call or none: a
    /// portion that fails for another reason is halved until each letter at fault stands alone.
    pub fn of(self, all: &[CompactString], mut act: impl FnMut(&[CompactString]) -> Result<usize, QueueError>) -> Changed {
        let mut changed = Changed::default();
        for portion in all.chunks(self.most.max(1)) {
            changed.ended = changed.halve(portion, &mut act).err();
            if changed.ended.is_some() || !(self.after)(portion.len()) {
                break;
            }
        }
        changed
    }
}

/// A filter for dead letters. With no field set, every letter passes.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    /// The account that the letter must be for.
    pub partner: Option<Account>,
    /// A text that equals the letter's kind or is contained in its reason.
    pub reason: Option<String>,
}

impl DeadFilter {
    /// Returns whether the letter passes the filter.
    pub fn passes(&self, letter: &DeadLetter) -> bool {
        let reason = |reason: &String| letter.kind == *reason || letter.reason.contains(reason.as_str());
        self.partner.as_ref().is_none_or(|partner| letter.account.as_ref() == Some(partner))
            && self.reason.as_ref().is_none_or(reason)
    }
}

/// One dead letter as it is stored.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The id that `show`, `redrive` and `purge` take: a number on embedded
    /// queues, the id of the message on the dead letter queue on SQS.
    pub id: CompactString,
    /// The id of the message that was set aside.
    pub message_id: CompactString,
    /// The kind of the reason, a word to filter by, such as `rejected` or `max_receives`.
    pub kind: String,
    /// The reason, as a sentence for a person.
    pub reason: String,
    /// The account whose delivery this is; `None` for a whole message.
    pub account: Option<Account>,
    /// The index of the delivery in its message; `None` for a whole message, or for its only delivery.
    pub index: Option<u16>,
    /// The payload of the delivery; `None` for a whole message.
    pub payload: Option<Bytes>,
    /// The body of the message.
    pub body: Bytes,
    /// The attributes of the message.
    pub attributes: Vec<Attribute>,
    /// How often the message had been received when it was set aside.
    pub receives: u32,
    /// How often the message, or the one that it came from, had been redriven before.
    pub redrives: u32,
    /// When the message was sent.
    pub sent_at: SystemTime,
    /// When the letter was written.
    pub dead_at: SystemTime,
}
