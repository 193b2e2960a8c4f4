//! The operations on dead letters, behind the `dead` commands, and what they take and return.
//!
//! They run on the thread of a command, never on one of the engine.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use compact_str::CompactString;

use super::QueueError;
use crate::message::{Account, Attribute};

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

/// The person or program that waits for an operation. Operations on SQS ask it between
/// their requests; those of embedded queues are short, and never do.
pub trait Attendant: Send + Sync {
    /// Returns whether the operation goes on. If not, it ends early, in an orderly way.
    fn goes_on(&self) -> bool;

    /// Called when a request failed with `why` and may succeed when it is made again. Blocks
    /// for `pause`, or until the operation is stopped. Returns whether to make the request again.
    fn wait(&self, why: &str, pause: Duration) -> bool;
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
    pub fn of(self, all: &[CompactString], act: impl FnMut(&[CompactString]) -> Result<usize, QueueError>) -> Changed {
        self.cut(all, <[_]>::len, act)
    }

    /// Does the same with portions of as many letters as `fit` returns for the letters that come next, at least one.
    pub(crate) fn cut(
        self,
        all: &[CompactString],
        fit: impl Fn(&[CompactString]) -> usize,
        mut act: impl FnMut(&[CompactString]) -> Result<usize, QueueError>,
    ) -> Changed {
        let (mut changed, mut left) = (Changed::default(), all);
        while !left.is_empty() {
            let (next, _) = left.split_at(left.len().min(self.most.max(1)));
            let (portion, behind) = left.split_at(fit(next).clamp(1, next.len()));
            left = behind;
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
