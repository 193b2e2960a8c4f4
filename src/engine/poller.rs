//! A poller: receives from one queue what it was given demand for, and no more. It never decides; the dispatcher does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::dispatch::{Demand, Event, Fault, QueueIndex, WAITS_WITH};
use crate::message::Received;
use crate::queue::{Ask, Facts, Queue, QueueError};

use super::duty::Duty;

/// Messages reported together at most.
const TOGETHER: usize = 256;

/// A receive that took longer is reported by itself: what it brought must not wait.
const AT_ONCE: Duration = Duration::from_millis(1);

pub struct Poller {
    pub name: Arc<str>,
    pub queue: Arc<dyn Queue>,
    pub index: QueueIndex,
    pub number: usize,
    /// What it may receive; disconnected when the engine stops.
    pub demands: Receiver<Demand>,
    pub inbox: Sender<Event>,
    /// Set when the engine stops: what is left of the demand is given back.
    pub stop: Arc<AtomicBool>,
    /// Set once the queue's facts are told: before that nothing is received.
    pub told: Arc<AtomicBool>,
}

impl Poller {
    /// The thread's body: until the engine stops.
    pub fn run(self, duty: &Duty) {
        let mut found_none = true;
        while let Ok(demand) = self.demands.recv() {
            duty.begin("receives", "");
            if self.serve(demand, &mut found_none).is_none() {
                return;
            }
            duty.rest();
        }
    }

    /// Receives until the demand is used up, or a receive finds nothing. `None`: nobody listens any more. `found_none`: the last receive
    /// did.
    ///
    /// Where a request has its price, one that brings fewer than were asked for ends the demand as well: the rest would be reserved for as
    /// long as messages come one by one.
    ///
    /// Where a request has no price, it waits for messages only with few places, and when it has just found nothing: as long as messages
    /// come it is given ever more, and with a queue that runs empty the room of all would be reserved for the time of a long poll. So it
    /// looks first, gives everything back, and is given few to wait with.
    fn serve(&self, demand: Demand, found_none: &mut bool) -> Option<()> {
        let Demand { mut messages, ask } = demand;
        let priced = self.queue.limits().priced;
        while messages > 0 {
            messages += self.demands.try_iter().map(|more| more.messages).sum::<usize>();
            if self.stop.load(Ordering::Acquire) {
                return self.report(Vec::new(), messages, ask);
            }
            let wait = if priced || (*found_none && messages <= WAITS_WITH) { ask.wait } else { Duration::ZERO };
            match self.facts().and_then(|()| self.receive(messages, Ask { wait, ..ask })) {
                Ok(received) => {
                    *found_none = received.is_empty();
                    let is_short = received.is_empty() || (priced && received.len() < ask.max.min(messages));
                    let used = if is_short { messages } else { received.len().min(messages) };
                    messages -= used;
                    self.report(received, used, ask)?;
                    // Where all cores are busy, those who work on what came go first, while it is in the cache.
                    thread::yield_now();
                }
                Err(error) => {
                    let failed = Event::ReceiveFailed {
                        queue: self.index,
                        poller: self.number,
                        demand_used: messages,
                        fault: fault(&error),
                    };
                    return self.inbox.send(failed).ok();
                }
            }
        }
        Some(())
    }

    /// Tells what the queue's service does by itself, once, before the first receive.
    fn facts(&self) -> Result<(), QueueError> {
        if !self.told.load(Ordering::Acquire) {
            let facts = self.queue.facts()?;
            // Two pollers may both tell: the same.
            if !self.told.swap(true, Ordering::AcqRel) {
                self.warn_of_letters(&facts);
            }
            // Nobody listens once the engine has ended, and then nothing is received either.
            let _ = self.inbox.send(Event::Facts { queue: self.index, facts });
        }
        Ok(())
    }

    /// Says it where a message may be longer than a dead letter.
    fn warn_of_letters(&self, facts: &Facts) {
        if let (Some(message), Some(letter)) = (facts.longest_message, facts.longest_letter)
            && letter < message
        {
            log::warn!(
                "the dead letter queue takes less than the queue: queue={} most_bytes={message} dead_letter_bytes={letter}; a longer message \
                 cannot be set aside: raise MaximumMessageSize of the dead letter queue",
                self.name
            );
        }
    }

    /// One receive; where full ones come at once, several together, so that a queue in memory does not wake the dispatcher for each. Not
    /// where a request has its price: each is counted.
    #[expect(clippy::disallowed_methods, reason = "how long a receive took tells whether another is worth waiting for")]
    fn receive(&self, at_most: usize, ask: Ask) -> Result<Vec<Received>, QueueError> {
        let start = Instant::now();
        let mut received = self.queue.receive(&Ask { max: ask.max.min(at_most), ..ask })?;
        if self.queue.limits().priced {
            return Ok(received);
        }
        while !received.is_empty() && received.len().is_multiple_of(ask.max) && received.len() < TOGETHER.min(at_most) {
            if start.elapsed() > AT_ONCE || self.stop.load(Ordering::Acquire) {
                break;
            }
            let max = ask.max.min(at_most - received.len());
            match self.queue.receive(&Ask { max, wait: Duration::ZERO, ..ask }) {
                Ok(more) if more.is_empty() => break,
                Ok(more) => received.extend(more),
                // What came is to be reported first; the next receive will say what is wrong.
                Err(_) => break,
            }
        }
        Ok(received)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the lease is counted from the answer's arrival: this is the edge that sees it"
    )]
    fn report(&self, messages: Vec<Received>, demand_used: usize, ask: Ask) -> Option<()> {
        let leased_until = Instant::now() + ask.lease;
        self.inbox.send(Event::Received { queue: self.index, poller: self.number, messages, leased_until, demand_used }).ok()
    }
}

/// A queue's error in the dispatcher's words.
pub fn fault(error: &QueueError) -> Fault {
    Fault { reason: error.to_string(), transient: error.is_transient() }
}
