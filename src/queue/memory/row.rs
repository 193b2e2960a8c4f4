//! One message on the queue.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use compact_str::CompactString;

use crate::message::{Attribute, DeliveryName};

/// What moves while a message lives.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub receives: u32,
    /// `None`: the preload has it.
    pub content: Option<Arc<Content>>,
}

/// What is fixed in a message that was sent.
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
