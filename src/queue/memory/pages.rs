//! A table by row number that keeps neighbouring rows side by side in memory. It is used under the queue's lock.
//!
//! Rows are taken in runs and leave in much the same order, so nearly every look-up is
//! on the same page as the one before, and costs neither a hash nor a cache line of its
//! own. A single row that stays keeps its whole page, of no more than [`ROWS`] places.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// The number of rows in a page.
const ROWS: u64 = 16;

/// The number that an empty page bears. No other page has it, since rows travel as `i64` in receipts.
const NONE: u64 = u64::MAX;

pub(super) struct Pages<T> {
    /// The index in `pages` of each page, by its number.
    places: HashMap<u64, usize, RandomState>,
    pages: Vec<Page<T>>,
    /// The indices of the pages that hold no row.
    free: Vec<usize>,
    /// The page of the last insert; `found` is that of the last look-up. They are
    /// apart because a thread that takes rows and one that deletes them alternate.
    put: usize,
    found: usize,
    len: u64,
}

struct Page<T> {
    number: u64,
    /// The number of places that hold a row.
    live: u64,
    rows: [Option<T>; ROWS as usize],
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { places: HashMap::default(), pages: Vec::new(), free: Vec::new(), put: 0, found: 0, len: 0 }
    }
}

/// Returns the page number of a row, and its place on that page.
fn parts(row: u64) -> (u64, usize) {
    (row / ROWS, (row % ROWS) as usize)
}

impl<T> Pages<T> {
    /// Returns the number of rows in the table.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Puts a value at a row and returns the value that was there.
    pub(super) fn insert(&mut self, row: u64, value: T) -> Option<T> {
        let (number, place) = parts(row);
        if self.pages.get(self.put).is_none_or(|page| page.number != number) {
            self.put = self.page_for(number);
        }
        let page = self.pages.get_mut(self.put)?;
        let before = page.rows.get_mut(place)?.replace(value);
        page.live += u64::from(before.is_none());
        self.len += u64::from(before.is_none());
        before
    }

    pub(super) fn get(&mut self, row: u64) -> Option<&T> {
        let (page, place) = self.find(row)?;
        page.rows.get(place)?.as_ref()
    }

    /// Takes the value at the row out if `wanted` returns `true` for it.
    pub(super) fn remove_if(&mut self, row: u64, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let (page, place) = self.find(row)?;
        let value = page.rows.get_mut(place)?.take_if(|value| wanted(value))?;
        page.live -= 1;
        let emptied = (page.live == 0).then(|| std::mem::replace(&mut page.number, NONE));
        self.len -= 1;
        if let Some(number) = emptied {
            self.places.remove(&number);
            self.free.push(self.found);
        }
        Some(value)
    }

    /// Returns the page of a row, and the row's place on it; `None` if no such page exists.
    fn find(&mut self, row: u64) -> Option<(&mut Page<T>, usize)> {
        let (number, place) = parts(row);
        if self.pages.get(self.found).is_none_or(|page| page.number != number) {
            self.found = *self.places.get(&number)?;
        }
        Some((self.pages.get_mut(self.found)?, place))
    }

    /// Returns the index in `pages` of the page with this number, and creates the page if it is missing.
    fn page_for(&mut self, number: u64) -> usize {
        if let Some(place) = self.places.get(&number) {
            return *place;
        }
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(page) = self.pages.get_mut(place) {
                    page.number = number;
                }
                place
            }
            None => {
                self.pages.push(Page { number, live: 0, rows: [const { None }; ROWS as usize] });
                self.pages.len() - 1
            }
        };
        self.places.insert(number, place);
        place
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn says_the_same_as_a_map_whatever_comes_and_goes() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut pages, mut map) = (Pages::default(), HashMap::new());
        for step in 0..20_000 {
            let row = random.u64(0..300);
            match random.u8(0..3) {
                0 => assert_eq!(pages.insert(row, step), map.insert(row, step)),
                1 => assert_eq!(pages.remove_if(row, |_| true), map.remove(&row)),
                _ => assert_eq!((pages.remove_if(row, |_| false), pages.get(row)), (None, map.get(&row))),
            }
            assert_eq!(pages.len(), map.len() as u64);
        }
    }

    #[test]
    fn an_empty_page_is_used_again_and_one_row_keeps_no_other() {
        let mut pages = Pages::default();
        pages.insert(0, ());
        for row in 1..1000 * ROWS {
            pages.insert(row, ());
            pages.remove_if(row, |_| true);
        }
        assert!(pages.pages.len() <= 3, "{}", pages.pages.len());
        assert_eq!((pages.places.len(), pages.len()), (1, 1));
    }
}
