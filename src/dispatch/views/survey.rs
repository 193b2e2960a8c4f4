//! Walks over all partners, some of them per turn: a hundred thousand partners are counted by state, or
//! searched for a part of their name, while each turn stays short. Partners that come or go meanwhile may be
//! missed; none is counted twice.

use std::collections::BinaryHeap;
use std::time::Instant;

use serde::Serialize;

use crate::dispatch::Dispatcher;
use crate::dispatch::bucket::Bucket;
use crate::dispatch::keys::BucketKey;
use crate::dispatch::partner::PartnerState;

/// The largest number of partners listed as waiting.
pub const WAITING: usize = 50;

/// The results of a walk so far.
#[derive(Debug, Default)]
pub struct Survey {
    /// The number of partners looked at so far.
    position: usize,
    pub(in crate::dispatch) counts: PartnerCounts,
    pub(in crate::dispatch) buckets: usize,
    /// The longest-waiting buckets, the youngest of them on top.
    longest: BinaryHeap<(Instant, BucketKey)>,
    /// When the longest-waiting delivery of each queue began to wait, by queue index.
    pub(in crate::dispatch) oldest: Vec<Option<Instant>>,
    /// The number of parked deliveries, by queue index.
    pub(in crate::dispatch) parked: Vec<u64>,
}

impl Survey {
    /// Returns the longest-waiting buckets, the longest first.
    pub(in crate::dispatch) fn longest(self) -> Vec<BucketKey> {
        self.longest.into_sorted_vec().into_iter().map(|(_, key)| key).collect()
    }

    fn waits(&mut self, oldest: Instant, key: BucketKey) {
        if self.longest.len() < WAITING {
            self.longest.push((oldest, key));
        } else if let Some(mut youngest) = self.longest.peek_mut()
            && (oldest, key) < *youngest
        {
            *youngest = (oldest, key);
        }
    }
}

/// The number of partners by state.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PartnerCounts {
    /// All partners that are known.
    pub total: usize,
    /// Partners that may be tried.
    pub healthy: usize,
    /// Partners for which deliveries wait, in any state, in memory or on the disk.
    pub waiting: usize,
    /// Partners that wait after failures, or because they asked for a wait.
    pub backing_off: usize,
    /// Partners whose breaker is open, or the gate of one of whose buckets is shut.
    pub open: usize,
    /// Partners that wait for nothing but their rate limit.
    pub limited: usize,
    /// Partners that an operator has paused.
    pub paused: usize,
}

impl PartnerCounts {
    /// Returns the number of partners in each state.
    pub fn by_state(&self) -> [(PartnerState, usize); 5] {
        [
            (PartnerState::Healthy, self.healthy),
            (PartnerState::BackingOff, self.backing_off),
            (PartnerState::Open, self.open),
            (PartnerState::Limited, self.limited),
            (PartnerState::Paused, self.paused),
        ]
    }
}

/// A search for the partners whose account contains a text.
#[derive(Debug)]
pub struct Search {
    /// The text in lower case.
    text: String,
    /// The largest number of partners to find.
    at_most: usize,
    /// The number of partners looked at so far.
    position: usize,
    found: Vec<FoundPartner>,
}

/// A partner found by a search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundPartner {
    /// The partner's account.
    pub account: String,
    /// The partner's state.
    pub state: PartnerState,
    /// The number of deliveries in memory that are not on the wire.
    pub waiting: usize,
    /// How long the oldest delivery has waited, in seconds; if all are on the disk, how long at least. `None`: none waits.
    pub oldest_age_s: Option<f64>,
}

impl Search {
    /// Returns a search for at most `at_most` partners whose account contains `text`, regardless of case.
    pub fn new(text: &str, at_most: usize) -> Self {
        Self { text: text.to_lowercase(), at_most, position: 0, found: Vec::new() }
    }

    /// Returns the partners found, sorted by account.
    pub fn found(mut self) -> Vec<FoundPartner> {
        self.found.sort_unstable_by(|a, b| a.account.cmp(&b.account));
        self.found
    }

    fn matches(&self, account: &str) -> bool {
        if account.is_ascii() && self.text.is_ascii() {
            // This comparison allocates nothing.
            let (account, text) = (account.as_bytes(), self.text.as_bytes());
            return text.is_empty() || account.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text));
        }
        account.to_lowercase().contains(&self.text)
    }
}

impl Dispatcher {
    /// Looks at up to this many more partners. Returns whether all have been seen.
    pub fn survey(&self, survey: &mut Survey, partners: usize) -> bool {
        survey.oldest.resize(self.queues.len(), None);
        survey.parked.resize(self.queues.len(), 0);
        for _ in 0..partners {
            let Some(partner) = self.partners.nth(survey.position) else { return true };
            survey.position += 1;
            let counts = &mut survey.counts;
            counts.total += 1;
            *match self.partners.state(partner, self.now) {
                PartnerState::Healthy => &mut counts.healthy,
                PartnerState::BackingOff => &mut counts.backing_off,
                PartnerState::Open => &mut counts.open,
                PartnerState::Limited => &mut counts.limited,
                PartnerState::Paused => &mut counts.paused,
            } += 1;
            let mut waits = false;
            for key in partner.buckets.iter() {
                let Some(bucket) = self.partners.bucket(key) else { continue };
                survey.buckets += 1;
                if let Some(of_queue) = survey.parked.get_mut(bucket.queue) {
                    *of_queue += bucket.parked();
                }
                let Some(oldest) = self.partners.waits_since(key) else { continue };
                waits = true;
                if let Some(of_queue) = survey.oldest.get_mut(bucket.queue) {
                    *of_queue = Some(of_queue.map_or(oldest, |at| at.min(oldest)));
                }
                survey.waits(oldest, key);
            }
            survey.counts.waiting += usize::from(waits);
        }
        false
    }

    /// Looks at up to this many more partners. Returns whether all have been seen or enough were found.
    pub fn search(&self, search: &mut Search, partners: usize) -> bool {
        for _ in 0..partners {
            if search.found.len() >= search.at_most {
                return true;
            }
            let Some(partner) = self.partners.nth(search.position) else { return true };
            search.position += 1;
            if !search.matches(&partner.account) {
                continue;
            }
            let oldest = partner.buckets.iter().filter_map(|key| self.partners.waits_since(key)).min();
            search.found.push(FoundPartner {
                account: partner.account.to_string(),
                state: self.partners.state(partner, self.now),
                waiting: self.partners.buckets_of(partner).map(Bucket::waits).sum(),
                oldest_age_s: oldest.map(|at| self.now.saturating_duration_since(at).as_secs_f64()),
            });
        }
        false
    }
}
