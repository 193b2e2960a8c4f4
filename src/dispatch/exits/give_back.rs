//! How messages are returned to their queue in an order in which nothing of a FIFO group is overtaken. Part of the
//! dispatcher's state machine.

use std::time::Instant;

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::{QueueIndex, Ticket};
use crate::dispatch::ledger::Stage;

impl Dispatcher {
    /// Returns a message to its queue, hidden until `until`, and on a FIFO queue those held behind it in its group as
    /// well: newest first, so that the group stays locked until its first message is returned.
    pub(in crate::dispatch) fn give_back(&mut self, ticket: Ticket, until: Instant) {
        self.give_back_those_behind(ticket, until);
        self.leave_by_return(ticket, until);
    }

    /// Returns the messages that are held behind this one in its FIFO group, newest first. On a
    /// standard queue there are none.
    pub(in crate::dispatch) fn give_back_those_behind(&mut self, ticket: Ticket, until: Instant) {
        if let Some(held) = self.ledger.get(ticket) {
            self.give_back_those_after(ticket, held.sequence, until);
        }
    }

    /// Does the same with those of the group whose numbers are larger than `sequence`.
    pub(in crate::dispatch) fn give_back_those_after(&mut self, ticket: Ticket, sequence: u64, until: Instant) {
        let Some(held) = self.ledger.get(ticket) else { return };
        let Some(queue) = self.queues.get_mut(held.queue) else { return };
        for follower in queue.order.take_along(sequence, &held.message, until).into_iter().rev() {
            // A message that is in its handler follows when the handler ends.
            if self.ledger.get(follower).is_some_and(|held| held.stage() != Stage::Handling) {
                self.leave_by_return(follower, until);
            }
        }
    }

    /// Returns all messages of the queue that no handler has begun with.
    pub(in crate::dispatch) fn return_pending(&mut self, index: QueueIndex) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        for job in queue.intake.drain().into_iter().rev() {
            self.give_back(job.ticket, self.now);
        }
        self.act_on_released();
    }
}
