//! Walks over all partners, a part a turn: the states of a hundred thousand are counted, and one is found among them by a part of its
//! name, while each turn stays short. What comes or goes meanwhile may be missed; nothing is counted twice.

use std::collections::BinaryHeap;
use std::time::Instant;

use serde::Serialize;

use crate::dispatch::Dispatcher;
use crate::dispatch::bucket::Bucket;
use crate::dispatch::keys::BucketKey;
use crate::dispatch::partner::PartnerState;

/// Partners listed as waiting at most.
pub const WAITING: usize = 50;

/// What is seen on the way.
#[derive(Debug, Default)]
pub struct Survey {
    /// Partners looked at so far.
    position: usize,
    pub(in crate::dispatch) counts: PartnerCounts,
    pub(in crate::dispatch) buckets: usize,
    /// The longest-waiting buckets, the youngest of them on top.
    longest: BinaryHeap<(Instant, BucketKey)>,
    /// By queue: since when its longest-waiting delivery waits.
    pub(in crate::dispatch) oldest: Vec<Option<Instant>>,
    /// By queue: deliveries that are parked.
    pub(in crate::dispatch) parked: Vec<u64>,
}

impl Survey {
    /// The longest-waiting buckets.
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

/// Partners by state.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PartnerCounts {
    pub total: usize,
    pub healthy: usize,
    pub waiting: usize,
    pub backing_off: usize,
    pub open: usize,
    pub limited: usize,
    pub paused: usize,
}

/// Partners whose account holds a text, in no order.
#[derive(Debug)]
pub struct Search {
    /// In lower case.
    text: String,
    at_most: usize,
    position: usize,
    found: Vec<FoundPartner>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundPartner {
    pub account: String,
    pub state: PartnerState,
    /// Deliveries that are not on the wire.
    pub waiting: usize,
    pub oldest_age_s: Option<f64>,
}

impl Search {
    pub fn new(text: &str, at_most: usize) -> Self {
        Self { text: text.to_lowercase(), at_most, position: 0, found: Vec::new() }
    }

    /// Those found, by account.
    pub fn found(mut self) -> Vec<FoundPartner> {
        self.found.sort_unstable_by(|a, b| a.account.cmp(&b.account));
        self.found
    }

    fn matches(&self, account: &str) -> bool {
        if account.is_ascii() && self.text.is_ascii() {
            // Without an allocation for each.
            let (account, text) = (account.as_bytes(), self.text.as_bytes());
            return text.is_empty() || account.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text));
        }
        account.to_lowercase().contains(&self.text)
    }
}

impl Dispatcher {
    /// Looks at so many partners more. Gives whether all were seen.
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
            for key in &partner.buckets {
                let Some(bucket) = self.partners.bucket(*key) else { continue };
                survey.buckets += 1;
                if let Some(of_queue) = survey.parked.get_mut(bucket.queue) {
                    *of_queue += bucket.parked();
                }
                let Some(oldest) = self.partners.longest(*key).map(|slip| slip.since) else { continue };
                waits = true;
                if let Some(of_queue) = survey.oldest.get_mut(bucket.queue) {
                    *of_queue = Some(of_queue.map_or(oldest, |at| at.min(oldest)));
                }
                survey.waits(oldest, *key);
            }
            survey.counts.waiting += usize::from(waits);
        }
        false
    }

    /// Looks at so many partners more. Gives whether all were seen, or enough were found.
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
            let oldest = self.partners.waits_since(partner);
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
