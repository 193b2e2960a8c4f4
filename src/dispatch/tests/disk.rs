//! A parking for tests: does what the store in `queue::parking` does, as far as a dispatcher can tell.

use std::time::Instant;

use crate::message::park::{Parked, Row, START, ToPark, Unparked, Want};
use crate::message::{Account, Item, Receipt};

/// The distance between the places of two rows parked one after the other.
const GAP: i64 = 1 << 20;

#[derive(Default)]
pub struct Disk {
    rows: Vec<Stored>,
    last: i64,
    /// The largest number of rows that it holds.
    pub most: Option<usize>,
    /// The ids of deliveries whose rows cannot be read.
    pub damaged: Vec<String>,
}

struct Stored {
    seq: i64,
    account: Account,
    place: i64,
    item: Item,
    waits_since: Instant,
}

impl Disk {
    pub fn park(&mut self, now: Instant, deliveries: &[ToPark]) -> Vec<Parked> {
        let mut is_full = false;
        let mut park = |delivery| {
            let result = if is_full { Parked::Full } else { self.park_one(now, delivery) };
            is_full = matches!(result, Parked::Full | Parked::ForAnother);
            result
        };
        deliveries.iter().map(&mut park).collect()
    }

    fn park_one(&mut self, now: Instant, delivery: &ToPark) -> Parked {
        let ToPark { account, item, waited, after, older } = delivery;
        if let Some(row) = self.rows.iter().find(|row| row.item.id() == item.id()) {
            return if row.account == *account { Parked::Already } else { Parked::ForAnother };
        }
        if self.most.is_some_and(|most| self.rows.len() >= most) {
            return Parked::Full;
        }
        let places = || self.rows.iter().filter(|row| row.account == *account).map(|row| row.place);
        let second = places().filter(|place| place > after).min().filter(|_| *older);
        let place = match (second, places().max().unwrap_or(START).max(*after)) {
            (Some(second), _) if second - 1 > *after && places().all(|place| place != second - 1) => second - 1,
            // The rows behind it move on: none of them is in memory.
            (Some(second), _) => {
                let behind = self.rows.iter_mut().filter(|row| row.account == *account && row.place >= second);
                behind.for_each(|row| row.place += GAP);
                second + GAP - 1
            }
            (None, START) => 0,
            (None, last) => last + GAP,
        };
        self.last += 1;
        let waits_since = now.checked_sub(*waited).expect("since the start");
        self.rows.push(Stored { seq: self.last, account: account.clone(), place, item: item.clone(), waits_since });
        Parked::At(place)
    }

    pub fn unpark(&self, now: Instant, wants: &[Want]) -> Vec<Unparked> {
        wants.iter().map(|want| self.unpark_one(now, want)).collect()
    }

    fn unpark_one(&self, now: Instant, want: &Want) -> Unparked {
        let mut found: Vec<_> = self.rows.iter().filter(|row| row.account == want.account && row.place > want.after).collect();
        found.sort_by_key(|row| row.place);
        let more = found.len() > want.rows;
        found.truncate(want.rows);
        let last = found.last().map(|row| row.place);
        let (bad, good): (Vec<_>, Vec<_>) = found.into_iter().partition(|row| self.damaged.contains(&row.item.id().to_string()));
        let unreadable = bad.into_iter().map(|row| format!("row {} is damaged", row.seq)).collect();
        let rows = good.into_iter().map(|row| Row {
            receipt: Receipt::Row { row: row.seq, receive: 1 },
            place: row.place,
            item: row.item.clone(),
            waited: now - row.waits_since,
        });
        Unparked { account: want.account.clone(), rows: rows.collect(), unreadable, last, more }
    }

    /// Deletes a row and returns the id of its delivery.
    pub fn delete(&mut self, receipt: &Receipt) -> Option<String> {
        let Receipt::Row { row, .. } = receipt else { panic!("not a receipt of a parking") };
        let at = self.rows.iter().position(|stored| stored.seq == *row)?;
        Some(self.rows.remove(at).item.id().to_string())
    }

    pub fn has(&self, delivery: &str) -> bool {
        self.rows.iter().any(|row| row.item.id() == delivery)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the number of rows by account, as found after a restart.
    pub fn found(&self) -> Vec<(Account, u64)> {
        let mut accounts: Vec<_> = self.rows.iter().map(|row| row.account.clone()).collect();
        accounts.sort();
        accounts.dedup();
        let count = |account: &Account| self.rows.iter().filter(|row| row.account == *account).count() as u64;
        accounts.into_iter().map(|account| (account.clone(), count(&account))).collect()
    }

    /// Returns the id of the delivery in this row.
    pub fn name(&self, receipt: &Receipt) -> String {
        let Receipt::Row { row, .. } = receipt else { panic!("not a receipt of a parking") };
        let stored = self.rows.iter().find(|stored| stored.seq == *row);
        stored.map_or_else(|| "gone".to_owned(), |stored| stored.item.id().to_string())
    }
}
