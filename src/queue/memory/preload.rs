//! The messages that are on the queue from the start: a list of bodies,
//! repeated a number of times. No row is built before it is taken.
//!
//! Row `n` has body `n % bodies`. Rows are numbered from 0, so each repetition is older than
//! the next. A [`Stream`] knows which of its rows are still to come; each group has its own,
//! since a locked group must not stop the others. All of it is used under the queue's lock.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use hashbrown::HashMap;

use crate::message::Grouping;

pub(super) struct Preload {
    bodies: Vec<Bytes>,
    /// The group of each body; empty on a standard queue.
    groups: Vec<Option<CompactString>>,
    rows: u64,
}

impl Preload {
    pub(super) fn new(bodies: Vec<Bytes>, repeat: u64, grouping: Option<&Grouping>) -> Self {
        let groups = grouping.map(|group| bodies.iter().map(|body| group(body)).collect()).unwrap_or_default();
        // Rows travel as `i64` in receipts, and the rows of sent messages come after these.
        let rows = (bodies.len() as u64).saturating_mul(repeat).min(u64::MAX / 4);
        Self { bodies, groups, rows }
    }

    /// Returns the number of all rows; the rows of sent messages are numbered from here on.
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

    /// Returns the rows of all messages that stand alone, and the rows of each group.
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

/// The rows of the preload that are still to come, oldest first.
#[derive(Default)]
pub(super) struct Stream {
    /// The places of the stream's bodies in the list of bodies, ascending; `None` if the stream has all of them.
    places: Option<Arc<[u64]>>,
    /// The number of bodies in the preload.
    period: u64,
    /// The number of rows taken so far; `end` is the number of all rows of the stream.
    next: u64,
    end: u64,
}

impl Stream {
    /// Returns the next row; `None` if all are taken.
    pub(super) fn peek(&self) -> Option<u64> {
        if self.next == self.end {
            return None;
        }
        let Some(places) = &self.places else { return Some(self.next) };
        let own = places.len() as u64;
        let place = places.get(usize::try_from(self.next.checked_rem(own)?).ok()?)?;
        Some(self.next.checked_div(own)? * self.period + place)
    }

    /// Moves on to the row after the next.
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
