//! The FIFO queue that the consumers share: rows with leases and dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use compact_str::CompactString;
use fastrand::Rng;

use crate::message::dead::{DeadDelivery, SetAside};
use crate::message::service::{Ask, Count};
use crate::message::settle::{EntryError, EntryResult, SettledPart};
use crate::message::{Message, Receipt, Received};

/// A delivery: the number of its row, and its index.
pub type Name = (i64, usize);

struct Row {
    message: Message,
    visible_at: Instant,
    receive: i64,
    settled: SettledPart,
    /// The number of deliveries that it leads to.
    deliveries: usize,
}

#[derive(Default)]
pub struct Rows {
    rows: BTreeMap<i64, Row>,
    /// The deliveries that partners accepted.
    pub accepted: BTreeSet<Name>,
    /// The deliveries in dead letters.
    pub dead: BTreeSet<Name>,
}

/// Returns the number of the row that a message of this id is in.
pub fn row_of(id: &str) -> i64 {
    id[1..].parse().expect("a row")
}

impl Rows {
    pub fn send(&mut self, row: i64, message: Message, deliveries: usize, now: Instant) {
        self.rows.insert(row, Row { message, visible_at: now, receive: 0, settled: SettledPart::default(), deliveries });
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns whether the delivery is accepted or in a dead letter.
    pub fn is_settled(&self, name: Name) -> bool {
        self.accepted.contains(&name) || self.dead.contains(&name)
    }

    pub fn count(&self, now: Instant) -> Count {
        let hidden = self.rows.values().filter(|row| row.visible_at > now).count();
        Count { visible: (self.rows.len() - hidden) as u64, hidden: hidden as u64, delayed: 0 }
    }

    /// Receives the first messages of groups of which nothing is leased, and those behind them.
    pub fn receive(&mut self, most: usize, ask: &Ask, first: u64, now: Instant) -> Vec<Received> {
        let leased = self.rows.values().filter(|row| row.visible_at > now);
        let locked: BTreeSet<CompactString> = leased.filter_map(|row| row.message.group.clone()).collect();
        let is_free = |row: &Row| row.visible_at <= now && row.message.group.as_ref().is_none_or(|group| !locked.contains(group));
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for (number, row) in self.rows.iter_mut().filter(|(_, row)| is_free(row)) {
            if messages.len() >= most || bytes >= ask.bytes {
                break;
            }
            row.receive += 1;
            row.message.receives = u32::try_from(row.receive).expect("few receives");
            row.visible_at = now + ask.lease;
            bytes += row.message.weight();
            let receipt = Receipt::Row { row: *number, receive: row.receive };
            let settled = Some(row.settled.clone()).filter(|settled| !settled.deliveries.is_empty()).map(Box::new);
            let sequence = first + messages.len() as u64;
            messages.push(Received { message: Arc::new(row.message.clone()), receipt, sequence, settled });
        }
        messages
    }

    fn leased(&mut self, receipt: &Receipt, now: Instant) -> Result<(i64, &mut Row), EntryError> {
        let Receipt::Row { row: number, receive } = receipt else { panic!("not a receipt of this queue") };
        let row = self.rows.get_mut(number).filter(|row| row.receive == *receive && row.visible_at > now);
        row.map(|row| (*number, row)).ok_or(EntryError::Gone)
    }

    pub fn delete(&mut self, receipt: &Receipt, now: Instant) -> EntryResult {
        let (number, row) = self.leased(receipt, now)?;
        let deliveries = row.deliveries;
        let open = (0..deliveries).find(|index| !self.is_settled((number, *index)));
        assert_eq!(open, None, "a delivery of m{number} is open, and it is deleted");
        self.rows.remove(&number);
        Ok(())
    }

    pub fn hide(&mut self, receipt: &Receipt, until: Instant, settled: Option<Box<SettledPart>>, now: Instant) -> EntryResult {
        let (_, row) = self.leased(receipt, now)?;
        row.visible_at = until;
        row.settled.learn(settled.map(|settled| *settled).unwrap_or_default());
        Ok(())
    }

    pub fn set_aside(&mut self, letter: &SetAside, now: Instant, random: Option<&mut Rng>) -> EntryResult {
        let (number, row) = self.leased(&letter.receipt, now)?;
        let name = letter.delivery.as_ref().and_then(DeadDelivery::name);
        row.settled.learn(SettledPart { deliveries: name.into_iter().collect(), accepted: false });
        let all = 0..row.deliveries;
        match &letter.delivery {
            Some(delivery) => _ = self.dead.insert((number, usize::from(delivery.index.unwrap_or(0)))),
            None => self.dead.extend(all.map(|index| (number, index))),
        }
        if letter.last {
            if random.is_some_and(|random| random.u8(..10) == 0) {
                return Err(EntryError::NotDeleted("busy".into()));
            }
            self.rows.remove(&number);
        }
        Ok(())
    }
}
