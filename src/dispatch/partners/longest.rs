//! The delivery that has waited for the longest, as shown to operators.

use std::time::Instant;

use crate::dispatch::keys::BucketKey;
use crate::dispatch::waiting::Slip;

use super::Partners;

impl Partners {
    /// Returns the delivery of the bucket that has waited for the longest. A delivery on the wire counts
    /// as waiting if its partner is away: it spends timeout after timeout there, and if it is the only
    /// one nothing else would show it.
    pub fn longest(&self, key: BucketKey) -> Option<&Slip> {
        let bucket = self.bucket(key)?;
        let partner = self.partner(bucket.partner)?;
        let away = if self.is_away_for(bucket.partner, bucket.queue) { partner.flights.as_slice() } else { &[] };
        let flights = away.iter().filter_map(|flush| self.flights.get(*flush)).filter(|flight| flight.bucket == key);
        let on_wire = flights.flat_map(|flight| &flight.parcel.slips);
        bucket.first().into_iter().chain(on_wire).min_by_key(|slip| slip.since)
    }

    /// Returns when the longest-waiting delivery of the bucket began to wait. If all that waits is on the disk, that is not
    /// known: then it is at the latest when something last entered memory or left it.
    pub fn waits_since(&self, key: BucketKey) -> Option<Instant> {
        let parked = || self.bucket(key).filter(|bucket| bucket.parked() > 0).map(|bucket| bucket.active_at);
        self.longest(key).map(|slip| slip.since).or_else(parked)
    }
}
