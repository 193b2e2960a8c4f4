//! Messages that were held for nearly as long as their queue allows. Part of the dispatcher's state machine.

use super::reason::ReturnReason;
use crate::dispatch::Dispatcher;
use crate::dispatch::keys::Ticket;
use crate::dispatch::ledger::Stage;
use crate::message::dead::{DeadKind, DeadReason};

impl Dispatcher {
    /// Lets go of a message that was held for so long that its queue will soon show it again, whatever is requested.
    ///
    /// Parks its waiting deliveries if possible, and else returns it in time. If another receive would
    /// bring it to [`Dispatcher::last_receive`], where the service may set it aside without a reason, it
    /// becomes a dead letter instead.
    pub(in crate::dispatch) fn held_too_long(&mut self, ticket: Ticket) {
        self.park_in_time(ticket);
        self.leaves_in_time(ticket);
    }

    /// Does the same without parking. Does nothing while a delivery of the message is on its way to the disk.
    fn leaves_in_time(&mut self, ticket: Ticket) {
        let Some(held) = self.ledger.get(ticket).filter(|held| !held.is_on_way_to_disk()) else { return };
        let (index, receives, delivering) = (held.queue, held.receives, held.stage() == Stage::Delivering);
        let Some(last) = self.last_receive(index).filter(|last| receives.saturating_add(1) >= *last) else {
            self.set_return_reason(ticket, ReturnReason::HeldTooLong);
            return self.give_back(ticket, self.now);
        };
        let text = format!(
            "held for as long as the queue allows, in its receive {receives} of {last}; redrive it once its partner takes deliveries"
        );
        let reason = DeadReason { kind: DeadKind::PartnerUnavailable, text };
        if delivering { self.open_dead(ticket, &reason) } else { self.leave_as_dead(ticket, reason) }
    }

    /// Turns the waiting deliveries of a message into dead letters. What is on the wire is the last of it that is sent.
    fn open_dead(&mut self, ticket: Ticket, reason: &DeadReason) {
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        if held.on_wire() > 0 {
            let special = held.special_mut();
            (special.withdrawn, special.return_reason) = (Some(self.now), Some(ReturnReason::HeldTooLong));
        }
        for spot in held.spots() {
            if let Some((account, item)) = self.partners.take(spot, ticket) {
                self.delivery_dead(ticket, &account, &item, reason.clone());
            }
        }
    }
}
