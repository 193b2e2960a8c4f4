//! From the queue to the handler: a copy that is received enters the ledger and the line for its handler, or leaves at
//! once. Part of the dispatcher's state machine.

use std::time::{Instant, SystemTime};

use smallvec::SmallVec;

use crate::message::dead::{DeadKind, DeadReason};
use crate::message::settle::SettledPart;
use crate::message::{DeliveryName, Received};

use super::Dispatcher;
use super::event::{Fault, ToHandle};
use super::exits::known::Settled;
use super::exits::reason::ReturnReason;
use super::intake::suspects::is_suspect;
use super::keys::{QueueIndex, Ticket};
use super::ledger::{Arrival, Exit, Held};
use super::record::tally::{CallResult, Operation};

/// The number of messages that are hashed ahead before they are taken in.
const AHEAD: usize = 32;

/// How a copy leaves at once. That has to wait until all of its receive is taken in, since those behind it in its FIFO
/// group may be among them and have to follow.
enum Exclusion {
    /// The copy is returned, since nothing more is received.
    Unwanted,
    /// The copy is returned, since its message is to be received again.
    Again,
    /// The message itself goes on as it was, but it is about to be returned, so those that came behind this copy of it,
    /// which has this number, are returned as well.
    Behind(u64),
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
        if !(messages.is_empty() && self.phase.winds_down(queue)) {
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
            Exclusion::Unwanted | Exclusion::Again | Exclusion::Behind(_) => true,
            Exclusion::Dead(_) => self.circulates(*ticket),
        };
        let (returned, dead): (Vec<_>, Vec<_>) = excluded.into_iter().partition(is_returned);
        for (ticket, exclusion) in dead.into_iter().chain(returned.into_iter().rev()) {
            match exclusion {
                Exclusion::Unwanted => self.leave_by_return(ticket, self.now),
                Exclusion::Again => {
                    self.set_return_reason(ticket, ReturnReason::Elsewhere);
                    self.give_back(ticket, self.now);
                }
                Exclusion::Behind(sequence) => self.give_back_those_after(ticket, sequence, self.now),
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
        let now = self.now;
        // The clock of the queue's service may be ahead of ours: then the age is 0.
        let age = wall.and_then(|wall| wall.duration_since(message.sent_at).ok()).unwrap_or_default();
        let sent_before_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        let arrival =
            Arrival { queue: index, message: &message, row: None, receipt, sequence, hash, sent_before_ms, leased_until };
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
                let held = held?;
                if held.goes_back() || queue.order.has_to_follow(held.sequence, &held.message) {
                    return Some((twin, Exclusion::Behind(sequence)));
                }
            }
            Ok(ticket) => {
                self.room.hold(index, self.ledger.get(ticket).map_or(0, Held::bytes));
                let max_receives = queue.rules.max_receives;
                if known == Some(Settled::All) {
                    self.leave_by_delete(ticket, Exit::Duplicate);
                    return None;
                }
                // However the copy leaves, what earlier ones settled counts.
                if let Some(settled) = both(known, settled)
                    && let Some(held) = self.ledger.get_mut(ticket)
                {
                    held.inherit(settled);
                }
                if max_receives > 0 && message.receives > max_receives {
                    let text = format!("received {} times, more than max_receives = {max_receives}", message.receives);
                    return Some((ticket, Exclusion::Dead(DeadReason { kind: DeadKind::MaxReceives, text })));
                } else if self.phase.winds_down(queue) {
                    return Some((ticket, Exclusion::Unwanted));
                } else {
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
        if let Some(retry_in) = queue.intake.failed(self.now, fault.transient, &mut self.random) {
            self.fails(index, Operation::Receive, fault, retry_in);
        }
    }

    /// Records that the system refused a thread for this poller. The queue goes on with the pollers that it has.
    pub(super) fn no_poller(&mut self, index: QueueIndex, poller: usize, demand: usize) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("no poller of an unknown queue") };
        let freed = queue.intake.no_poller(poller, demand, self.now);
        self.room.release(index, freed);
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
