//! Partners by account.
//!
//! Beside the place of each lies a part of the hash of its account, not the account: a million of these are nearly as small as the
//! processor's cache, few look-ups go on to a partner who is another one, and a table that grows asks no partner for its account.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

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

/// What an account is found by. Seeded, so that nobody can choose accounts that share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(u32);

impl Tag {
    /// As many bits as a table wants, the highest and the lowest of them mixed (Fibonacci hashing: 2^64 over the golden ratio).
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl Directory {
    pub fn tag(&self, account: &str) -> Tag {
        Tag((self.hasher.hash_one(account) >> 32) as u32)
    }

    /// A place where the account may be; whoever is there may be another one, and then it may be elsewhere.
    pub fn guess(&self, tag: Tag) -> Option<u32> {
        self.find(tag, |_| true)
    }

    /// The place with that tag for which `is` says yes.
    pub fn find(&self, tag: Tag, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.entries.find(tag.spread(), |entry| entry.tag == tag && is(entry.place)).map(|entry| entry.place)
    }

    /// The account is at that place from now on; it was nowhere before.
    pub fn insert(&mut self, tag: Tag, place: u32) {
        self.entries.insert_unique(tag.spread(), Entry { tag, place }, |entry| entry.tag.spread());
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
