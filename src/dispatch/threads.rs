//! Delivery threads, shared out: the bulkhead between partners that take and partners that hang.
//!
//! Partners that are not [`Class::Well`] occupy half of the threads at most, together, so that those that are well always find a free
//! one. A partner that was well until now is found out by time, after [`PATIENCE`](super::health::PATIENCE) or twice its own last
//! success: until then it may have any thread. So of `delivery_threads = N` the others have some left as long as no more than N / 2
//! flushes of partners that were well begin to hang within that time. With a single thread there is no half to keep free.
//!
//! What goes to the local disk may have a part of the threads only, since files share one disk: more flushes at once make each smaller
//! and none quicker, and a disk that hangs must not hold the threads of the others. Within that part the same half is kept.

use std::collections::BTreeSet;
use std::time::Instant;

use super::health::Class;
use super::keys::BucketKey;
use super::rules::Medium;

/// What a bucket waits for that lacks nothing but a thread, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadWait {
    pub medium: Medium,
    pub class: Class,
    /// The age that it stands by.
    pub since: Instant,
}

#[derive(Debug)]
pub struct DeliveryThreads {
    /// Flushes in flight at most, over both media.
    at_most: usize,
    wire: Part,
    disk: Part,
}

/// One medium's part of them.
#[derive(Debug)]
struct Part {
    at_most: usize,
    in_flight: usize,
    /// Of these, those of partners that are not well.
    unwell: usize,
    /// Since the start.
    landed: u64,
    lists: WaitLists,
}

/// Buckets that wait for nothing but a thread, the longest-waiting first, by the class of their partner.
#[derive(Debug, Default)]
struct WaitLists {
    well: BTreeSet<(Instant, BucketKey)>,
    not_proven: BTreeSet<(Instant, BucketKey)>,
    suspect: BTreeSet<(Instant, BucketKey)>,
}

impl WaitLists {
    fn of(&mut self, class: Class) -> &mut BTreeSet<(Instant, BucketKey)> {
        match class {
            Class::Well => &mut self.well,
            Class::NotProven => &mut self.not_proven,
            Class::Suspect => &mut self.suspect,
        }
    }

    fn is_empty(&self) -> bool {
        self.well.is_empty() && self.not_proven.is_empty() && self.suspect.is_empty()
    }

    /// The first of those that are not well, the not proven before the suspects.
    fn first_unwell(&self) -> Option<(Class, (Instant, BucketKey))> {
        let not_proven = self.not_proven.first().map(|first| (Class::NotProven, *first));
        not_proven.or_else(|| self.suspect.first().map(|first| (Class::Suspect, *first)))
    }
}

impl Part {
    fn new(at_most: usize) -> Self {
        Self { at_most: at_most.max(1), in_flight: 0, unwell: 0, landed: 0, lists: WaitLists::default() }
    }

    fn is_full(&self) -> bool {
        self.in_flight >= self.at_most
    }

    /// Whether those that are not well have their half.
    fn is_full_of_unwell(&self) -> bool {
        self.unwell * 2 >= self.at_most
    }
}

impl DeliveryThreads {
    pub fn new(at_most: usize, on_disk: usize) -> Self {
        Self { at_most: at_most.max(1), wire: Part::new(at_most), disk: Part::new(on_disk.min(at_most)) }
    }

    fn part(&self, medium: Medium) -> Option<&Part> {
        match medium {
            Medium::Inline => None,
            Medium::Wire => Some(&self.wire),
            Medium::Disk => Some(&self.disk),
        }
    }

    fn part_mut(&mut self, medium: Medium) -> Option<&mut Part> {
        match medium {
            Medium::Inline => None,
            Medium::Wire => Some(&mut self.wire),
            Medium::Disk => Some(&mut self.disk),
        }
    }

    /// Whether a flush of a partner of this class may start.
    pub fn has_thread(&self, medium: Medium, class: Class) -> bool {
        let Some(part) = self.part(medium) else { return true };
        if part.is_full() || self.wire.in_flight + self.disk.in_flight >= self.at_most {
            return false;
        }
        let unwell = self.wire.unwell + self.disk.unwell;
        class == Class::Well || !(part.is_full_of_unwell() || unwell * 2 >= self.at_most)
    }

    /// A flush starts.
    pub fn take(&mut self, medium: Medium, class: Class) {
        if let Some(part) = self.part_mut(medium) {
            part.in_flight += 1;
            part.unwell += usize::from(class != Class::Well);
        }
    }

    /// A flush has landed; the class is the one that its partner has until this is judged.
    pub fn give_back(&mut self, medium: Medium, class: Class) {
        if let Some(part) = self.part_mut(medium) {
            part.in_flight = part.in_flight.saturating_sub(1);
            part.landed += 1;
            part.unwell = part.unwell.saturating_sub(usize::from(class != Class::Well));
        }
    }

    /// A partner with so many flushes in flight is of another class now. Its buckets are moved with [`DeliveryThreads::leave`] and
    /// [`DeliveryThreads::enlist`].
    pub fn reclass(&mut self, medium: Medium, in_flight: usize, from: Class, to: Class) {
        if let Some(part) = self.part_mut(medium) {
            match (from == Class::Well, to == Class::Well) {
                (true, false) => part.unwell += in_flight,
                (false, true) => part.unwell = part.unwell.saturating_sub(in_flight),
                _ => {}
            }
        }
    }

    /// The bucket waits for a thread. What needs none cannot.
    pub fn enlist(&mut self, bucket: BucketKey, wait: ThreadWait) {
        if let Some(part) = self.part_mut(wait.medium) {
            part.lists.of(wait.class).insert((wait.since, bucket));
        }
    }

    /// The bucket does not wait there any more.
    pub fn leave(&mut self, bucket: BucketKey, wait: ThreadWait) {
        if let Some(part) = self.part_mut(wait.medium) {
            part.lists.of(wait.class).remove(&(wait.since, bucket));
        }
    }

    /// Buckets of partners that are well and wait for a thread, and the flushes that have landed so far.
    pub fn progress(&self, medium: Medium) -> (usize, u64) {
        self.part(medium).map_or((0, 0), |part| (part.lists.well.len(), part.landed))
    }

    /// Whether one that waits may start.
    pub fn can_serve(&self) -> bool {
        // Asked for each flush, and mostly nobody waits.
        !(self.wire.lists.is_empty() && self.disk.lists.is_empty()) && self.first().is_some()
    }

    /// Takes out the next that may start.
    pub fn next(&mut self) -> Option<BucketKey> {
        let (medium, class, waiting) = self.first()?;
        self.part_mut(medium)?.lists.of(class).remove(&waiting);
        Some(waiting.1)
    }

    /// Of those that may start the longest-waiting, equal ones in the order of their keys; a suspect only where none that is not proven
    /// may.
    fn first(&self) -> Option<(Medium, Class, (Instant, BucketKey))> {
        let parts = [(Medium::Wire, &self.wire), (Medium::Disk, &self.disk)];
        let may_start = |medium, class| self.has_thread(medium, class);
        let well = parts.iter().filter_map(|&(medium, part)| {
            let first = *part.lists.well.first()?;
            may_start(medium, Class::Well).then_some((medium, Class::Well, first))
        });
        let unwell = parts.iter().filter_map(|&(medium, part)| {
            let (class, first) = part.lists.first_unwell()?;
            may_start(medium, class).then_some((medium, class, first))
        });
        let unwell = unwell.min_by_key(|&(_, class, first)| (class, first));
        well.chain(unwell).min_by_key(|&(.., first)| first)
    }
}
