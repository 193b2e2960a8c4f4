//! Whose fault it is that a batch was refused, where the answer leaves that open: the partner's, or that of the delivery at its head.
//!
//! The rules are those of [`bucket::head`](super::bucket::head). They need an open breaker, so that nothing is in doubt because of a
//! moment's trouble. On FIFO queues a batch is halved just the same, so that what is before the one at fault is delivered and `why` names
//! that one; then it blocks, as order demands.
//!
//! Only server errors are in doubt. The refusal of a single delivery after `breaker_failures` culprits in a row is the partner's fault:
//! the delivery keeps its turn, so that all are in order once the partner is mended, and `why` names it, for `skip`.

use super::Dispatcher;
use super::bucket::Parcel;
use super::keys::BucketKey;
use super::verdict::Blame;

impl Dispatcher {
    /// A batch was refused, and its partner or its bucket waits for it. It goes back to its place, perhaps in two halves.
    pub(super) fn back_in_doubt(&mut self, key: BucketKey, mut parcel: Parcel, blame: Blame) {
        let Some(bucket) = self.partners.bucket(key) else { return };
        let fifo = self.queues.get(bucket.queue).is_some_and(|queue| queue.intake.rules.fifo);
        let Some(partner) = self.partners.partner(bucket.partner) else { return };
        let (is_open, enough) = (partner.is_open(), partner.rules.breaker_failures);
        if std::mem::take(&mut parcel.doubt.probes)
            && let Some(bucket) = self.partners.bucket_mut(key)
        {
            bucket.probe_refused(enough);
        }
        parcel.doubt.on_trial = false;
        parcel.doubt.refused = blame == Blame::Refuses;
        if blame == Blame::InDoubt {
            parcel.doubt.draws = parcel.doubt.draws.saturating_add(1);
            if is_open && parcel.doubt.draws >= enough {
                if parcel.slips.len() > 1 {
                    self.back_halved(key, parcel);
                    return self.return_what_cannot_leave(key);
                }
                parcel.doubt.steps_aside = !fifo;
            }
        }
        self.back_into_bucket(key, parcel);
    }
}
