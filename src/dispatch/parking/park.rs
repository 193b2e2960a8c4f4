//! The way into the parking.

use std::time::Instant;

use crate::dispatch::Dispatcher;
use crate::dispatch::event::{Command, Fault, Note};
use crate::dispatch::exits::reason::ReturnReason;
use crate::dispatch::keys::{BucketKey, PartnerKey, QueueIndex, Ticket};
use crate::dispatch::ledger::{Exit, Held, RowOnDisk};
use crate::dispatch::record::summary::Sum;
use crate::dispatch::record::tally::{CallResult, Operation};
use crate::dispatch::waiting::{Slip, Spot};
use crate::message::Item;
use crate::message::park::{Parked, START, ToPark};

use super::Lot;
use super::transfer::{Leaver, Transfer};

/// The largest number of deliveries in one call; together with their bytes this makes a transaction that takes some ten
/// milliseconds on a common disk.
const AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 4 * 1024 * 1024;

const FOR_ANOTHER: &str = "a delivery with the same index of the same message is parked for another partner, since a handler made them in \
                           another order before: messages are returned instead, for a moment; it passes once that one is delivered or purged";

impl Dispatcher {
    /// Returns the parking of the queue, if it has one that accepts deliveries now.
    pub(in crate::dispatch) fn open_parking(&self, index: QueueIndex) -> Option<&Transfer> {
        self.queues.get(index)?.parking.as_deref().filter(|transfer| transfer.takes(self.now))
    }

    /// Returns whether a delivery of the message that waits for this partner can be parked.
    pub(in crate::dispatch) fn may_be_parked(&self, giver: PartnerKey, ticket: Ticket, held: &Held) -> bool {
        self.open_parking(held.queue).is_some()
            && held.spots().iter().any(|spot| {
                let bucket = self.partners.bucket(spot.bucket).filter(|bucket| bucket.partner == giver);
                let takes = |bucket: &&_| lot_takes_older(bucket);
                bucket.filter(takes).is_some_and(|bucket| bucket.has(spot.place, ticket))
            })
    }

    /// Parks the message's waiting deliveries for this partner, or for all partners if none is given.
    pub(in crate::dispatch) fn park(&mut self, giver: Option<PartnerKey>, ticket: Ticket) {
        let Some(held) = self.ledger.get(ticket) else { return };
        let index = held.queue;
        // The newest goes first: each delivery is placed in front of the one sent before it.
        for spot in held.spots().into_iter().rev() {
            let Some(bucket) = self.partners.bucket(spot.bucket) else { continue };
            if giver.is_some_and(|giver| bucket.partner != giver) || !lot_takes_older(&bucket) {
                continue;
            }
            if let Some((_, item)) = self.partners.take(spot, ticket) {
                self.send_to_disk(index, Leaver { ticket, bucket: spot.bucket, place: Some(spot.place), after: START, item });
            }
        }
    }

    /// Parks the message's waiting deliveries because the queue will soon show it again, whatever we ask, and before them
    /// those that are behind them in their buckets, which would otherwise overtake them. Does nothing if something of the
    /// message is on the wire.
    pub(in crate::dispatch) fn park_in_time(&mut self, ticket: Ticket) {
        let Some(held) = self.ledger.sendable(ticket).filter(|held| !held.is_under_way()) else { return };
        if self.open_parking(held.queue).is_none() {
            return;
        }
        for spot in held.spots() {
            let Some(bucket) = self.partners.bucket(spot.bucket) else { continue };
            let (partner, slips) = (bucket.partner, bucket.newest_first());
            let behind: Vec<Ticket> = slips.map(|slip| slip.ticket).take_while(|behind| *behind != ticket).collect();
            for behind in behind {
                if self.may_shed(partner, behind) {
                    self.shed(partner, behind);
                }
            }
        }
        self.park(None, ticket);
    }

    /// Parks what waits in a bucket that has something on the disk, be it in memory as well or not, since the service
    /// stops: messages that went back to their queue would come behind the rows after the start, although they are older.
    /// Does the same in a bucket of a partner that is away if a message in it leads to several deliveries and its queue
    /// forgets which of them are settled, so that after the start all of it would be delivered again.
    /// Does nothing once the drain is over: a stop by force waits for no disk.
    pub(in crate::dispatch) fn park_before_the_end(&mut self, key: BucketKey) {
        if self.phase.deadline().is_none_or(|deadline| deadline <= self.now) {
            return;
        }
        let Some(bucket) = self.partners.bucket(key) else { return };
        if !bucket.lot.as_deref().is_some_and(Lot::is_kept) {
            let forgets = self.queues.get(bucket.queue).is_some_and(|queue| queue.facts.forgets_parts);
            let is_part = |slip: &Slip| self.ledger.get(slip.ticket).is_some_and(Held::has_several);
            if !forgets || !self.stays_to_the_end(key) || !bucket.newest_first().any(is_part) {
                return;
            }
        }
        let (partner, newest_first) = (bucket.partner, bucket.newest_first().map(|slip| slip.ticket));
        let to_disk = |ticket: Ticket| self.ledger.get(ticket).is_some_and(|held| self.is_shed_to_disk(held));
        // What cannot go keeps all that is older in memory, too.
        let waiting = newest_first.take_while(|ticket| self.may_shed(partner, *ticket) && to_disk(*ticket));
        for ticket in waiting.collect::<Vec<_>>() {
            self.shed(partner, ticket);
        }
    }

    /// Adds a new delivery to a bucket that has, or had, parked deliveries: behind them on the
    /// disk, or else into the bucket.
    pub(in crate::dispatch) fn join(&mut self, index: QueueIndex, ticket: Ticket, bucket: BucketKey, item: Item) {
        if self.ledger.get(ticket).is_none_or(|held| held.is_leaving()) {
            // An earlier delivery of the message found no room on the disk, so that all of the message is returned.
            return;
        }
        let Some(transfer) = self.queues.get(index).and_then(|queue| queue.parking.as_deref()) else { return };
        let takes = transfer.takes(self.now);
        let row = self.ledger.find(transfer.rows, &item.message.id, item.index).and_then(|row| self.ledger.get(row)?.spot);
        let partner = |bucket| self.partners.bucket(bucket).map(|bucket| bucket.partner);
        if row.is_some_and(|row| partner(row.bucket) == partner(bucket)) {
            // It is parked, and in memory: the message came back since its delete was not done.
            return self.is_parked(index, ticket, bucket, &item);
        }
        let is_open = self.partners.bucket(bucket).and_then(|bucket| bucket.lot.as_deref()).is_some_and(|lot| lot.is_open());
        let leaver = Leaver { ticket, bucket, place: None, after: START, item };
        match (is_open, takes) {
            (true, true) => self.send_to_disk(index, leaver),
            (true, false) => self.has_no_room(leaver),
            (false, _) => self.back_into_memory(leaver),
        }
    }

    fn send_to_disk(&mut self, index: QueueIndex, mut leaver: Leaver) {
        if !self.ledger.goes_to_disk(leaver.ticket, leaver.item.payload.len()) {
            return;
        }
        if let Some(lot) = self.partners.lot_for(leaver.bucket) {
            lot.enters(leaver.is_older());
            leaver.after = lot.after();
        }
        if let Some(transfer) = self.queues.get_mut(index).and_then(|queue| queue.parking.as_deref_mut()) {
            transfer.waiting.push_back(leaver);
        }
    }

    /// Writes the next deliveries of the line to the disk, if no call is under way.
    pub(in crate::dispatch) fn write_parked(&mut self, index: QueueIndex) {
        let Some(transfer) = self.queues.get_mut(index).and_then(|queue| queue.parking.as_deref_mut()) else { return };
        if !transfer.called.is_empty() {
            return;
        }
        let (mut deliveries, mut called, mut unwanted, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        while called.len() < AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(leaver) = transfer.waiting.pop_front() else { break };
            let held = self.ledger.sendable(leaver.ticket);
            let bucket = self.partners.bucket(leaver.bucket);
            let (Some(held), Some(bucket)) = (held, bucket) else {
                unwanted.push(leaver);
                continue;
            };
            let Some(partner) = self.partners.partner(bucket.partner) else { continue };
            bytes += leaver.item.payload.len() + held.message.body.len();
            deliveries.push(ToPark {
                account: partner.account.clone(),
                item: leaver.item.clone(),
                waited: self.now.saturating_duration_since(held.received_at),
                after: leaver.after,
                older: leaver.is_older(),
            });
            called.push(leaver);
        }
        transfer.called = called;
        let rows = transfer.rows;
        if !deliveries.is_empty() {
            if let Some(rows) = self.queues.get_mut(rows) {
                rows.counts.requests += 1;
            }
            self.commands.push_back(Command::Park { queue: index, deliveries });
        }
        for leaver in unwanted {
            self.arrived(&leaver);
            self.wants_rows(leaver.bucket);
            self.leave_if_done(leaver.ticket);
        }
    }

    /// Processes the result of a write, delivery by delivery.
    pub(in crate::dispatch) fn parked(&mut self, index: QueueIndex, results: Result<Vec<Parked>, Fault>) {
        let Some(transfer) = self.queues.get_mut(index).and_then(|queue| queue.parking.as_deref_mut()) else {
            return self.stray("parked deliveries of a queue without parking");
        };
        let rows = transfer.rows;
        let called = std::mem::take(&mut transfer.called);
        let (results, mut fault) = match results {
            Ok(results) => (results, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        let why = results.iter().find_map(|result| match result {
            Parked::Full => Some("it is full (parking_max_bytes): messages are returned instead"),
            Parked::ForAnother => Some(FOR_ANOTHER),
            Parked::At(_) | Parked::Already => None,
        });
        if let Some(why) = why {
            fault = Some(Fault { reason: why.into(), transient: true });
        }
        let failed = fault.is_some();
        match fault {
            Some(fault) => {
                if let Some(retry_in) = transfer.failed_to_park(self.now, fault.transient, &mut self.random) {
                    self.fails(rows, Operation::Park, fault, retry_in);
                }
            }
            None => {
                if transfer.parked() {
                    self.goes_well(rows, Operation::Park);
                }
            }
        }
        if let Some(rows) = self.queues.get_mut(rows) {
            rows.tally.called(Operation::Park, if failed { CallResult::Failed } else { CallResult::Ok });
        }
        let mut results = results.into_iter();
        let (mut without_room, mut buckets, mut tickets) = (Vec::new(), Vec::new(), Vec::new());
        // The deliveries behind a failed one are taken back with it: none may be on the disk
        // while a newer one is in memory.
        let behind = if failed { self.transfer_mut(index).map(|transfer| std::mem::take(&mut transfer.waiting)) } else { None };
        for leaver in called.into_iter().chain(behind.into_iter().flatten()) {
            self.arrived(&leaver);
            buckets.push(leaver.bucket);
            tickets.push(leaver.ticket);
            match results.next() {
                Some(Parked::At(place)) => {
                    let since = self.ledger.get(leaver.ticket).map(|held| held.received_at);
                    self.stores_row(leaver.bucket, place, since);
                    if let Some(queue) = self.queues.get_mut(index) {
                        queue.counts.parked += 1;
                    }
                    self.sum_up_parked(index, &leaver);
                    self.is_parked(index, leaver.ticket, leaver.bucket, &leaver.item);
                }
                Some(Parked::Already) => self.is_parked(index, leaver.ticket, leaver.bucket, &leaver.item),
                Some(Parked::ForAnother | Parked::Full) | None => without_room.push(leaver),
            }
        }
        // The deliveries that were in memory stood in the line newest first; each goes back to its own place.
        for leaver in without_room {
            self.has_no_room(leaver);
        }
        // When it was time for a message to leave, nothing was done about it if a part of it was on its way to the disk.
        tickets.dedup();
        for ticket in tickets {
            let must_leave = |held: &Held| self.ledger.is_held_too_long(held, self.now);
            if self.ledger.sendable(ticket).is_some_and(must_leave) {
                self.held_too_long(ticket);
            }
        }
        // Nothing is read of a bucket while deliveries of it are on their way to the disk.
        buckets.dedup();
        buckets.into_iter().for_each(|bucket| self.wants_rows(bucket));
        self.act_on_released();
    }

    /// Logs the first delivery that goes to the disk, then sums.
    fn sum_up_parked(&mut self, index: QueueIndex, leaver: &Leaver) {
        let partner = self.partners.bucket(leaver.bucket).and_then(|bucket| self.partners.partner(bucket.partner));
        let (Some(partner), Some(queue)) = (partner, self.queues.get_mut(index)) else { return };
        let why = || format!("others need the room of partner {:?}, or something of it is parked", partner.account);
        if let Some(Sum { count, example, reason }) = queue.summaries.parked.add(self.now, leaver.item.id(), why) {
            self.note(Note::Parked { queue: index, count, example, reason });
        }
        self.watch_sums(index);
    }

    /// Records a row that is on the disk and not in memory. `since`: see [`Lot::stores`].
    fn stores_row(&mut self, key: BucketKey, place: i64, since: Option<Instant>) {
        let Some(lot) = self.partners.lot_for(key) else { return };
        lot.stores(place, since);
        self.wants_rows(key);
    }

    /// Records that a row has left memory: it is deleted, or stays only on the disk.
    pub(in crate::dispatch) fn row_left(&mut self, rows: QueueIndex, spot: Option<Spot>, row: RowOnDisk, exit: Exit) {
        let index = self.takes_places_of(rows);
        let Some(Spot { bucket: key, .. }) = spot else { return };
        if let Some(partner) = self.partners.bucket(key).map(|bucket| bucket.partner)
            && let Some(transfer) = self.transfer_mut(index)
        {
            transfer.in_memory.leaves(partner);
        }
        if let Some(lot) = self.partners.bucket_mut(key).and_then(|bucket| bucket.lot.as_deref_mut()) {
            lot.forgets();
        }
        if matches!(exit, Exit::Returned | Exit::LeaseLost) {
            self.stores_row(key, row.place, Some(row.since));
        }
    }

    /// Ends the way of a delivery to the disk, whether it arrived there or not.
    fn arrived(&mut self, leaver: &Leaver) {
        self.ledger.went_to_disk(leaver.ticket, leaver.item.payload.len());
        if let Some(lot) = self.partners.bucket_mut(leaver.bucket).and_then(|bucket| bucket.lot.as_deref_mut()) {
            lot.entered(leaver.is_older());
        }
    }

    /// The delivery is on the disk: it needs its message no more.
    fn is_parked(&mut self, index: QueueIndex, ticket: Ticket, bucket: BucketKey, item: &Item) {
        let partner = self.partners.bucket(bucket).and_then(|bucket| self.partners.partner(bucket.partner));
        let (Some(held), Some(partner)) = (self.ledger.get_mut(ticket), partner) else { return };
        let freed = held.delivered(item.index, &partner.account, item.payload.len());
        self.room.regain(index, freed);
        self.leave_if_done(ticket);
    }

    /// Returns a message that the disk has no room for; if it may not be returned, its delivery stays in memory.
    fn has_no_room(&mut self, leaver: Leaver) {
        let Some(held) = self.ledger.get(leaver.ticket) else { return };
        if !held.may_be_sent() {
            return self.leave_if_done(leaver.ticket);
        }
        let giver = self.partners.bucket(leaver.bucket).map(|bucket| bucket.partner);
        match giver.filter(|giver| self.may_be_returned(*giver, leaver.ticket)) {
            Some(giver) => self.return_for(giver, leaver.ticket),
            None => self.back_into_memory(leaver),
        }
    }

    fn back_into_memory(&mut self, leaver: Leaver) {
        let Leaver { ticket, bucket: key, place, item, .. } = leaver;
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        let slip = Slip { ticket, since: held.received_at };
        let Some(place) = place else {
            if let Some(spot) = self.partners.enter_into(key, slip, item) {
                held.waits_at(spot);
            }
            return;
        };
        // The message still knows this spot.
        self.partners.put_back(Spot { bucket: key, place }, slip, item);
    }

    /// Takes a row out of memory; it stays on the disk.
    pub(in crate::dispatch) fn forget_row(&mut self, ticket: Ticket) {
        self.set_return_reason(ticket, ReturnReason::Parked);
        self.leave(ticket, Exit::Returned);
    }
}

fn lot_takes_older(bucket: &&crate::dispatch::bucket::Bucket) -> bool {
    bucket.lot.as_deref().is_none_or(super::Lot::takes_older)
}
