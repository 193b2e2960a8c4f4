//! What is requested of a queue about a copy, and what an acker has under way.

use std::time::Instant;

use crate::message::Receipt;
use crate::message::dead::{DeadDelivery, DeadReason};

use crate::dispatch::keys::Ticket;
use crate::dispatch::ledger::Held;
use crate::dispatch::record::tally::Operation;

/// A message whose visibility is to be changed.
#[derive(Debug)]
pub(super) enum Wanted {
    /// A held copy.
    Held(Ticket, Hide),
    /// A message that was returned.
    Show(Show),
}

/// A returned message that is to be shown again before its time. Nothing of it is held but its receipt.
#[derive(Debug)]
pub struct Show {
    /// The receipt that the message was returned with.
    pub receipt: Receipt,
    /// When the message shows by itself.
    pub until: Instant,
}

/// Why a copy is to be hidden for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hide {
    /// To extend the lease, since the copy is held.
    Extend,
    /// To return the copy.
    Return(Return),
}

/// How a copy is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Return {
    /// Until when it is hidden.
    pub until: Instant,
    /// Whether its receive is not to count, see [`VisibilityChange::uncounted`](crate::message::settle::VisibilityChange).
    pub uncounted: bool,
}

/// A dead letter on its way.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The copy that the letter is about.
    pub ticket: Ticket,
    /// The delivery that the letter is about. `None`: the whole message.
    pub delivery: Option<DeadDelivery>,
    /// Why it is a dead letter.
    pub reason: DeadReason,
    /// Whether the letter settles the message, so that its copy leaves the queue with it.
    pub last: bool,
}

/// A call that is under way: what its entries are about, in their order.
#[derive(Debug)]
pub enum UnderWay {
    /// Deletes of held copies.
    Deletes(Vec<Entry<()>>),
    /// Changes of visibility.
    Hides(Vec<Subject>),
    /// Dead letters.
    Letters(Vec<Entry<Letter>>),
    /// A count of the queue's messages, which has no entries.
    Count,
}

/// What one entry of a change of visibility is about.
#[derive(Debug)]
pub enum Subject {
    /// A held copy, with the end of its lease if the call succeeds.
    Held(Entry<(Hide, Instant)>),
    /// A returned message, which is not in the ledger any more.
    Show(Show),
}

/// One entry of a call, about a held copy.
#[derive(Debug)]
pub struct Entry<T> {
    /// The held copy.
    pub ticket: Ticket,
    /// [`Held::renewals`] at the time of the call: tells whether a newer receipt came since.
    pub renewals: u32,
    /// What the entry asks for.
    pub what: T,
}

impl<T> Entry<T> {
    pub(super) fn new(ticket: Ticket, held: &Held, what: T) -> Self {
        Self { ticket, renewals: held.renewals, what }
    }
}

/// The kinds of calls to a queue that ackers make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// Changes of visibility.
    Hide,
    /// Dead letters.
    SetAside,
    /// Deletes.
    Delete,
    /// Counts of the queue's messages.
    Count,
}

impl CallKind {
    /// Returns the kind for log lines and metrics.
    pub fn operation(self) -> Operation {
        match self {
            Self::Hide => Operation::ChangeVisibility,
            Self::SetAside => Operation::SetAside,
            Self::Delete => Operation::Delete,
            Self::Count => Operation::Count,
        }
    }
}

impl UnderWay {
    /// Returns the kind of the call.
    pub fn kind(&self) -> CallKind {
        match self {
            Self::Deletes(_) => CallKind::Delete,
            Self::Hides(_) => CallKind::Hide,
            Self::Letters(_) => CallKind::SetAside,
            Self::Count => CallKind::Count,
        }
    }
}
