//! The messages of the queue in memory: visible rows by age and
//! group, hidden rows in [`Leases`], and the groups that are free.
//!
//! This is pure bookkeeping under the queue's lock: it reads no clock, never waits and
//! builds no message, so that the lock is held only briefly. A row of the preload is
//! only a number until its first receive, and has no content of its own after that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::leases::{Lease, Leases};
use super::preload::{Preload, Stream};
use super::row::{Content, Row, RowReceipt};
use crate::queue::{Count, SettledPart};

/// A row as a receive took it.
pub(super) struct Taken {
    pub number: u64,
    pub row: Row,
}

pub(super) struct Rows {
    preload: Arc<Preload>,
    alone: Partition,
    groups: HashMap<CompactString, Partition, RandomState>,
    /// The groups from which a row can be taken, by the row at their head.
    free: BTreeMap<u64, CompactString>,
    leases: Leases,
    /// The number of visible messages, including the rows of the preload that have not been taken yet.
    visible: u64,
    /// The number of the next row sent.
    next: u64,
    /// What is settled of rows whose messages lead to several deliveries; nearly always empty.
    settled: HashMap<u64, SettledPart, RandomState>,
}

/// The messages of one group, or all messages that stand alone.
#[derive(Default)]
struct Partition {
    /// The rows of the preload that have never been taken: older than
    /// all rows that were sent, younger than all that came back.
    fresh: Stream,
    /// Visible rows that were sent or came back.
    rows: BTreeMap<u64, Row>,
    /// For a group: the rows hidden since they were sent, which hold back the rows behind them.
    delayed: BTreeSet<u64>,
    /// For a group: the number of its leased rows. While it is not 0, the group is locked.
    leased: u64,
    /// For a group: the head under which it is entered in `free`, if it is there.
    head: Option<u64>,
}

impl Partition {
    fn first(&self) -> Option<u64> {
        match (self.rows.first_key_value(), self.fresh.peek()) {
            (Some((row, _)), Some(fresh)) => Some(fresh.min(*row)),
            (row, fresh) => fresh.or(row.map(|(row, _)| *row)),
        }
    }

    // Inlined: a row returned through memory is read before it is wholly written,
    // and the read waits for the write, which took a sixth of a poller's time.
    #[inline(always)]
    fn pop(&mut self) -> Option<Taken> {
        let number = self.first()?;
        let row = if self.fresh.peek() == Some(number) {
            self.fresh.advance();
            Row::default()
        } else {
            self.rows.remove(&number)?
        };
        Some(Taken { number, row })
    }

    /// Returns the row of the group that can be taken next; `None` if an older row is delayed.
    fn head_of_group(&self) -> Option<u64> {
        let first = self.first()?;
        self.delayed.first().is_none_or(|delayed| first < *delayed).then_some(first)
    }

    fn is_done(&self) -> bool {
        self.first().is_none() && self.delayed.is_empty() && self.leased == 0
    }
}

impl Rows {
    pub(super) fn new(preload: Arc<Preload>) -> Self {
        let (alone, groups) = preload.streams();
        let mut rows = Self {
            alone: Partition { fresh: alone, ..Partition::default() },
            groups: HashMap::default(),
            free: BTreeMap::new(),
            leases: Leases::default(),
            visible: preload.rows(),
            next: preload.rows(),
            settled: HashMap::default(),
            preload,
        };
        for (group, fresh) in groups {
            rows.groups.insert(group.clone(), Partition { fresh, ..Partition::default() });
            rows.refresh(&group);
        }
        rows
    }

    /// Takes up to `max` of the oldest rows and leases them until `until`.
    pub(super) fn take(&mut self, max: usize, now: i64, until: i64) -> Vec<Taken> {
        self.promote(now);
        let mut taken = Vec::with_capacity(max.min(usize::try_from(self.visible).unwrap_or(max)));
        let mut touched = BTreeSet::new();
        while taken.len() < max
            && let Some(mut next) = self.pop(&mut touched)
        {
            next.row.receives = next.row.receives.saturating_add(1);
            self.leases.insert(next.number, Lease { row: next.row.clone(), until, delayed: false });
            taken.push(next);
        }
        self.visible -= taken.len() as u64;
        for group in touched {
            self.refresh(&group);
        }
        taken
    }

    /// Takes the oldest row that may be taken. A group stays free for the rest
    /// of the same receive, so that it can contribute several rows in order.
    fn pop(&mut self, touched: &mut BTreeSet<CompactString>) -> Option<Taken> {
        let head = self.free.first_key_value().map(|(head, _)| *head);
        if let Some(head) = head
            && self.alone.first().is_none_or(|alone| head < alone)
        {
            let group = self.free.remove(&head)?;
            let partition = self.groups.get_mut(&group)?;
            let taken = partition.pop()?;
            partition.leased += 1;
            partition.head = partition.head_of_group();
            if let Some(next) = partition.head {
                self.free.insert(next, group.clone());
            }
            touched.insert(group);
            return Some(taken);
        }
        self.alone.pop()
    }

    /// Makes rows visible whose lease or delay has lapsed, at their old place in age.
    fn promote(&mut self, now: i64) {
        for (number, lease) in self.leases.lapsed(now) {
            self.show(number, lease);
        }
    }

    /// Returns whether a receipt is good: its row is leased, and has not been received again since.
    fn is_good(lease: &Lease, receipt: RowReceipt, now: i64) -> bool {
        i64::from(lease.row.receives) == receipt.receive && !lease.delayed && lease.until > now
    }

    /// Returns how often the message of a good receipt has been redriven; `None` if the receipt is not good.
    pub(super) fn redrives_if_held(&mut self, receipt: RowReceipt, now: i64) -> Option<u32> {
        let lease = self.leases.get(receipt.number).filter(|lease| Self::is_good(lease, receipt, now));
        lease.map(|lease| lease.row.content.as_ref().map_or(0, |content| content.redrives))
    }

    /// Deletes a row for good. Returns `false` if the receipt is not good.
    pub(super) fn delete(&mut self, receipt: RowReceipt, now: i64) -> bool {
        let number = receipt.number;
        let Some(lease) = self.leases.remove_if(number, |lease| Self::is_good(lease, receipt, now)) else { return false };
        self.leave(number, self.group_of(number, &lease.row), lease.delayed);
        if !self.settled.is_empty() {
            self.settled.remove(&number);
        }
        true
    }

    /// Adds to what is known to be settled of a row. The caller must have checked the receipt.
    pub(super) fn note_settled(&mut self, number: u64, settled: SettledPart) {
        self.settled.entry(number).or_default().learn(settled);
    }

    /// Returns what is known to be settled of the rows of a receive, each with its place among them.
    pub(super) fn settled_of(&self, taken: &[Taken]) -> Vec<(usize, Box<SettledPart>)> {
        if self.settled.is_empty() {
            return Vec::new();
        }
        taken.iter().enumerate().filter_map(|(place, taken)| Some((place, self.settled(taken.number)?))).collect()
    }

    /// Returns what is known to be settled of a row.
    pub(super) fn settled(&self, number: u64) -> Option<Box<SettledPart>> {
        self.settled.get(&number).cloned().map(Box::new)
    }

    /// Hides a leased row until `until`, or makes it visible if that is `None`. `uncounted`: the receive does not count.
    /// Returns `false` if the receipt is not good.
    pub(super) fn hide(&mut self, receipt: RowReceipt, now: i64, until: Option<i64>, uncounted: bool) -> bool {
        let number = receipt.number;
        let Some(mut lease) = self.leases.remove_if(number, |lease| Self::is_good(lease, receipt, now)) else { return false };
        lease.row.uncounted = lease.row.uncounted.saturating_add(uncounted.into());
        match until {
            Some(until) => self.leases.insert(number, Lease { until, ..lease }),
            None => self.show(number, lease),
        }
        true
    }

    /// Puts a message behind all others, hidden until `hidden_until` if that is given. Returns the number of its row.
    pub(super) fn send(&mut self, content: Content, hidden_until: Option<i64>) -> u64 {
        let number = self.next;
        self.next += 1;
        let group = content.group.clone();
        let row = Row { receives: 0, uncounted: 0, content: Some(Arc::new(content)) };
        if let Some(until) = hidden_until {
            if let Some(group) = &group {
                self.groups.entry_ref(group).or_default().delayed.insert(number);
            }
            self.leases.insert(number, Lease { row, until, delayed: true });
            return number;
        }
        self.visible += 1;
        match &group {
            None => drop(self.alone.rows.insert(number, row)),
            Some(group) => {
                self.groups.entry_ref(group).or_default().rows.insert(number, row);
                self.refresh(group);
            }
        }
        number
    }

    pub(super) fn count(&mut self, now: i64) -> Count {
        self.promote(now);
        let delayed = self.leases.delayed();
        Count { visible: self.visible, hidden: self.leases.len() - delayed, delayed }
    }

    /// Makes a row visible that is no longer hidden.
    fn show(&mut self, number: u64, lease: Lease) {
        self.visible += 1;
        let group = self.group_of(number, &lease.row);
        let partition = match &group {
            None => Some(&mut self.alone),
            Some(group) => self.groups.get_mut(group),
        };
        if let Some(partition) = partition {
            partition.rows.insert(number, lease.row);
        }
        self.leave(number, group, lease.delayed);
    }

    /// Undoes what hiding a row did to its group.
    fn leave(&mut self, number: u64, group: Option<CompactString>, delayed: bool) {
        let Some(group) = group else { return };
        let Some(partition) = self.groups.get_mut(&group) else { return };
        if delayed {
            partition.delayed.remove(&number);
        } else {
            partition.leased -= 1;
        }
        self.refresh(&group);
    }

    fn group_of(&self, number: u64, row: &Row) -> Option<CompactString> {
        match &row.content {
            Some(content) => content.group.clone(),
            None => self.preload.group(number).cloned(),
        }
    }

    /// Computes anew whether a group is free, and under which head. Removes the group when it has no rows left.
    fn refresh(&mut self, group: &CompactString) {
        let Some(partition) = self.groups.get_mut(group) else { return };
        if let Some(head) = partition.head.take() {
            self.free.remove(&head);
        }
        if partition.leased == 0 {
            partition.head = partition.head_of_group();
            if let Some(head) = partition.head {
                self.free.insert(head, group.clone());
            }
        }
        if partition.is_done() {
            self.groups.remove(group);
        }
    }
}
