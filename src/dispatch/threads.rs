//! How the delivery threads are shared: the bulkhead between partners that take and partners that hang.
//!
//! Partners that are not [`Class::Well`] together occupy at most half of the threads, so that healthy partners always
//! find a free one. A healthy partner that begins to hang is found out only by time, after
//! [`PATIENCE`](super::health::PATIENCE) or twice the duration of its last accepted flush; until then it may use any
//! thread. With `delivery_threads = N` some threads therefore stay free as long as no more than N / 2 flushes of
//! healthy partners begin to hang within that time. With a single thread there is no half to keep free.
//!
//! Flushes to the local disk may use only a part of the threads, since files share their disks: more flushes at once
//! make each smaller and none faster. Within this part the partners that are not proven have half. Flushes of partners that
//! are slow or fail do not count against the part, but only against the half of all threads: a disk that hangs does not answer
//! for as long as it hangs, since a write has no timeout, and it must not hold up the partners whose files are on another one.
//! All flushes to the disk together stay within that half nevertheless: each partner that was well may begin to hang, and
//! is found out one part after the other.
//!
//! Flushes to standard output have a part of their own, in which all count: if the reader of a pipe stops, every
//! flush to it hangs for as long, and more of them would only take threads from other partners.

use std::collections::BTreeSet;
use std::time::Instant;

use super::health::Class;
use super::keys::BucketKey;
use super::rules::Medium;

/// The number of threads that write to standard output, one after the other: the second makes its lines ready while the
/// first one writes.
const PIPE_THREADS: usize = 2;

/// A bucket's position in the line for a delivery thread: it lacks nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadWait {
    /// The medium whose threads the bucket needs.
    pub medium: Medium,
    /// The class of the bucket's partner.
    pub class: Class,
    /// When the bucket's oldest delivery entered: the line is ordered by this.
    pub since: Instant,
}

/// The use of the delivery threads, and the buckets that wait for one.
#[derive(Debug)]
pub struct DeliveryThreads {
    /// The largest number of flushes in flight, over all media.
    at_most: usize,
    wire: Part,
    disk: Part,
    pipe: Part,
}

/// The part of the threads for one medium.
#[derive(Debug)]
struct Part {
    at_most: usize,
    /// Whether the flushes of partners that are slow or fail are left out of `at_most`.
    spares_slow: bool,
    in_flight: usize,
    /// The flushes in flight of partners that are not well.
    unwell: usize,
    /// Those of them whose partners are slow or fail.
    slow: usize,
    /// The number of flushes that have landed since the start.
    landed: u64,
    lists: WaitLists,
}

/// Buckets that wait for nothing but a thread, the longest-waiting first, by the class of their partner.
#[derive(Debug, Default)]
struct WaitLists {
    well: BTreeSet<(Instant, BucketKey)>,
    not_proven: BTreeSet<(Instant, BucketKey)>,
    slow: BTreeSet<(Instant, BucketKey)>,
}

impl WaitLists {
    fn of(&mut self, class: Class) -> &mut BTreeSet<(Instant, BucketKey)> {
        match class {
            Class::Well => &mut self.well,
            Class::NotProven => &mut self.not_proven,
            Class::SlowOrFailing => &mut self.slow,
        }
    }

    fn is_empty(&self) -> bool {
        self.well.is_empty() && self.not_proven.is_empty() && self.slow.is_empty()
    }

    /// Returns the first bucket of partners that are not well: the not proven come first.
    fn first_unwell(&self) -> Option<(Class, (Instant, BucketKey))> {
        let not_proven = self.not_proven.first().map(|first| (Class::NotProven, *first));
        not_proven.or_else(|| self.slow.first().map(|first| (Class::SlowOrFailing, *first)))
    }
}

impl Part {
    fn new(at_most: usize, spares_slow: bool) -> Self {
        let lists = WaitLists::default();
        Self { at_most: at_most.max(1), spares_slow, in_flight: 0, unwell: 0, slow: 0, landed: 0, lists }
    }

    /// Returns the number of flushes in flight that do not count.
    fn spared(&self) -> usize {
        if self.spares_slow { self.slow } else { 0 }
    }

    fn is_full(&self) -> bool {
        self.in_flight.saturating_sub(self.spared()) >= self.at_most
    }

    /// Returns whether the partners that are not well use up their half.
    fn is_full_of_unwell(&self) -> bool {
        self.unwell.saturating_sub(self.spared()) * 2 >= self.at_most
    }

    /// Changes the counts by class, for this many flushes in flight.
    fn count(&mut self, class: Class, change: impl Fn(usize) -> usize) {
        if class != Class::Well {
            self.unwell = change(self.unwell);
        }
        if class == Class::SlowOrFailing {
            self.slow = change(self.slow);
        }
    }
}

impl DeliveryThreads {
    pub fn new(at_most: usize, on_disk: usize) -> Self {
        Self {
            at_most: at_most.max(1),
            wire: Part::new(at_most, false),
            disk: Part::new(on_disk.min(at_most), true),
            pipe: Part::new(PIPE_THREADS.min(at_most), false),
        }
    }

    fn parts(&self) -> [(Medium, &Part); 3] {
        [(Medium::Wire, &self.wire), (Medium::Disk, &self.disk), (Medium::Pipe, &self.pipe)]
    }

    fn part(&self, medium: Medium) -> Option<&Part> {
        match medium {
            Medium::Inline => None,
            Medium::Wire => Some(&self.wire),
            Medium::Disk => Some(&self.disk),
            Medium::Pipe => Some(&self.pipe),
        }
    }

    fn part_mut(&mut self, medium: Medium) -> Option<&mut Part> {
        match medium {
            Medium::Inline => None,
            Medium::Wire => Some(&mut self.wire),
            Medium::Disk => Some(&mut self.disk),
            Medium::Pipe => Some(&mut self.pipe),
        }
    }

    /// Returns whether a flush of a partner of this class may start.
    pub fn has_thread(&self, medium: Medium, class: Class) -> bool {
        let Some(part) = self.part(medium) else { return true };
        let is_beyond_half = part.spares_slow && part.in_flight >= part.at_most.max(self.at_most / 2);
        if part.is_full() || is_beyond_half || self.wire.in_flight + self.disk.in_flight + self.pipe.in_flight >= self.at_most {
            return false;
        }
        let unwell = self.wire.unwell + self.disk.unwell + self.pipe.unwell;
        class == Class::Well || !(part.is_full_of_unwell() || unwell * 2 >= self.at_most)
    }

    /// Counts a flush that starts.
    pub fn take(&mut self, medium: Medium, class: Class) {
        if let Some(part) = self.part_mut(medium) {
            part.in_flight += 1;
            part.count(class, |count| count + 1);
        }
    }

    /// Counts a flush that has landed. `class` is the partner's class before the flush is judged.
    pub fn give_back(&mut self, medium: Medium, class: Class) {
        if let Some(part) = self.part_mut(medium) {
            part.in_flight = part.in_flight.saturating_sub(1);
            part.landed += 1;
            part.count(class, |count| count.saturating_sub(1));
        }
    }

    /// Moves this many flushes in flight of a partner to its new class. The caller moves the partner's buckets with
    /// [`DeliveryThreads::leave`] and [`DeliveryThreads::enlist`].
    pub fn reclass(&mut self, medium: Medium, in_flight: usize, from: Class, to: Class) {
        if let Some(part) = self.part_mut(medium) {
            part.count(from, |count| count.saturating_sub(in_flight));
            part.count(to, |count| count + in_flight);
        }
    }

    /// Puts the bucket into the line for a thread. A bucket that needs no thread is ignored.
    pub fn enlist(&mut self, bucket: BucketKey, wait: ThreadWait) {
        if let Some(part) = self.part_mut(wait.medium) {
            part.lists.of(wait.class).insert((wait.since, bucket));
        }
    }

    /// Takes the bucket out of the line.
    pub fn leave(&mut self, bucket: BucketKey, wait: ThreadWait) {
        if let Some(part) = self.part_mut(wait.medium) {
            part.lists.of(wait.class).remove(&(wait.since, bucket));
        }
    }

    /// Returns the number of healthy partners' buckets that wait for a thread, and the number of
    /// flushes that have landed so far.
    pub fn progress(&self, medium: Medium) -> (usize, u64) {
        self.part(medium).map_or((0, 0), |part| (part.lists.well.len(), part.landed))
    }

    /// Returns whether a bucket in the line may start.
    pub fn can_serve(&self) -> bool {
        // This is asked for each flush, and mostly no bucket waits.
        !self.parts().iter().all(|(_, part)| part.lists.is_empty()) && self.first().is_some()
    }

    /// Takes the next bucket that may start out of the line.
    pub fn next(&mut self) -> Option<BucketKey> {
        let (medium, class, waiting) = self.first()?;
        self.part_mut(medium)?.lists.of(class).remove(&waiting);
        Some(waiting.1)
    }

    /// Returns the longest-waiting bucket of those that may start, in the order of their keys if equal. Of partners
    /// that are not well, one that is slow or fails comes only if none that is not proven may start.
    fn first(&self) -> Option<(Medium, Class, (Instant, BucketKey))> {
        let parts = self.parts();
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

    /// Returns all places in the line, in order.
    #[cfg(test)]
    pub fn line(&self) -> Vec<(BucketKey, ThreadWait)> {
        let mut line = Vec::new();
        for (medium, part) in self.parts() {
            let WaitLists { well, not_proven, slow } = &part.lists;
            for (class, list) in [(Class::Well, well), (Class::NotProven, not_proven), (Class::SlowOrFailing, slow)] {
                line.extend(list.iter().map(|&(since, bucket)| (bucket, ThreadWait { medium, class, since })));
            }
        }
        line.sort_unstable_by_key(|(bucket, _)| *bucket);
        line
    }
}
