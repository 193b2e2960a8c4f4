//! Whose fault it is that a batch was refused, where the answer leaves that open: the partner's, or that of the delivery at its head.
//!
//! The rules are those of [`bucket::head`](super::bucket::head). They need an open breaker, so that nothing is in doubt because of a
//! moment's trouble. On FIFO queues a batch is halved just the same, so that what is before the one at fault is delivered and `why` names
//! that one; then it blocks, as order demands.
//!
//! Two kinds of answers are in doubt. Server errors, as above. And the refusal of a single delivery after `breaker_failures` culprits in
//! a row: the contract takes that for the partner's fault and has nothing dead-lettered, but not everybody's messages are good more often
//! than that, so the delivery steps aside at once. Whatever is accepted then shows that those before it were culprits indeed; where
//! nothing is, nothing more is set aside.

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
        if blame != Blame::Partner {
            let draws = parcel.doubt.draws.saturating_add(1);
            parcel.doubt.draws = if blame == Blame::InGraveDoubt { draws.max(enough) } else { draws };
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
