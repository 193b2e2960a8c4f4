//! Dead letters: what follows for a message once a letter about it is written, or cannot be written. Part of the
//! dispatcher's state machine.

use crate::message::dead::{DeadDelivery, DeadReason};
use crate::message::settle::{EntryError, EntryResult};
use crate::message::{Account, Item};

use crate::dispatch::Dispatcher;
use crate::dispatch::exits::calls::{Entry, Hide, Letter, Return};
use crate::dispatch::exits::reason::ReturnReason;
use crate::dispatch::keys::{QueueIndex, Ticket};
use crate::dispatch::ledger::{Exit, Held, Stage};

impl Dispatcher {
    /// Sets one delivery aside as a dead letter, and with it its message if that led to no other one. On a queue
    /// without dead letters, returns the message instead.
    pub(in crate::dispatch) fn delivery_dead(&mut self, ticket: Ticket, account: &Account, item: &Item, reason: DeadReason) {
        if self.circulates(ticket) {
            return self.circulate(ticket, &reason);
        }
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        let Some(queue) = self.queues.get_mut(held.queue) else { return };
        held.dies(reason.kind);
        let delivery = DeadDelivery { account: account.clone(), index: item.index, payload: item.payload.clone() };
        if item.index.is_none() || held.is_row() {
            self.leave_with_letter(ticket, Some(delivery), reason);
            return;
        }
        held.awaits_letter();
        queue.calls.set_aside(Letter { ticket, delivery: Some(delivery), reason, last: false });
    }

    /// Takes in the result of one dead letter.
    pub(in crate::dispatch) fn letter_ended(&mut self, index: QueueIndex, entry: Entry<Letter>, result: &EntryResult) {
        let Entry { ticket, renewals, what: letter } = entry;
        let places_of = self.takes_places_of(index);
        let Some(held) = self.ledger.get(ticket) else { return };
        let renewed = held.renewals != renewals;
        if matches!(result, Ok(()) | Err(EntryError::NotDeleted(_))) {
            self.count_written(index, &letter);
        }
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        match result {
            Ok(()) if letter.last => {
                let exit = held.exit();
                if renewed {
                    // The letter took an older copy off the queue; the newer one has to be deleted too.
                    self.delete_again(index, ticket);
                } else {
                    self.leave(ticket, exit);
                }
            }
            Err(EntryError::NotDeleted(_)) if letter.last => self.delete_again(index, ticket),
            Ok(()) | Err(EntryError::NotDeleted(_)) => {
                if let Some(delivery) = &letter.delivery {
                    let freed = held.letter_written(delivery.index, &delivery.account, delivery.payload.len());
                    self.room.regain(places_of, freed);
                }
                self.leave_if_done(ticket);
            }
            Err(EntryError::Gone) if !renewed => {
                if !letter.last {
                    self.reopen(ticket);
                }
                self.lease_lost(index, ticket);
            }
            Err(_) if self.phase.is_forced() => self.abandon_letter(index, &letter),
            Err(_) => {
                if let Some(queue) = self.queues.get_mut(index) {
                    queue.calls.set_aside(letter);
                }
            }
        }
    }

    /// Counts a letter that is written, and the delivery that it is about. Not before: a delivery whose letter cannot be
    /// written comes back, and a count that falls again would be taken for one of a new process. A row of a parking counts
    /// as a delivery of the parking, as it does when it is accepted.
    fn count_written(&mut self, index: QueueIndex, letter: &Letter) {
        self.sum_up_dead(index, letter.ticket, &letter.reason);
        if letter.delivery.is_some()
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.counts.deliveries_dead += 1;
        }
    }

    /// Reopens the delivery that a letter was about, since the letter is not written. The message must come back for
    /// it.
    fn reopen(&mut self, ticket: Ticket) {
        if let Some(held) = self.ledger.get_mut(ticket) {
            held.reopen();
        }
    }

    /// Gives up a letter that cannot be written before the process ends, and returns its message to the queue.
    pub(in crate::dispatch) fn abandon_letter(&mut self, index: QueueIndex, letter: &Letter) {
        let ticket = letter.ticket;
        if !letter.last {
            self.reopen(ticket);
            return self.leave_if_done(ticket);
        }
        self.set_return_reason(ticket, ReturnReason::Stopping);
        if self.ledger.get(ticket).is_some_and(Held::is_row) {
            return self.forget_row(ticket);
        }
        // But for the stop the message would be dead, so that its receive counts.
        self.ledger.let_lapse(ticket);
        self.ledger.advance(ticket, Stage::Leaving(Exit::Returned));
        if let Some(queue) = self.queues.get_mut(index) {
            queue.calls.hide(ticket, Hide::Return(Return { until: self.now, uncounted: false }));
        }
    }
}
