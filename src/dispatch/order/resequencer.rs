//! The order of a whole queue: an outcome waits for those before it, but not for a handler that has run for too long.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::dispatch::event::Handled;

use super::Release;

/// The messages of a queue in one line, by their gapless numbers.
#[derive(Debug)]
pub struct Resequencer {
    /// For how long a running handler is waited for: `order_wait`.
    wait: Duration,
    /// The number of the first slot. Messages with lower numbers were overtaken: they pass at once.
    base: u64,
    /// The messages from `base` on, by number.
    slots: VecDeque<Slot>,
    /// The number of slots with an outcome that waits for its turn.
    done: usize,
}

#[derive(Debug)]
enum Slot {
    /// The receive of this number is not reported yet: two pollers may report in either order.
    Absent,
    /// The handler has not begun with the message.
    Pending,
    /// The handler has run since then.
    Running(Instant),
    /// The outcome waits for its turn. Boxed since few have to wait: a line of small slots stays in the processor's
    /// cache.
    Done(Box<Handled>),
    /// No message waits for this number.
    Gone,
}

impl Resequencer {
    pub fn new(wait: Duration) -> Self {
        Self { wait, base: 0, slots: VecDeque::new(), done: 0 }
    }

    pub fn set_wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    /// Records that the handler will see the message.
    pub fn expect(&mut self, sequence: u64) {
        self.put(sequence, Slot::Pending);
    }

    /// Records that the handler starts with the message.
    pub fn started(&mut self, sequence: u64, now: Instant) {
        let place = sequence.checked_sub(self.base).and_then(|place| usize::try_from(place).ok());
        // The slot of a message that no other waits for stays as it is.
        if !place.and_then(|place| self.slots.get(place)).is_some_and(|slot| matches!(slot, Slot::Gone)) {
            self.put(sequence, Slot::Running(now));
        }
    }

    /// Records that no message waits for this number, and releases what that lets pass.
    pub fn skip(&mut self, sequence: u64, now: Instant, out: &mut Vec<Release>) {
        self.put(sequence, Slot::Gone);
        self.release(now, out);
    }

    /// Returns the outcomes that wait for their turn.
    pub fn held_back(&self) -> impl Iterator<Item = &Handled> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Done(handled) => Some(&**handled),
            Slot::Absent | Slot::Pending | Slot::Running(_) | Slot::Gone => None,
        })
    }

    /// Sets the slot of this number, unless the number was passed already.
    fn put(&mut self, sequence: u64, slot: Slot) {
        let Some(place) = sequence.checked_sub(self.base).and_then(|place| usize::try_from(place).ok()) else { return };
        while self.slots.len() <= place {
            self.slots.push_back(Slot::Absent);
        }
        if let Some(old) = self.slots.get_mut(place) {
            self.done += usize::from(slot.is_done());
            self.done -= usize::from(old.is_done());
            *old = slot;
        }
    }

    /// Records the outcome of a message, and releases what that lets pass.
    pub fn complete(&mut self, sequence: u64, handled: Handled, now: Instant, out: &mut Vec<Release>) {
        match sequence.cmp(&self.base) {
            // The message was overtaken: its outcome passes at once.
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

    /// Releases outcomes from the head of the line, up to the first message that has to be waited for.
    pub fn release(&mut self, now: Instant, out: &mut Vec<Release>) {
        loop {
            match self.slots.front() {
                Some(Slot::Done(_) | Slot::Gone) => {}
                Some(Slot::Running(since)) if *since + self.wait <= now => {}
                _ => return,
            }
            self.base += 1;
            if let Some(Slot::Done(handled)) = self.slots.pop_front() {
                self.done -= 1;
                out.push(Release::Outcome(*handled));
            }
        }
    }

    /// Returns whether outcomes wait for a message that no handler has begun with, so that no time ends their wait.
    pub fn waits_for_pending(&self) -> bool {
        self.done > 0 && matches!(self.slots.front(), Some(Slot::Pending))
    }

    /// Returns when the message at the head will be overtaken. `None`: its handler does not run, or nothing is behind
    /// it.
    pub fn next_overtaking(&self) -> Option<Instant> {
        match self.slots.front() {
            Some(Slot::Running(since)) if self.slots.len() > 1 => Some(*since + self.wait),
            _ => None,
        }
    }
}

impl Slot {
    fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}
