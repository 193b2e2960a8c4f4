//! Places for partners and buckets, each with a name that goes stale when its owner leaves.
//!
//! They lie in chunks that never move: a single piece of memory that doubles is copied with each doubling, and of a million partners that
//! was a fifth of all that the first message of each cost, most of it for the kernel to find new pages.

use std::num::NonZeroU32;

/// The name of what lies in a [`Slab`]. In the order of the places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    place: u32,
    /// Which of those that were there. Never 0, so that an `Option<Name>` is as small as a `Name`.
    version: NonZeroU32,
}

impl Name {
    pub fn place(self) -> u32 {
        self.place
    }
}

/// Places of a chunk.
const CHUNK: usize = 512;

#[derive(Debug)]
pub struct Slab<T> {
    /// All but the last are full of places, of which some may be free.
    chunks: Vec<Vec<Slot<T>>>,
    /// Apart: where the list runs through the places themselves, each that comes waits for the memory of a place only to learn where the
    /// next one is. The one that was given up last is used first: it is the nearest.
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

    /// The name that the next one will have.
    pub fn next(&self) -> Name {
        let free = self.free.last().and_then(|&place| Some(Name { place, version: self.slot(place)?.version }));
        // Nothing is free, so all places are taken. As many as 32 bits can count would take more memory than there is.
        free.unwrap_or(Name { place: self.len as u32, version: NonZeroU32::MIN })
    }

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

    pub fn get(&self, name: Name) -> Option<&T> {
        self.slot(name.place).filter(|slot| slot.version == name.version)?.value.as_ref()
    }

    pub fn get_mut(&mut self, name: Name) -> Option<&mut T> {
        self.slot_mut(name.place).filter(|slot| slot.version == name.version)?.value.as_mut()
    }

    /// Who is at that place, if anybody is.
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

    /// All, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &T)> {
        let slots = (0..).zip(self.chunks.iter().flatten());
        slots.filter_map(|(place, slot)| Some((Name { place, version: slot.version }, slot.value.as_ref()?)))
    }

    /// The same, to be changed.
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
