//! When the leases of held copies have to be looked after. Owned by the ledger.
//!
//! Copies whose leases end together, as those of one receive do, share a group. So a million copies a second cost one
//! look at the clock for each group, and one counter update for each copy.

use std::collections::BTreeSet;
use std::time::Instant;

use slotmap::{SlotMap, new_key_type};

use crate::dispatch::keys::{QueueIndex, Ticket};

/// The most copies of one group: as long as a single member stays, the group keeps the tickets of all that have left.
const LARGEST: usize = 64;

new_key_type! {
    /// The key of a group; stale once the group is empty or was taken out as due.
    pub struct GroupKey;
}

/// The leases of all queues.
#[derive(Debug, Default)]
pub struct Leases {
    groups: SlotMap<GroupKey, Group>,
    queues: Vec<Moments>,
}

#[derive(Debug)]
struct Group {
    queue: QueueIndex,
    /// When the leases of this group have to be looked after.
    at: Instant,
    /// All copies that ever joined, in order; those that have left are still listed.
    members: Vec<Ticket>,
    /// The number of members that have not left.
    live: usize,
}

/// The groups of one queue.
#[derive(Debug, Default, Clone)]
struct Moments {
    /// The groups by the moment at which they are due.
    in_order: BTreeSet<(Instant, GroupKey)>,
    /// The group that was joined last; its key may be stale.
    newest: Option<GroupKey>,
}

impl Leases {
    /// Creates an empty set of leases for this many queues.
    pub fn new(queues: usize) -> Self {
        Self { groups: SlotMap::with_key(), queues: vec![Moments::default(); queues] }
    }

    /// Adds a queue.
    pub fn add_queue(&mut self) {
        self.queues.push(Moments::default());
    }

    /// Schedules the copy's lease to be looked after at `at`. Returns its group, which it belongs to until it leaves or
    /// the group is taken out as due. `None`: the queue is unknown.
    pub fn join(&mut self, queue: QueueIndex, at: Instant, ticket: Ticket) -> Option<GroupKey> {
        let moments = self.queues.get_mut(queue)?;
        if let Some(key) = moments.newest
            && let Some(group) = self.groups.get_mut(key)
            && group.at == at
            && group.members.len() < LARGEST
        {
            group.members.push(ticket);
            group.live += 1;
            return Some(key);
        }
        let key = self.groups.insert(Group { queue, at, members: vec![ticket], live: 1 });
        moments.in_order.insert((at, key));
        moments.newest = Some(key);
        Some(key)
    }

    /// Takes one copy out of its group: its lease need not be looked after any more.
    pub fn leave(&mut self, key: GroupKey) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.live = group.live.saturating_sub(1);
        if group.live > 0 {
            return;
        }
        let (queue, at) = (group.queue, group.at);
        self.groups.remove(key);
        if let Some(moments) = self.queues.get_mut(queue) {
            moments.in_order.remove(&(at, key));
        }
    }

    /// Returns the earliest moment at which leases of the queue have to be looked after.
    pub fn next(&self, queue: QueueIndex) -> Option<Instant> {
        Some(self.queues.get(queue)?.in_order.first()?.0)
    }

    /// Takes out the queue's earliest group if it is due at `now`. Returns its key and all copies that ever joined it,
    /// including those that have left.
    pub fn take_due(&mut self, queue: QueueIndex, now: Instant) -> Option<(GroupKey, Vec<Ticket>)> {
        let moments = self.queues.get_mut(queue)?;
        let &(at, key) = moments.in_order.first()?;
        if at > now {
            return None;
        }
        moments.in_order.pop_first();
        Some((key, self.groups.remove(key).map(|group| group.members).unwrap_or_default()))
    }

    /// Returns whether these are the groups of all copies that have not left, in order, and none is kept without any.
    #[cfg(test)]
    pub fn are_of(&self, groups: &[GroupKey]) -> bool {
        let mut kept: Vec<_> = self.groups.iter().flat_map(|(key, group)| std::iter::repeat_n(key, group.live)).collect();
        kept.sort_unstable();
        kept == groups && self.groups.values().all(|group| group.live > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dispatch::tests::{start, tickets};

    #[test]
    fn those_that_end_together_are_one_group_and_come_up_in_order() {
        let (mut leases, start, t) = (Leases::new(1), start(), tickets(3));
        let late = leases.join(0, start + Duration::from_secs(2), t[0]);
        let first = leases.join(0, start + Duration::from_secs(1), t[1]);
        assert_eq!(leases.join(0, start + Duration::from_secs(1), t[2]), first);
        assert_eq!(leases.next(0), Some(start + Duration::from_secs(1)));
        assert_eq!(leases.take_due(0, start), None);
        assert_eq!(leases.take_due(0, start + Duration::from_secs(5)), Some((first.unwrap(), vec![t[1], t[2]])));
        assert_eq!(leases.take_due(0, start + Duration::from_secs(5)), Some((late.unwrap(), vec![t[0]])));
        assert_eq!(leases.next(0), None);
    }

    #[test]
    fn a_group_is_forgotten_with_its_last_copy() {
        let (mut leases, start, t) = (Leases::new(1), start(), tickets(2 * LARGEST));
        let groups: Vec<_> = t.iter().filter_map(|ticket| leases.join(0, start, *ticket)).collect();
        assert_eq!(leases.groups.len(), 2, "a full group is followed by another");
        for group in groups {
            leases.leave(group);
        }
        assert_eq!((leases.groups.len(), leases.next(0)), (0, None));
    }

    #[test]
    fn queues_do_not_share_groups() {
        let (mut leases, start, t) = (Leases::new(2), start(), tickets(2));
        assert_ne!(leases.join(0, start, t[0]), leases.join(1, start, t[1]));
        assert_eq!(leases.take_due(1, start).map(|(_, members)| members), Some(vec![t[1]]));
        assert_eq!(leases.next(0), Some(start));
    }
}
