//! Deliveries that have waited for longer than their partner's `give_up_after`. Part of the dispatcher's state machine.

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::BucketKey;
use crate::message::dead::{DeadKind, DeadReason};

impl Dispatcher {
    /// Sets aside, as dead letters, the bucket's deliveries that are older than the partner's `give_up_after`.
    pub(in crate::dispatch) fn expire(&mut self, key: BucketKey) {
        let Some(bucket) = self.partners.bucket(key) else { return };
        let partner_key = bucket.partner;
        let Some(partner) = self.partners.partner(partner_key) else { return };
        let Some(give_up_after) = partner.rules.give_up_after else { return };
        let account = partner.account.clone();
        let error = partner.error_at(bucket, self.now).unwrap_or("none").to_owned();
        let Some(before) = self.now.checked_sub(give_up_after) else { return };
        let expired = self.partners.bucket_mut(key).map(|bucket| bucket.expire(before)).unwrap_or_default();
        self.partners.touch(partner_key);
        for (ticket, item) in expired {
            // Skip the deliveries of messages that are being returned, or whose lease is lost.
            if self.ledger.sendable(ticket).is_none() {
                continue;
            }
            let text = format!("not delivered within give_up_after = {give_up_after:?}; last error: {error}");
            self.delivery_dead(ticket, &account, &item, DeadReason { kind: DeadKind::Expired, text });
        }
    }
}
