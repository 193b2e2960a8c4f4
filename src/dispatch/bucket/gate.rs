//! The gate of a bucket: what stops it alone, although its partner takes.
//!
//! It knows that the endpoint for its queue is set up wrongly, which says nothing about the partner's other buckets. After its wait it
//! stays ajar, for one probe at a time, until something is accepted.

use std::time::{Duration, Instant};

/// The gate of one bucket, for answers that are about its queue's endpoint alone (404, 410).
#[derive(Debug, Default)]
pub struct BucketGate(Option<Box<Refused>>);

/// Such answers, in a row.
#[derive(Debug, Default)]
struct Refused {
    refusals: u32,
    until: Option<Instant>,
}

impl BucketGate {
    /// Whether the last answer was such a refusal.
    pub fn is_shut(&self) -> bool {
        self.0.is_some()
    }

    pub fn refusals(&self) -> u32 {
        self.0.as_ref().map_or(0, |refused| refused.refusals)
    }

    pub fn wait(&self, now: Instant) -> Option<Instant> {
        self.remembered_until().filter(|until| *until > now)
    }

    /// It outlives the bucket's idle time: a new bucket would know nothing of it.
    pub fn remembered_until(&self) -> Option<Instant> {
        self.0.as_ref()?.until
    }

    /// Gives whether that is the first in a row.
    pub fn refused(&mut self, now: Instant, max_backoff: Duration) -> bool {
        let refused = self.0.get_or_insert_default();
        refused.refusals = refused.refusals.saturating_add(1);
        refused.until = refused.until.max(Some(now + max_backoff));
        refused.refusals == 1
    }

    /// Something was accepted. Gives the refusals that this ended.
    pub fn succeeded(&mut self) -> u32 {
        self.0.take().map_or(0, |refused| refused.refusals)
    }

    pub fn skip_wait(&mut self, now: Instant) {
        if let Some(refused) = &mut self.0 {
            refused.until = refused.until.map(|until| until.min(now));
        }
    }
}
