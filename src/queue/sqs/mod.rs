//! Queues of AWS SQS, standard and FIFO, and of servers that speak its query protocol.
//!
//! Poller and acker threads, `send` and the `dead` commands call it. It has no thread and no runtime of its own:
//! each call lives on the stack of its thread, and the only state is a cache of URLs, limits and keys, so the
//! process may die at any moment. A call blocks for as long as its requests take: a receive its long poll of up to
//! 20 s and 10 s at most, a send 30 s, any other 10 s. From the top: [`SqsQueue`] is the queue, `remote` makes the
//! requests about one queue, `service` signs, sends and reads, and `codec` is the only file that knows rusoto.
//!
//! In contrast to embedded queues, a batch is no transaction; the order on standard queues is
//! whatever SQS makes of it; a receipt whose lease has lapsed may still work; empty bodies
//! and characters that XML lacks are refused; a FIFO queue cannot delay a single message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use compact_str::{CompactString, ToCompactString as _, format_compact};
use parking_lot::Mutex;
use uuid::Uuid;

use self::apart::{for_a_while, send_apart};
use self::call::MAX_ENTRIES;
use self::dead::Target;
use super::{
    Ask, Count, DeadLetters, EntryError, EntryResult, Facts, Limits, NewMessage, Queue, QueueError, Receipt, Received, SetAside,
    VisibilityChange,
};
use crate::message::Grouping;

pub use self::call::Entry;
pub use self::error::{EntryFault, Fault};
pub use self::location::{Hints, Location, LocationError, look_for_other_keys};
pub use self::remote::{Named, RemoteQueue, fitting};
pub use self::service::Service;

mod answer;
mod apart;
mod call;
mod codec;
pub(crate) mod content;
pub mod credentials;
mod dead;
mod envelope;
mod error;
mod facts;
mod location;
mod md5;
mod proxy;
mod receive;
mod remote;
mod resolve;
mod service;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transport;
mod xml;

/// The longest delay of a message (AWS: `DelaySeconds`).
const MAX_DELAY: Duration = Duration::from_secs(15 * 60);
/// How long deletes wait to fill a request of ten, since each request
/// has a price. From 50 messages a second on, requests are full.
const LINGER: Duration = Duration::from_millis(200);
/// The price of a request to a standard queue, in billionths of a dollar, beyond the free tier in most regions
/// (aws.amazon.com/sqs/pricing). A payload above 64 KiB is billed as several requests, which no estimate sees; nor does
/// it see discounts.
const STANDARD_PRICE: u32 = 400;
/// The price of a request to a FIFO queue.
const FIFO_PRICE: u32 = 500;
/// One request sends letters to the dead-letter queue, another deletes the messages.
const LETTER_REQUESTS: u64 = 2;
/// How many times an entry that fails by itself is sent in all: most such failures are short-lived.
const MAX_ATTEMPTS: usize = 3;

/// The settings of a queue: where it is and how it is used.
#[derive(Clone)]
pub struct SqsOptions {
    /// The name of the queue in octoconf, for errors.
    pub name: String,
    /// The service that the queue is at.
    pub service: Arc<Service>,
    /// The queue's name or URL at the service.
    pub queue: Named,
    /// The destination of dead letters.
    pub dead_letter: DeadLetterQueue,
    /// The function that returns a message's group when it is sent to a FIFO
    /// queue; `None` if each message stands alone. Not used on a standard queue.
    pub grouping: Option<Grouping>,
}

/// The destination of a queue's dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterQueue {
    /// The target of the queue's redrive policy.
    OfPolicy,
    /// This queue.
    To(Named),
    /// No queue: rejected messages come back when their lease ends, for as long as the queue keeps them.
    Nowhere,
}

/// One queue of SQS. It is cheap to share and safe to use from many threads.
pub struct SqsQueue {
    name: String,
    queue: RemoteQueue,
    dead: Target,
    grouping: Option<Grouping>,
    sequence: AtomicU64,
    /// The fault of copies that a receive left out while it returned others. The next receive fails with it.
    left_out: Mutex<Option<String>>,
    /// Whether the log says that the server names no groups.
    said_groupless: Once,
}

impl SqsQueue {
    /// Creates the queue without a request: its URL is looked up by the first call that needs it.
    pub fn new(options: SqsOptions) -> Self {
        let SqsOptions { name, service, queue, dead_letter, grouping } = options;
        Self {
            name,
            dead: Target::new(Arc::clone(&service), dead_letter),
            queue: RemoteQueue::new(service, queue),
            grouping,
            sequence: AtomicU64::new(0),
            left_out: Mutex::new(None),
            said_groupless: Once::new(),
        }
    }

    fn failed(&self, what: &'static str) -> impl Fn(Fault) -> QueueError {
        move |fault| fault.of(&self.name, what)
    }

    fn unavailable(&self, what: &'static str, why: String) -> QueueError {
        QueueError::Unavailable { queue: self.name.clone(), what, why }
    }

    fn refused(&self, what: &'static str, why: String) -> QueueError {
        QueueError::Refused { queue: self.name.clone(), what, why }
    }

    /// Returns the body of a message as text if SQS would accept the message, else why it would not.
    fn check<'a>(&self, message: &'a NewMessage, group: Option<&str>) -> Result<&'a str, String> {
        if message.delay > MAX_DELAY {
            return Err(format!("its delay is {} s; a delay is at most {} s", message.delay.as_secs(), MAX_DELAY.as_secs()));
        }
        if self.queue.is_fifo() && !message.delay.is_zero() {
            return Err("it has a delay, and a FIFO queue delays all messages or none".to_owned());
        }
        if let Some(group) = group.filter(|group| !content::is_group(group)) {
            return Err(format!(
                "its group {group:?} is none that SQS takes: 1 to 128 letters, digits and punctuation marks of ASCII"
            ));
        }
        content::check(&message.body, &message.attributes)
    }

    /// Sends entries, and sends again those that fail by themselves.
    /// Returns for each the id of its message, or why it failed.
    fn send_entries(&self, entries: &[Entry<'_>]) -> Result<Vec<Result<CompactString, EntryFault>>, Fault> {
        let mut results = self.queue.send(entries)?;
        for _ in 1..MAX_ATTEMPTS {
            let failed: Vec<usize> = results
                .iter()
                .enumerate()
                .filter(|(_, sent)| matches!(sent, Err(EntryFault::Transient(_))))
                .map(|(at, _)| at)
                .collect();
            if failed.is_empty() {
                break;
            }
            let again: Vec<_> = failed.iter().filter_map(|at| entries.get(*at).cloned()).collect();
            // If this request fails as a whole, the entries sent before it must still be reported.
            let Ok(sent) = self.queue.send(&again) else { break };
            for (at, sent) in failed.into_iter().zip(sent) {
                if let Some(result) = results.get_mut(at) {
                    *result = sent;
                }
            }
        }
        Ok(results)
    }

    /// Runs a batch call for the receipt handles among `entries`. A receipt
    /// of another kind of queue is [`EntryError::Gone`] without a request.
    fn by_handle<T>(
        entries: &[T],
        receipt: impl Fn(&T) -> &Receipt,
        call: impl FnOnce(&[(&T, &str)]) -> Result<Vec<Result<(), EntryFault>>, QueueError>,
    ) -> Result<Vec<EntryResult>, QueueError> {
        let handles: Vec<_> = entries.iter().filter_map(|entry| handle(receipt(entry)).map(|handle| (entry, handle))).collect();
        let mut ended = if handles.is_empty() { Vec::new() } else { call(&handles)? }.into_iter();
        let results = entries.iter().map(|entry| match handle(receipt(entry)) {
            Some(_) => ended.next().unwrap_or_else(no_result).map_err(EntryError::from),
            None => Err(EntryError::Gone),
        });
        Ok(results.collect())
    }
}

/// The result of an entry for which a batch call returned none; in practice there is always one.
fn no_result<T>() -> Result<T, EntryFault> {
    Err(EntryFault::Transient("it has no result".to_owned()))
}

fn handle(receipt: &Receipt) -> Option<&str> {
    match receipt {
        Receipt::Handle(handle) => Some(handle),
        Receipt::Row { .. } | Receipt::Parked => None,
    }
}

impl Queue for SqsQueue {
    /// Leaves out a copy that cannot be read or whose body does not match its MD5; it
    /// comes back when its lease ends. The error that names such a copy is returned
    /// at once if the receive brought no other copy, else by the next receive.
    fn receive(&self, ask: &Ask) -> Result<Vec<Received>, QueueError> {
        if ask.max == 0 {
            return Ok(Vec::new());
        }
        if let Some(why) = self.left_out.lock().take() {
            return Err(self.unavailable("receive", why));
        }
        let document = self.queue.receive(ask).map_err(self.failed("receive"))?;
        let copies = receive::messages(&document, self.queue.is_fifo()).map_err(self.failed("receive"))?;
        if copies.is_groupless {
            self.said_groupless.call_once(|| {
                log::warn!(
                    "the server names no message groups: queue={}; messages of its FIFO queues are handled in no order; AWS names them",
                    self.name
                );
            });
        }
        if !copies.bad.is_empty() {
            let why = format!("{}; it comes back when its lease ends", copies.bad.join("; "));
            if copies.good.is_empty() {
                return Err(self.unavailable("receive", why));
            }
            *self.left_out.lock() = Some(why);
        }
        // Drawn when the answer is here: of two answers, the one that came first gets the lower numbers.
        let first = self.sequence.fetch_add(copies.good.len() as u64, Ordering::Relaxed);
        let numbered = copies.good.into_iter().zip(first..);
        Ok(numbered.map(|((message, receipt), sequence)| Received { message, receipt, sequence, settled: None }).collect())
    }

    /// Makes several requests if there are more than ten receipts.
    fn delete(&self, receipts: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        Self::by_handle(
            receipts,
            |receipt| receipt,
            |handles| {
                let handles: Vec<_> = handles.iter().map(|(_, handle)| *handle).collect();
                self.queue.delete(&handles).map_err(self.failed("delete"))
            },
        )
    }

    /// Makes several requests if there are more than ten changes. SQS knows only whole seconds, so times are
    /// rounded up; they are capped at 12 h. What is settled is dropped: a message of SQS cannot be added to.
    fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<Vec<EntryResult>, QueueError> {
        Self::by_handle(
            changes,
            |change| &change.receipt,
            |handles| {
                let changes: Vec<_> = handles.iter().map(|(change, handle)| (*handle, change.hidden)).collect();
                self.queue.hide(&changes).map_err(self.failed("change visibility"))
            },
        )
    }

    /// Writes the letters, then deletes the messages. The letter of a message that turns out to be
    /// gone is written all the same, since SQS reports that too late. If there is no destination
    /// for dead letters, every copy is [`EntryError::Gone`]: it is dropped here and comes back.
    fn set_aside(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
        self.write_letters(letters)
    }

    /// Sends messages. If only some were sent, the error says how many.
    fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError> {
        let fifo = self.queue.is_fifo();
        let mut entries = Vec::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            let own = Uuid::now_v7();
            let group = self.grouping.as_ref().filter(|_| fifo).and_then(|group| group(&message.body));
            let body = self.check(message, group.as_deref()).map_err(|why| QueueError::Unsendable {
                queue: self.name.clone(),
                at,
                why,
            })?;
            entries.push(Entry {
                body,
                attributes: message.attributes.as_slice().into(),
                delay: call::whole_seconds(message.delay, MAX_DELAY),
                group: fifo.then(|| group.unwrap_or_else(|| format_compact!("{}{own}", content::ALONE))),
                deduplication: fifo.then(|| own.to_compact_string()),
            });
        }
        let results = send_apart(&entries, for_a_while(), |entries| self.send_entries(entries)).map_err(self.failed("send"))?;
        let (mut ids, mut failed, mut unconfirmed) = (Vec::with_capacity(messages.len()), Vec::new(), Vec::new());
        for (at, sent) in results.into_iter().enumerate() {
            match sent {
                Ok(id) => ids.push(id),
                Err(fault) => match fault.lasting() {
                    Ok(why) => failed.push((at, why)),
                    Err(fault) => unconfirmed.push((at, EntryError::from(fault).to_string())),
                },
            }
        }
        if ids.len() == messages.len() {
            return Ok(ids);
        }
        Err(QueueError::PartlySent { queue: self.name.clone(), of: messages.len(), failed, unconfirmed })
    }

    /// Returns approximate numbers, which may lag by a minute.
    fn count(&self) -> Result<Count, QueueError> {
        facts::count(&self.queue).map_err(self.failed("count"))
    }

    fn limits(&self) -> Limits {
        let fifo = self.queue.is_fifo();
        let price = if fifo { FIFO_PRICE } else { STANDARD_PRICE };
        Limits {
            receive: MAX_ENTRIES,
            entries: MAX_ENTRIES,
            fifo,
            remote: true,
            price: Some(price),
            letter_requests: LETTER_REQUESTS,
            linger: LINGER,
        }
    }

    fn facts(&self) -> Result<Facts, QueueError> {
        self.read_facts()
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        (!self.dead.is_nowhere()).then_some(self)
    }
}
