//! A message that comes back: which of the deliveries that its handler makes now are known from before.
//!
//! Some may be settled, by a partner or as a dead letter; a redrive may be for one of them alone. In the meantime a reload or a restart may
//! have brought another handler, which makes other deliveries or the same ones in another order. So a delivery is found again by its
//! account first, and by its place only among several for one account. Where that does not tell, a delivery is sent once more rather than
//! lost.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::Ticket;
use crate::dispatch::ledger::Held;
use crate::message::dead::{DeadKind, DeadReason};
use crate::message::{Account, Delivery, DeliveryName};

/// About how many bytes the reason of a letter has for the names of settled deliveries.
const NAMED: usize = 420;

/// What becomes of each delivery that the handler makes now, by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It is settled, or the message was redriven for other deliveries.
    Skip,
    /// It is sent, under this index.
    Send(u16),
}

impl Dispatcher {
    /// What is known of the message's deliveries. `None`: nothing, all of them are sent.
    pub(in crate::dispatch) fn known_of(&self, ticket: Ticket, deliveries: &[Delivery]) -> Option<Vec<Again>> {
        let held = self.ledger.get(ticket)?;
        let Some(redriven) = held.redriven_for() else {
            return Some(held.settled()).filter(|settled| !settled.is_empty()).map(|settled| without(settled, deliveries));
        };
        let mut again = vec![Again::Skip; deliveries.len()];
        for (name, place) in still_open(redriven, held.settled(), deliveries) {
            if let Some(place) = place.and_then(|place| again.get_mut(place)) {
                // The index that the partner knows it by: it is a part of the delivery's id.
                *place = Again::Send(name.index);
            }
        }
        Some(again)
    }

    /// Sets the message aside if one of the deliveries that it was redriven for is none of those that its handler makes now: to settle the
    /// message without that delivery would lose it. Nothing of the message is sent then, so that the letter holds all that is open. Returns
    /// whether it was set aside.
    pub(in crate::dispatch) fn lacks_what_is_open(&mut self, ticket: Ticket, deliveries: &[Delivery]) -> bool {
        let Some(held) = self.ledger.get(ticket) else { return false };
        let Some(redriven) = held.redriven_for() else { return false };
        let open = still_open(redriven, held.settled(), deliveries);
        let missing: Vec<_> = open.iter().filter(|(_, place)| place.is_none()).map(|(name, _)| *name).collect();
        if missing.is_empty() {
            return false;
        }
        let (open, missing, now) = (list(open.iter().map(|(name, _)| *name)), list(missing.into_iter()), deliveries.len());
        let text = format!(
            "redriven for its deliveries {open} (counted from 0), of which its handler does not make {missing} any more, or not at that \
             place among several for one account: it makes {now} now; nothing of it was sent; redrive it once the handler makes them \
             again, or purge it and send it anew"
        );
        self.leave_as_dead(ticket, DeadReason { kind: DeadKind::Rejected, text });
        true
    }

    /// Adds to the reason of a letter about the whole message which of its deliveries are settled. A person decides by that
    /// whether to redrive it: SQS has no place for it, and sends these again.
    pub(in crate::dispatch) fn with_what_is_settled(&self, ticket: Ticket, reason: DeadReason) -> DeadReason {
        let Some(settled) = self.ledger.get(ticket).map(Held::settled).filter(|settled| !settled.is_empty()) else {
            return reason;
        };
        let mut length = 0;
        let named = settled.iter().take_while(|name| {
            length += 20 + name.account.as_ref().map_or(0, |account| account.len());
            length <= NAMED
        });
        let named = named.count().max(1);
        let more = settled.len().saturating_sub(named);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = list(settled.iter().take(named));
        DeadReason { text: format!("{}; settled before: its deliveries {named}{more} (counted from 0)", reason.text), ..reason }
    }
}

/// Returns those of the deliveries that a message was redriven for which were not settled since, by the same names, and where each
/// is now. A settled one keeps the place that it had beside them, or another would be taken for it.
fn still_open<'a>(
    redriven: &'a [DeliveryName],
    settled: &[DeliveryName],
    now: &[Delivery],
) -> Vec<(&'a DeliveryName, Option<usize>)> {
    let mut settled: Vec<&DeliveryName> = settled.iter().collect();
    settled.sort_by_key(|settled| settled.index);
    let is_open = |(name, _): &(&DeliveryName, Option<usize>)| {
        let from = settled.partition_point(|settled| settled.index < name.index);
        let mut with_index = settled.iter().skip(from).take_while(|settled| settled.index == name.index);
        !with_index.any(|settled| is_same(settled, name))
    };
    redriven.iter().zip(places(redriven, now)).filter(is_open).collect()
}

/// Returns what is sent of the deliveries now, if these were settled. Of several for one account, some may have been settled as
/// an earlier handler made them and sent again, and others since, as the handler makes them now. So where one for an account
/// is at its place, one that is not tells nothing: it may be the same one.
fn without(settled: &[DeliveryName], now: &[Delivery]) -> Vec<Again> {
    let found: Vec<_> = settled.iter().zip(places(settled, now)).filter_map(|(name, place)| Some((name, place?))).collect();
    let is_at_home = |(name, place): &(&DeliveryName, usize)| usize::from(name.index) == *place;
    let at_home: HashSet<&Account> =
        found.iter().filter(|one| is_at_home(one)).filter_map(|(name, _)| name.account.as_ref()).collect();
    let mut again: Vec<Again> = (0..).zip(now).map(|(index, _)| Again::Send(index)).collect();
    for one in &found {
        if (is_at_home(one) || one.0.account.as_ref().is_none_or(|account| !at_home.contains(account)))
            && let Some(place) = again.get_mut(one.1)
        {
            *place = Again::Skip;
        }
    }
    again
}

fn is_same(a: &DeliveryName, b: &DeliveryName) -> bool {
    a.index == b.index && (a.account == b.account || a.account.is_none() || b.account.is_none())
}

/// Where each of the `known` deliveries is among those `now`: at its own place if that has its account, else at the first place with its
/// account that no other has. `None`: nowhere, or it cannot be told: of several for one account some are not among the known,
/// and a known one is not at its place any more. To take one of them for it could lose the one that is open.
fn places(known: &[DeliveryName], now: &[Delivery]) -> Vec<Option<usize>> {
    let mut taken = vec![false; now.len()];
    let mut take = |place: usize| taken.get_mut(place).is_some_and(|taken| !std::mem::replace(taken, true));
    let at_home = |name: &DeliveryName| {
        let place = usize::from(name.index);
        let delivery = now.get(place)?;
        name.account.as_ref().is_none_or(|account| *account == delivery.account).then_some(place)
    };
    let mut places: Vec<Option<usize>> = known.iter().map(|name| at_home(name).filter(|place| take(*place))).collect();
    if places.iter().all(Option::is_some) {
        return places;
    }
    let mut free: HashMap<&Account, VecDeque<usize>> = HashMap::new();
    for (place, delivery) in now.iter().enumerate().filter(|(place, _)| take(*place)) {
        free.entry(&delivery.account).or_default().push_back(place);
    }
    let mut moved: HashSet<&Account> = HashSet::new();
    for (name, found) in known.iter().zip(&mut places) {
        if let (Some(account), None) = (&name.account, &found) {
            *found = free.get_mut(account).and_then(VecDeque::pop_front);
            moved.extend(found.map(|_| account));
        }
    }
    let is_unsure = |account: &Account| moved.contains(account) && free.get(account).is_some_and(|free| !free.is_empty());
    for (name, found) in known.iter().zip(&mut places) {
        if name.account.as_ref().is_some_and(is_unsure) {
            *found = None;
        }
    }
    places
}

fn list<'a>(names: impl Iterator<Item = &'a DeliveryName>) -> String {
    let text = |name: &DeliveryName| match &name.account {
        Some(account) => format!("{} for {account:?}", name.index),
        None => name.index.to_string(),
    };
    names.map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(index: u16, account: &str) -> DeliveryName {
        DeliveryName { index, account: (account != "?").then(|| account.into()) }
    }

    fn found(known: &[(u16, &str)], now: &str) -> Vec<Option<usize>> {
        let known: Vec<_> = known.iter().map(|(index, account)| name(*index, account)).collect();
        let now: Vec<_> =
            now.split_whitespace().map(|account| Delivery { account: account.into(), payload: "1".into() }).collect();
        places(&known, &now)
    }

    #[test]
    fn a_delivery_is_where_it_was_or_where_its_account_is_now() {
        assert_eq!(found(&[(0, "a"), (1, "b")], "a b c"), [Some(0), Some(1)]);
        assert_eq!(found(&[(0, "a")], "b a"), [Some(1)]);
        assert_eq!(found(&[(1, "b")], "b"), [Some(0)]);
        assert_eq!(found(&[(0, "a")], "b"), [None]);
        assert_eq!(found(&[(2, "c")], "a b"), [None]);
    }

    #[test]
    fn of_several_for_one_account_each_is_found_once() {
        assert_eq!(found(&[(0, "a"), (1, "a")], "a a"), [Some(0), Some(1)]);
        assert_eq!(found(&[(1, "a")], "a a"), [Some(1)], "its own place comes first");
        assert_eq!(found(&[(0, "a"), (1, "a")], "b a a"), [Some(2), Some(1)]);
        assert_eq!(found(&[(0, "a"), (1, "a")], "a"), [Some(0), None]);
    }

    #[test]
    fn of_several_for_one_account_one_that_moved_may_be_any() {
        assert_eq!(found(&[(2, "a")], "a a b"), [None]);
        assert_eq!(found(&[(0, "a"), (3, "a"), (2, "b")], "a a a b"), [None, None, Some(3)]);
        assert_eq!(found(&[(2, "a"), (3, "a")], "a a b"), [Some(0), Some(1)], "all of them are known");
    }

    #[test]
    fn without_an_account_the_place_has_to_do() {
        assert_eq!(found(&[(1, "?"), (9, "?")], "a b"), [Some(1), None]);
    }
}
