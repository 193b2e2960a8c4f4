//! One line over all messages of a queue: an outcome waits for those before it, but not for a handler that has run for too long.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::dispatch::event::Handled;

use super::Release;

/// One line over all messages of a queue, by their gapless numbers.
#[derive(Debug)]
pub struct Resequencer {
    wait: Duration,
    /// The number of the first slot. What has a lower number passes at once: it was overtaken.
    base: u64,
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
enum Slot {
    /// Its receive is not reported yet: two pollers may report in either order.
    Absent,
    Pending,
    Running(Instant),
    /// Apart, since few have to wait: a line of small slots stays in the processor's cache.
    Done(Box<Handled>),
    Gone,
}

impl Resequencer {
    pub fn new(wait: Duration) -> Self {
        Self { wait, base: 0, slots: VecDeque::new() }
    }

    pub fn set_wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    /// Its handler is still to see it.
    pub fn expect(&mut self, sequence: u64) {
        self.put(sequence, Slot::Pending);
    }

    pub fn started(&mut self, sequence: u64, now: Instant) {
        self.put(sequence, Slot::Running(now));
    }

    /// Nobody waits for it.
    pub fn skip(&mut self, sequence: u64, now: Instant, out: &mut Vec<Release>) {
        self.put(sequence, Slot::Gone);
        self.release(now, out);
    }

    /// Outcomes that wait for their turn.
    pub fn held_back(&self) -> impl Iterator<Item = &Handled> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Done(handled) => Some(&**handled),
            Slot::Absent | Slot::Pending | Slot::Running(_) | Slot::Gone => None,
        })
    }

    fn put(&mut self, sequence: u64, slot: Slot) {
        let Some(place) = sequence.checked_sub(self.base).and_then(|place| usize::try_from(place).ok()) else { return };
        while self.slots.len() <= place {
            self.slots.push_back(Slot::Absent);
        }
        if let Some(old) = self.slots.get_mut(place) {
            *old = slot;
        }
    }

    pub fn complete(&mut self, sequence: u64, handled: Handled, now: Instant, out: &mut Vec<Release>) {
        match sequence.cmp(&self.base) {
            // It was overtaken: nothing to wait for.
            Ordering::Less => out.push(Release::Outcome(handled)),
            Ordering::Equal => {
                self.slots.pop_front();
                self.base += 1;
                out.push(Release::Outcome(handled));
                self.release(now, out);
            }
            Ordering::Greater => self.put(sequence, Slot::Done(Box::new(handled))),
        }
    }

    pub fn release(&mut self, now: Instant, out: &mut Vec<Release>) {
        loop {
            match self.slots.front() {
                Some(Slot::Done(_) | Slot::Gone) => {}
                Some(Slot::Running(since)) if *since + self.wait <= now => {}
                _ => return,
            }
            self.base += 1;
            if let Some(Slot::Done(handled)) = self.slots.pop_front() {
                out.push(Release::Outcome(*handled));
            }
        }
    }

    pub fn next_overtaking(&self) -> Option<Instant> {
        match self.slots.front() {
            Some(Slot::Running(since)) if self.slots.len() > 1 => Some(*since + self.wait),
            _ => None,
        }
    }
}
