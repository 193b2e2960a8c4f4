//! A table by row number in which neighbours lie side by side.
//!
//! Rows are taken in runs and leave in much the same order, so nearly every look-up is on the page of the one before it and costs neither
//! a hash nor a line of memory of its own. A row that stays alone keeps its page: [`ROWS`] places, no more.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Rows of a page.
const ROWS: u64 = 16;

/// No page has that number: rows travel as `i64` in receipts.
const NONE: u64 = u64::MAX;

pub(super) struct Pages<T> {
    /// Where each page is.
    places: HashMap<u64, usize, RandomState>,
    pages: Vec<Page<T>>,
    /// Pages that hold nothing.
    free: Vec<usize>,
    /// Where the last row was put, and where the last one was found: whoever takes rows and whoever deletes them take turns.
    put: usize,
    found: usize,
    len: u64,
}

struct Page<T> {
    number: u64,
    /// How many places are taken.
    live: u64,
    rows: [Option<T>; ROWS as usize],
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { places: HashMap::default(), pages: Vec::new(), free: Vec::new(), put: 0, found: 0, len: 0 }
    }
}

/// Its page, and its place there.
fn parts(row: u64) -> (u64, usize) {
    (row / ROWS, (row % ROWS) as usize)
}

impl<T> Pages<T> {
    /// How many rows it holds.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Puts something at a row; gives what was there.
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

    /// Takes out what is at the row, if it is as wanted.
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

    /// The page of a row, and its place there.
    fn find(&mut self, row: u64) -> Option<(&mut Page<T>, usize)> {
        let (number, place) = parts(row);
        if self.pages.get(self.found).is_none_or(|page| page.number != number) {
            self.found = *self.places.get(&number)?;
        }
        Some((self.pages.get_mut(self.found)?, place))
    }

    /// Where that page is; made where it is not.
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
