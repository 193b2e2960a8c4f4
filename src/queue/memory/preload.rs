//! The messages that are on the queue from the start: so many bodies, so many times over, none of them made before it is taken.
//!
//! Row `n` is body `n % bodies`, and rows number from 0, so a repetition is older than the next. A [`Stream`] says which rows of it are
//! still to come; each group has its own, since a locked group must not stop the others.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use hashbrown::HashMap;

use crate::queue::embedded::Grouping;

pub(super) struct Preload {
    bodies: Vec<Bytes>,
    /// Of each body; empty on a standard queue.
    groups: Vec<Option<CompactString>>,
    rows: u64,
}

impl Preload {
    pub(super) fn new(bodies: Vec<Bytes>, repeat: u64, grouping: Option<&Grouping>) -> Self {
        let groups = grouping.map(|group| bodies.iter().map(|body| group(body)).collect()).unwrap_or_default();
        // Rows travel as i64 in receipts, and those of sent messages come after these.
        let rows = (bodies.len() as u64).saturating_mul(repeat).min(u64::MAX / 4);
        Self { bodies, groups, rows }
    }

    /// How many rows there are in all; sent messages number from here on.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn body(&self, row: u64) -> Option<&Bytes> {
        self.bodies.get(self.place(row)?)
    }

    pub(super) fn group(&self, row: u64) -> Option<&CompactString> {
        if self.groups.is_empty() { None } else { self.groups.get(self.place(row)?)?.as_ref() }
    }

    fn place(&self, row: u64) -> Option<usize> {
        usize::try_from(row.checked_rem(self.bodies.len() as u64)?).ok()
    }

    /// The rows of each group, and of all messages that stand alone.
    pub(super) fn streams(&self) -> (Stream, HashMap<CompactString, Stream>) {
        let period = self.bodies.len() as u64;
        if self.groups.is_empty() {
            return (Stream { places: None, period, next: 0, end: self.rows }, HashMap::new());
        }
        let mut alone = Vec::new();
        let mut places: HashMap<CompactString, Vec<u64>> = HashMap::new();
        for (place, group) in self.groups.iter().enumerate() {
            match group {
                None => alone.push(place as u64),
                Some(group) => places.entry_ref(group).or_default().push(place as u64),
            }
        }
        let stream = |places: Vec<u64>| {
            let whole = self.rows.checked_div(period).unwrap_or(0).saturating_mul(places.len() as u64);
            Stream { places: Some(places.into()), period, next: 0, end: whole }
        };
        (stream(alone), places.into_iter().map(|(group, places)| (group, stream(places))).collect())
    }
}

/// Rows of the preload still to come, oldest first.
#[derive(Default)]
pub(super) struct Stream {
    /// The places among the bodies that belong to it, ascending; `None`: all.
    places: Option<Arc<[u64]>>,
    /// How many bodies there are.
    period: u64,
    /// How many of its rows have been taken, and how many it has.
    next: u64,
    end: u64,
}

impl Stream {
    /// The row that comes next.
    pub(super) fn peek(&self) -> Option<u64> {
        if self.next == self.end {
            return None;
        }
        let Some(places) = &self.places else { return Some(self.next) };
        let own = places.len() as u64;
        let place = places.get(usize::try_from(self.next.checked_rem(own)?).ok()?)?;
        Some(self.next.checked_div(own)? * self.period + place)
    }

    /// Leaves out the row that comes next.
    pub(super) fn advance(&mut self) {
        self.next = (self.next + 1).min(self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(text: &str) -> Vec<Bytes> {
        text.chars().map(|c| Bytes::from(c.to_string())).collect()
    }

    fn drain(mut stream: Stream) -> Vec<u64> {
        std::iter::from_fn(|| {
            let row = stream.peek()?;
            stream.advance();
            Some(row)
        })
        .collect()
    }

    #[test]
    fn every_row_comes_once_in_order() {
        let preload = Preload::new(bodies("abc"), 3, None);
        let (alone, groups) = preload.streams();
        assert!(groups.is_empty());
        assert_eq!(drain(alone), (0..9).collect::<Vec<_>>());
        assert_eq!(preload.body(7).unwrap(), "b");
    }

    #[test]
    fn each_group_has_its_rows_of_every_repetition() {
        let by_letter: Grouping = Arc::new(|body| match body {
            b"-" => None,
            other => Some(String::from_utf8_lossy(other).into()),
        });
        let preload = Preload::new(bodies("a-ba"), 2, Some(&by_letter));
        let (alone, mut groups) = preload.streams();
        assert_eq!(drain(alone), [1, 5]);
        assert_eq!(drain(groups.remove("a").unwrap()), [0, 3, 4, 7]);
        assert_eq!(drain(groups.remove("b").unwrap()), [2, 6]);
        assert_eq!(preload.group(7).unwrap(), "a");
    }

    #[test]
    fn nothing_times_anything_is_nothing_and_too_much_is_bounded() {
        assert!(Preload::new(Vec::new(), 5, None).streams().0.peek().is_none());
        assert!(Preload::new(bodies("a"), 0, None).streams().0.peek().is_none());
        assert!(i64::try_from(Preload::new(bodies("ab"), u64::MAX, None).rows()).is_ok());
    }
}
