//! A poller thread: receives from one queue as many messages as it was given demand for, and no more. It decides
//! nothing; the dispatcher does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::dispatch::{Demand, Event, Fault, QueueIndex, WAITS_WITH};
use crate::message::Received;
use crate::message::service::FEW_RECEIVES;
use crate::queue::{Ask, Facts, Queue, QueueError};

use super::duty::Duty;

/// The largest number of messages that are reported together.
const MAX_REPORTED_TOGETHER: usize = 256;

/// A receive that took longer than this is reported by itself, so that its messages do not wait.
const REPORT_ALONE_AFTER: Duration = Duration::from_millis(1);

/// The shortest wait for messages in a queue that does not charge for requests. A message ends the wait when it comes, so
/// none is later than with a `wait_time` of zero, and an empty queue takes no core.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

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
    /// Set when the poller has to stop receiving. It then returns the rest of its demand.
    pub stop: Arc<AtomicBool>,
    /// Set once the queue's facts were reported. Nothing is received before.
    pub told: Arc<AtomicBool>,
    /// Whether the queue has a parking.
    pub parks: bool,
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
    /// Messages that are larger than those lately use up the bytes of the demand before its places. The rest of the demand
    /// is returned then, and the dispatcher grants what it has room for.
    ///
    /// If the service charges for requests, a receive that returns fewer messages than it asked for ends the demand as
    /// well. The rest of the demand would otherwise stay reserved for as long as messages come one by one.
    ///
    /// If requests are free, the poller waits for messages only with little demand ([`WAITS_WITH`]) and after a receive
    /// that found nothing. A poller gets ever more demand while messages come, and when its queue then runs empty, the
    /// room of all queues would stay reserved for the time of a long poll. So the poller first looks without waiting,
    /// returns all its demand, and gets a little to wait with.
    fn serve(&self, demand: Demand, found_none: &mut bool) -> Option<()> {
        let Demand { mut messages, mut ask } = demand;
        let priced = self.queue.limits().price.is_some();
        while messages > 0 {
            for more in self.demands.try_iter() {
                messages += more.messages;
                // While messages come, demand need never run out, and a reload may have changed how to ask.
                ask = Ask { bytes: ask.bytes.saturating_add(more.ask.bytes), ..more.ask };
            }
            if self.stop.load(Ordering::Acquire) {
                return self.report(Vec::new(), messages, now());
            }
            let wait = if priced {
                ask.wait
            } else if *found_none && messages <= WAITS_WITH {
                ask.wait.max(SHORTEST_WAIT)
            } else {
                Duration::ZERO
            };
            match self.facts().and_then(|()| self.receive(messages, Ask { wait, ..ask })) {
                Ok(Brought { received, bytes, at, failed }) => {
                    *found_none = received.is_empty();
                    ask.bytes = ask.bytes.saturating_sub(bytes);
                    let is_short = received.is_empty() || ask.bytes == 0 || (priced && received.len() < ask.max.min(messages));
                    let used = if is_short { messages } else { received.len().min(messages) };
                    messages -= used;
                    self.report(received, used, at + ask.lease)?;
                    if let Some(error) = failed {
                        return self.report_failure(&error, messages);
                    }
                    // If all cores are busy, the threads that work on these
                    // messages go first, while the messages are in the cache.
                    thread::yield_now();
                }
                Err(error) => return self.report_failure(&error, messages),
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
                self.warn_of_returns(&facts);
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

    /// Logs a warning if a message becomes a dead letter after few returns. `check` cannot know this, since it makes no
    /// request.
    fn warn_of_returns(&self, facts: &Facts) {
        if let Some(after) = facts.redrive_after.filter(|after| *after < FEW_RECEIVES)
            && !self.parks
            && !self.queue.limits().fifo
        {
            log::warn!(
                "the redrive policy allows few receives: queue={} max_receive_count={after}; returns use them up while a partner is away, \
                 and then a message is a dead letter: set parking, or a maxReceiveCount of at least {FEW_RECEIVES}",
                self.name
            );
        }
    }

    /// Receives once; if full receives return at once, several times, so that a queue in memory does not wake the
    /// dispatcher for each. If the service charges for requests, it receives only once, since each request is counted.
    fn receive(&self, at_most: usize, ask: Ask) -> Result<Brought, QueueError> {
        let start = now();
        let mut received = self.queue.receive(&Ask { max: ask.max.min(at_most), ..ask })?;
        // The leases of these messages run from here, since a later receive may have to wait for a busy file; but at the
        // latest from the end of the long poll: an answer that comes after that was delayed on its way.
        let at = now().min(start + ask.wait);
        let mut bytes = weight(&received);
        let mut failed = None;
        if self.queue.limits().price.is_some() {
            return Ok(Brought { received, bytes, at, failed });
        }
        while !received.is_empty()
            && received.len().is_multiple_of(ask.max)
            && received.len() < MAX_REPORTED_TOGETHER.min(at_most)
        {
            if start.elapsed() > REPORT_ALONE_AFTER || self.stop.load(Ordering::Acquire) {
                break;
            }
            let left = ask.bytes.saturating_sub(bytes);
            if left == 0 {
                break;
            }
            let max = ask.max.min(at_most - received.len());
            match self.queue.receive(&Ask { max, bytes: left, wait: Duration::ZERO, ..ask }) {
                Ok(more) if more.is_empty() => break,
                Ok(more) => {
                    bytes += weight(&more);
                    received.extend(more);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        Ok(Brought { received, bytes, at, failed })
    }

    fn report_failure(&self, error: &QueueError, demand_used: usize) -> Option<()> {
        let failed = Event::ReceiveFailed { queue: self.index, poller: self.number, demand_used, fault: Fault::from(error) };
        self.inbox.send(failed).ok()
    }

    fn report(&self, messages: Vec<Received>, demand_used: usize, leased_until: Instant) -> Option<()> {
        self.inbox.send(Event::Received { queue: self.index, poller: self.number, messages, leased_until, demand_used }).ok()
    }
}

fn weight(messages: &[Received]) -> usize {
    messages.iter().map(|received| received.message.weight()).sum()
}

/// The result of one receive, or of several together.
struct Brought {
    received: Vec<Received>,
    /// The bytes of these messages.
    bytes: usize,
    /// When the leases of the first answer began at the latest. They end first.
    at: Instant,
    /// Why a later receive failed; `None` if none did.
    failed: Option<QueueError>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the lease is counted from the answer's arrival, and how long a receive took tells whether another is worth waiting for: this \
              is the edge that sees both"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use compact_str::CompactString;
    use crossbeam_channel::unbounded;
    use parking_lot::Mutex;

    use super::*;
    use crate::message::Receipt;
    use crate::message::dead::SetAside;
    use crate::message::service::Count;
    use crate::message::settle::EntryResult;
    use crate::queue::memory::{MemoryOptions, MemoryQueue};
    use crate::queue::{DeadLetters, Limits, NewMessage, VisibilityChange};

    /// A queue that may fail at every receive after the first, and notes when that receive began.
    struct Second {
        queue: MemoryQueue,
        fails: bool,
        receives: Mutex<usize>,
        began: Mutex<Option<Instant>>,
    }

    impl Queue for Second {
        fn receive(&self, ask: &Ask) -> Result<Vec<Received>, QueueError> {
            *self.receives.lock() += 1;
            if *self.receives.lock() == 1 || !self.fails {
                return self.queue.receive(ask);
            }
            *self.began.lock() = Some(now());
            Err(QueueError::Unavailable { queue: "stock".into(), what: "receive", why: "row 7 cannot be read".into() })
        }

        fn delete(&self, receipts: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
            self.queue.delete(receipts)
        }

        fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<Vec<EntryResult>, QueueError> {
            self.queue.change_visibility(changes)
        }

        fn set_aside(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
            self.queue.set_aside(letters)
        }

        fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError> {
            self.queue.send(messages)
        }

        fn count(&self) -> Result<Count, QueueError> {
            self.queue.count()
        }

        fn limits(&self) -> Limits {
            self.queue.limits()
        }

        fn facts(&self) -> Result<Facts, QueueError> {
            self.queue.facts()
        }

        fn dead_letters(&self) -> Option<&dyn DeadLetters> {
            None
        }
    }

    fn poller(queue: &Arc<Second>, demands: Receiver<Demand>, inbox: Sender<Event>) -> Poller {
        Poller {
            name: "stock".into(),
            queue: Arc::clone(queue) as Arc<dyn Queue>,
            index: 0,
            number: 0,
            demands,
            inbox,
            stop: Arc::default(),
            told: Arc::new(AtomicBool::new(true)),
            parks: false,
        }
    }

    #[test]
    fn an_empty_queue_is_waited_for_even_if_no_wait_is_set() {
        let queue = MemoryQueue::new(MemoryOptions::new("stock"));
        let queue = Arc::new(Second { queue, receives: Mutex::new(0), began: Mutex::new(None), fails: true });
        let (inbox, events) = unbounded();
        let (_demands, demands) = unbounded();
        let poller = poller(&queue, demands, inbox);
        let ask = Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX };
        let start = now();
        poller.serve(Demand { messages: 10, ask }, &mut true).unwrap();
        assert!(start.elapsed() >= SHORTEST_WAIT, "{:?}", start.elapsed());
        let events: Vec<_> = events.try_iter().collect();
        assert!(matches!(&events[..], [Event::Received { demand_used: 10, .. }]), "{events:?}");
    }

    #[test]
    fn a_poller_that_never_runs_out_of_demand_asks_as_it_was_last_told() {
        let queue = MemoryQueue::new(MemoryOptions { preload: vec!["{}".into()], repeat: 20, ..MemoryOptions::new("stock") });
        let queue = Arc::new(Second { queue, receives: Mutex::new(0), began: Mutex::new(None), fails: false });
        let (inbox, events) = unbounded();
        let (more, demands) = unbounded();
        let poller = poller(&queue, demands, inbox);
        let ask = Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX };
        let longer = Ask { lease: Duration::from_secs(3600), ..ask };
        more.send(Demand { messages: 10, ask: longer }).unwrap();
        poller.serve(Demand { messages: 10, ask }, &mut false).unwrap();
        let Some(Event::Received { messages, leased_until, .. }) = events.try_iter().next() else { panic!("nothing came") };
        assert!(!messages.is_empty() && leased_until > now() + longer.lease / 2);
    }

    #[test]
    fn a_message_that_is_larger_than_expected_ends_the_demand() {
        let queue = MemoryQueue::new(MemoryOptions::new("stock"));
        let bodies: Vec<_> =
            [10, 10, 100, 10].map(|bytes| NewMessage { body: vec![b'x'; bytes].into(), ..NewMessage::default() }).into();
        queue.send(&bodies).unwrap();
        let queue = Arc::new(Second { queue, receives: Mutex::new(0), began: Mutex::new(None), fails: false });
        let (inbox, events) = unbounded();
        let (_demands, demands) = unbounded();
        let poller = poller(&queue, demands, inbox);
        // Room for eight messages of ten bytes.
        let ask = Ask { max: 1, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: 80 };
        poller.serve(Demand { messages: 8, ask }, &mut false).unwrap();
        let (mut came, mut used) = (0, 0);
        for event in events.try_iter() {
            let Event::Received { messages, demand_used, .. } = event else { continue };
            (came, used) = (came + messages.len(), used + demand_used);
        }
        assert_eq!((came, used), (3, 8), "the rest of the demand is returned");
    }

    #[test]
    fn leases_are_counted_from_the_first_of_several_receives_and_what_fails_is_told() {
        let lease = Duration::from_secs(30);
        let ask = Ask { max: 1, wait: Duration::ZERO, lease, bytes: usize::MAX };
        // On a busy machine the first receive may take so long that no second one follows in the same report.
        let seen = (0..1000).find_map(|_| {
            let queue = MemoryQueue::new(MemoryOptions { preload: vec!["{}".into()], ..MemoryOptions::new("stock") });
            let queue = Arc::new(Second { queue, receives: Mutex::new(0), began: Mutex::new(None), fails: true });
            let (inbox, events) = unbounded();
            let (_demands, demands) = unbounded();
            let poller = poller(&queue, demands, inbox);
            let received = poller.receive(8, ask).unwrap();
            let began = (*queue.began.lock())?;
            assert!(received.at <= began && received.failed.is_some());
            // The same, as it is reported to the dispatcher.
            *queue.receives.lock() = 0;
            queue.queue.send(&[NewMessage::default()]).unwrap();
            poller.serve(Demand { messages: 8, ask }, &mut true).unwrap();
            Some(events.try_iter().collect::<Vec<_>>())
        });
        let events = seen.expect("a second receive");
        let [Event::Received { messages, demand_used: 1, .. }, Event::ReceiveFailed { demand_used: 7, fault, .. }] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert!(messages.len() == 1 && fault.reason.contains("row 7"), "{fault:?}");
    }
}
