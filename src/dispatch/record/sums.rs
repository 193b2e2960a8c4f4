//! Log lines for frequent events: the first event is logged, then sums.

use crate::dispatch::Dispatcher;
use crate::dispatch::event::Note;
use crate::dispatch::keys::{PartnerKey, QueueIndex, Ticket};
use crate::dispatch::queue_state::QueueState;
use crate::dispatch::record::summary::{Sum, Summary};
use crate::dispatch::timer::Timer;
use crate::message::dead::DeadReason;

impl Dispatcher {
    /// Counts a dead letter; the first is logged, then sums.
    pub(in crate::dispatch) fn sum_up_dead(&mut self, index: QueueIndex, ticket: Ticket, reason: &DeadReason) {
        let example = self.ledger.get(ticket).map(|held| held.message.id.clone()).unwrap_or_default();
        let Some(queue) = self.queues.get_mut(index) else { return };
        if !queue.facts.circulates {
            queue.tally.letter(reason.kind);
        }
        if let Some(sum) = queue.summaries.dead_letters.add(self.now, example, || reason.text.clone()) {
            self.note_dead(index, sum);
        }
        self.watch_sums(index);
    }

    /// Counts a message that is returned because of its partner; the first is logged, then sums.
    pub(in crate::dispatch) fn sum_up_returned(&mut self, index: QueueIndex, giver: PartnerKey, id: &str) {
        let Some(partner) = self.partners.partner(giver) else { return };
        let (account, away) = (&partner.account, self.partners.is_away_for(giver, index));
        let Some(queue) = self.queues.get_mut(index) else { return };
        let why = || {
            let why = if away { "takes nothing" } else { "takes less than comes for it" };
            format!("partner {account:?} {why}, and others need the room")
        };
        if let Some(sum) = queue.summaries.given_back.add(self.now, id.into(), why) {
            self.note_given_back(index, sum);
        }
        self.watch_sums(index);
    }

    /// Logs the sums that are due, or with `all` everything that is not logged yet.
    pub(in crate::dispatch) fn say_sums(&mut self, index: QueueIndex, all: bool) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        let now = self.now;
        let mut of = |summary: fn(&mut QueueState) -> &mut Summary| {
            if all { summary(queue).last(now) } else { summary(queue).due(now) }
        };
        let (dead, lost) = (of(|queue| &mut queue.summaries.dead_letters), of(|queue| &mut queue.summaries.leases_lost));
        let (given_back, parked) = (of(|queue| &mut queue.summaries.given_back), of(|queue| &mut queue.summaries.parked));
        if let Some(sum) = dead {
            self.note_dead(index, sum);
        }
        if let Some(sum) = lost {
            self.note(Note::LeasesLost { queue: index, count: sum.count, example: sum.example });
        }
        if let Some(sum) = given_back {
            self.note_given_back(index, sum);
        }
        if let Some(Sum { count, example, reason }) = parked {
            self.note(Note::Parked { queue: index, count, example, reason });
        }
        self.watch_sums(index);
    }

    /// Sets the alarm by which the remaining sums are logged.
    pub(in crate::dispatch) fn watch_sums(&mut self, index: QueueIndex) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        let rare = [queue.summaries.dead_letters.say_by(), queue.summaries.leases_lost.say_by()];
        for at in rare.into_iter().chain([queue.summaries.given_back.say_by(), queue.summaries.parked.say_by()]).flatten() {
            queue.alarms.summary.by(&mut self.due, at, Timer::Summary(index));
        }
    }

    fn note_given_back(&mut self, queue: QueueIndex, sum: Sum) {
        let hidden = self.hidden.count(queue);
        self.note(Note::GivenBack { queue, count: sum.count, example: sum.example, reason: sum.reason, hidden });
    }

    fn note_dead(&mut self, queue: QueueIndex, sum: Sum) {
        self.note(Note::DeadLetters { queue, count: sum.count, example: sum.example, reason: sum.reason });
    }
}
