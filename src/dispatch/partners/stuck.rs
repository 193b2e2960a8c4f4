//! What should be given up and may not: how much of the room it takes, by the queue that it came from.

use crate::dispatch::keys::QueueIndex;

/// Parts of the room, in billionths, of a few queues.
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
