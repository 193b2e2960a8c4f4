//! Queues without a place for dead letters (`dead_letter = "none"`): what would be a dead letter is returned instead.
//! Part of the dispatcher's state machine.

use std::time::Duration;

use super::reason::ReturnReason;
use crate::dispatch::Dispatcher;
use crate::dispatch::keys::Ticket;
use crate::dispatch::pause::retry_delay;
use crate::message::dead::DeadReason;

/// How long a rejected message is hidden if its queue has no dead letters; doubled with each receive.
const CIRCULATION: Duration = Duration::from_secs(30);

impl Dispatcher {
    /// Returns whether the queue of this copy has no dead letters (`dead_letter = "none"`), so that
    /// rejected messages circulate.
    pub(in crate::dispatch) fn circulates(&self, ticket: Ticket) -> bool {
        let queue = self.ledger.get(ticket).and_then(|held| self.queues.get(held.queue));
        queue.is_some_and(|queue| queue.facts.circulates)
    }

    /// Returns to its queue a message that would be a dead letter if there were any; hidden for longer each time.
    pub(in crate::dispatch) fn circulate(&mut self, ticket: Ticket, reason: &DeadReason) {
        let Some(held) = self.ledger.get(ticket) else { return };
        let (index, until) = (held.queue, self.now + retry_delay(CIRCULATION, held.receives));
        let text = format!("{}; it is returned, since dead_letter is \"none\"", reason.text);
        self.sum_up_dead(index, ticket, &DeadReason { kind: reason.kind, text });
        self.set_return_reason(ticket, ReturnReason::Circulates);
        self.give_back(ticket, until);
    }
}
