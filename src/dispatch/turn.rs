//! The end of a turn. Once all events of the turn are in and all buckets that can be are flushed, handlers and ackers get
//! their work, and the queues are asked for more messages.

use super::Dispatcher;
use super::event::{Command, QueueCall};
use super::intake::JOB;
use super::keys::QueueIndex;
use super::ledger::Stage;
use super::queue_state::QueueState;
use super::timer::Timer;

impl Dispatcher {
    /// Closes the turn, after all of its events are in and all buckets that can be are flushed: makes room, starts
    /// jobs, makes calls about copies and asks for more messages.
    pub(super) fn close_turn(&mut self) {
        self.make_room();
        for place in 0..self.living.len() {
            let Some(&queue) = self.living.get(place) else { break };
            self.take_back(queue);
            self.start_jobs(queue);
            self.write_parked(queue);
            self.read_parked(queue);
            self.start_calls(queue);
        }
        // A freed place goes to the parked rows of any queue first: a queue with a backlog takes all that there are.
        self.grant_all_demand();
        self.look_for_gone();
        self.look_for_the_end();
    }

    /// Takes messages back from jobs that are held up by a slow message, so that other
    /// threads can handle them meanwhile.
    fn take_back(&mut self, index: QueueIndex) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        while let Some(job) = queue.intake.next_blocked(self.now) {
            let threads = queue.intake.threads();
            self.commands.push_back(Command::TakeBack { queue: index, job, threads });
        }
    }

    /// Starts jobs of the queue's handler, as far as its concurrency and the room for bytes allow.
    fn start_jobs(&mut self, index: QueueIndex) {
        loop {
            let fit = self.room.fit_at_handler(index, JOB);
            if fit == 0 && !self.handles_one_anyway(index) {
                break;
            }
            let Some(queue) = self.queues.get_mut(index) else { return };
            let Some(mut job) = queue.intake.next_job(self.now, fit.max(1)) else { break };
            job.retain(|one| {
                // A message may have left while it waited, because its lease was lost.
                let Some(held) = self.ledger.get(one.ticket).filter(|held| held.stage() == Stage::Pending) else {
                    queue.intake.suspects.departed(one.ticket);
                    return false;
                };
                queue.order.started(held.sequence, self.now);
                self.ledger.advance(one.ticket, Stage::Handling);
                true
            });
            let Some(first) = job.first() else { continue };
            queue.intake.job_started(first.ticket, job.len(), self.now);
            self.room.begin_handling(index, job.len());
            let threads = queue.intake.threads();
            self.commands.push_back(Command::Handle { queue: index, messages: job, threads });
        }
        let Some(queue) = self.queues.get_mut(index) else { return };
        if let Some(at) = queue.order.next_overtaking() {
            queue.alarms.order.by(&mut self.due, at, Timer::Order(index));
        }
    }

    /// Returns whether a message of the queue is to be handled although there are no bytes for what its handler makes:
    /// nothing else makes room, or outcomes wait for a message that no handler has begun with. These outcomes are in no
    /// bucket, so that nothing of them can be sent or shed, and as long as another queue makes room and takes it again
    /// they would wait.
    pub(super) fn handles_one_anyway(&self, index: QueueIndex) -> bool {
        let is_awaited = |queue: &QueueState| queue.order.waits_for_pending(queue.intake.running() == 0);
        self.nothing_moves() || self.queues.get(index).is_some_and(is_awaited)
    }

    /// Returns whether nothing that is held is about to make room: no handler runs, and nothing is on the wire, on
    /// its way to the disk or leaving. Deliveries that wait for their partner do not count, since they may wait for
    /// days. If nothing moves, one more message is handled, and what it adds beyond its partner's share is shed.
    fn nothing_moves(&self) -> bool {
        let runs = || self.queues.iter().any(|queue| queue.intake.running() > 0);
        self.ledger.leaving().messages == 0 && !self.partners.any_on_wire() && !runs()
    }

    /// Hands calls about copies to the queue's free ackers.
    pub(super) fn start_calls(&mut self, index: QueueIndex) {
        let hurry = self.phase.is_stopping();
        let Some(queue) = self.queues.get_mut(index) else { return };
        let keep_returns = self.phase.winds_down(queue) && !self.phase.is_forced() && queue.intake.is_asking();
        while let Some((acker, call)) = queue.calls.next(self.now, hurry, keep_returns, &mut self.ledger) {
            queue.counts.requests += if matches!(call, QueueCall::SetAside(_)) { queue.rules.letter_requests } else { 1 };
            self.commands.push_back(Command::CallQueue { queue: index, acker, call });
        }
        if let Some(at) = queue.calls.next_look(self.now) {
            queue.alarms.calls.by(&mut self.due, at, Timer::Calls(index));
        }
    }

    /// Grants demand to the pollers of all queues. In a room with fewer places than queues, the polls of idle ones may take
    /// all places: the first queue that finds none is the first to be granted one that becomes free.
    fn grant_all_demand(&mut self) {
        let first = self.living.iter().position(|queue| Some(*queue) == self.lacked_a_place).unwrap_or(0);
        self.lacked_a_place = None;
        for place in (first..self.living.len()).chain(0..first) {
            let Some(&queue) = self.living.get(place) else { break };
            self.grant_demand(queue);
            if self.lacked_a_place.is_none() && self.is_short(queue) {
                self.lacked_a_place = Some(queue);
            }
        }
    }

    /// Grants demand to pollers, as far as there is room.
    fn grant_demand(&mut self, index: QueueIndex) {
        if self.phase.is_stopping() {
            return;
        }
        let Some(queue) = self.queues.get_mut(index).filter(|queue| queue.receives()) else { return };
        while let Some((poller, demand)) = queue.intake.demand(index, self.now, &mut self.room) {
            self.commands.push_back(Command::Receive { queue: index, poller, demand });
        }
        if let Some(at) = queue.intake.next_look(self.now) {
            queue.alarms.intake.by(&mut self.due, at, Timer::Intake(index));
        }
    }
}
