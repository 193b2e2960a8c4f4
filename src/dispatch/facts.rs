//! The facts about a queue's service (see [`Facts`]), and how often a message may be received. Part of the dispatcher's
//! state machine.

use crate::message::service::Facts;

use super::Dispatcher;
use super::keys::QueueIndex;

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
}
