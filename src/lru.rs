//! A bounded table that forgets the least recently used entry: open files, HTTP agents by authority, looked-up names.
//!
//! The table does no locking. Each owner keeps it under a lock of its own, held for one call at a time.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;

/// Values by key, in the order of their last use. Every call costs O(log n).
pub struct Lru<K, V> {
    entries: HashMap<K, Entry<V>, foldhash::fast::RandomState>,
    /// Maps the tick of each entry's last use, which is unique, to the entry's key.
    by_use: BTreeMap<u64, K>,
    tick: u64,
}

struct Entry<V> {
    value: V,
    used: u64,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    /// Creates an empty table.
    pub fn new() -> Self {
        Self { entries: HashMap::default(), by_use: BTreeMap::new(), tick: 0 }
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the value of a key, which becomes the most recently used, or `None` if the key is unknown.
    pub fn get<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let entry = self.entries.get_mut(key)?;
        if let Some(key) = self.by_use.remove(&entry.used) {
            self.tick += 1;
            entry.used = self.tick;
            self.by_use.insert(self.tick, key);
        }
        Some(&mut entry.value)
    }

    /// Inserts a value as the most recently used, and returns the value that it replaces, if any.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.tick += 1;
        self.by_use.insert(self.tick, key.clone());
        let replaced = self.entries.insert(key, Entry { value, used: self.tick })?;
        self.by_use.remove(&replaced.used);
        Some(replaced.value)
    }

    /// Removes a key and returns its value, if any.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let entry = self.entries.remove(key)?;
        self.by_use.remove(&entry.used);
        Some(entry.value)
    }

    /// Removes and returns the least recently used entry for which `may_go` is true, or `None` if there is none among
    /// the `look_at` least recently used.
    pub fn evict(&mut self, look_at: usize, may_go: impl Fn(&V) -> bool) -> Option<(K, V)> {
        let candidates = self.by_use.iter().take(look_at);
        let key =
            candidates.map(|(_, key)| key).find(|key| self.entries.get(*key).is_some_and(|entry| may_go(&entry.value)))?.clone();
        let value = self.remove(&key)?;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut lru = Lru::new();
        for key in ["a", "b", "c"] {
            lru.insert(key, key.to_uppercase());
        }
        assert_eq!(lru.get("a").map(|value| value.as_str()), Some("A"));
        assert_eq!(lru.evict(8, |_| true), Some(("b", "B".to_owned())));
        assert_eq!(lru.evict(8, |_| true), Some(("c", "C".to_owned())));
        assert_eq!(lru.evict(8, |_| true), Some(("a", "A".to_owned())));
        assert_eq!(lru.evict(8, |_| true), None);
        assert_eq!(lru.len(), 0);
    }

    #[test]
    fn what_may_not_go_stays_and_is_passed_over() {
        let mut lru = Lru::new();
        for value in 0..4 {
            lru.insert(value, value);
        }
        assert_eq!(lru.evict(8, |value| value % 2 == 1), Some((1, 1)));
        assert_eq!(lru.evict(1, |value| *value == 3), None, "only the oldest was to be looked at");
        assert_eq!(lru.len(), 3);
    }

    #[test]
    fn a_replaced_value_comes_back_and_its_old_use_is_forgotten() {
        let mut lru = Lru::new();
        lru.insert("a", 1);
        lru.insert("b", 2);
        assert_eq!(lru.insert("a", 3), Some(1));
        assert_eq!(lru.evict(8, |_| true), Some(("b", 2)));
        assert_eq!(lru.remove("a"), Some(3));
        assert_eq!(lru.remove("a"), None);
    }
}
