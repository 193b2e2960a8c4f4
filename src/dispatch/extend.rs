//! Extends the leases of held copies before they end, and has all leases end earlier if the machine slept. Part of the
//! dispatcher's state machine.

use std::time::Duration;

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

    /// Records that more time has passed by the clocks of the queues than by ours, so that all leases end earlier by that, and
    /// hidden messages show earlier. A receive that was under way meanwhile is not known here: it reports a lease as long as it
    /// was asked for.
    pub(super) fn lose_time(&mut self, by: Duration) {
        self.ledger.lose_time(by, self.now);
        self.hidden.lose_time(by);
        self.forget_shown();
        for index in 0..self.queues.len() {
            if let Some(queue) = self.queues.get_mut(index) {
                queue.calls.lose_time(by);
            }
            self.watch_leases(index);
        }
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
