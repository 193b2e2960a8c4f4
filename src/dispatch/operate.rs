//! What an operator does to a partner: pause it, resume it, have it tried now, set aside what blocks it.

use std::time::Duration;

use crate::message::Account;
use crate::message::settle::DeadReason;

use super::Dispatcher;
use super::bucket::Bucket;
use super::event::Command;
use super::keys::PartnerKey;
use super::ledger::Held;
use super::partner::PartnerState;

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
    /// The delivery that is first in order, of the longest-waiting of its buckets that are in trouble, becomes a dead letter. Nothing else
    /// changes: the next attempt comes when it was to come.
    Skip,
}

impl Action {
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Flush, Self::Skip];

    /// As the admin server's paths name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Flush => "flush",
            Self::Skip => "skip",
        }
    }
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
    #[error("nothing waits for this partner, so that there is nothing to set aside")]
    NothingWaits,
    /// What is on the wire may be accepted at any moment: it cannot be set aside, and what is behind it is not the head.
    #[error("a flush to this partner is on the wire: try again once it has landed, at its timeout at the latest")]
    OnTheWire,
    /// What would be set aside is about to be delivered.
    #[error("nothing blocks this partner, it takes what waits: pause it first if something is to be set aside all the same")]
    NotBlocked,
}

impl Dispatcher {
    pub(super) fn operate(&mut self, request: RequestId, account: Account, action: Action) {
        let done = match action {
            Action::Pause => self.pause(account.clone()),
            Action::Resume => self.resume(&account),
            Action::Flush => self.flush_now(&account),
            Action::Skip => self.skip(&account),
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
        self.partners.touch(key);
        // While it drains, what waits is returned when it is looked at.
        self.partners.list_all_of(key);
        Ok(())
    }

    fn resume(&mut self, account: &Account) -> Result<(), Refusal> {
        let key = self.known(account)?;
        if let Some(partner) = self.partners.partner_mut(key) {
            partner.pause(false);
        }
        self.partners.touch(key);
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

    fn skip(&mut self, account: &Account) -> Result<(), Refusal> {
        let key = self.known(account)?;
        let Some(partner) = self.partners.partner(key) else { return Err(Refusal::Unknown) };
        let nothing = if partner.flights.is_empty() { Refusal::NothingWaits } else { Refusal::OnTheWire };
        let waiting = partner.buckets.iter().filter_map(|key| Some((*key, self.partners.bucket(*key)?)));
        let waiting: Vec<_> = waiting.filter(|(_, bucket)| !bucket.is_empty()).collect();
        if waiting.is_empty() {
            return Err(nothing);
        }
        let is_in_trouble = |bucket: &Bucket| {
            let state = partner.state(Some(bucket), self.now);
            !matches!(state, PartnerState::Healthy | PartnerState::Limited)
        };
        let troubled = waiting.into_iter().filter(|(_, bucket)| is_in_trouble(bucket));
        let (head, bucket) = troubled.min_by_key(|(key, bucket)| (bucket.oldest(), *key)).ok_or(Refusal::NotBlocked)?;
        if bucket.in_flight > 0 {
            return Err(Refusal::OnTheWire);
        }
        let (queue, error) = (bucket.queue, partner.last_error.as_deref().unwrap_or("none").to_owned());
        let ledger = &self.ledger;
        let held = |ticket| ledger.get(ticket).is_some_and(Held::may_be_sent);
        let front = self.partners.bucket_mut(head).and_then(|bucket| bucket.take_front(held));
        let (ticket, item) = front.ok_or(Refusal::NothingWaits)?;
        let text = format!("set aside by an operator (skip); last error: {error}");
        self.delivery_dead(queue, ticket, account, &item, DeadReason { kind: "skipped", text });
        self.partners.list_all_of(key);
        Ok(())
    }

    fn known(&self, account: &Account) -> Result<PartnerKey, Refusal> {
        self.partners.find(account).ok_or(Refusal::Unknown)
    }
}
