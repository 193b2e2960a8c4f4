//! Leases of what is held are extended in time.

use super::Dispatcher;
use super::exits::settling::Hide;
use super::keys::QueueIndex;
use super::timer::Timer;

impl Dispatcher {
    /// Has the leases extended of which no more than half is left; what was held for too long is returned.
    pub(super) fn extend_leases(&mut self, index: QueueIndex) {
        while let Some(tickets) = self.ledger.due_leases(index, self.now) {
            for ticket in tickets {
                let Some(held) = self.ledger.get(ticket) else { continue };
                if !self.ledger.is_held_too_long(held, self.now) {
                    if let Some(queue) = self.queues.get_mut(index) {
                        queue.settling.hide(ticket, Hide::Extend);
                    }
                } else if !held.is_leaving() {
                    self.held_too_long(ticket);
                }
            }
        }
        self.let_go();
        self.watch_leases(index);
    }

    /// Makes sure that the leases of the queue are looked after in time.
    pub(super) fn watch_leases(&mut self, index: QueueIndex) {
        if let Some(at) = self.ledger.next_lease(index)
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.lease_alarm.by(&mut self.due, at, Timer::Lease(index));
        }
    }
}
