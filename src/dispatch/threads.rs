//! Delivery threads, shared out. What goes over the wire may have all of them; what goes to the local disk only a part, since files share
//! one disk: more flushes at once make each smaller and none quicker, and a disk that hangs must not hold the threads of the others.

use std::collections::BTreeSet;
use std::time::Instant;

use super::keys::BucketKey;

/// Where a partner's deliveries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Medium {
    #[default]
    Wire,
    Disk,
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
    /// Buckets that wait for nothing but a thread, the longest-waiting first.
    ready: BTreeSet<(Instant, BucketKey)>,
}

impl Part {
    fn new(at_most: usize) -> Self {
        Self { at_most: at_most.max(1), in_flight: 0, ready: BTreeSet::new() }
    }
}

impl DeliveryThreads {
    pub fn new(at_most: usize, on_disk: usize) -> Self {
        Self { at_most: at_most.max(1), wire: Part::new(at_most), disk: Part::new(on_disk.min(at_most)) }
    }

    fn of(&mut self, medium: Medium) -> &mut Part {
        match medium {
            Medium::Wire => &mut self.wire,
            Medium::Disk => &mut self.disk,
        }
    }

    /// Whether a flush may start.
    pub fn has_thread(&self, medium: Medium) -> bool {
        let threads = match medium {
            Medium::Wire => &self.wire,
            Medium::Disk => &self.disk,
        };
        threads.in_flight < threads.at_most && self.wire.in_flight + self.disk.in_flight < self.at_most
    }

    /// A flush starts.
    pub fn take(&mut self, medium: Medium) {
        self.of(medium).in_flight += 1;
    }

    /// A flush has landed.
    pub fn give_back(&mut self, medium: Medium) {
        let part = self.of(medium);
        part.in_flight = part.in_flight.saturating_sub(1);
    }

    /// The bucket waits for a thread since then.
    pub fn wait(&mut self, medium: Medium, since: Instant, bucket: BucketKey) {
        self.of(medium).ready.insert((since, bucket));
    }

    /// Whether one that waits may start.
    pub fn can_serve(&self) -> bool {
        [(Medium::Wire, &self.wire), (Medium::Disk, &self.disk)]
            .iter()
            .any(|(medium, part)| !part.ready.is_empty() && self.has_thread(*medium))
    }

    /// The longest-waiting that may start; equal ones in the order of their keys.
    pub fn next(&mut self) -> Option<BucketKey> {
        let first = |threads: &Self, medium: Medium, part: &Part| {
            threads.has_thread(medium).then(|| part.ready.first().copied()).flatten().map(|waiting| (waiting, medium))
        };
        let candidates = [first(self, Medium::Wire, &self.wire), first(self, Medium::Disk, &self.disk)];
        let (waiting, medium) = candidates.into_iter().flatten().min_by_key(|(waiting, _)| *waiting)?;
        self.of(medium).ready.remove(&waiting);
        Some(waiting.1)
    }
}
