//! Dead letters: what is set aside, and why.

use std::sync::Arc;

use bytes::Bytes;

use super::{Account, DeliveryName, Message, Receipt};

/// One dead letter to write: about a whole message, or about one delivery of it.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// The message that the letter is about.
    pub message: Arc<Message>,
    /// The receipt of the held copy.
    pub receipt: Receipt,
    /// The delivery that the letter is about; `None`: the whole message.
    pub delivery: Option<DeadDelivery>,
    /// Why the message or the delivery is dead.
    pub reason: DeadReason,
    /// Whether this letter settles the message, so that its copy leaves the queue when the letter is written.
    pub last: bool,
}

/// The delivery that a dead letter is about.
#[derive(Debug, Clone)]
pub struct DeadDelivery {
    /// The account that the delivery was for.
    pub account: Account,
    /// The delivery's index, as in [`super::Item::index`].
    pub index: Option<u16>,
    /// The bytes for the partner.
    pub payload: Bytes,
}

impl DeadDelivery {
    /// Returns the name by which the message finds the delivery again; `None` for its only delivery.
    pub fn name(&self) -> Option<DeliveryName> {
        Some(DeliveryName { index: self.index?, account: Some(self.account.clone()) })
    }
}

/// Why something is a dead letter: a kind to filter by, and a sentence for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadReason {
    /// The kind of the reason.
    pub kind: DeadKind,
    /// The sentence: it names the field, the status, or the first KiB of the partner's answer.
    pub text: String,
}

/// The kind of reason for a dead letter: `dead list --reason` filters by its word, which is
/// also a label of `octoconf_messages_dead_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadKind {
    /// The handler rejected the message or broke a rule, or it no longer makes the delivery that a redrive is for.
    Rejected,
    /// The partner refused the delivery.
    Refused,
    /// The delivery alone is too large for the partner (413).
    TooLarge,
    /// The sink can never take the delivery.
    Impossible,
    /// The message was received more often than is allowed.
    MaxReceives,
    /// The delivery was older than `give_up_after`.
    Expired,
    /// An operator set the delivery aside.
    Skipped,
    /// The partner was away, and the message could neither stay nor be returned.
    PartnerUnavailable,
    /// The same, with a partner that accepts deliveries, but fewer than come for it.
    PartnerTooSlow,
}

impl DeadKind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Rejected,
        Self::Refused,
        Self::TooLarge,
        Self::Impossible,
        Self::MaxReceives,
        Self::Expired,
        Self::Skipped,
        Self::PartnerUnavailable,
        Self::PartnerTooSlow,
    ];

    /// Returns the kind's word: in stored dead letters, filters and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Impossible => "impossible",
            Self::MaxReceives => "max_receives",
            Self::Expired => "expired",
            Self::Skipped => "skipped",
            Self::PartnerUnavailable => "partner_unavailable",
            Self::PartnerTooSlow => "partner_too_slow",
        }
    }
}
