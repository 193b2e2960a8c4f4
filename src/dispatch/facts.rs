//! The facts about a queue's service (see [`Facts`]) and what follows from them: for how long a message may be held,
//! and whether it may be returned. Part of the dispatcher's state machine.

use std::time::Duration;

use crate::message::settle::{DeadKind, DeadReason, Facts};

use super::Dispatcher;
use super::exits::reason::ReturnReason;
use super::keys::{QueueIndex, Ticket};
use super::ledger::Stage;
use super::pause::retry_delay;

/// How long a rejected message is hidden if its queue has no dead letters; doubled with each receive.
const CIRCULATION: Duration = Duration::from_secs(30);

impl Dispatcher {
    /// Takes in the facts about the queue's service.
    pub(super) fn facts_received(&mut self, index: QueueIndex, facts: Facts) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("facts of an unknown queue") };
        queue.facts = facts;
        queue.reached = true;
        self.ledger.set_longest_lease(index, facts.longest_lease);
        self.limit_room(index);
    }

    /// Returns the number of receives after which a message of the queue becomes a dead letter. It is the lower
    /// of our `max_receives` and the service's own limit, at which the service would set the message aside
    /// without a reason. `None`: never.
    pub(super) fn last_receive(&self, index: QueueIndex) -> Option<u32> {
        let queue = self.queues.get(index)?;
        let ours = Some(queue.rules.max_receives).filter(|max| *max > 0);
        ours.into_iter().chain(queue.facts.redrive_after).min()
    }

    /// Returns whether the queue of this copy has no dead letters (`dead_letter = "none"`), so that
    /// rejected messages circulate.
    pub(super) fn circulates(&self, ticket: Ticket) -> bool {
        let queue = self.ledger.get(ticket).and_then(|held| self.queues.get(held.queue));
        queue.is_some_and(|queue| queue.facts.circulates)
    }

    /// Returns to its queue a message that would be a dead letter if there were any; hidden for longer each time.
    pub(super) fn circulate(&mut self, ticket: Ticket, reason: &DeadReason) {
        let Some(held) = self.ledger.get(ticket) else { return };
        let (index, until) = (held.queue, self.now + retry_delay(CIRCULATION, held.receives));
        let text = format!("{}; it is returned, since dead_letter is \"none\"", reason.text);
        self.sum_up_dead(index, ticket, &DeadReason { kind: reason.kind, text });
        self.set_return_reason(ticket, ReturnReason::Circulates);
        self.give_back(ticket, until);
    }

    /// Lets go of a message that was held for so long that its queue will soon show it again, whatever is requested.
    ///
    /// Parks its waiting deliveries if possible, and else returns it in time. If another receive would
    /// bring it to [`Dispatcher::last_receive`], where the service may set it aside without a reason, it
    /// becomes a dead letter instead.
    pub(super) fn held_too_long(&mut self, ticket: Ticket) {
        self.park_in_time(ticket);
        self.leaves_in_time(ticket);
    }

    /// Does the same without parking, or after the parking had no room. Does
    /// nothing while a delivery of the message is on its way to the disk.
    pub(super) fn leaves_in_time(&mut self, ticket: Ticket) {
        let Some(held) = self.ledger.get(ticket).filter(|held| !held.goes_to_disk()) else { return };
        let (index, receives, delivering) = (held.queue, held.receives, held.stage() == Stage::Delivering);
        let Some(last) = self.last_receive(index).filter(|last| receives + 1 >= *last) else {
            self.set_return_reason(ticket, ReturnReason::HeldTooLong);
            return self.give_back(ticket, self.now);
        };
        let text = format!(
            "held for as long as the queue allows, in its receive {receives} of {last}; redrive it once its partner takes deliveries"
        );
        let reason = DeadReason { kind: DeadKind::PartnerUnavailable, text };
        if delivering { self.open_dead(index, ticket, &reason) } else { self.leave_as_dead(ticket, reason) }
    }

    /// Turns the waiting deliveries of a message into dead letters. What is on the wire is the last of it that is sent.
    fn open_dead(&mut self, index: QueueIndex, ticket: Ticket, reason: &DeadReason) {
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        if held.on_wire() > 0 {
            held.special_mut().withdrawn = Some(self.now);
        }
        for spot in held.spots() {
            if let Some((account, item)) = self.partners.take(spot, ticket) {
                self.delivery_dead(index, ticket, &account, &item, reason.clone());
            }
        }
    }
}
