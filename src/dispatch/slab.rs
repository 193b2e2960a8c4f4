//! Places for partners and buckets, each with a name that becomes stale when the value leaves.
//!
//! The places lie in chunks that never move. A single buffer is copied each time it doubles; with a million partners
//! this took a fifth of the whole cost of each one's first message, most of it for new pages from the kernel.

use std::num::NonZeroU32;

/// The name of a value in a [`Slab`]. Names are ordered by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    place: u32,
    /// The number of the value among those that were at the place. It is never 0, so that an
    /// `Option<Name>` is as small as a `Name`.
    version: NonZeroU32,
}

impl Name {
    pub fn place(self) -> u32 {
        self.place
    }
}

/// The number of places in a chunk.
const CHUNK: usize = 512;

/// Values by name, in chunks of places.
#[derive(Debug)]
pub struct Slab<T> {
    /// All chunks but the last have their full number of places, some of which may be free.
    chunks: Vec<Vec<Slot<T>>>,
    /// The free places. The list is kept apart: if it ran through the places themselves, each insertion would wait for
    /// a place's memory only to learn where the next free one is. The place freed last is used first, since it is the
    /// most likely to be in the cache.
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    version: NonZeroU32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    fn slot(&self, place: u32) -> Option<&Slot<T>> {
        self.chunks.get(place as usize / CHUNK)?.get(place as usize % CHUNK)
    }

    fn slot_mut(&mut self, place: u32) -> Option<&mut Slot<T>> {
        self.chunks.get_mut(place as usize / CHUNK)?.get_mut(place as usize % CHUNK)
    }

    /// Returns the name that the next inserted value will have.
    pub fn next(&self) -> Name {
        let free = self.free.last().and_then(|&place| Some(Name { place, version: self.slot(place)?.version }));
        // No place is free, so that all are taken. A number of places beyond 32 bits would
        // take more memory than there is.
        free.unwrap_or(Name { place: self.len as u32, version: NonZeroU32::MIN })
    }

    /// Stores a value in the place freed last, or else in a new one. Returns its name.
    pub fn insert(&mut self, value: T) -> Name {
        let name = self.next();
        self.len += 1;
        if let Some(slot) = self.free.pop().and_then(|place| self.slot_mut(place)) {
            slot.value = Some(value);
            return name;
        }
        let slot = Slot { version: name.version, value: Some(value) };
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(slot),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(slot);
                self.chunks.push(chunk);
            }
        }
        name
    }

    /// Returns the value with this name; `None` if it has left.
    pub fn get(&self, name: Name) -> Option<&T> {
        self.slot(name.place).filter(|slot| slot.version == name.version)?.value.as_ref()
    }

    pub fn get_mut(&mut self, name: Name) -> Option<&mut T> {
        self.slot_mut(name.place).filter(|slot| slot.version == name.version)?.value.as_mut()
    }

    /// Returns the value at this place, if there is one, with its name.
    pub fn at(&self, place: u32) -> Option<(Name, &T)> {
        let slot = self.slot(place)?;
        Some((Name { place, version: slot.version }, slot.value.as_ref()?))
    }

    pub fn remove(&mut self, name: Name) -> Option<T> {
        let slot = self.slot_mut(name.place).filter(|slot| slot.version == name.version)?;
        let value = slot.value.take()?;
        slot.version = slot.version.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.free.push(name.place);
        self.len -= 1;
        Some(value)
    }

    /// Returns all values in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &T)> {
        let slots = (0..).zip(self.chunks.iter().flatten());
        slots.filter_map(|(place, slot)| Some((Name { place, version: slot.version }, slot.value.as_ref()?)))
    }

    /// Returns all values in the order of their places, mutably.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Name, &mut T)> {
        let slots = (0..).zip(self.chunks.iter_mut().flatten());
        slots.filter_map(|(place, slot)| Some((Name { place, version: slot.version }, slot.value.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_stale_once_its_owner_has_left_although_the_place_is_used_again() {
        let mut slab = Slab::default();
        let next = slab.next();
        let (first, second) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(next, first);
        assert_eq!((slab.remove(first), slab.remove(first), slab.len()), (Some("a"), None, 1));
        let next = slab.next();
        let third = slab.insert("c");
        assert_eq!((third, third.place()), (next, first.place()), "the place was used again");
        assert_eq!([slab.get(first), slab.get(second), slab.get(third)], [None, Some(&"b"), Some(&"c")]);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!((slab.at(first.place()), slab.at(9)), (Some((third, &"c")), None));
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(third, &"c"), (second, &"b")]);
    }

    #[test]
    fn says_the_same_as_a_map_whatever_comes_and_goes_over_many_chunks() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut slab, mut map) = (Slab::default(), std::collections::BTreeMap::new());
        for step in 0..20_000 {
            if random.u8(0..4) > 0 {
                map.insert(slab.insert(step), step);
            } else if let Some(name) = map.keys().nth(random.usize(0..map.len().max(1))).copied() {
                assert_eq!(slab.remove(name), map.remove(&name));
            }
        }
        assert!(slab.chunks.len() > 4 && slab.len() == map.len());
        assert!(slab.iter().eq(map.iter().map(|(name, step)| (*name, step))));
        slab.iter_mut().for_each(|(_, step)| *step += 1);
        assert!(map.iter().all(|(name, step)| slab.get(*name) == Some(&(step + 1))));
    }
}
