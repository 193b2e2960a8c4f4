//! What the tests of the sinks share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::message::{Batch, Item, Message};
use crate::settings::{Format, HttpSettings};

/// A batch of queue `stock` whose messages are `m0`, `m1`, … sent at 2026-01-02T03:04:05Z.
pub fn batch(account: &str, payloads: &[&str]) -> Batch {
    let items = payloads.iter().enumerate().map(|(at, payload)| item(&format!("m{at}"), payload)).collect();
    Batch { account: account.into(), queue: Arc::from("stock"), bytes: payloads.iter().map(|payload| payload.len()).sum(), items }
}

pub fn item(id: &str, payload: &str) -> Item {
    let sent_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
    let message = Message { sent_at, ..Message::new(id, Bytes::new()) };
    Item { message: Arc::new(message), index: None, payload: Bytes::copy_from_slice(payload.as_bytes()) }
}

/// The defaults of a partner that is reached by HTTP.
pub fn http_settings(url: &str) -> HttpSettings {
    HttpSettings {
        url: url.to_owned(),
        format: Format::Json,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(2),
        signing_secret: None,
        headers: BTreeMap::new(),
        allow_private_addresses: false,
    }
}
