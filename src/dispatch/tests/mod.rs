//! What the tests of this folder share.

mod simulation;

use std::time::{Duration, Instant, SystemTime};

use slotmap::SlotMap;

use super::{PartnerRules, Ticket};
use crate::message::Message;

/// Some moment; the tests only add to it.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
pub fn start() -> Instant {
    Instant::now() + Duration::from_secs(1_000_000)
}

pub fn message(id: &str, group: Option<&str>) -> Message {
    Message {
        id: id.into(),
        body: "{}".into(),
        attributes: Vec::new(),
        group: group.map(Into::into),
        sent_at: SystemTime::UNIX_EPOCH,
        receives: 1,
        open: None,
    }
}

pub fn tickets(count: usize) -> Vec<Ticket> {
    let mut slots = SlotMap::new();
    (0..count).map(|_| Ticket(slots.insert(()))).collect()
}

pub fn partner_rules() -> PartnerRules {
    PartnerRules {
        max_batch: 100,
        max_batch_bytes: 256 * 1024,
        linger: Duration::ZERO,
        rate: None,
        burst: 1,
        parallel: 1,
        min_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(300),
        breaker_failures: 5,
        give_up_after: None,
        idle_timeout: Duration::from_secs(600),
    }
}
