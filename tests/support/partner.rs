//! A partner on loopback that answers exactly as its script says, and the settings and batches to reach it with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use octoconf::message::{Answer, Batch, Item, Message};
use octoconf::settings::{Deliver, Format, HttpSettings, PartnerSettings, PartnersSettings};
use octoconf::sink::{Limits, Sinks};

pub use super::server::{Connection, NO_CONTENT, OK, Request, Server as Partner};

pub fn http(url: impl Into<String>) -> HttpSettings {
    HttpSettings {
        url: url.into(),
        format: Format::Json,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        signing_secret: None,
        headers: BTreeMap::new(),
        allow_private_addresses: false,
    }
}

pub fn partner(deliver: Deliver) -> PartnerSettings {
    PartnerSettings {
        deliver,
        max_batch: 100,
        max_batch_bytes: 256 * 1024,
        linger: Duration::ZERO,
        rate: None,
        burst: 1,
        parallel: 1,
        min_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(300),
        breaker_failures: 5,
        max_waiting: 1000,
        hold_for: Duration::from_secs(30),
        give_up_after: None,
        idle_timeout: Duration::from_secs(600),
    }
}

pub fn everyone(deliver: Deliver) -> PartnersSettings {
    PartnersSettings { default: partner(deliver), by_account: BTreeMap::new() }
}

/// Sinks of which every account is delivered in the same way.
pub fn sinks(deliver: Deliver) -> Sinks {
    Sinks::new(&everyone(deliver), Limits::of(16), "1.2.3").unwrap()
}

pub fn http_sinks(settings: HttpSettings) -> Sinks {
    sinks(Deliver::Http(settings))
}

/// A batch of queue `stock` whose messages are `m0`, `m1`, …; its own id is `m0`.
pub fn batch(account: &str, payloads: &[&str]) -> Batch {
    let named: Vec<_> = payloads.iter().enumerate().map(|(at, payload)| (format!("m{at}"), (*payload).to_owned())).collect();
    batch_of(account, &named)
}

/// A batch of queue `stock`: the id of each message, and its payload.
pub fn batch_of(account: &str, payloads: &[(String, String)]) -> Batch {
    let item = |(id, payload): &(String, String)| {
        let message =
            Message { sent_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045), ..Message::new(id, Bytes::new()) };
        Item { message: Arc::new(message), index: None, payload: Bytes::copy_from_slice(payload.as_bytes()) }
    };
    let items = payloads.iter().map(item).collect();
    let bytes = payloads.iter().map(|(_, payload)| payload.len()).sum();
    Batch { account: account.into(), queue: "stock".into(), items, bytes }
}

/// Returns the reason of an answer that must be `Unreachable`.
pub fn unreachable(answer: Answer) -> String {
    match answer {
        Answer::Unreachable { reason } => reason.into(),
        other => panic!("expected Unreachable, got {other:?}"),
    }
}
