//! From the queue to the bucket: a copy enters the ledger, its handler runs, its outcome waits for its turn in the
//! order of receive, and its deliveries enter their buckets. Part of the dispatcher's state machine.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;

use crate::message::settle::{DeadKind, DeadReason, SettledPart};
use crate::message::{Delivery, DeliveryName, Item, Message, Outcome, Received};

use super::Dispatcher;
use super::event::{Fault, Handled, TakenBack, ToHandle};
use super::exits::again::Again;
use super::exits::known::Settled;
use super::exits::reason::ReturnReason;
use super::intake::suspects::is_suspect;
use super::keys::{BucketKey, QueueIndex, Ticket};
use super::ledger::{Arrival, Exit, Held, Stage};
use super::order::Release;
use super::pause::retry_delay;
use super::record::tally::{CallResult, Operation};
use super::waiting::Slip;

/// The number of messages that are hashed ahead before they are taken in.
const AHEAD: usize = 32;

/// How a copy leaves at once. That has to wait until all of its receive is taken in, since those behind it in its FIFO
/// group may be among them and have to follow.
enum Exclusion {
    /// The copy is returned, since nothing more is received.
    Unwanted,
    /// The copy is returned, since its message is to be received again.
    Again,
    /// The copy was received too often.
    Dead(DeadReason),
}

impl Dispatcher {
    /// Takes in received messages, or demand that a poller returns unused.
    pub(super) fn received(
        &mut self,
        index: QueueIndex,
        poller: usize,
        messages: Vec<Received>,
        leased_until: Instant,
        demand_used: usize,
    ) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("messages of an unknown queue") };
        // A stopped poller returns its demand without having made a request.
        if !(messages.is_empty() && (self.phase.is_stopping() || !queue.is_serving())) {
            queue.counts.requests += 1;
            queue.counts.received += messages.len() as u64;
            queue.counts.empty_receives += u64::from(messages.is_empty());
            queue.tally.called(Operation::Receive, if messages.is_empty() { CallResult::Empty } else { CallResult::Ok });
            queue.reached = true;
        }
        let freed = queue.intake.reported(poller, messages.len(), demand_used);
        self.room.release(index, freed);
        if queue.intake.recovered() {
            self.goes_well(index, Operation::Receive);
        }
        self.phase.census.received(messages.len());
        let mut excluded = Vec::new();
        let wall = self.wall.map(|(at, wall)| wall + self.now.saturating_duration_since(at));
        let mut messages = messages.into_iter();
        while !messages.as_slice().is_empty() {
            // Hash many of them first: another core wrote these messages, and a loop that does nothing else overlaps
            // the cache misses of many of them.
            let next = messages.as_slice().iter().take(AHEAD);
            let hashes: SmallVec<[u64; AHEAD]> =
                next.map(|received| self.ledger.hash(index, &received.message.id, None)).collect();
            for (hash, received) in hashes.into_iter().zip(messages.by_ref()) {
                excluded.extend(self.take_in(index, received, hash, leased_until, wall));
            }
        }
        self.exclude(excluded);
        self.watch_leases(index);
        self.act_on_released();
    }

    /// Has copies leave that no handler is to see, given in the order of receive.
    fn exclude(&mut self, excluded: Vec<(Ticket, Exclusion)>) {
        // Dead letters are written in the order of receive. What is returned goes newest first, so that a FIFO group stays
        // locked until its first message is returned.
        let is_returned = |(ticket, exclusion): &(Ticket, Exclusion)| match exclusion {
            Exclusion::Unwanted | Exclusion::Again => true,
            Exclusion::Dead(_) => self.circulates(*ticket),
        };
        let (returned, dead): (Vec<_>, Vec<_>) = excluded.into_iter().partition(is_returned);
        for (ticket, exclusion) in dead.into_iter().chain(returned.into_iter().rev()) {
            match exclusion {
                Exclusion::Unwanted => self.leave_by_return(ticket, self.now),
                Exclusion::Again => self.give_back(ticket, self.now),
                Exclusion::Dead(reason) => self.leave_as_dead(ticket, reason),
            }
        }
    }

    /// Takes one copy in, and decides whether its handler has to see it. Returns the copy that is to leave at once, if
    /// one is: this one, or an older one of the same message.
    fn take_in(
        &mut self,
        index: QueueIndex,
        received: Received,
        hash: u64,
        leased_until: Instant,
        wall: Option<SystemTime>,
    ) -> Option<(Ticket, Exclusion)> {
        let Received { message, receipt, sequence, settled } = received;
        let queue = self.queues.get_mut(index)?;
        let known = queue.known.recall(&message.id).cloned();
        let (now, body) = (self.now, message.body.len());
        // The clock of the queue's service may be ahead of ours: then the age is 0.
        let age = wall.and_then(|wall| wall.duration_since(message.sent_at).ok()).unwrap_or_default();
        let sent_before_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        let arrival =
            Arrival { queue: index, message: &message, index: None, receipt, sequence, hash, sent_before_ms, leased_until };
        match self.ledger.insert(arrival, now) {
            Err((twin, receipt)) => {
                queue.counts.exit(Exit::Duplicate);
                queue.order.skip(sequence, &message, now, &mut self.released);
                self.ledger.renew(twin, receipt, message.receives, now, leased_until);
                let held = self.ledger.get(twin);
                let is_news = |name: &DeliveryName| held.is_some_and(|held| !held.settled().contains(name));
                if settled.is_some_and(|settled| settled.deliveries.iter().any(is_news)) {
                    // Another process has settled a part of it meanwhile: the next copy goes on from there.
                    return Some((twin, Exclusion::Again));
                }
            }
            Ok(ticket) => {
                self.room.hold(index, body);
                let max_receives = queue.rules.max_receives;
                if known == Some(Settled::All) {
                    self.leave_by_delete(ticket, Exit::Duplicate);
                } else if max_receives > 0 && message.receives > max_receives {
                    let text = format!("received {} times, more than max_receives = {max_receives}", message.receives);
                    return Some((ticket, Exclusion::Dead(DeadReason { kind: DeadKind::MaxReceives, text })));
                } else if self.phase.is_stopping() || !queue.is_serving() {
                    return Some((ticket, Exclusion::Unwanted));
                } else {
                    if let Some(settled) = both(known, settled)
                        && let Some(held) = self.ledger.get_mut(ticket)
                    {
                        held.inherit(settled);
                    }
                    if is_suspect(message.receives, max_receives) && !queue.rules.fifo {
                        // A suspect may take its turn much later, so no other message waits for its outcome.
                        queue.order.skip(sequence, &message, now, &mut self.released);
                    } else {
                        queue.order.expect(sequence, ticket, &message);
                    }
                    queue.intake.push(ToHandle { ticket, message }, now);
                }
            }
        }
        None
    }

    /// Takes in a failed receive: takes the poller's demand back, and begins a pause unless one is under way.
    pub(super) fn receive_failed(&mut self, index: QueueIndex, poller: usize, demand_used: usize, fault: Fault) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("a failed receive of an unknown queue") };
        queue.counts.requests += 1;
        queue.tally.called(Operation::Receive, CallResult::Failed);
        let freed = queue.intake.reported(poller, 0, demand_used);
        self.room.release(index, freed);
        let (retry_in, first) = queue.intake.failed(self.now, fault.transient, &mut self.random);
        if first {
            self.fails(index, Operation::Receive, fault, retry_in);
        }
    }

    /// Records that the system refused a thread for this poller. The queue goes on with the pollers that it has.
    pub(super) fn no_poller(&mut self, index: QueueIndex, poller: usize, demand: usize) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("no poller of an unknown queue") };
        let freed = queue.intake.no_poller(poller, demand, self.now);
        self.room.release(index, freed);
    }

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
                held.add_payloads(bytes);
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

    /// Has the handler's next job begin with the messages that a job left undone; while stopping, returns them instead.
    fn start_again(&mut self, index: QueueIndex, undone: Vec<ToHandle>) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        let stopping = self.phase.is_stopping() || !queue.is_serving();
        for one in &undone {
            if let Some(held) = self.ledger.get(one.ticket).filter(|held| held.stage() == Stage::Handling) {
                queue.order.waits_again(held.sequence);
                self.ledger.advance(one.ticket, Stage::Pending);
            }
        }
        queue.intake.put_back(undone);
        if stopping {
            self.return_pending(index);
        }
        self.act_on_released();
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

    /// Returns a message to its queue, hidden until `until`, and on a FIFO queue those held behind it in its group as
    /// well: newest first, so that the group stays locked until its first message is returned.
    pub(super) fn give_back(&mut self, ticket: Ticket, until: Instant) {
        self.give_back_those_behind(ticket, until);
        self.leave_by_return(ticket, until);
    }

    /// Returns the messages that are held behind this one in its FIFO group, newest first. On a
    /// standard queue there are none.
    pub(super) fn give_back_those_behind(&mut self, ticket: Ticket, until: Instant) {
        let Some(held) = self.ledger.get(ticket) else { return };
        let Some(queue) = self.queues.get_mut(held.queue) else { return };
        for follower in queue.order.take_along(held.sequence, &held.message, until).into_iter().rev() {
            // A message that is in its handler follows when the handler ends.
            if self.ledger.get(follower).is_some_and(|held| held.stage() != Stage::Handling) {
                self.leave_by_return(follower, until);
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
        if several {
            held.expect_several();
        }
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
            if self.partners.has_lot(key) {
                behind.push((key, item));
                continue;
            }
            let Some((spot, below)) = self.partners.enter_into(key, slip, item) else { continue };
            for_one_below |= below;
            held.waits_at(spot);
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

    /// Takes a copy that leaves before its turn out of the order, so that no other message waits for it.
    pub(super) fn forget_order(&mut self, ticket: Ticket) {
        let Some(held) = self.ledger.get(ticket) else { return };
        let Some(queue) = self.queues.get_mut(held.queue) else { return };
        queue.order.skip(held.sequence, &held.message, self.now, &mut self.released);
    }

    /// Returns all messages of the queue that no handler has begun with.
    pub(super) fn return_pending(&mut self, index: QueueIndex) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        for job in queue.intake.drain().into_iter().rev() {
            self.give_back(job.ticket, self.now);
        }
        self.act_on_released();
    }
}

/// Returns what is settled of a message, by this process's memory and by its queue. Either may know more: the queue
/// learns from other processes, and it is not told if a lease is lost.
fn both(known: Option<Settled>, by_queue: Option<Box<SettledPart>>) -> Option<SettledPart> {
    match (known, by_queue) {
        (Some(Settled::Some(mut known)), Some(by_queue)) => {
            known.learn(*by_queue);
            Some(known)
        }
        (Some(Settled::Some(known)), None) => Some(known),
        (_, by_queue) => by_queue.map(|settled| *settled),
    }
}
