//! Where one partner stands among those that hold more than their share, and what of theirs may not leave. Kept with the partner; the order
//! of all of them is [`partners::crowd`](super::partners)'s.

use std::time::Instant;

use super::keys::QueueIndex;

/// Where one partner stands among those that hold more than their share.
#[derive(Debug, Default)]
pub struct Standing {
    pub ranking: Option<Ranking>,
    /// It is one of those that are away and hold something.
    pub counts: bool,
    /// It is not asked to give anything up until then.
    pub passed_over: Option<Box<PassedOver>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    Away(usize),
    Beyond(usize),
}

#[derive(Debug)]
pub struct PassedOver {
    pub until: Instant,
    /// It was away then.
    pub away: bool,
    /// When its oldest delivery entered, and what part of the room is taken by what may not leave.
    pub stuck: Option<(Instant, Stuck)>,
}

/// What should be given up and may not: how much of the room it takes, in billionths, by the queue that it came from.
#[derive(Debug, Default, Clone)]
pub struct Stuck(Vec<(QueueIndex, u64)>);

impl Stuck {
    pub fn add(&mut self, queue: QueueIndex, part: u64) {
        match self.0.iter_mut().find(|(of, _)| *of == queue) {
            Some((_, parts)) => *parts += part,
            None => self.0.push((queue, part)),
        }
    }

    /// Takes away as much as is there, that part at most, and gives it.
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

    /// Of that queue, or of all.
    pub fn of(&self, queue: Option<QueueIndex>) -> u64 {
        self.0.iter().filter(|(of, _)| queue.is_none_or(|queue| queue == *of)).map(|(_, part)| part).sum()
    }
}
