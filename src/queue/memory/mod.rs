//! The queue in memory: the semantics of the embedded queue without its durability, for benchmarks and dry runs.
//!
//! Poller and acker threads call it, several at once. Its single lock is held for bookkeeping only, never
//! while a message is built or a caller waits. Its messages and dead letters are lost when the process ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};
use parking_lot::Mutex;

use self::dead::Dead;
use self::preload::Preload;
use self::row::{Content, RowReceipt};
use self::rows::{Rows, Taken};
use super::clock::{Clock, WallClock, later, to_millis};
use super::embedded::{self, redriven_id};
use super::waiting::Waiting;
use super::{
    Ask, Count, DeadDelivery, DeadFilter, DeadLetter, DeadLetters, EntryError, EntryResult, Facts, Limits, NewMessage, Queue,
    QueueError, SetAside, SettledPart, Unseen, VisibilityChange,
};
use crate::message::{Grouping, Message, Receipt, Received};

mod dead;
mod leases;
mod pages;
mod preload;
mod row;
mod rows;
#[cfg(test)]
mod tests;

/// The default bound on the number of dead letters: about 100 MB at a kilobyte each.
const DEAD_LETTERS: usize = 100_000;

/// The settings of a queue in memory.
#[derive(Clone)]
pub struct MemoryOptions {
    /// The name of the queue, for errors.
    pub name: String,
    /// The bodies that are on the queue from the start.
    pub preload: Vec<Bytes>,
    /// The number of times that the preload is on the queue, one repetition after
    /// the other, each message with an id of its own. Repetitions cost no memory.
    pub repeat: u64,
    /// The function that returns a message's group; `None` for a standard queue.
    pub grouping: Option<Grouping>,
    /// The clock by which leases and delays end.
    pub clock: Arc<dyn Clock>,
    /// The largest number of dead letters, 100,000 by default; they hold at most 256
    /// MiB in any case. When either bound is reached, a call that sets more aside
    /// fails with [`QueueError::Unavailable`] and its messages stay on the queue.
    pub max_dead_letters: usize,
}

impl MemoryOptions {
    /// Returns the settings of an empty standard queue that uses the wall clock.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            preload: Vec::new(),
            repeat: 1,
            grouping: None,
            clock: Arc::new(WallClock),
            max_dead_letters: DEAD_LETTERS,
        }
    }
}

/// A queue whose messages live as long as this object.
pub struct MemoryQueue {
    name: String,
    /// The start of every id, random so that the ids of two runs differ. Prefix
    /// and row number together fit the 24 bytes that need no allocation.
    prefix: CompactString,
    preload: Arc<Preload>,
    /// When the preload counts as sent.
    since: SystemTime,
    grouping: Option<Grouping>,
    clock: Arc<dyn Clock>,
    max_dead_letters: usize,
    waiting: Waiting,
    state: Mutex<State>,
}

struct State {
    rows: Rows,
    /// The next sequence number.
    sequence: u64,
    /// The number of ids given to sent messages; their numbers follow those of the preload.
    sent: u64,
    dead: Dead,
}

impl MemoryQueue {
    /// Creates the queue. Calls the grouping once for each body of
    /// the preload; otherwise cheap, however large `repeat` is.
    pub fn new(options: MemoryOptions) -> Self {
        let MemoryOptions { name, preload, repeat, grouping, clock, max_dead_letters } = options;
        let preload = Arc::new(Preload::new(preload, repeat, grouping.as_ref()));
        let prefix =
            std::iter::repeat_with(fastrand::alphanumeric).map(|c| c.to_ascii_lowercase()).take(6).chain(['_']).collect();
        let state = State { rows: Rows::new(preload.clone()), sequence: 0, sent: 0, dead: Dead::default() };
        Self {
            name,
            prefix,
            preload,
            since: clock.now(),
            grouping,
            clock,
            max_dead_letters,
            waiting: Waiting::default(),
            state: Mutex::new(state),
        }
    }

    fn id(&self, number: u64) -> CompactString {
        let mut id = self.prefix.clone();
        id.push_str(&number.to_compact_string());
        id
    }

    fn take(&self, max: usize, lease: Duration) -> Vec<Received> {
        let (taken, settled, first) = {
            let mut state = self.state.lock();
            let now = to_millis(self.clock.now());
            let taken = state.rows.take(max, now, later(now, lease));
            let settled = state.rows.settled_of(&taken);
            let first = state.sequence;
            state.sequence += taken.len() as u64;
            (taken, settled, first)
        };
        let mut received: Vec<_> =
            taken.into_iter().zip(first..).map(|(taken, sequence)| self.received(taken, sequence)).collect();
        for (place, settled) in settled {
            if let Some(received) = received.get_mut(place) {
                received.settled = Some(settled);
            }
        }
        received
    }

    fn received(&self, taken: Taken, sequence: u64) -> Received {
        let Taken { number, row } = taken;
        let message = match &row.content {
            Some(content) => Message {
                id: content.id.clone(),
                body: content.body.clone(),
                attributes: content.attributes.clone(),
                group: content.group.clone(),
                sent_at: content.sent_at,
                receives: row.counted(),
                open: content.open.clone(),
            },
            None => Message {
                id: self.id(number),
                body: self.preload.body(number).cloned().unwrap_or_default(),
                attributes: Vec::new(),
                group: self.preload.group(number).cloned(),
                sent_at: self.since,
                receives: row.counted(),
                open: None,
            },
        };
        let receipt = Receipt::Row { row: i64::try_from(number).unwrap_or(i64::MAX), receive: i64::from(row.receives) };
        Received { message: Arc::new(message), receipt, sequence, settled: None }
    }

    fn group_of(&self, body: &[u8]) -> Option<CompactString> {
        self.grouping.as_ref().and_then(|group| group(body))
    }

    /// Calls `settle` with the present time, in milliseconds since 1970, for each entry whose receipt may belong to this
    /// queue. Returns one result per entry, in order.
    fn for_each_held<'a, T>(
        &self,
        entries: &'a [T],
        receipt: impl Fn(&'a T) -> &'a Receipt,
        mut settle: impl FnMut(&mut State, &T, RowReceipt, i64) -> bool,
    ) -> Vec<EntryResult> {
        let mut state = self.state.lock();
        let now = to_millis(self.clock.now());
        let settled = entries.iter().map(|entry| match RowReceipt::of(receipt(entry)) {
            Some(receipt) if settle(&mut state, entry, receipt, now) => Ok(()),
            _ => Err(EntryError::Gone),
        });
        settled.collect()
    }
}

impl Queue for MemoryQueue {
    fn receive(&self, ask: &Ask) -> Result<Vec<Received>, QueueError> {
        let max = ask.max.min(self.limits().receive);
        if max == 0 {
            return Ok(Vec::new());
        }
        self.waiting.receive(ask.wait, || Ok(self.take(max, ask.lease)), || Ok(true))
    }

    fn delete(&self, receipts: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        embedded::check_entries(&self.name, "delete", receipts.len())?;
        let results = self.for_each_held(receipts, |receipt| receipt, |state, _, receipt, now| state.rows.delete(receipt, now));
        self.waiting.announce();
        Ok(results)
    }

    fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<Vec<EntryResult>, QueueError> {
        embedded::check_entries(&self.name, "change visibility", changes.len())?;
        let results = self.for_each_held(
            changes,
            |change| &change.receipt,
            |state, VisibilityChange { hidden, settled, uncounted, .. }, receipt, now| {
                let good = state.rows.hide(receipt, now, (!hidden.is_zero()).then(|| later(now, *hidden)), *uncounted);
                if let Some(settled) = settled.as_deref().filter(|_| good) {
                    state.rows.note_settled(receipt.number, settled.clone());
                }
                good
            },
        );
        self.waiting.announce();
        Ok(results)
    }

    fn set_aside(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
        embedded::check_entries(&self.name, "set aside", letters.len())?;
        let mut state = self.state.lock();
        if !state.dead.has_room(letters, self.max_dead_letters) {
            return Err(QueueError::Unavailable {
                queue: self.name.clone(),
                what: "set aside",
                why: format!(
                    "memory holds no more dead letters (at most {}, and 256 MiB of them): redrive or purge some, or use source = \"sqlite\"",
                    self.max_dead_letters
                ),
            });
        }
        let time = self.clock.now();
        let now = to_millis(time);
        let results = letters
            .iter()
            .map(|letter| {
                if letter.receipt == Receipt::Parked {
                    state.dead.write(letter, 0, None, time);
                    return Ok(());
                }
                let receipt = RowReceipt::of(&letter.receipt).ok_or(EntryError::Gone)?;
                let redrives = state.rows.redrives_if_held(receipt, now).ok_or(EntryError::Gone)?;
                let settled = state.rows.settled(receipt.number);
                state.dead.write(letter, redrives, settled, time);
                if letter.last {
                    state.rows.delete(receipt, now);
                } else if let Some(name) = letter.delivery.as_ref().and_then(DeadDelivery::name) {
                    state.rows.note_settled(receipt.number, SettledPart { deliveries: vec![name], accepted: false });
                }
                Ok(())
            })
            .collect();
        drop(state);
        self.waiting.announce();
        Ok(results)
    }

    fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError> {
        embedded::check_messages(&self.name, messages)?;
        let groups: Vec<_> = messages.iter().map(|message| self.group_of(&message.body)).collect();
        let mut state = self.state.lock();
        let sent_at = self.clock.now();
        let now = to_millis(sent_at);
        let mut ids = Vec::with_capacity(messages.len());
        for (message, group) in messages.iter().zip(groups) {
            let id = self.id(self.preload.rows() + state.sent);
            state.sent += 1;
            let content = Content {
                id: id.clone(),
                body: message.body.clone(),
                attributes: message.attributes.clone(),
                group,
                sent_at,
                open: None,
                redrives: 0,
            };
            state.rows.send(content, (!message.delay.is_zero()).then(|| later(now, message.delay)));
            ids.push(id);
        }
        drop(state);
        self.waiting.announce();
        Ok(ids)
    }

    fn count(&self) -> Result<Count, QueueError> {
        let now = to_millis(self.clock.now());
        Ok(self.state.lock().rows.count(now))
    }

    fn limits(&self) -> Limits {
        embedded::limits(self.grouping.as_ref())
    }

    fn facts(&self) -> Result<Facts, QueueError> {
        Ok(Facts::default())
    }

    fn interrupt(&self) {
        self.waiting.end();
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }
}

impl DeadLetters for MemoryQueue {
    fn list(&self, filter: &DeadFilter, each: &mut dyn FnMut(DeadLetter) -> bool) -> Result<Unseen, QueueError> {
        let mut after = 0;
        loop {
            // One letter per lock, so that `each` may take its time or call the queue.
            let next = self.state.lock().dead.next(filter, after).map(|(number, letter)| (number, letter.clone()));
            let Some((number, letter)) = next else { return Ok(Unseen::default()) };
            after = number;
            if !each(letter) {
                return Ok(Unseen::default());
            }
        }
    }

    fn find(&self, id: &str) -> Result<Option<DeadLetter>, QueueError> {
        let Some(number) = embedded::letter_number(id) else { return Ok(None) };
        Ok(self.state.lock().dead.get(number).cloned())
    }

    fn redrive(&self, ids: &[CompactString]) -> Result<usize, QueueError> {
        let mut state = self.state.lock();
        let sent_at = self.clock.now();
        let mut redriven = 0;
        for id in ids.iter().filter_map(|id| embedded::letter_number(id)) {
            let Some(dead::Letter { letter, open, settled, .. }) = state.dead.remove(id) else { continue };
            let content = Content {
                id: redriven_id(&letter.message_id, id),
                group: self.group_of(&letter.body),
                body: letter.body,
                attributes: letter.attributes,
                sent_at,
                open,
                redrives: letter.redrives.saturating_add(1),
            };
            let number = state.rows.send(content, None);
            if let Some(settled) = settled {
                state.rows.note_settled(number, *settled);
            }
            redriven += 1;
        }
        drop(state);
        self.waiting.announce();
        Ok(redriven)
    }

    fn purge(&self, ids: &[CompactString]) -> Result<usize, QueueError> {
        let mut state = self.state.lock();
        let numbers = ids.iter().filter_map(|id| embedded::letter_number(id));
        Ok(numbers.filter(|number| state.dead.remove(*number).is_some()).count())
    }
}
