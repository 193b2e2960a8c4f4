//! A new configuration for a running dispatcher: partners get new rules; queues are added, changed and retired.
//!
//! A queue's index is never reused, so that a late result never reaches another queue. A queue that is taken away
//! *retires*: it receives nothing more, messages that its handler has not seen are returned, and the others are held,
//! delivered and settled as before, its parked deliveries included. Once nothing of these is left the queue is gone;
//! its counts stay with its name.

use std::time::Duration;

use super::Dispatcher;
use super::event::Command;
use super::keys::QueueIndex;
use super::parking::Transfer;
use super::queue_state::{QueueStage, QueueState};
use super::rules::{NewQueue, ParkingRules, PartnerTable, QueueChanges, QueueRules};
use super::timer::Timer;

/// The time between two searches for parked deliveries of a retiring queue.
const LOOK: Duration = Duration::from_secs(1);

impl Dispatcher {
    pub(super) fn reloaded(&mut self, partners: PartnerTable, queues: QueueChanges) {
        self.partners.set_rules(partners, self.now, &mut self.due);
        for (index, rules) in queues.changed {
            self.change_queue(index, rules);
        }
        for index in queues.retired {
            self.retire(index);
        }
        for NewQueue { rules, parking } in queues.added {
            self.add_queue(rules, parking);
        }
        self.room.share_among(self.queues.iter().map(QueueState::receives));
    }

    fn change_queue(&mut self, index: QueueIndex, rules: QueueRules) {
        let Some(queue) = self.queues.get_mut(index).filter(|queue| queue.is_serving()) else { return };
        self.ledger.set_lease(index, rules.visibility_timeout);
        self.phase.census.adapt_to(&rules);
        queue.set_rules(rules);
    }

    fn add_queue(&mut self, rules: QueueRules, parking: Option<ParkingRules>) {
        let index = self.queues.len();
        self.phase.census.adapt_to(&rules);
        let mut queue = QueueState::new(rules, self.room.most());
        // An earlier queue of the same name may have read the same messages.
        for before in self.queues.iter().filter(|before| before.rules.name == queue.rules.name) {
            queue.known.learn(&before.known);
        }
        self.enter(queue);
        self.bound_known();
        if let Some(parking) = parking {
            if let Some(queue) = self.queues.get_mut(index) {
                queue.parking = Some(Box::new(Transfer::new(index + 1)));
            }
            let rules = QueueRules::of_parking(&parking);
            self.enter(QueueState { parks_for: Some(index), ..QueueState::new(rules, 0) });
            self.found_parked(index, parking.found);
        }
    }

    fn enter(&mut self, queue: QueueState) {
        self.ledger.add_queue(queue.rules.visibility_timeout);
        self.hidden.add_queue();
        self.phase.census.add_queue();
        self.living.push(self.queues.len());
        self.queues.push(queue);
    }

    /// Stops asking the queue for messages.
    fn retire(&mut self, index: QueueIndex) {
        let Some(queue) = self.queues.get_mut(index).filter(|queue| queue.receives()) else { return };
        queue.stage = QueueStage::Retiring;
        self.commands.push_back(Command::Interrupt { queue: index });
        self.return_pending(index);
        // Whichever process reads that queue from now on finds its hidden messages once they show by themselves.
        while let Some(partner) = self.hidden.forget_one_of(index) {
            self.count_hidden(index, partner);
        }
        if let Some(rows) = self.rows_of(index)
            && let Some(queue) = self.queues.get_mut(rows)
        {
            queue.stage = QueueStage::Retiring;
        }
    }

    fn rows_of(&self, index: QueueIndex) -> Option<QueueIndex> {
        Some(self.queues.get(index)?.parking.as_deref()?.rows)
    }

    /// Declares retiring queues gone if nothing of them is left. Called at the end of each turn.
    pub(super) fn look_for_gone(&mut self) {
        let retiring =
            |index: &QueueIndex| self.queues.get(*index).is_some_and(|queue| queue.parks_for.is_none() && queue.is_retiring());
        let retiring: Vec<_> = self.living.iter().copied().filter(retiring).collect();
        for index in retiring {
            let rows = self.rows_of(index);
            if !std::iter::once(index).chain(rows).all(|index| self.nothing_is_left_of(index)) || self.has_parked(index, rows) {
                continue;
            }
            for index in std::iter::once(index).chain(rows) {
                self.say_sums(index, true);
                if let Some(queue) = self.queues.get_mut(index) {
                    queue.stage = QueueStage::Gone;
                    queue.known.forget_all();
                    queue.troubles.clear();
                }
                self.living.retain(|living| *living != index);
                self.commands.push_back(Command::Close { queue: index });
            }
        }
    }

    /// Returns whether nothing of the queue is held and no call or job of it is under way.
    fn nothing_is_left_of(&self, index: QueueIndex) -> bool {
        self.queues.get(index).is_some_and(|queue| {
            let calls_done = queue.has_no_calls() && !queue.calls.is_counting();
            queue.intake.is_empty() && calls_done && self.ledger.oldest(index).is_none()
        })
    }

    /// Returns whether something of the queue is parked. The search looks at all buckets, so that it runs at most once
    /// per second; between two searches the answer is true.
    fn has_parked(&mut self, index: QueueIndex, rows: Option<QueueIndex>) -> bool {
        if rows.is_none() {
            return false;
        }
        let Some(queue) = self.queues.get_mut(index) else { return false };
        if queue.look_at.is_some_and(|at| at > self.now) {
            return true;
        }
        queue.look_at = Some(self.now + LOOK);
        let mut lots =
            self.partners.buckets().filter(|(_, bucket)| bucket.queue == index).filter_map(|(_, bucket)| bucket.lot.as_deref());
        let is_parked = lots.any(|lot| lot.is_kept());
        if is_parked {
            self.due.add(self.now + LOOK, Timer::Retiring);
        }
        is_parked
    }
}
