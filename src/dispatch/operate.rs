//! The actions of an operator on a partner: pause it, resume it, flush it now, skip the delivery that blocks it.

use crate::message::Account;
use crate::message::dead::{DeadKind, DeadReason};

use super::Dispatcher;
use super::bucket::Bucket;
use super::event::{Action, Command, Refusal, RequestId};
use super::keys::PartnerKey;
use super::partner::PartnerState;

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
        // The partner is forgotten only after its report: a partner of which nothing must be
        // remembered would have nothing to report.
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
        // During a drain, looking at the buckets returns their waiting deliveries.
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
        let buckets: Vec<_> = partner.buckets.iter().collect();
        for bucket in buckets {
            if let Some(bucket) = self.partners.bucket_mut(bucket) {
                bucket.gate.skip_wait(self.now);
            }
        }
        self.partners.touch(key);
        self.partners.list_all_of(key);
        Ok(())
    }

    fn skip(&mut self, account: &Account) -> Result<(), Refusal> {
        let key = self.known(account)?;
        let Some(partner) = self.partners.partner(key) else { return Err(Refusal::Unknown) };
        let nothing = if partner.flights.is_empty() { Refusal::NothingWaits } else { Refusal::OnTheWire };
        let waiting = partner.buckets.iter().filter_map(|key| Some((key, self.partners.bucket(key)?)));
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
        let error = partner.error_at(bucket, self.now).unwrap_or("none").to_owned();
        let may_be_sent = |ticket| self.ledger.sendable(ticket).is_some();
        let front = self.partners.bucket_mut(head).and_then(|bucket| bucket.take_front(may_be_sent));
        let (ticket, item) = front.ok_or(Refusal::NothingWaits)?;
        let text = format!("set aside by an operator (skip); last error: {error}");
        self.delivery_dead(ticket, account, &item, DeadReason { kind: DeadKind::Skipped, text });
        // The partner holds less than before, perhaps nothing.
        self.partners.touch(key);
        self.partners.list_all_of(key);
        Ok(())
    }

    fn known(&self, account: &Account) -> Result<PartnerKey, Refusal> {
        self.partners.find(account).ok_or(Refusal::Unknown)
    }
}
