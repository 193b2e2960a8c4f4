//! What has waited for the longest, as people are told.

use std::time::Instant;

use crate::dispatch::keys::BucketKey;
use crate::dispatch::partner::Partner;
use crate::dispatch::waiting::Slip;

use super::Partners;

impl Partners {
    /// The delivery of the bucket that has waited for the longest. One on the wire waits where its partner is away: it is there for the
    /// time of a timeout, again and again, and where it is the only one nothing else would tell of it.
    pub fn longest(&self, key: BucketKey) -> Option<&Slip> {
        let bucket = self.bucket(key)?;
        let partner = self.partner(bucket.partner)?;
        let away = if partner.is_away() { partner.flights.as_slice() } else { &[] };
        let flights = away.iter().filter_map(|flush| self.flights.get(*flush)).filter(|flight| flight.bucket == key);
        let on_wire = flights.flat_map(|flight| &flight.parcel.slips);
        bucket.first().into_iter().chain(on_wire).min_by_key(|slip| slip.since)
    }

    /// Since when the longest-waiting delivery of the partner waits.
    pub fn waits_since(&self, partner: &Partner) -> Option<Instant> {
        partner.buckets.iter().filter_map(|key| self.longest(*key)).map(|slip| slip.since).min()
    }
}
