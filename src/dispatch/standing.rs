//! The rank of one holder among those that hold more than their share, and the part of its deliveries that may not leave
//! memory. It is kept with the partner or the bucket; [`partners::crowd`](super::partners) keeps the order of all holders.

use std::time::Instant;

use super::keys::{BucketKey, PartnerKey, QueueIndex};

/// One to whom the rules about shares of the room apply: a partner, with all of its buckets except those that are holders
/// of their own. That is a bucket whose endpoint refuses or fails while the partner takes from other queues: it counts as a
/// partner that fails. Otherwise what nothing takes would have the share of a partner that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    Partner(PartnerKey),
    Bucket(BucketKey),
}

/// The rank of one holder among those that hold more than their share.
#[derive(Debug, Default)]
pub struct Standing {
    /// The holder's entry in the order of the crowd; `None`: it has none.
    pub ranking: Option<Ranking>,
    /// Whether the holder counts among those that are away and hold something.
    pub counts: bool,
    /// Until when the holder is not asked to shed anything; `None`: it may be asked.
    pub passed_over: Option<Box<PassedOver>>,
}

impl Standing {
    /// Returns whether the holder is known to the crowd.
    pub fn is_any(&self) -> bool {
        self.ranking.is_some() || self.counts || self.passed_over.is_some()
    }
}

/// A holder's entry in the order of the crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    /// The holder is away and holds this many deliveries.
    Away(usize),
    /// The holder takes, and holds this many deliveries beyond its share.
    Beyond(usize),
}

/// The time for which a holder is not asked to shed anything.
#[derive(Debug)]
pub struct PassedOver {
    /// When that time ends.
    pub until: Instant,
    /// Whether the holder was away when it was passed over.
    pub away: bool,
    /// When its oldest delivery entered, and the part of the room taken by deliveries that may not leave.
    pub stuck: Option<(Instant, Stuck)>,
}

/// The deliveries that should be shed and may not: the part of the room that they take, in billionths, by
/// the queue that they came from.
#[derive(Debug, Default, Clone)]
pub struct Stuck(Vec<(QueueIndex, u64)>);

impl Stuck {
    pub fn add(&mut self, queue: QueueIndex, part: u64) {
        match self.0.iter_mut().find(|(of, _)| *of == queue) {
            Some((_, parts)) => *parts += part,
            None => self.0.push((queue, part)),
        }
    }

    /// Takes away at most `part`, and returns how much was taken.
    pub fn take(&mut self, queue: QueueIndex, part: u64) -> u64 {
        let Some((_, parts)) = self.0.iter_mut().find(|(of, _)| *of == queue) else { return 0 };
        let taken = part.min(*parts);
        *parts -= taken;
        taken
    }

    pub fn add_all(&mut self, other: &Stuck) {
        other.0.iter().for_each(|(queue, part)| self.add(*queue, *part));
    }

    pub fn take_all(&mut self, other: &Stuck) {
        other.0.iter().for_each(|(queue, part)| _ = self.take(*queue, *part));
    }

    /// Returns the part of the room of one queue's deliveries, or of all.
    pub fn of(&self, queue: Option<QueueIndex>) -> u64 {
        self.0.iter().filter(|(of, _)| queue.is_none_or(|queue| queue == *of)).map(|(_, part)| part).sum()
    }
}
