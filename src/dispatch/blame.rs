//! Who is at fault when a batch is refused and the answer alone does not tell: the partner, or the delivery at the head
//! of the bucket. Part of the dispatcher's state machine.
//!
//! The rules are those of [`bucket::head`](super::bucket::head). They apply only while the breaker is open, so that a
//! brief disturbance puts no delivery in doubt, or where it cannot open: each accepted flush closes it, of several on the
//! wire or of another bucket. If it is of the same bucket, it is the proof that a probe would be. One of another bucket
//! went to another endpoint: it proves nothing, and does not end the bucket's own wait, or the front would be sent again
//! and again. The front has then drawn `breaker_failures` answers all the same, one after each of these waits.
//!
//! On a FIFO queue a batch is halved as well, so that the deliveries before the one at fault get through and `why` can name
//! that one; then it blocks the bucket, as order demands.
//!
//! Only server errors leave a doubt. When a single delivery is refused after `breaker_failures` culprits in a row, the
//! partner is at fault: the delivery keeps its place, so that order is kept once the partner is mended, and `why` names
//! it, so that an operator can `skip` it.

use std::sync::Arc;

use super::Dispatcher;
use super::bucket::Parcel;
use super::bucket::head::Stance;
use super::keys::BucketKey;
use super::pause::{backoff, jittered};
use super::verdict::Blame;

impl Dispatcher {
    /// Puts a refused batch back into its bucket, perhaps in two halves, while its partner or the bucket waits. Keeps
    /// account of how often the batch has drawn such answers.
    pub(super) fn back_in_doubt(&mut self, key: BucketKey, mut parcel: Parcel, blame: Blame) {
        self.rest_with_partner(key);
        let Some(bucket) = self.partners.bucket(key) else { return };
        let fifo = self.queues.get(bucket.queue).is_some_and(|queue| queue.rules.fifo);
        let Some(partner) = self.partners.partner(bucket.partner) else { return };
        let (tries_behind, enough) = (partner.tries_what_is_behind(), partner.rules.breaker_failures);
        let (accepted, others_fly) = (bucket.accepted, !partner.flights.is_empty());
        if std::mem::take(&mut parcel.doubt.probes)
            && let Some(bucket) = self.partners.bucket_mut(key)
        {
            bucket.probe_refused(enough);
        }
        if parcel.doubt.stance == Stance::OnTrial {
            parcel.doubt.stance = Stance::Goes;
        }
        parcel.doubt.refused = blame == Blame::Refuses;
        if blame == Blame::InDoubt {
            let is_proven = parcel.doubt.draws > 0 && accepted != parcel.doubt.accepted_before;
            (parcel.doubt.draws, parcel.doubt.accepted_before) = (parcel.doubt.draws.saturating_add(1), accepted);
            if (tries_behind || others_fly) && parcel.doubt.draws >= enough {
                if parcel.slips.len() > 1 {
                    return self.back_halved(key, parcel);
                }
                parcel.doubt.stance = if fifo {
                    Stance::Goes
                } else if tries_behind {
                    Stance::StepsAside
                } else if is_proven {
                    Stance::OnTrial
                } else {
                    Stance::Goes
                };
            }
        }
        self.back_into_bucket(key, parcel);
    }

    /// Has the bucket rest for as long as its partner backs off, if the partner has other buckets, whose accepted flushes may
    /// end the partner's wait.
    fn rest_with_partner(&mut self, key: BucketKey) {
        let Some(bucket) = self.partners.bucket(key) else { return };
        let Some(partner) = self.partners.partner(bucket.partner).filter(|partner| partner.buckets.are_several()) else { return };
        let Some(until) = partner.backs_off_until(self.now) else { return };
        let (failures, rules) = (partner.failures(), Arc::clone(&partner.rules));
        let error = partner.last_error.clone().unwrap_or_default();
        let Some(bucket) = self.partners.bucket_mut(key) else { return };
        let own = bucket.gate.failed(self.now, error);
        // Other endpoints of the partner ended its failures in a row, but not those of this one: its rest grows with each of
        // them, or it would have the others wait again and again.
        let longer = (own > failures).then(|| backoff(rules.min_backoff, rules.max_backoff, own));
        let longer = longer.map(|wait| self.now + jittered(wait, &mut self.random));
        bucket.gate.rests(longer.map_or(until, |longer| longer.max(until)));
    }
}
