//! A queue service like SQS: leases, FIFO groups that are locked while anything of them
//! is hidden, and a redrive policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::service::Count;
use crate::message::settle::EntryError;
use crate::message::{Message, Receipt, Received};

/// One message as the service keeps it.
pub struct Row {
    pub message: Message,
    /// When the message arrives; it cannot be received before.
    pub arrives: Instant,
    /// Until when the message is hidden, once it was received.
    pub visible_at: Instant,
    /// The number of the newest receipt; 0: never received.
    pub receive: i64,
    /// Whether another consumer received the message in between.
    pub stolen: bool,
}

#[derive(Default)]
pub struct Service {
    pub rows: BTreeMap<i64, Row>,
    /// The ids of deliveries and messages in dead letters.
    pub dead: BTreeSet<String>,
    /// The messages that the service itself has set aside, without our reason.
    pub redriven: BTreeSet<String>,
    pub fifo: bool,
    pub redrive_after: Option<u32>,
    sequence: u64,
}

impl Service {
    pub fn new(fifo: bool, redrive_after: Option<u32>) -> Self {
        Self { fifo, redrive_after, ..Self::default() }
    }

    /// Returns the messages that have arrived; rows are in the order of their arrival.
    fn arrived(&self, now: Instant) -> impl Iterator<Item = (&i64, &Row)> {
        self.rows.iter().take_while(move |(_, row)| row.arrives <= now)
    }

    /// Returns the rows that may be received now.
    fn free(&self, now: Instant) -> Vec<i64> {
        let group = |row: &Row| row.message.group.clone();
        let hidden = self.arrived(now).filter(|(_, row)| self.fifo && row.visible_at > now);
        let locked: BTreeSet<_> = hidden.filter_map(|(_, row)| group(row)).collect();
        let free = self.arrived(now).filter(|(_, row)| row.visible_at <= now);
        free.filter(|(_, row)| group(row).is_none_or(|group| !locked.contains(&group))).map(|(number, _)| *number).collect()
    }

    pub fn receive(&mut self, now: Instant, most: usize, lease: Duration) -> Vec<Received> {
        let mut received = Vec::new();
        for number in self.free(now).into_iter().take(most) {
            let Some(row) = self.rows.get_mut(&number) else { continue };
            row.receive += 1;
            row.message.receives = row.receive as u32;
            if self.redrive_after.is_some_and(|after| row.message.receives > after) {
                assert!(row.stolen, "{} is set aside by the service: it was returned once too often", row.message.id);
                self.redriven.insert(row.message.id.to_string());
                self.rows.remove(&number);
                continue;
            }
            row.visible_at = now + lease;
            let receipt = Receipt::Row { row: number, receive: row.receive };
            received.push(Received { message: Arc::new(row.message.clone()), receipt, sequence: self.sequence, settled: None });
            self.sequence += 1;
        }
        received
    }

    /// Returns when a message may be there that is not there now.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let shows = self.arrived(now).map(|(_, row)| row.visible_at).filter(|at| *at > now).min();
        let arrives = self.rows.values().map(|row| row.arrives).find(|at| *at > now);
        shows.into_iter().chain(arrives).min()
    }

    pub fn leased(&mut self, receipt: &Receipt) -> Result<&mut Row, EntryError> {
        let Receipt::Row { row, receive } = receipt else { return Err(EntryError::Gone) };
        self.rows.get_mut(row).filter(|row| row.receive == *receive).ok_or(EntryError::Gone)
    }

    pub fn remove(&mut self, receipt: &Receipt) {
        if let Receipt::Row { row, .. } = receipt {
            self.rows.remove(row);
        }
    }

    /// Lets another consumer receive a hidden message and give up. The messages behind it in
    /// its FIFO group go back with it.
    pub fn steal(&mut self, now: Instant, nth: usize) {
        let hidden: Vec<i64> = self.rows.iter().filter(|(_, row)| row.visible_at > now).map(|(number, _)| *number).collect();
        let stolen = hidden.get(nth % hidden.len().max(1)).and_then(|number| self.rows.get_mut(number));
        let Some(row) = stolen else { return };
        row.receive += 1;
        row.stolen = true;
        row.visible_at = now + Duration::from_secs(5);
        let group = row.message.group.clone().filter(|_| self.fifo);
        for follower in self.rows.values_mut().filter(|row| row.arrives <= now && group.is_some() && row.message.group == group) {
            follower.stolen = true;
        }
    }

    pub fn count(&self, now: Instant) -> Count {
        let arrived = self.rows.values().filter(|row| row.arrives <= now);
        let (visible, hidden): (Vec<_>, Vec<_>) = arrived.partition(|row| row.visible_at <= now);
        let (visible, hidden) = (visible.len() as u64, hidden.len() as u64);
        Count { visible, hidden, delayed: self.rows.len() as u64 - visible - hidden }
    }
}
