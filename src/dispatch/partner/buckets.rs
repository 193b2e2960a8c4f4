//! The buckets of one partner: all of them by queue, and those of them that are in use. A partner that many queues feed
//! has many buckets, few of which hold something at a time. What is asked for each delivery looks at these only.

use smallvec::SmallVec;

use crate::dispatch::keys::{BucketKey, QueueIndex};

/// The keys of a partner's buckets.
#[derive(Debug, Default)]
pub struct Buckets {
    /// One for each queue that has deliveries for the partner.
    all: SmallVec<[(QueueIndex, BucketKey); 1]>,
    /// Each bucket that has something in memory, on the wire or parked. One that has nothing any more may be among them
    /// until [`Buckets::look_over`].
    in_use: SmallVec<[BucketKey; 1]>,
}

impl Buckets {
    /// Adds the bucket of a queue that had none.
    pub fn add(&mut self, queue: QueueIndex, key: BucketKey) {
        self.all.push((queue, key));
    }

    /// Removes a bucket.
    pub fn remove(&mut self, key: BucketKey) {
        self.all.retain(|(_, other)| *other != key);
        self.in_use.retain(|other| *other != key);
    }

    /// Returns the bucket of this queue.
    pub fn of_queue(&self, queue: QueueIndex) -> Option<BucketKey> {
        self.all.iter().find(|(of, _)| *of == queue).map(|(_, key)| *key)
    }

    /// Returns all buckets.
    pub fn iter(&self) -> impl Iterator<Item = BucketKey> {
        self.all.iter().map(|(_, key)| *key)
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns whether there are several.
    pub fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    /// Returns the buckets that are in use.
    pub fn in_use(&self) -> &[BucketKey] {
        &self.in_use
    }

    /// Records that a bucket that was not in use is.
    pub fn begin_use(&mut self, key: BucketKey) {
        self.in_use.push(key);
    }

    /// Calls `is_in_use` for each bucket that was in use, and keeps those for which it returns true.
    pub fn look_over(&mut self, mut is_in_use: impl FnMut(BucketKey) -> bool) {
        self.in_use.retain(|key| is_in_use(*key));
    }
}
