//! The deliveries that wait in a bucket, in the order in which they came, each with its place: one may be taken out from the middle
//! when its message leaves another way.

use std::collections::VecDeque;

use crate::message::Item;

use super::bucket::Slip;

#[derive(Debug, Default)]
pub struct Waiting {
    /// By place. The first one waits; behind it some may be gone.
    entries: VecDeque<Entry>,
    /// How many wait.
    live: usize,
    /// The place of the next.
    next: u64,
}

#[derive(Debug)]
struct Entry {
    place: u64,
    slip: Slip,
    /// `None`: it was taken out.
    item: Option<Item>,
}

/// Gone entries that are not worth a walk.
const GONE: usize = 16;

impl Waiting {
    /// Gives its place.
    pub fn push_back(&mut self, slip: Slip, item: Item) -> u64 {
        let place = self.next;
        self.next += 1;
        self.live += 1;
        self.entries.push_back(Entry { place, slip, item: Some(item) });
        place
    }

    pub fn len(&self) -> usize {
        self.live
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The oldest.
    pub fn front(&self) -> Option<(&Slip, &Item)> {
        let first = self.entries.front()?;
        Some((&first.slip, first.item.as_ref()?))
    }

    pub fn pop_front(&mut self) -> Option<(Slip, Item)> {
        let first = self.entries.pop_front()?;
        self.live -= 1;
        self.trim();
        if self.entries.is_empty() {
            // Begins at the front of its memory again: of most buckets that is all that is ever used, and so it stays in the cache.
            self.entries.clear();
        }
        Some((first.slip, first.item?))
    }

    /// All, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&Slip, &Item)> {
        self.entries.iter().filter_map(|entry| Some((&entry.slip, entry.item.as_ref()?)))
    }

    /// All, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Slip> {
        self.entries.iter().rev().filter(|entry| entry.item.is_some()).map(|entry| &entry.slip)
    }

    /// Whether something waits at that place.
    pub fn has(&self, place: u64) -> bool {
        let at = self.entries.binary_search_by_key(&place, |entry| entry.place);
        at.is_ok_and(|at| self.entries.get(at).is_some_and(|entry| entry.item.is_some()))
    }

    /// Takes all out, the oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = (Slip, Item)> + '_ {
        self.live = 0;
        self.entries.drain(..).filter_map(|entry| Some((entry.slip, entry.item?)))
    }

    /// Takes out what waits at that place, if anything does. O(log n), and now and then a walk.
    pub fn remove(&mut self, place: u64) -> Option<Item> {
        let at = self.entries.binary_search_by_key(&place, |entry| entry.place).ok()?;
        let item = self.entries.get_mut(at)?.item.take()?;
        self.live -= 1;
        self.trim();
        if self.entries.len() > 2 * self.live + GONE {
            self.entries.retain(|entry| entry.item.is_some());
        }
        Some(item)
    }

    /// Puts back what was taken out at that place. O(log n) and what is behind it.
    pub fn put_back(&mut self, place: u64, slip: Slip, item: Item) {
        self.live += 1;
        let entry = Entry { place, slip, item: Some(item) };
        match self.entries.binary_search_by_key(&place, |entry| entry.place) {
            Ok(at) => {
                if let Some(gone) = self.entries.get_mut(at) {
                    *gone = entry;
                }
            }
            Err(at) => self.entries.insert(at, entry),
        }
    }

    fn trim(&mut self) {
        while self.entries.pop_front_if(|entry| entry.item.is_none()).is_some() {}
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
            assert!(waiting.entries.len() <= 2 * waiting.len() + GONE);
        }
        assert_eq!(ids(&waiting), ["0"]);
        waiting.remove(0);
        assert!(waiting.is_empty() && waiting.entries.is_empty());
    }
}
