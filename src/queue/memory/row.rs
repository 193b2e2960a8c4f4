//! One message of the queue in memory.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use compact_str::CompactString;

use crate::message::{Attribute, DeliveryName, Receipt};

/// The part of a message that changes during its life.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    /// How often the message was received.
    pub receives: u32,
    /// How many of these receives do not count.
    pub uncounted: u32,
    /// The content of a sent message; `None` for a row of the preload.
    pub content: Option<Arc<Content>>,
}

impl Row {
    /// Returns how often the message was received, by what counts.
    pub fn counted(&self) -> u32 {
        self.receives.saturating_sub(self.uncounted).max(1)
    }
}

/// The part of a sent message that never changes.
#[derive(Debug)]
pub(super) struct Content {
    pub id: CompactString,
    pub body: Bytes,
    pub attributes: Vec<Attribute>,
    pub group: Option<CompactString>,
    pub sent_at: SystemTime,
    pub open: Option<Arc<[DeliveryName]>>,
    pub redrives: u32,
}

/// The receipt of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowReceipt {
    /// The number of the row.
    pub number: u64,
    /// The receive that the receipt is from: 1 for the first.
    pub receive: i64,
}

impl RowReceipt {
    /// Returns the receipt if it is of an embedded queue, else `None`.
    pub fn of(receipt: &Receipt) -> Option<Self> {
        match receipt {
            Receipt::Row { row, receive } => Some(Self { number: u64::try_from(*row).ok()?, receive: *receive }),
            Receipt::Handle(_) | Receipt::Parked => None,
        }
    }
}
