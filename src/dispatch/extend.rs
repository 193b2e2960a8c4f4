//! Extends the leases of held copies before they end. Part of the dispatcher's state machine.

use super::Dispatcher;
use super::exits::calls::Hide;
use super::keys::QueueIndex;
use super::timer::Timer;

impl Dispatcher {
    /// Requests the extension of every lease of which no more than half is left. A copy that was held for too long is
    /// returned or set aside instead.
    pub(super) fn extend_leases(&mut self, index: QueueIndex) {
        while let Some(tickets) = self.ledger.due_leases(index, self.now) {
            for ticket in tickets {
                let Some(held) = self.ledger.get(ticket) else { continue };
                if !self.ledger.is_held_too_long(held, self.now) {
                    if let Some(queue) = self.queues.get_mut(index) {
                        queue.calls.hide(ticket, Hide::Extend);
                    }
                } else if !held.is_leaving() {
                    self.held_too_long(ticket);
                }
            }
        }
        self.act_on_released();
        self.watch_leases(index);
    }

    /// Makes sure that the leases of the queue are looked after in time.
    pub(super) fn watch_leases(&mut self, index: QueueIndex) {
        if let Some(at) = self.ledger.next_lease(index)
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.alarms.lease.by(&mut self.due, at, Timer::Lease(index));
        }
    }
}
