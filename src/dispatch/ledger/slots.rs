//! Slots for the held copies, each with a key that goes stale when its copy leaves.
//!
//! The slots are one piece of memory, unlike those of a [`Slab`](crate::dispatch::slab): there are at most
//! `max_in_flight` of them, and each is looked up a dozen times on its copy's way. The step from a chunk to a place in
//! it cost 4 to 5% of the engine's speed, in each of three pairs of runs.
//!
//! The free slots are listed apart. If the list ran through the slots themselves, each copy that comes would wait for
//! the memory of a slot only to learn where the next free one is.

use crate::dispatch::keys::Ticket;

/// Values in numbered slots, each found by its [`Ticket`].
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// The free slots. The one that was freed last is used first: it is the most likely to be in the cache.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    /// How many values have left this slot.
    version: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns the ticket that the next value will have.
    pub fn next(&self) -> Ticket {
        let free = self.free.last().and_then(|place| Some((*place, self.slots.get(*place as usize)?.version)));
        // More slots than 32 bits can count would need more memory than there is.
        let (place, version) = free.unwrap_or((self.slots.len() as u32, 0));
        Ticket { place, version }
    }

    pub fn insert(&mut self, value: T) -> Ticket {
        let ticket = self.next();
        match self.free.pop().and_then(|place| self.slots.get_mut(place as usize)) {
            Some(slot) => slot.value = Some(value),
            None => self.slots.push(Slot { version: ticket.version, value: Some(value) }),
        }
        ticket
    }

    pub fn get(&self, ticket: Ticket) -> Option<&T> {
        self.slots.get(ticket.place as usize).filter(|slot| slot.version == ticket.version)?.value.as_ref()
    }

    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.slots.get_mut(ticket.place as usize).filter(|slot| slot.version == ticket.version)?.value.as_mut()
    }

    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let slot = self.slots.get_mut(ticket.place as usize).filter(|slot| slot.version == ticket.version)?;
        let value = slot.value.take()?;
        slot.version = slot.version.wrapping_add(1);
        self.free.push(ticket.place);
        Some(value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &T)> {
        (0..).zip(&self.slots).filter_map(|(place, slot)| Some((Ticket { place, version: slot.version }, slot.value.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_stale_once_its_copy_has_left_although_the_place_is_used_again() {
        let mut slots = Slots::new();
        let next = slots.next();
        let (first, second) = (slots.insert("a"), slots.insert("b"));
        assert_eq!(next, first);
        assert_eq!((slots.remove(first), slots.remove(first), slots.len()), (Some("a"), None, 1));
        let next = slots.next();
        let third = slots.insert("c");
        assert_eq!(next, third);
        assert_eq!((slots.get(first), slots.get(second), slots.get(third)), (None, Some(&"b"), Some(&"c")));
        assert_eq!(slots.slots.len(), 2, "the place was used again");
        assert_eq!(slots.get_mut(third).map(|value| std::mem::replace(value, "d")), Some("c"));
        assert_eq!(slots.iter().map(|(ticket, value)| (ticket, *value)).collect::<Vec<_>>(), [(third, "d"), (second, "b")]);
    }
}
