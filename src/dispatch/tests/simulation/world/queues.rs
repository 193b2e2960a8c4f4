//! The queues of the world, as a service keeps them: what is received, and the result of each call about it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dispatch::{Event, QueueCall};
use crate::message::dead::DeadDelivery;
use crate::message::service::{Ask, Count};
use crate::message::settle::{EntryError, EntryResult, SettledPart, VisibilityChange};
use crate::message::{Message, Receipt, Received};

use super::{Act, QUEUES, World, locked};

/// More messages than a dispatcher receives in its life: each begins to count anew.
const LIFE: u64 = 1_000_000;

/// One message as its queue keeps it.
pub struct Row {
    pub message: Message,
    pub visible_at: Instant,
    /// The number of the newest receipt; 0: never received.
    pub receive: i64,
    /// What is settled of the message, as far as the queue was told.
    pub settled: SettledPart,
}

#[derive(Default)]
pub struct QueueModel {
    pub rows: BTreeMap<i64, Row>,
    pub dead: BTreeSet<String>,
    pub sequence: u64,
    pub demand: HashMap<usize, usize>,
    pub busy: BTreeSet<usize>,
    pub interrupted: bool,
}

impl World {
    pub(super) fn receive(&mut self, queue: usize, poller: usize, ask: Ask) {
        if self.random.u8(..50) == 0 {
            let model = &mut self.queues[queue];
            model.busy.remove(&poller);
            let demand_used = model.demand.remove(&poller).unwrap_or(0);
            let fault = crate::dispatch::Fault { reason: "throttled".into(), transient: true };
            return self.tell(Event::ReceiveFailed { queue, poller, demand_used, fault });
        }
        let now = self.now;
        let mut sequence = self.queues[queue].sequence;
        let most = ask.max.min(self.queues[queue].demand.get(&poller).copied().unwrap_or(0));
        let mut messages = Vec::new();
        for (row, found) in self.queues[store(queue)].rows.iter_mut().filter(|(_, row)| row.visible_at <= now).take(most) {
            found.receive += 1;
            found.message.receives = found.receive as u32;
            found.visible_at = now + ask.lease;
            let receipt = Receipt::Row { row: *row, receive: found.receive };
            let settled = Some(found.settled.clone()).filter(|settled| !settled.deliveries.is_empty()).map(Box::new);
            messages.push(Received { message: Arc::new(found.message.clone()), receipt, sequence, settled });
            // A parked delivery has the sequence number of its first receive, whatever
            // becomes of the rest of its message.
            let number = u64::from(self.lives) * LIFE + sequence;
            self.sequences.entry(found.message.id.to_string()).or_insert(number);
            sequence += 1;
        }
        let model = &mut self.queues[queue];
        model.sequence = sequence;
        let demand = model.demand.entry(poller).or_default();
        let demand_used = if messages.is_empty() { *demand } else { messages.len() };
        *demand -= demand_used;
        let goes_on = *demand > 0 && !model.interrupted;
        if !goes_on {
            model.busy.remove(&poller);
        }
        self.tell(Event::Received { queue, poller, messages, leased_until: now + ask.lease, demand_used });
        if goes_on {
            let wait = self.millis(20);
            self.after(wait, Act::Receive { queue, poller, ask });
        } else if self.queues[queue].demand.get(&poller).is_some_and(|demand| *demand > 0)
            && self.queues[queue].busy.insert(poller)
        {
            self.after(Duration::from_millis(1), Act::Receive { queue, poller, ask });
        }
    }

    pub(super) fn call_queue(&mut self, queue: usize, acker: usize, call: QueueCall) {
        if self.random.u8(..40) == 0 && !matches!(call, QueueCall::Count) {
            return self.tell(Event::QueueAnswered { queue, acker, results: Err(locked()) });
        }
        if queue == QUEUES {
            return self.settle_rows(queue, acker, &call);
        }
        let results = match call {
            QueueCall::Count => return self.count(queue, acker),
            QueueCall::Delete(receipts) => receipts.iter().map(|receipt| self.delete(queue, receipt)).collect(),
            QueueCall::ChangeVisibility(changes) => {
                let now = self.now;
                let hide = |VisibilityChange { receipt, hidden, settled, .. }| {
                    let row = self.leased(queue, &receipt)?;
                    row.visible_at = now + hidden;
                    row.settled.learn(settled.map(|settled| *settled).unwrap_or_default());
                    Ok(())
                };
                changes.into_iter().map(hide).collect()
            }
            QueueCall::SetAside(letters) => letters.iter().map(|letter| self.set_aside(queue, letter)).collect(),
        };
        self.tell(Event::QueueAnswered { queue, acker, results: Ok(results) });
    }

    /// Settles rows of the parking.
    fn settle_rows(&mut self, queue: usize, acker: usize, call: &QueueCall) {
        let results = match call {
            QueueCall::Count => {
                let count = Count { visible: u64::from(!self.disk.is_empty()), ..Count::default() };
                return self.tell(Event::Counted { queue, acker, count: Ok(count) });
            }
            QueueCall::Delete(receipts) => {
                for receipt in receipts {
                    if let Some(delivery) = self.disk.delete(receipt) {
                        assert!(self.is_settled(0, &delivery), "{delivery} is deleted from the parking and open");
                    }
                }
                vec![Ok(()); receipts.len()]
            }
            QueueCall::ChangeVisibility(changes) => vec![Ok(()); changes.len()],
            QueueCall::SetAside(letters) => {
                for letter in letters {
                    assert!(letter.last, "a row is one delivery");
                    self.queues[0].dead.extend(self.disk.delete(&letter.receipt));
                }
                vec![Ok(()); letters.len()]
            }
        };
        self.tell(Event::QueueAnswered { queue, acker, results: Ok(results) });
    }

    fn count(&mut self, queue: usize, acker: usize) {
        let hidden = self.queues[store(queue)].rows.values().filter(|row| row.visible_at > self.now).count() as u64;
        let count = Count { visible: self.queues[store(queue)].rows.len() as u64 - hidden, hidden, delayed: 0 };
        self.tell(Event::Counted { queue, acker, count: Ok(count) });
    }

    fn leased(&mut self, queue: usize, receipt: &Receipt) -> Result<&mut Row, EntryError> {
        let Receipt::Row { row, receive } = receipt else { return Err(EntryError::Gone) };
        self.queues[store(queue)].rows.get_mut(row).filter(|row| row.receive == *receive).ok_or(EntryError::Gone)
    }

    fn delete(&mut self, queue: usize, receipt: &Receipt) -> EntryResult {
        let id = self.leased(queue, receipt)?.message.id.to_string();
        let open = self.expected[&id].iter().filter(|delivery| !self.is_settled(queue, delivery)).count();
        assert_eq!(open, 0, "{id} is deleted with open deliveries");
        let Receipt::Row { row, .. } = receipt else { return Err(EntryError::Gone) };
        self.queues[store(queue)].rows.remove(row);
        Ok(())
    }

    pub(super) fn is_settled(&self, queue: usize, delivery: &str) -> bool {
        let is_done = self.accepted.contains_key(delivery) || self.queues[store(queue)].dead.contains(delivery);
        is_done || (queue == 0 && self.disk.has(delivery))
    }

    fn set_aside(&mut self, queue: usize, letter: &crate::message::dead::SetAside) -> EntryResult {
        let row = self.leased(queue, &letter.receipt)?;
        let one = letter.delivery.as_ref().and_then(DeadDelivery::name);
        row.settled.learn(SettledPart { deliveries: one.into_iter().collect(), accepted: false });
        let id = letter.message.id.to_string();
        let name = match letter.delivery.as_ref().and_then(|delivery| delivery.index) {
            Some(index) => format!("{id}-{index}"),
            None => id,
        };
        let Receipt::Row { row, .. } = letter.receipt else { return Err(EntryError::Gone) };
        // Nor does another process send it: its queue keeps that it is settled.
        self.done.insert(name.clone());
        self.queues[store(queue)].dead.insert(name);
        if letter.last {
            self.queues[store(queue)].rows.remove(&row);
        }
        Ok(())
    }
}

/// Returns the queue that a consumer reads: all consumers added by reloads read the second one.
fn store(queue: usize) -> usize {
    if queue > QUEUES { 1 } else { queue }
}
