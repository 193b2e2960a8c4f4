//! The rank of one partner among the partners that hold more than their share, and the part of its deliveries that may
//! not leave memory. It is kept with the partner; [`partners::crowd`](super::partners) keeps the order of all partners.

use std::time::Instant;

use super::keys::QueueIndex;

/// The rank of one partner among the partners that hold more than their share.
#[derive(Debug, Default)]
pub struct Standing {
    /// The partner's entry in the order of the crowd; `None`: it has none.
    pub ranking: Option<Ranking>,
    /// Whether the partner counts among those that are away and hold something.
    pub counts: bool,
    /// Until when the partner is not asked to shed anything; `None`: it may be asked.
    pub passed_over: Option<Box<PassedOver>>,
}

/// A partner's entry in the order of the crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    /// The partner is away and holds this many deliveries.
    Away(usize),
    /// The partner takes, and holds this many deliveries beyond its share.
    Beyond(usize),
}

/// The time for which a partner is not asked to shed anything.
#[derive(Debug)]
pub struct PassedOver {
    /// When that time ends.
    pub until: Instant,
    /// Whether the partner was away when it was passed over.
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
