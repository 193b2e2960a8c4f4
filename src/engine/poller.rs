//! A poller thread: receives from one queue as many messages as it was given demand for, and no more. It decides
//! nothing; the dispatcher does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::dispatch::{Demand, Event, Fault, QueueIndex, WAITS_WITH};
use crate::message::Received;
use crate::queue::{Ask, Facts, Queue, QueueError};

use super::duty::Duty;

/// The largest number of messages that are reported together.
const TOGETHER: usize = 256;

/// A receive that took longer than this is reported by itself, so that its messages do not wait.
const AT_ONCE: Duration = Duration::from_millis(1);

/// The state of one poller thread.
pub struct Poller {
    pub name: Arc<str>,
    pub queue: Arc<dyn Queue>,
    pub index: QueueIndex,
    /// The poller's number among those of its queue.
    pub number: usize,
    /// The demand from the dispatcher. The channel is disconnected when the engine stops.
    pub demands: Receiver<Demand>,
    pub inbox: Sender<Event>,
    /// Set when the poller has to stop receiving. It then gives the rest of its demand back.
    pub stop: Arc<AtomicBool>,
    /// Set once the queue's facts were reported. Nothing is received before.
    pub told: Arc<AtomicBool>,
}

impl Poller {
    /// Runs the thread: serves demand until the dispatcher drops its end of the channel.
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

    /// Receives until the demand is used up or a receive finds nothing. Blocks for long polls. `found_none` says
    /// whether the last receive found nothing. Returns `None` once the dispatcher is gone.
    ///
    /// If the service charges for requests, a receive that returns fewer messages than it asked for ends the demand as
    /// well. The rest of the demand would otherwise stay reserved for as long as messages come one by one.
    ///
    /// If requests are free, the poller waits for messages only with little demand ([`WAITS_WITH`]) and after a receive
    /// that found nothing. A poller gets ever more demand while messages come, and when its queue then runs empty, the
    /// room of all queues would stay reserved for the time of a long poll. So the poller first looks without waiting,
    /// gives all its demand back, and is given a little to wait with.
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
                    // If all cores are busy, the threads that work on these messages go first, while the
                    // messages are in the cache.
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

    /// Reports the facts of the queue's service to the dispatcher, once, before the first receive.
    fn facts(&self) -> Result<(), QueueError> {
        if !self.told.load(Ordering::Acquire) {
            let facts = self.queue.facts()?;
            // Two pollers may both report the facts, which are the same.
            if !self.told.swap(true, Ordering::AcqRel) {
                self.warn_of_letters(&facts);
            }
            // The send fails only once the engine has ended, and then nothing is received either.
            let _ = self.inbox.send(Event::Facts { queue: self.index, facts });
        }
        Ok(())
    }

    /// Logs a warning if a message may be longer than its dead letter may be.
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

    /// Receives once; if full receives return at once, several times, so that a queue in memory does not wake the
    /// dispatcher for each. If the service charges for requests, it receives only once, since each request is counted.
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
                // The messages received so far are reported first. The next receive will report the error.
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

/// Returns the queue's error in the dispatcher's terms.
pub fn fault(error: &QueueError) -> Fault {
    Fault { reason: error.to_string(), transient: error.is_transient() }
}
