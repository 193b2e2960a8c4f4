//! Messages that were returned because their partner takes nothing or too little: how many of each queue are hidden,
//! and the receipts with which they can be shown before their time.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use foldhash::fast::RandomState;
use slotmap::{SlotMap, new_key_type};

use crate::message::Receipt;

use crate::dispatch::due::earlier;
use crate::dispatch::exits::calls::Show;
use crate::dispatch::keys::{PartnerKey, QueueIndex};

/// The largest number of receipts remembered, over all queues: 90,000 receipts of SQS take some 40 MB. Messages beyond
/// that number show by themselves.
const RECEIPTS: usize = 90_000;

/// A message that shows by itself within this time needs no request; its receipt may be outdated by the
/// time that the request arrives.
const SOON: Duration = Duration::from_secs(5);

new_key_type! {
    struct HiddenKey;
}

/// When a message was sent, and the order in which it was received among those that were sent at the same time: many
/// are sent in one call, and what leaves memory leaves it newest first.
pub type Sent = (SystemTime, u64);

/// The hidden messages of one queue and partner, the first sent first.
type OfOneQueue = (QueueIndex, BTreeSet<(Sent, HiddenKey)>);

/// The hidden messages of all queues.
#[derive(Debug)]
pub struct Hidden {
    slots: SlotMap<HiddenKey, Slot>,
    /// The messages of each partner that can be shown again, by queue. Few queues feed one partner.
    by_partner: HashMap<PartnerKey, Vec<OfOneQueue>, RandomState>,
    queues: Vec<OfQueue>,
    /// The number of receipts remembered.
    receipts: usize,
}

#[derive(Debug)]
struct Slot {
    queue: QueueIndex,
    partner: PartnerKey,
    sent: Sent,
    /// Until when the message is hidden.
    until: Instant,
    /// The receipt with which the message can be shown; `None`: it shows only by itself.
    receipt: Option<Receipt>,
}

#[derive(Debug, Default)]
struct OfQueue {
    by_end: BTreeSet<(Instant, HiddenKey)>,
    /// The number of messages on their way: their queue has not confirmed yet that they are hidden.
    leaving: usize,
}

impl Hidden {
    pub fn new(queues: usize) -> Self {
        let queues = std::iter::repeat_with(OfQueue::default).take(queues).collect();
        Self { slots: SlotMap::with_key(), by_partner: HashMap::default(), queues, receipts: 0 }
    }

    /// Adds a queue.
    pub fn add_queue(&mut self) {
        self.queues.push(OfQueue::default());
    }

    /// Forgets one message of the queue and returns the partner because of which it was hidden; `None` if none is left.
    pub fn forget_one_of(&mut self, queue: QueueIndex) -> Option<PartnerKey> {
        let &(_, key) = self.queues.get(queue)?.by_end.first()?;
        self.forget(key).map(|slot| slot.partner)
    }

    /// Returns the number of the queue's hidden messages, those on their way included.
    pub fn count(&self, queue: QueueIndex) -> usize {
        self.queues.get(queue).map_or(0, |queue| queue.by_end.len() + queue.leaving)
    }

    /// Counts a message that is on its way.
    pub fn leaves(&mut self, queue: QueueIndex) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.leaving += 1;
        }
    }

    /// Ends the way of a message: it is hidden, or will not be.
    pub fn arrived(&mut self, queue: QueueIndex) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.leaving = queue.leaving.saturating_sub(1);
        }
    }

    /// Returns how many messages of these queues, hidden because of this partner, can be shown before their time.
    pub fn of(&self, partner: PartnerKey, queues: impl Fn(QueueIndex) -> bool) -> usize {
        self.of_partner(partner).iter().filter(|(queue, _)| queues(*queue)).map(|(_, all)| all.len()).sum()
    }

    /// Returns the queues of the messages that are hidden because of this partner and can be shown.
    pub fn queues_of(&self, partner: PartnerKey) -> impl Iterator<Item = QueueIndex> {
        self.of_partner(partner).iter().map(|(queue, _)| *queue)
    }

    fn of_partner(&self, partner: PartnerKey) -> &[OfOneQueue] {
        self.by_partner.get(&partner).map_or(&[], Vec::as_slice)
    }

    /// Returns the first sent of these messages.
    fn first(&self, partner: PartnerKey, queues: impl Fn(QueueIndex) -> bool) -> Option<HiddenKey> {
        let wanted = self.of_partner(partner).iter().filter(|(queue, _)| queues(*queue));
        wanted.filter_map(|(_, all)| all.first()).min().map(|(_, key)| *key)
    }

    /// Remembers a message that is hidden until this moment because of this partner.
    pub fn remember(&mut self, queue: QueueIndex, partner: PartnerKey, receipt: Receipt, sent: Sent, until: Instant) {
        let Some(of_queue) = self.queues.get_mut(queue) else { return };
        let receipt = Some(receipt).filter(|_| self.receipts < RECEIPTS);
        let is_remembered = receipt.is_some();
        let key = self.slots.insert(Slot { queue, partner, sent, until, receipt });
        of_queue.by_end.insert((until, key));
        if is_remembered {
            self.receipts += 1;
            let of_partner = self.by_partner.entry(partner).or_default();
            match of_partner.iter_mut().find(|(of, _)| *of == queue) {
                Some((_, all)) => _ = all.insert((sent, key)),
                None => of_partner.push((queue, BTreeSet::from([(sent, key)]))),
            }
        }
    }

    /// Records that all hidden messages show by themselves earlier by this much.
    pub fn lose_time(&mut self, by: Duration) {
        self.queues.iter_mut().for_each(|queue| queue.by_end.clear());
        for (key, slot) in &mut self.slots {
            slot.until = earlier(slot.until, by);
            if let Some(queue) = self.queues.get_mut(slot.queue) {
                queue.by_end.insert((slot.until, key));
            }
        }
    }

    /// Returns when the next hidden message shows by itself.
    pub fn next_end(&self) -> Option<Instant> {
        self.queues.iter().filter_map(|queue| Some(queue.by_end.first()?.0)).min()
    }

    /// Forgets the next message that shows by itself by now. Returns its queue, and the partner
    /// because of which it was hidden.
    pub fn next_over(&mut self, now: Instant) -> Option<(QueueIndex, PartnerKey)> {
        let over = |queue: &OfQueue| queue.by_end.first().copied().filter(|(until, _)| *until <= now);
        let (_, key) = self.queues.iter().find_map(over)?;
        self.forget(key).map(|slot| (slot.queue, slot.partner))
    }

    /// Returns the queue of the first sent of the messages of these queues that are hidden because of this partner and can
    /// be shown.
    pub fn queue_of_oldest(&self, partner: PartnerKey, queues: impl Fn(QueueIndex) -> bool) -> Option<QueueIndex> {
        Some(self.slots.get(self.first(partner, queues)?)?.queue)
    }

    /// Takes out the first sent of the messages of these queues that are hidden because of this partner and can be shown.
    /// Returns its queue and how to show it; `None` if there is none, or all of them show by themselves soon enough.
    pub fn oldest(
        &mut self,
        partner: PartnerKey,
        now: Instant,
        queues: impl Fn(QueueIndex) -> bool,
    ) -> Option<(QueueIndex, Show)> {
        loop {
            let key = self.first(partner, &queues)?;
            let slot = self.slots.get_mut(key)?;
            if slot.until > now + SOON {
                let slot = self.forget(key)?;
                return Some((slot.queue, Show { receipt: slot.receipt?, until: slot.until }));
            }
            slot.receipt = None;
            let (queue, place) = (slot.queue, (slot.sent, key));
            self.drop_receipt(partner, queue, place);
        }
    }

    fn forget(&mut self, key: HiddenKey) -> Option<Slot> {
        let slot = self.slots.remove(key)?;
        if let Some(queue) = self.queues.get_mut(slot.queue) {
            queue.by_end.remove(&(slot.until, key));
        }
        if slot.receipt.is_some() {
            self.drop_receipt(slot.partner, slot.queue, (slot.sent, key));
        }
        Some(slot)
    }

    fn drop_receipt(&mut self, partner: PartnerKey, queue: QueueIndex, place: (Sent, HiddenKey)) {
        self.receipts -= 1;
        if let Some(all) = self.by_partner.get_mut(&partner) {
            if let Some((_, of_queue)) = all.iter_mut().find(|(of, _)| *of == queue) {
                of_queue.remove(&place);
            }
            all.retain(|(_, of_queue)| !of_queue.is_empty());
            if all.is_empty() {
                self.by_partner.remove(&partner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::slab::Slab;
    use crate::dispatch::tests::start;

    const MINUTE: Duration = Duration::from_secs(60);

    fn partners() -> [PartnerKey; 2] {
        let mut slots = Slab::default();
        [PartnerKey(slots.insert(())), PartnerKey(slots.insert(()))]
    }

    fn row(row: i64) -> Receipt {
        Receipt::Row { row, receive: 1 }
    }

    #[test]
    fn the_first_sent_of_a_partner_is_shown_first() {
        let (mut hidden, [a, b], start) = (Hidden::new(1), partners(), start());
        // The last two of a were sent in one call, and returned newest first.
        for (minute, sequence, partner) in [(3, 5, a), (1, 4, a), (1, 3, a), (2, 2, b)] {
            let sent_at = SystemTime::UNIX_EPOCH + MINUTE * minute;
            hidden.remember(0, partner, row(sequence as i64), (sent_at, sequence), start + MINUTE);
        }
        let mut shown = || hidden.oldest(a, start, |_| true).map(|(_, show)| show.receipt);
        assert_eq!([shown(), shown(), shown(), shown()], [Some(row(3)), Some(row(4)), Some(row(5)), None]);
        assert_eq!((hidden.count(0), hidden.receipts, hidden.by_partner.len()), (1, 1, 1));
    }

    #[test]
    fn what_shows_by_itself_is_forgotten_and_what_does_soon_is_not_asked_for() {
        let (mut hidden, [a, _], start) = (Hidden::new(2), partners(), start());
        hidden.leaves(1);
        hidden.arrived(1);
        hidden.remember(1, a, row(1), (SystemTime::UNIX_EPOCH, 0), start + MINUTE);
        assert_eq!((hidden.count(0), hidden.count(1), hidden.next_end()), (0, 1, Some(start + MINUTE)));
        assert!(hidden.oldest(a, start + MINUTE - SOON, |_| true).is_none());
        assert_eq!(hidden.next_over(start + MINUTE - SOON), None);
        assert_eq!(hidden.next_over(start + MINUTE), Some((1, a)));
        assert_eq!((hidden.count(1), hidden.next_end(), hidden.slots.len(), hidden.receipts), (0, None, 0, 0));
    }
}
