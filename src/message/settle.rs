//! How a received copy leaves the process: what the dispatcher asks of its queue, and the result of each entry. The
//! dispatcher decides what becomes of a copy, and the queues carry it out. A copy that is set aside: [`super::dead`].

use std::time::Duration;

use super::{DeliveryName, Receipt};

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
    /// Whether the copy goes back through no doing of its own, as at a stop: an embedded queue then leaves its receive out of
    /// [`Message::receives`](super::Message::receives). SQS counts every receive.
    pub uncounted: bool,
}

impl VisibilityChange {
    /// Creates a change that says nothing of the copy's deliveries, and whose receive counts.
    pub fn new(receipt: Receipt, hidden: Duration) -> Self {
        Self { receipt, hidden, settled: None, uncounted: false }
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
