//! Partners by account.
//!
//! Each entry keeps the partner's place and a part of the hash of its account, not the account itself. A million
//! entries nearly fit into the processor's cache, few look-ups reach a partner other than the one looked for, and a
//! table that grows needs no partner's account to hash again.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The table of all partners by account.
#[derive(Debug, Default)]
pub struct Directory {
    hasher: RandomState,
    entries: HashTable<Entry>,
}

#[derive(Debug)]
struct Entry {
    tag: Tag,
    place: u32,
}

/// The part of an account's hash by which the account is found. The hash is seeded, so that no producer can
/// choose accounts that share a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(u32);

impl Tag {
    /// Returns the 64 bits that the table wants, with the highest and the lowest of the tag's bits mixed (Fibonacci
    /// hashing: 2^64 over the golden ratio).
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl Directory {
    /// Returns the tag of an account.
    pub fn tag(&self, account: &str) -> Tag {
        Tag((self.hasher.hash_one(account) >> 32) as u32)
    }

    /// Returns a place where the account may be. The place may belong to another account with the same tag; the
    /// wanted one may then be elsewhere.
    pub fn guess(&self, tag: Tag) -> Option<u32> {
        self.find(tag, |_| true)
    }

    /// Returns the place with this tag for which `is` returns true.
    pub fn find(&self, tag: Tag, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.entries.find(tag.spread(), |entry| entry.tag == tag && is(entry.place)).map(|entry| entry.place)
    }

    /// Adds an account at this place. The account must not be in the table yet.
    pub fn insert(&mut self, tag: Tag, place: u32) {
        self.entries.insert_unique(tag.spread(), Entry { tag, place }, |entry| entry.tag.spread());
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn remove(&mut self, tag: Tag, place: u32) {
        if let Ok(entry) = self.entries.find_entry(tag.spread(), |entry| entry.place == place) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_share_a_tag_are_told_apart() {
        let mut directory = Directory::default();
        let (tag, other) = (Tag(7), Tag(8));
        directory.insert(tag, 0);
        directory.insert(tag, 1);
        directory.insert(other, 2);
        let find = |directory: &Directory, tag, wanted| directory.find(tag, |place| place == wanted);
        assert_eq!([find(&directory, tag, 0), find(&directory, tag, 1), find(&directory, tag, 2)], [Some(0), Some(1), None]);
        assert!(directory.guess(tag).is_some_and(|place| place < 2));
        directory.remove(tag, 0);
        assert_eq!([directory.guess(tag), find(&directory, tag, 0), directory.guess(other)], [Some(1), None, Some(2)]);
    }

    #[test]
    fn thousands_are_found_after_it_has_grown() {
        let mut directory = Directory::default();
        let accounts: Vec<String> = (0..5000).map(|account| format!("1{account}")).collect();
        for (place, account) in (0..).zip(&accounts) {
            directory.insert(directory.tag(account), place);
        }
        for (place, account) in (0..).zip(&accounts) {
            assert_eq!(directory.find(directory.tag(account), |found| found == place), Some(place));
        }
    }
}
