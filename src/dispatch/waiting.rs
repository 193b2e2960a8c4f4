//! The waiting deliveries of a bucket, in the order in which they came. Each has a place, so that one can be taken out
//! from the middle when its message leaves another way.

use std::collections::VecDeque;
use std::time::Instant;

use crate::message::Item;

use super::keys::{BucketKey, Ticket};

/// Where a delivery waits, or waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The bucket.
    pub bucket: BucketKey,
    /// The delivery's place in the bucket: later deliveries have larger places.
    pub place: u64,
}

/// A delivery's entry in a bucket: its message's ticket, and when it began to wait.
#[derive(Debug, Clone, Copy)]
pub struct Slip {
    /// The ticket of the delivery's message.
    pub ticket: Ticket,
    /// When the delivery began to wait for its partner.
    pub since: Instant,
}

/// The line of waiting deliveries.
#[derive(Debug, Default)]
pub struct Waiting {
    /// The oldest delivery. It is stored inline, since most buckets hold no other at most times: a second
    /// allocation for each of a million buckets would be as large as all their other memory, and out of
    /// the cache whenever it is needed.
    first: Option<Entry>,
    /// The deliveries behind the first, by place; some may have been taken out. Empty if there is no first one.
    rest: VecDeque<Entry>,
    /// The number of deliveries that wait.
    live: usize,
    /// The place of the next delivery to enter.
    next: u64,
}

#[derive(Debug)]
struct Entry {
    place: u64,
    slip: Slip,
    /// The delivery; `None` once it is taken out. The first entry always has one.
    item: Option<Item>,
}

/// The number of entries without a delivery that are not worth a walk to remove them.
const GONE: usize = 16;

impl Waiting {
    /// Adds a delivery at the end and returns its place.
    pub fn push_back(&mut self, slip: Slip, item: Item) -> u64 {
        let place = self.next;
        self.next += 1;
        self.live += 1;
        let entry = Entry { place, slip, item: Some(item) };
        if self.first.is_none() {
            self.first = Some(entry);
        } else {
            self.rest.push_back(entry);
        }
        place
    }

    pub fn len(&self) -> usize {
        self.live
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Returns the oldest delivery.
    pub fn front(&self) -> Option<(&Slip, &Item)> {
        let first = self.first.as_ref()?;
        Some((&first.slip, first.item.as_ref()?))
    }

    pub fn pop_front(&mut self) -> Option<(Slip, Item)> {
        let first = self.first.take()?;
        self.live -= 1;
        self.move_up();
        Some((first.slip, first.item?))
    }

    /// Returns all deliveries, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&Slip, &Item)> {
        self.first.iter().chain(&self.rest).filter_map(|entry| Some((&entry.slip, entry.item.as_ref()?)))
    }

    /// Returns the slips of all deliveries, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Slip> {
        self.rest.iter().rev().chain(&self.first).filter(|entry| entry.item.is_some()).map(|entry| &entry.slip)
    }

    /// Returns whether a delivery waits at this place.
    pub fn has(&self, place: u64) -> bool {
        if self.first.as_ref().is_some_and(|first| first.place == place) {
            return true;
        }
        let at = self.find(place);
        at.is_ok_and(|at| self.rest.get(at).is_some_and(|entry| entry.item.is_some()))
    }

    /// Takes out all deliveries, the oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = (Slip, Item)> + '_ {
        self.live = 0;
        self.first.take().into_iter().chain(self.rest.drain(..)).filter_map(|entry| Some((entry.slip, entry.item?)))
    }

    /// Takes out the delivery at this place, if there is one. O(log n); now and then O(n), to
    /// remove entries without a delivery.
    pub fn remove(&mut self, place: u64) -> Option<Item> {
        if self.first.as_ref().is_some_and(|first| first.place == place) {
            return self.pop_front().map(|(_, item)| item);
        }
        let at = self.find(place).ok()?;
        let item = self.rest.get_mut(at)?.item.take()?;
        self.live -= 1;
        if self.rest.len() > 2 * self.live + GONE {
            self.rest.retain(|entry| entry.item.is_some());
        }
        Some(item)
    }

    /// Puts back a delivery that was taken out at this place. O(log n), plus the entries behind it if its own is gone.
    pub fn put_back(&mut self, place: u64, slip: Slip, item: Item) {
        self.live += 1;
        let entry = Entry { place, slip, item: Some(item) };
        match &mut self.first {
            None => self.first = Some(entry),
            Some(first) if place < first.place => {
                let second = std::mem::replace(first, entry);
                self.rest.push_front(second);
            }
            Some(_) => match self.find(place) {
                Ok(at) => {
                    if let Some(gone) = self.rest.get_mut(at) {
                        *gone = entry;
                    }
                }
                Err(at) => self.rest.insert(at, entry),
            },
        }
    }

    /// Returns the index of this place among the entries behind the first; `Err`: where it would be inserted.
    fn find(&self, place: u64) -> Result<usize, usize> {
        self.rest.binary_search_by_key(&place, |entry| entry.place)
    }

    /// Fills the first entry with the next delivery that waits.
    fn move_up(&mut self) {
        while self.first.is_none()
            && let Some(entry) = self.rest.pop_front()
        {
            self.first = Some(entry).filter(|entry| entry.item.is_some());
        }
        if self.rest.is_empty() {
            // Clearing makes the buffer start at its front again: most buckets then only ever use that
            // part, which stays in the cache.
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dispatch::tests::{message, start, tickets};

    fn filled(count: usize) -> Waiting {
        let mut waiting = Waiting::default();
        for (n, ticket) in tickets(count).into_iter().enumerate() {
            let item = Item { message: Arc::new(message(&n.to_string(), None)), index: None, payload: "x".into() };
            assert_eq!(waiting.push_back(Slip { ticket, since: start() }, item), n as u64);
        }
        waiting
    }

    fn ids(waiting: &Waiting) -> Vec<&str> {
        waiting.iter().map(|(_, item)| item.message.id.as_str()).collect()
    }

    #[test]
    fn one_from_the_middle_leaves_no_hole() {
        let mut waiting = filled(4);
        waiting.remove(1);
        waiting.remove(1);
        assert_eq!((ids(&waiting), waiting.len()), (vec!["0", "2", "3"], 3));
        waiting.pop_front();
        assert_eq!(waiting.front().map(|(_, item)| item.id()), Some("2".into()));
        waiting.remove(0);
        assert_eq!(waiting.len(), 2, "what has left already is not there to be taken out");
    }

    #[test]
    fn what_was_taken_out_goes_back_to_its_place() {
        let mut waiting = filled(5);
        let mut taken: Vec<_> = [3, 1, 0].into_iter().map(|place| (place, waiting.remove(place).unwrap())).collect();
        while let Some((place, item)) = taken.pop() {
            waiting.put_back(place, Slip { ticket: tickets(1)[0], since: start() }, item);
        }
        assert_eq!((ids(&waiting), waiting.len()), (vec!["0", "1", "2", "3", "4"], 5));
    }

    #[test]
    fn what_is_gone_is_bounded_by_what_waits() {
        let mut waiting = filled(1000);
        for place in 1..1000 {
            waiting.remove(place);
            assert!(waiting.rest.len() <= 2 * waiting.len() + GONE);
        }
        assert_eq!(ids(&waiting), ["0"]);
        waiting.remove(0);
        assert!(waiting.is_empty() && waiting.rest.is_empty());
    }

    #[test]
    fn nothing_waits_once_all_were_taken_out() {
        let mut waiting = filled(3);
        waiting.remove(1);
        let drained: Vec<_> = waiting.drain().map(|(_, item)| item.message.id.to_string()).collect();
        assert_eq!(drained, ["0", "2"]);
        assert!(waiting.is_empty() && ids(&waiting).is_empty());
    }
}
