//! The way back from the parking: as many rows as a partner takes, oldest first.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::dispatch::Dispatcher;
use crate::dispatch::bucket::Bucket;
use crate::dispatch::event::{Command, Fault};
use crate::dispatch::keys::{BucketKey, PartnerKey, QueueIndex};
use crate::dispatch::ledger::{Arrival, Exit, RowOnDisk, Stage};
use crate::dispatch::obstacle::Obstacle;
use crate::dispatch::partner::Partner;
use crate::dispatch::record::tally::{CallResult, Operation};
use crate::dispatch::timer::Timer;
use crate::dispatch::waiting::Slip;
use crate::message::Account;
use crate::message::park::{Row, Unparked, Want};

use super::{Lot, Transfer};

/// The largest number of accounts in one call, and of rows of each account.
const ACCOUNTS: usize = 64;
pub(super) const ROWS: usize = 500;

/// The lease of a row in memory. Its length does not matter, since no other process takes rows.
const LEASE: Duration = Duration::from_secs(12 * 3600);

/// Whether a bucket gets rows.
enum Turn {
    /// The bucket gets this many rows now.
    Now(usize),
    /// The bucket gets rows when something happens to it.
    NotNow,
    /// The bucket gets rows when its partner, which takes nothing now, may be tried.
    AfterWait(Obstacle),
    /// The same, and the partner may be tried: the bucket gets rows when half of the room is free or one would be within the
    /// partner's share, or, if they are to be given up, when dead letters can be written.
    ForATry,
    /// The bucket gets rows when there is a place for one.
    WithRoom,
}

impl Dispatcher {
    /// Takes in the number of rows that were parked when the service started, by account.
    pub(in crate::dispatch) fn found_parked(&mut self, index: QueueIndex, found: Vec<(Account, u64)>) {
        for (account, rows) in found.into_iter().filter(|(_, rows)| *rows > 0) {
            let Some(key) = self.partners.bucket_for(index, account, self.now, &mut self.due) else { continue };
            if let Some(lot) = self.partners.lot_for(key) {
                *lot = Lot::found(rows);
            }
            self.wants_rows(key);
        }
    }

    /// Puts the bucket into the line for rows, if it has any on the disk.
    pub(in crate::dispatch) fn wants_rows(&mut self, key: BucketKey) {
        let Some(bucket) = self.partners.bucket_mut(key) else { return };
        let index = bucket.queue;
        if let Some(lot) = bucket.lot.as_deref_mut()
            && lot.may_ask()
            && lot.stand()
            && let Some(transfer) = self.queues.get_mut(index).and_then(|queue| queue.parking.as_deref_mut())
        {
            transfer.wanting.push_back(key);
        }
    }

    /// Puts all buckets of the partner that have parked rows into the line: the partner may hold less than before.
    pub(in crate::dispatch) fn wants_rows_of(&mut self, key: PartnerKey) {
        let Some(partner) = self.partners.partner(key) else { return };
        let with_rows = partner.buckets.iter().filter(|bucket| self.partners.has_lot(*bucket));
        let with_rows: SmallVec<[BucketKey; 2]> = with_rows.collect();
        with_rows.into_iter().for_each(|bucket| self.wants_rows(bucket));
    }

    /// Reads rows for the buckets in the line, if no call is under way.
    pub(in crate::dispatch) fn read_parked(&mut self, index: QueueIndex) {
        if self.phase.is_stopping() {
            return;
        }
        let Some(transfer) = self.queues.get_mut(index).and_then(|queue| queue.parking.as_deref_mut()) else { return };
        if let Some(at) = transfer.next_look(self.now) {
            transfer.alarm.by(&mut self.due, at, Timer::Parking(index));
        }
        let (rows, gives) = (transfer.rows, transfer.gives(self.now));
        // Rows whose deletes fail stay in memory: further rows would take the places of all others.
        let stays = self.queues.get(rows).is_some_and(|rows| rows.calls.cannot_delete());
        if !gives || stays {
            return;
        }
        let (mut wants, mut asked, mut reserved) = (Vec::new(), Vec::new(), 0);
        let (mut again, mut lacks_places) = (Vec::new(), None);
        while asked.len() < ACCOUNTS && again.len() < ACCOUNTS {
            let Some(key) = self.transfer_mut(index).and_then(|transfer| transfer.wanting.pop_front()) else { break };
            match self.turn_of(index, key, reserved) {
                Turn::Now(rows) => {
                    reserved += rows;
                    self.room.reserve(index, rows);
                    asked.push((key, rows));
                    wants.extend(self.want(key, rows));
                }
                Turn::NotNow => {
                    if let Some(lot) = self.lot_mut(key) {
                        lot.stands_no_more();
                    }
                }
                // It stands in the line again once the wait is over, whatever else is in the line then.
                Turn::AfterWait(obstacle) => {
                    if let Some(lot) = self.lot_mut(key) {
                        lot.stands_no_more();
                    }
                    self.partners.wait_for(key, obstacle, self.now, &mut self.due);
                    self.looks_when_rows_expire(key);
                }
                Turn::ForATry => {
                    again.push(key);
                    self.looks_when_rows_expire(key);
                }
                Turn::WithRoom => {
                    let partner = self.partners.bucket(key).map(|bucket| bucket.partner);
                    lacks_places = lacks_places.or(partner.filter(|partner| !self.partners.is_away_for(*partner, index)));
                    again.push(key);
                }
            }
        }
        let Some(transfer) = self.transfer_mut(index) else { return };
        transfer.wanting.extend(again);
        transfer.lacks_places = lacks_places;
        if wants.is_empty() {
            return;
        }
        transfer.asked = asked;
        if let Some(rows) = self.queues.get_mut(rows) {
            rows.counts.requests += 1;
        }
        self.commands.push_back(Command::Unpark { queue: index, wants });
    }

    /// Determines whether the bucket gets rows now. A partner gets rows when it holds less than half of its share, and
    /// one row whatever it holds if nothing is behind a front that may be at fault; while it takes nothing, only if it may be
    /// tried now and half of the room is free, or if the rows are so old that they are given up. In a fuller room it gets
    /// one row to be tried with if it has nothing else and that one is within its share: the backlog of others may fill the
    /// room for hours, and nothing else would tell that it is well again. All rows together, those being read included, may
    /// take at most half of their queue's places: the rest is for new messages.
    fn turn_of(&self, index: QueueIndex, key: BucketKey, asked: usize) -> Turn {
        let Some(bucket) = self.partners.bucket(key) else { return Turn::NotNow };
        let Some(partner) = self.partners.partner(bucket.partner) else { return Turn::NotNow };
        if !bucket.lot.as_deref().is_some_and(Lot::may_ask) {
            return Turn::NotNow;
        }
        // A partner without anything held always gets a row to be tried with.
        let Some(holder) = self.partners.holder_of(key) else { return Turn::NotNow };
        let (holds, share) = (self.partners.holds(holder), self.partners.share(holder).max(1));
        let is_away = self.partners.is_away(holder);
        let wanted = if holds * 2 < share { share - holds } else { usize::from(bucket.lacks_proof()) };
        if wanted == 0 {
            return Turn::NotNow;
        }
        let expired = self.rows_expire_at(partner, bucket).is_some_and(|at| at <= self.now);
        // A row that cannot be tried now would soon leave memory again; in a small room at once.
        let obstacle = partner.obstacle(Some(bucket), self.now).filter(|_| is_away && !bucket.lacks_proof());
        if let Some(obstacle) = obstacle.filter(|_| !expired) {
            return Turn::AfterWait(obstacle);
        }
        let Some(transfer) = self.queues.get(index).and_then(|queue| queue.parking.as_deref()) else { return Turn::NotNow };
        let in_memory = transfer.in_memory.rows();
        let places = self.room.half_of(index).saturating_sub(in_memory + asked);
        // The rows in memory of partners that are away may stay there for long.
        let has_turn = || {
            if is_away {
                in_memory == 0 || holds == 0 || bucket.lacks_proof()
            } else {
                self.rows_of_away(index, transfer) == in_memory
            }
        };
        let free = match self.room.free(index) {
            // Places that are reserved for the long polls of idle queues may take all of the room for as long as they
            // last. As a queue does in such a room, its rows come one at a time then; rows of partners that are away
            // are no reason for others to wait, nor against the one row with which another partner is tried or a front
            // that may be at fault is judged.
            0 if asked == 0 && has_turn() => self.room.one_more(index),
            free => free,
        };
        match wanted.min(ROWS).min(places).min(free) {
            0 => Turn::WithRoom,
            // They become dead letters at once. Where these cannot be written, they would take the places of others' rows.
            rows if expired && !self.lacks_letters(transfer) => Turn::Now(rows),
            _ if obstacle.is_some() => Turn::ForATry,
            _ if is_away && self.is_tight() => {
                if holds == 0 && self.partners.has_share_for_one_more(asked) {
                    Turn::Now(1)
                } else {
                    Turn::ForATry
                }
            }
            rows => Turn::Now(rows),
        }
    }

    /// Returns when the bucket's first row is older than the partner's `give_up_after`, at the earliest: now, if nobody
    /// knows how old it is. `None` if rows are never given up.
    fn rows_expire_at(&self, partner: &Partner, bucket: &Bucket) -> Option<Instant> {
        let give_up_after = partner.rules.give_up_after?;
        Some(bucket.lot.as_deref()?.since().map_or(self.now, |since| since + give_up_after))
    }

    fn lacks_letters(&self, transfer: &Transfer) -> bool {
        self.queues.get(transfer.rows).is_some_and(|rows| rows.calls.cannot_set_aside())
    }

    /// Has the bucket looked at once its first row is to be given up, whatever its partner does until then.
    fn looks_when_rows_expire(&mut self, key: BucketKey) {
        let bucket = self.partners.bucket(key);
        let at = bucket.and_then(|bucket| self.rows_expire_at(self.partners.partner(bucket.partner)?, bucket));
        if let Some(at) = at.filter(|at| *at > self.now)
            && let Some(bucket) = self.partners.bucket_mut(key)
        {
            bucket.alarm.by(&mut self.due, at, Timer::Bucket(key));
        }
    }

    fn want(&mut self, key: BucketKey, rows: usize) -> Option<Want> {
        let bucket = self.partners.bucket_mut(key)?;
        let (lot, partner) = (bucket.lot.as_deref_mut()?, bucket.partner);
        lot.stands_no_more();
        lot.asks();
        let after = lot.after();
        Some(Want { account: self.partners.partner(partner)?.account.clone(), after, rows })
    }

    /// Processes the result of a read: rows by account, or a failure.
    pub(in crate::dispatch) fn unparked(&mut self, index: QueueIndex, answers: Result<Vec<Unparked>, Fault>) {
        let Some(transfer) = self.transfer_mut(index) else { return self.stray("rows of a queue without parking") };
        let (rows, asked) = (transfer.rows, std::mem::take(&mut transfer.asked));
        if let Some(rows) = self.queues.get_mut(rows) {
            let result = match &answers {
                Ok(answers) if answers.iter().all(|answer| answer.rows.is_empty()) => CallResult::Empty,
                Ok(_) => CallResult::Ok,
                Err(_) => CallResult::Failed,
            };
            rows.tally.called(Operation::Unpark, result);
        }
        let Some(transfer) = self.transfer_mut(index) else { return };
        let answers = match answers {
            Ok(answers) => {
                let unreadable = answers.iter().flat_map(|answer| &answer.unreadable).next_back().cloned();
                let is_well = transfer.unparked();
                if let Some(reason) = unreadable {
                    self.fails(rows, Operation::Unpark, Fault { reason, transient: false }, Duration::ZERO);
                } else if is_well {
                    self.goes_well(rows, Operation::Unpark);
                }
                answers
            }
            Err(fault) => {
                self.cannot_unpark(index, rows, fault);
                Vec::new()
            }
        };
        let mut answers = answers.into_iter();
        let (mut line, mut last_in_line) = (Vec::new(), Vec::new());
        for (key, reserved) in asked {
            self.room.release(index, reserved);
            let answer = answers.next();
            // The rows of those before it took all the bytes that an answer holds: it comes first the next time.
            let got_none = answer.as_ref().is_some_and(|answer| answer.last.is_none() && answer.more);
            if got_none {
                line.push(key)
            } else {
                last_in_line.push(key)
            }
            match answer {
                Some(Unparked { rows: came, unreadable, last, more, .. }) => {
                    let looked_at = came.len() + unreadable.len();
                    let since = came.last().map(|row| self.waits_since(row));
                    let in_order = self.lot_mut(key).is_some_and(|lot| lot.heard(looked_at, last, more, since));
                    self.phase.census.received(came.len());
                    for row in came.into_iter().filter(|_| in_order) {
                        self.take_row_in(index, rows, key, row);
                    }
                    self.expire(key);
                }
                None => {
                    if let Some(lot) = self.lot_mut(key) {
                        lot.heard_nothing();
                    }
                }
            }
            self.partners.list(key);
        }
        line.append(&mut last_in_line);
        line.into_iter().for_each(|key| self.wants_rows(key));
    }

    fn cannot_unpark(&mut self, index: QueueIndex, rows: QueueIndex, fault: Fault) {
        let Some(transfer) = self.queues.get_mut(index).and_then(|queue| queue.parking.as_deref_mut()) else { return };
        if let Some(retry_in) = transfer.failed_to_unpark(self.now, fault.transient, &mut self.random) {
            self.fails(rows, Operation::Unpark, fault, retry_in);
        }
    }

    /// Enters one row into the ledger and its bucket. During a stop the row goes back at once and stays on the disk.
    fn take_row_in(&mut self, index: QueueIndex, rows: QueueIndex, key: BucketKey, row: Row) {
        let since = self.waits_since(&row);
        let Row { receipt, place, item, .. } = row;
        let (now, message) = (self.now, &item.message);
        if let Some(queue) = self.queues.get_mut(rows) {
            queue.counts.received += 1;
        }
        let hash = self.ledger.hash(rows, &message.id, item.index);
        let arrival = Arrival {
            queue: rows,
            message,
            row: Some(RowOnDisk { index: item.index, place, since }),
            receipt,
            sequence: 0,
            hash,
            sent_before_ms: 0,
            leased_until: now + LEASE,
        };
        let Ok(ticket) = self.ledger.insert(arrival, now) else {
            // The row has been in memory since before an older one was parked.
            if let Some(queue) = self.queues.get_mut(rows) {
                queue.counts.exit(Exit::Duplicate);
            }
            return;
        };
        self.ledger.advance(ticket, Stage::Delivering);
        let slip = Slip { ticket, since };
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        held.opened_as_row(item.payload.len());
        self.room.hold(index, held.bytes());
        if let Some(spot) = self.partners.enter_into(key, slip, item) {
            held.spot = Some(spot);
            if let Some(partner) = self.partners.bucket(key).map(|bucket| bucket.partner)
                && let Some(transfer) = self.transfer_mut(index)
            {
                transfer.in_memory.enters(partner);
            }
        }
        if let Some(lot) = self.lot_mut(key) {
            lot.remembers();
        }
        if self.phase.is_stopping() {
            self.forget_row(ticket);
        }
    }

    /// Returns since when a row has waited. One that has waited for longer than the clock can express starts its age anew.
    fn waits_since(&self, row: &Row) -> Instant {
        self.now.checked_sub(row.waited).unwrap_or(self.now)
    }

    pub(super) fn transfer_mut(&mut self, index: QueueIndex) -> Option<&mut Transfer> {
        self.queues.get_mut(index)?.parking.as_deref_mut()
    }

    fn lot_mut(&mut self, key: BucketKey) -> Option<&mut Lot> {
        self.partners.bucket_mut(key)?.lot.as_deref_mut()
    }
}
