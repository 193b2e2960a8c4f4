//! Rows in memory whose partners are away make place for rows of others: a queue's rows may take half of its places, and
//! the rows of one partner must not keep those of another on the disk.

use std::time::Duration;

use super::Transfer;
use super::unpark::ROWS;
use crate::dispatch::Dispatcher;
use crate::dispatch::keys::{PartnerKey, QueueIndex, Ticket};

/// The shortest time between two searches for rows that could make place for others.
const SHED_INTERVAL: Duration = Duration::from_millis(250);

impl Dispatcher {
    /// Returns the number of the queue's rows in memory whose partners take nothing of it.
    pub(super) fn rows_of_away(&self, index: QueueIndex, transfer: &Transfer) -> usize {
        let of_away = transfer.in_memory.by_partner().filter(|(partner, _)| self.partners.is_away_for(*partner, index));
        of_away.map(|(_, rows)| rows).sum()
    }

    /// Has rows of partners that are away leave memory, down to their shares, if they have places that rows of another
    /// partner want. They stay on the disk. Looks at most once per [`SHED_INTERVAL`].
    pub(in crate::dispatch) fn shed_rows(&mut self, index: QueueIndex) {
        let Some(transfer) = self.queues.get(index).and_then(|queue| queue.parking.as_deref()) else { return };
        let is_full = transfer.in_memory.rows() >= self.room.half_of(index);
        let others_want = transfer.lacks_places.is_some_and(|partner| !self.partners.is_away_for(partner, index));
        if !others_want || !is_full || transfer.shed_at.is_some_and(|at| at > self.now) {
            return;
        }
        let beyond = |(key, rows): (PartnerKey, usize)| {
            let bucket = self.partners.partner(key)?.buckets.of_queue(index).filter(|_| self.partners.is_away_for(key, index))?;
            let beyond = rows.saturating_sub(self.partners.share(self.partners.holder_of(bucket)?));
            (beyond > 0).then_some((key, beyond))
        };
        let mut givers: Vec<_> = transfer.in_memory.by_partner().filter_map(beyond).collect();
        // The order of a hash map must decide nothing.
        givers.sort_unstable();
        let (mut leave, mut rows) = (Vec::new(), 0);
        for (giver, beyond) in givers {
            rows += self.look_for_rows(index, giver, beyond, &mut leave);
            if rows >= ROWS {
                break;
            }
        }
        let next = self.now + SHED_INTERVAL;
        if let Some(transfer) = self.transfer_mut(index) {
            transfer.shed_at = Some(next);
        }
        for (giver, ticket) in leave {
            self.shed(giver, ticket);
        }
        self.act_on_released();
    }

    /// Searches the partner's newest deliveries of the queue for up to `wanted` rows that may leave memory, and adds them
    /// to `leave` with what is newer than they are: that goes to the disk before them, so that nothing newer stays in
    /// memory. Returns the number of rows.
    fn look_for_rows(&self, index: QueueIndex, giver: PartnerKey, wanted: usize, leave: &mut Vec<(PartnerKey, Ticket)>) -> usize {
        let key = self.partners.partner(giver).and_then(|partner| partner.buckets.of_queue(index));
        let bucket = key.and_then(|key| self.partners.bucket(key)).filter(|bucket| !self.keeps_its_proof(bucket));
        let Some(bucket) = bucket else { return 0 };
        let (mut rows, mut newer) = (0, Vec::new());
        for ticket in bucket.newest_first().map(|slip| slip.ticket) {
            let Some(held) = self.ledger.sendable(ticket) else { continue };
            if rows == wanted || !self.may_shed(giver, ticket) {
                break;
            }
            newer.push((giver, ticket));
            if held.is_row() {
                rows += 1;
                leave.append(&mut newer);
            }
        }
        rows
    }
}
