//! What an operator does to a partner: pause it, resume it, have it tried now.

use std::time::Duration;

use crate::message::Account;

use super::Dispatcher;
use super::event::Command;
use super::keys::PartnerKey;

/// Names a question, so that its answer finds whoever asked.
pub type RequestId = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No flush starts until it is resumed; what is on the wire lands. Also for a partner of whom nothing was heard yet. A pause outlives
    /// everything but the process.
    Pause,
    Resume,
    /// What waits leaves now: without company, and without regard to back-off, breaker and a bucket's gate. While it fails that is one
    /// probe, as ever. Its rate is kept.
    Flush,
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("nothing is known of this partner: nothing waits for it, and nothing of it had to be remembered")]
    Unknown,
    #[error("this partner is paused: resume it first")]
    Paused,
    /// A `Retry-After` is obeyed, whoever wants otherwise.
    #[error("the partner asked for a pause (Retry-After): {} s of it are left", left.as_secs_f64().ceil())]
    AskedToWait { left: Duration },
}

impl Dispatcher {
    pub(super) fn operate(&mut self, request: RequestId, account: Account, action: Action) {
        let done = match action {
            Action::Pause => self.pause(account.clone()),
            Action::Resume => self.resume(&account),
            Action::Flush => self.flush_now(&account),
        };
        let report = || self.partner(&account).map(Box::new).ok_or(Refusal::Unknown);
        let result = done.and_then(|()| report());
        // Only now: a partner of whom nothing is left to remember would have nothing to report.
        if let Some(key) = self.partners.find(&account) {
            self.partners.forget_if_done(key, self.now, &mut self.due);
        }
        self.commands.push_back(Command::Reply { request, result });
    }

    fn pause(&mut self, account: Account) -> Result<(), Refusal> {
        let key = self.partners.find_or_add(account);
        if let Some(partner) = self.partners.partner_mut(key) {
            partner.pause(true);
        }
        // While it drains, what waits is returned when it is looked at.
        self.partners.list_all_of(key);
        Ok(())
    }

    fn resume(&mut self, account: &Account) -> Result<(), Refusal> {
        let key = self.known(account)?;
        if let Some(partner) = self.partners.partner_mut(key) {
            partner.pause(false);
        }
        self.partners.list_all_of(key);
        Ok(())
    }

    fn flush_now(&mut self, account: &Account) -> Result<(), Refusal> {
        let key = self.known(account)?;
        let Some(partner) = self.partners.partner_mut(key) else { return Err(Refusal::Unknown) };
        if partner.is_paused() {
            return Err(Refusal::Paused);
        }
        if let Some(until) = partner.asked_until(self.now) {
            return Err(Refusal::AskedToWait { left: until.saturating_duration_since(self.now) });
        }
        partner.hurry(self.now);
        for bucket in partner.buckets.clone() {
            if let Some(bucket) = self.partners.bucket_mut(bucket) {
                bucket.gate.skip_wait(self.now);
            }
        }
        self.partners.list_all_of(key);
        Ok(())
    }

    fn known(&self, account: &Account) -> Result<PartnerKey, Refusal> {
        self.partners.find(account).ok_or(Refusal::Unknown)
    }
}
