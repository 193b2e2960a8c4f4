//! One message of the queue in memory.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use compact_str::CompactString;

use crate::message::{Attribute, DeliveryName};

/// The part of a message that changes during its life.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    /// How often the message was received.
    pub receives: u32,
    /// The content of a sent message; `None` for a row of the preload.
    pub content: Option<Arc<Content>>,
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
