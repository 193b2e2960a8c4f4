//! From the handler to the buckets: an outcome waits for its turn in the order of receive, and its deliveries enter their
//! buckets. Part of the dispatcher's state machine.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::message::dead::{DeadKind, DeadReason};
use crate::message::{Delivery, Item, Message, Outcome};

use super::Dispatcher;
use super::event::{Handled, TakenBack, ToHandle};
use super::exits::again::Again;
use super::exits::reason::ReturnReason;
use super::keys::{BucketKey, QueueIndex, Ticket};
use super::ledger::{Exit, Held, Stage};
use super::order::Release;
use super::pause::retry_delay;
use super::waiting::Slip;

impl Dispatcher {
    /// Takes in the end of a job: acts upon its outcomes, and
    /// puts the messages that it left undone first in line again.
    pub(super) fn handled(
        &mut self,
        index: QueueIndex,
        job: Ticket,
        done: Vec<Handled>,
        undone: Vec<ToHandle>,
        slowest: Duration,
    ) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("outcomes of an unknown queue") };
        queue.intake.job_ended(job, (!done.is_empty()).then_some(slowest));
        self.room.end_handling(index, done.len() + undone.len());
        self.take_outcomes(index, done);
        self.start_again(index, undone);
    }

    /// Takes in what was taken back of a job that a slow message blocks; other threads of the pool go on with the rest.
    pub(super) fn taken_back(&mut self, index: QueueIndex, job: Ticket, back: Option<TakenBack>) {
        let Some(TakenBack { done, undone }) = back else {
            let Some(queue) = self.queues.get_mut(index) else { return self.stray("a job of an unknown queue") };
            return queue.intake.not_begun(job, self.now);
        };
        self.room.end_handling(index, done.len() + undone.len());
        self.take_outcomes(index, done);
        self.start_again(index, undone);
    }

    /// Counts the outcomes, and releases those whose turn in the order of receive has come.
    fn take_outcomes(&mut self, index: QueueIndex, done: Vec<Handled>) {
        self.ledger.look_ahead(done.iter().map(|handled| handled.ticket));
        let Some(queue) = self.queues.get_mut(index) else { return };
        queue.counts.handled += done.len() as u64;
        for handled in done {
            let Some(queue) = self.queues.get_mut(index) else { return };
            queue.tally.handled(&handled.outcome);
            queue.intake.suspects.handled(handled.ticket, self.now);
            // The copy may have left meanwhile: its lease was lost, or the engine stopped.
            let ticket = handled.ticket;
            let Some(held) = self.ledger.get_mut(ticket).filter(|held| held.stage() == Stage::Handling) else { continue };
            if let Outcome::Deliver(deliveries) = &handled.outcome {
                let bytes = deliveries.iter().map(|delivery| delivery.payload.len()).sum();
                let payloads = u16::try_from(deliveries.len()).unwrap_or(u16::MAX);
                let bytes = held.add_payloads(payloads, bytes);
                self.room.add_payloads(index, bytes);
            }
            queue.order.complete(held.sequence, handled, self.now, &mut self.released);
            let one_by_one = queue.order.is_by_group();
            self.ledger.advance(ticket, Stage::Ordering);
            if one_by_one {
                self.act_on_released();
            }
        }
        self.act_on_released();
    }

    /// Has the handler's next job begin with the messages that a job left undone; returns them instead if the queue winds down.
    fn start_again(&mut self, index: QueueIndex, undone: Vec<ToHandle>) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        let winds_down = self.phase.winds_down(queue);
        for one in &undone {
            if let Some(held) = self.ledger.get(one.ticket).filter(|held| held.stage() == Stage::Handling) {
                queue.order.waits_again(held.sequence);
                self.ledger.advance(one.ticket, Stage::Pending);
            }
        }
        queue.intake.put_back(undone);
        if winds_down {
            self.return_pending(index);
        }
    }

    /// Releases the outcomes that wait behind a message whose handler has run for longer than `order_wait`.
    pub(super) fn overtake(&mut self, index: QueueIndex) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        queue.order.release(self.now, &mut self.released);
        self.act_on_released();
    }

    /// Acts upon the outcomes whose turn has come, and on those that are released by doing so.
    pub(super) fn act_on_released(&mut self) {
        while !self.released.is_empty() {
            let (mut released, mut ahead) = (std::mem::take(&mut self.released), std::mem::take(&mut self.ahead));
            self.look_ahead(&released, &mut ahead);
            for (release, bucket) in released.drain(..).zip(ahead.drain(..)) {
                match release {
                    Release::Outcome(handled) => self.outcome(handled, bucket),
                    Release::Follow(ticket, until) => self.leave_by_return(ticket, until),
                }
            }
            self.ahead = ahead;
            if self.released.is_empty() {
                self.released = released;
                return;
            }
        }
    }

    /// Finds the bucket of the first delivery of each outcome, if there is one, and reads it once; changes nothing.
    ///
    /// The state of all partners is larger than the processor's cache. A loop that only looks overlaps many cache
    /// misses; acting upon one outcome after the other would wait for each.
    fn look_ahead(&self, released: &[Release], buckets: &mut Vec<Option<BucketKey>>) {
        let first = released.iter().map(|release| match release {
            Release::Outcome(Handled { ticket, outcome: Outcome::Deliver(deliveries), .. }) => {
                Some((self.ledger.get(*ticket)?.queue, &deliveries.first()?.account))
            }
            _ => None,
        });
        self.partners.look_ahead(first, buckets);
    }

    /// Acts upon one outcome. `bucket` is the bucket of its first delivery, as found by
    /// [`Dispatcher::look_ahead`]; it may be gone by now.
    fn outcome(&mut self, handled: Handled, bucket: Option<BucketKey>) {
        let Handled { ticket, message, outcome } = handled;
        let Some(held) = self.ledger.get(ticket).filter(|held| held.stage() == Stage::Ordering) else { return };
        let index = held.queue;
        match outcome {
            Outcome::Deliver(deliveries) if deliveries.is_empty() => self.discard(index, ticket),
            Outcome::Deliver(deliveries) => self.deliver(index, ticket, message, deliveries, bucket),
            Outcome::Discard => self.discard(index, ticket),
            Outcome::Reject { reason } => self.leave_as_dead(ticket, DeadReason { kind: DeadKind::Rejected, text: reason }),
            Outcome::Retry { after, reason } => {
                let receives = held.receives;
                if self.last_receive(index).is_some_and(|last| receives >= last) {
                    let text = format!("its handler asked for later {receives} times (max_receives), at last: {reason}");
                    self.leave_as_dead(ticket, DeadReason { kind: DeadKind::MaxReceives, text });
                } else {
                    self.set_return_reason(ticket, ReturnReason::Handler);
                    self.give_back(ticket, self.now + retry_delay(after, receives));
                }
            }
        }
    }

    /// Deletes a message that leads to no delivery.
    fn discard(&mut self, index: QueueIndex, ticket: Ticket) {
        if let Some(queue) = self.queues.get_mut(index) {
            queue.counts.discarded += 1;
        }
        self.leave_by_delete(ticket, Exit::Acked);
    }

    /// Puts each delivery into the bucket of its account, or into the parking if older ones of the bucket are there.
    /// `first` is the bucket of the first delivery, if it is known.
    fn deliver(
        &mut self,
        index: QueueIndex,
        ticket: Ticket,
        message: Arc<Message>,
        deliveries: SmallVec<[Delivery; 1]>,
        mut first: Option<BucketKey>,
    ) {
        if self.phase.is_forced() {
            return self.leave_by_return(ticket, self.now);
        }
        let known = self.known_of(ticket, &deliveries);
        if known.is_some() && self.lacks_what_is_open(ticket, &deliveries) {
            return;
        }
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        let slip = Slip { ticket, since: self.now };
        let messages = std::iter::repeat_n(message, deliveries.len());
        let several = deliveries.len() > 1 || known.is_some();
        let (mut entered, mut for_one_below) = (0, false);
        // The deliveries for buckets that have something parked, or had.
        let mut behind: SmallVec<[(BucketKey, Item); 1]> = SmallVec::new();
        for ((place, Delivery { account, payload }), message) in (0u16..).zip(deliveries).zip(messages) {
            let again = known.as_ref().and_then(|known| known.get(usize::from(place)).copied()).unwrap_or(Again::Send(place));
            let Again::Send(number) = again else {
                self.room.regain(index, held.drop_payload(payload.len()));
                continue;
            };
            entered += 1;
            let item = Item { message, index: several.then_some(number), payload };
            let found = first.take().filter(|key| place == 0 && self.partners.bucket(*key).is_some());
            let found = found.or_else(|| self.partners.bucket_for(index, account, self.now, &mut self.due));
            let Some(key) = found else { continue };
            for_one_below |= self.partners.is_for_one_below(key);
            if self.partners.has_lot(key) {
                behind.push((key, item));
            } else if let Some(spot) = self.partners.enter_into(key, slip, item) {
                held.waits_at(spot);
            }
        }
        held.opened(entered);
        self.partners.saw(for_one_below);
        self.ledger.advance(ticket, Stage::Delivering);
        if entered == 0 {
            // All that the handler makes of this message was settled before.
            let exit = self.ledger.get(ticket).map_or(Exit::Acked, Held::exit);
            self.leave_by_delete(ticket, exit);
        }
        for (key, item) in behind {
            self.join(index, ticket, key, item);
        }
    }
}
