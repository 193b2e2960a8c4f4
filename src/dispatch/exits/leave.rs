//! How a held copy leaves: by a delete, a return or a dead letter. Takes in what the queue answers, asks again where that
//! is needed, and removes the copy once the queue has confirmed. Part of the dispatcher's state machine.

use std::time::{Duration, Instant};

use crate::message::dead::{DeadDelivery, DeadReason};
use crate::message::settle::{EntryError, EntryResult};

use crate::dispatch::Dispatcher;
use crate::dispatch::event::{Fault, Note};
use crate::dispatch::exits::calls::{CallKind, Entry, Hide, Letter, Return, Show, Subject, UnderWay};
use crate::dispatch::exits::known::Settled;
use crate::dispatch::exits::reason::ReturnReason;
use crate::dispatch::keys::{QueueIndex, Ticket};
use crate::dispatch::ledger::{Exit, Held, Stage};
use crate::dispatch::record::tally::CallResult;

/// The number of copies that are read ahead before the results about them are acted upon.
const AT_ONCE: usize = 32;

impl Dispatcher {
    /// Has the copy leave if nothing of it is open any more, or if nothing more of it is to be sent. To be called
    /// after a delivery of it has landed or was parked, or a dead letter about it was written. Does nothing while
    /// more of that is under way.
    pub(in crate::dispatch) fn leave_if_done(&mut self, ticket: Ticket) {
        let Some(held) = self.ledger.get(ticket) else { return };
        if held.is_under_way() || held.is_leaving() {
            return;
        }
        if held.open() == 0 {
            self.leave_by_delete(ticket, held.exit());
        } else if held.lost {
            self.drop_lost(ticket);
        } else if let Some(until) = held.special().withdrawn {
            self.give_back(ticket, until);
            self.act_on_released();
        }
    }

    /// Requests the delete of the copy, which leaves by `exit` once its queue has confirmed that.
    pub(in crate::dispatch) fn leave_by_delete(&mut self, ticket: Ticket, exit: Exit) {
        let Some(queue) = self.leaving(ticket, exit) else { return };
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.calls.delete(ticket, self.now);
        }
    }

    /// Returns the copy to its queue, hidden until `until`. If deliveries of it are on the wire or on
    /// their way to the disk, or dead letters are being written, the copy is returned once that is done,
    /// since it may settle the message.
    pub(in crate::dispatch) fn leave_by_return(&mut self, ticket: Ticket, until: Instant) {
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        if held.is_leaving() {
            return;
        }
        if held.is_under_way() {
            held.special_mut().withdrawn = Some(until);
            return;
        }
        if held.is_settled() {
            // It was to follow another one of its FIFO group, in the batch with which it was accepted.
            let exit = held.exit();
            return self.leave_by_delete(ticket, exit);
        }
        if held.is_row() {
            return self.forget_row(ticket);
        }
        // Without a reason of its own, the copy goes back at a stop or behind another message. But a handler that is at work on
        // it may be what it dies of.
        let is_spared = held.special().return_reason.is_none_or(ReturnReason::spares_receive);
        let uncounted = is_spared && held.stage() != Stage::Handling;
        let Some(queue) = self.leaving(ticket, Exit::Returned) else { return };
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.calls.hide(ticket, Hide::Return(Return { until, uncounted }));
        }
    }

    /// Sets the whole message aside.
    pub(in crate::dispatch) fn leave_as_dead(&mut self, ticket: Ticket, reason: DeadReason) {
        self.leave_with_letter(ticket, None, reason);
    }

    /// Sets a message aside: with `delivery`, its last letter is about that delivery, else about the whole message. On
    /// a queue without dead letters, returns the message instead.
    pub(in crate::dispatch) fn leave_with_letter(&mut self, ticket: Ticket, delivery: Option<DeadDelivery>, reason: DeadReason) {
        if self.circulates(ticket) {
            return self.circulate(ticket, &reason);
        }
        if let Some(held) = self.ledger.get_mut(ticket) {
            held.dies_whole(reason.kind);
        }
        let reason = if delivery.is_none() { self.with_what_is_settled(ticket, reason) } else { reason };
        // Deliveries of it may have been accepted: by this copy or by one before it.
        let exit = self.ledger.get(ticket).map_or(Exit::Dead, Held::exit);
        let Some(index) = self.leaving(ticket, exit) else { return };
        if let Some(queue) = self.queues.get_mut(index) {
            queue.calls.set_aside(Letter { ticket, delivery, reason, last: true });
        }
    }

    /// Sets why the copy is returned, unless it leaves already.
    pub(in crate::dispatch) fn set_return_reason(&mut self, ticket: Ticket, reason: ReturnReason) {
        if let Some(held) = self.ledger.get_mut(ticket).filter(|held| !held.is_leaving()) {
            held.special_mut().return_reason = Some(reason);
        }
    }

    /// Moves the copy to the stage [`Stage::Leaving`], and returns its queue. No other message waits for its turn any
    /// more.
    fn leaving(&mut self, ticket: Ticket, exit: Exit) -> Option<QueueIndex> {
        if exit == Exit::Returned {
            // The copy is hidden for as long as the return asks, so its lease must not be extended meanwhile.
            self.ledger.let_lapse(ticket);
        }
        let held = self.ledger.get(ticket)?;
        let (stage, queue) = (held.stage(), held.queue);
        self.ledger.advance(ticket, Stage::Leaving(exit));
        if matches!(stage, Stage::Pending | Stage::Handling | Stage::Ordering) {
            self.forget_order(ticket);
        }
        Some(queue)
    }

    /// Takes a copy that leaves before its turn out of the order, so that no other message waits for it.
    pub(in crate::dispatch) fn forget_order(&mut self, ticket: Ticket) {
        let Some(held) = self.ledger.get(ticket) else { return };
        let Some(queue) = self.queues.get_mut(held.queue) else { return };
        queue.order.skip(held.sequence, &held.message, self.now, &mut self.released);
    }

    /// Takes in what a queue did with the entries of an acker's call, in the order of the call.
    pub(in crate::dispatch) fn queue_answered(
        &mut self,
        index: QueueIndex,
        acker: usize,
        results: Result<Vec<EntryResult>, Fault>,
    ) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("results of an unknown queue") };
        let Some(sent) = queue.calls.done(acker) else { return self.stray("results of an idle acker") };
        let (results, fault) = match results {
            Ok(results) => (results, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        let not_said = || Err(EntryError::Failed("the call failed as a whole".into()));
        let mut results = results.into_iter();
        let (mut failed, mut not_deleted) = (None::<String>, None::<String>);
        let mut result = || {
            let result = results.next().unwrap_or_else(not_said);
            match &result {
                Err(EntryError::Failed(why)) => _ = failed.get_or_insert_with(|| why.clone()),
                Err(error @ EntryError::NotDeleted(_)) => _ = not_deleted.get_or_insert_with(|| error.to_string()),
                Ok(()) | Err(EntryError::Gone) => {}
            }
            result
        };
        let kind = sent.kind();
        match sent {
            UnderWay::Deletes(entries) => {
                // No more at once than stay in the cache until they are acted upon.
                for entries in entries.chunks(AT_ONCE) {
                    self.ledger.look_ahead(entries.iter().map(|entry| entry.ticket));
                    entries.iter().for_each(|entry| self.delete_ended(index, entry, &result()));
                }
            }
            UnderWay::Hides(subjects) => subjects.into_iter().for_each(|subject| match subject {
                Subject::Held(entry) => self.hide_ended(index, &entry, &result()),
                Subject::Show(show) => self.show_ended(index, show, &result()),
            }),
            UnderWay::Letters(entries) => entries.into_iter().for_each(|entry| self.letter_ended(index, entry, &result())),
            UnderWay::Count => {}
        }
        self.call_ended(index, kind, fault.or(failed.map(|reason| Fault { reason, transient: true })));
        if let Some(reason) = not_deleted {
            // The letters themselves are written. It is deletes that fail, so they are logged as failing, and back off.
            self.call_ended(index, CallKind::Delete, Some(Fault { reason, transient: true }));
        }
    }

    /// Records how a call to the queue went. Logs the first failure in a row, and its end.
    pub(in crate::dispatch) fn call_ended(&mut self, index: QueueIndex, kind: CallKind, fault: Option<Fault>) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        let doing = kind.operation();
        queue.tally.called(doing, if fault.is_some() { CallResult::Failed } else { CallResult::Ok });
        match fault {
            None => {
                if queue.calls.recovered(kind) {
                    self.goes_well(index, doing);
                }
            }
            Some(fault) => {
                if let Some(retry_in) = queue.calls.failed(kind, self.now, fault.transient, &mut self.random) {
                    self.fails(index, doing, fault, retry_in);
                }
            }
        }
    }

    /// Takes in the result of one entry of a delete.
    fn delete_ended(&mut self, index: QueueIndex, entry: &Entry<()>, result: &EntryResult) {
        let ticket = entry.ticket;
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        let Stage::Leaving(exit) = held.stage() else { return };
        let (renewed, expired) = (held.renewals != entry.renewals, held.leased_until <= self.now);
        match result {
            // A newer copy came meanwhile, which is now the one to delete.
            Ok(()) | Err(EntryError::Gone) if renewed => self.delete_again(index, ticket),
            // A row that is on a damaged page stays in its parking for good; to try again would hold up all others.
            Ok(()) | Err(EntryError::NotDeleted(_)) => self.leave(ticket, exit),
            // While the lease lasts, no other consumer can have the message.
            Err(EntryError::Failed(_)) if !expired => self.delete_again(index, ticket),
            Err(_) => {
                let id = held.message.id.clone();
                self.leave(ticket, if exit == Exit::Duplicate { exit } else { Exit::LeaseLost });
                self.remember(index, id, Settled::All);
            }
        }
    }

    /// Requests the delete of a leaving copy once more, with its newest receipt.
    pub(in crate::dispatch) fn delete_again(&mut self, index: QueueIndex, ticket: Ticket) {
        if let Some(queue) = self.queues.get_mut(index) {
            queue.calls.delete(ticket, self.now);
        }
    }

    /// Takes in the result of one entry of a call that changes visibility.
    fn hide_ended(&mut self, index: QueueIndex, entry: &Entry<(Hide, Instant)>, result: &EntryResult) {
        let (ticket, (hide, until)) = (entry.ticket, entry.what);
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        held.hiding = false;
        let renewed = held.renewals != entry.renewals;
        match (hide, result) {
            // The newer receipt has a lease of its own, which is looked after.
            (Hide::Extend, _) if renewed => {}
            (Hide::Extend, Ok(())) => {
                self.ledger.extended(ticket, until);
                self.watch_leases(index);
            }
            // The copy's delete or dead letter will find out the same.
            (Hide::Extend, Err(EntryError::Gone)) if held.is_leaving() => {}
            (Hide::Extend, Err(EntryError::Gone)) => self.lease_lost(index, ticket),
            (Hide::Return(_), Ok(())) if !renewed => {
                self.remember_hidden(ticket, until);
                self.leave(ticket, Exit::Returned);
            }
            (Hide::Return(_), Err(EntryError::Gone)) if !renewed => self.leave(ticket, Exit::LeaseLost),
            (Hide::Extend | Hide::Return(_), _) => {
                if let Some(queue) = self.queues.get_mut(index) {
                    queue.calls.hide(ticket, hide);
                }
            }
        }
    }

    /// Takes in that a hidden message shows again, or is with another consumer. If the queue failed to show it, asks
    /// again.
    fn show_ended(&mut self, index: QueueIndex, show: Show, result: &EntryResult) {
        if let Err(EntryError::Failed(_)) = result
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.calls.show(show);
        }
    }

    /// Records that the queue may have given the message to another consumer: what still waits of it here must not be
    /// sent.
    pub(in crate::dispatch) fn lease_lost(&mut self, index: QueueIndex, ticket: Ticket) {
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        held.lost = true;
        let (id, decided_elsewhere) = (held.message.id.clone(), held.is_under_way());
        if let Some(queue) = self.queues.get_mut(index)
            && let Some(sum) = queue.summaries.leases_lost.add(self.now, id, String::new)
        {
            self.note(Note::LeasesLost { queue: index, count: sum.count, example: sum.example });
        }
        self.watch_sums(index);
        if decided_elsewhere { self.let_nobody_overtake(ticket) } else { self.drop_lost(ticket) }
    }

    /// Returns those held behind the copy in its FIFO group if something of it waits that may not be sent any more. As
    /// long as another part of the copy is under way it stays, and its bucket would pass over what waits of it.
    pub(in crate::dispatch) fn let_nobody_overtake(&mut self, ticket: Ticket) {
        let Some(held) = self.ledger.get(ticket) else { return };
        if held.is_under_way() && !held.may_be_sent() && held.open() > held.on_wire() {
            self.give_back_those_behind(ticket, held.special().withdrawn.unwrap_or(self.now));
            self.act_on_released();
        }
    }

    /// Drops a copy whose lease is lost.
    fn drop_lost(&mut self, ticket: Ticket) {
        // The message's new holder must be the first to handle the group, so what is held behind it is returned.
        self.give_back_those_behind(ticket, self.now);
        self.forget_order(ticket);
        self.leave(ticket, Exit::LeaseLost);
        self.act_on_released();
    }

    /// Returns the queue whose places are taken by messages of this one: a parking takes those of
    /// the queue that it is for.
    pub(in crate::dispatch) fn takes_places_of(&self, index: QueueIndex) -> QueueIndex {
        self.queues.get(index).and_then(|queue| queue.parks_for).unwrap_or(index)
    }

    /// Takes the copy out of the ledger and out of everything else that knows it, and counts its exit.
    pub(in crate::dispatch) fn leave(&mut self, ticket: Ticket, exit: Exit) {
        let Some(held) = self.ledger.remove(ticket) else { return };
        self.room.leave(self.takes_places_of(held.queue), held.bytes());
        if held.open() > held.on_wire() {
            // Waiting deliveries of the copy keep their payloads in memory, and would be counted as waiting.
            for spot in held.spots() {
                self.partners.take(spot, ticket);
            }
        }
        if let Some(row) = held.special().row {
            self.row_left(held.queue, held.spot, row, exit);
        }
        if held.special().shed_by.is_some() {
            self.hidden.arrived(held.queue);
            self.limit_room(held.queue);
        }
        match exit {
            // Its handler need not have run: what earlier copies settled counts as new.
            Exit::Returned | Exit::LeaseLost => {
                if let Some(settled) = held.settled_part() {
                    self.remember(held.queue, held.message.id.clone(), Settled::Some(settled));
                }
            }
            Exit::Acked | Exit::Dead | Exit::Duplicate => self.forget(held.queue, &held.message.id),
        }
        if let Some(queue) = self.queues.get_mut(held.queue) {
            queue.order.departed(held.sequence, &held.message);
            queue.intake.suspects.departed(ticket);
            queue.counts.exit(exit);
            match exit {
                Exit::Acked => {
                    let before = Duration::from_millis(held.sent_before_ms.into());
                    self.times.age.observe(before + self.now.saturating_duration_since(held.received_at));
                }
                Exit::Dead => {
                    // A dead letter of this process sets the kind. Those of an earlier one, which died before it could
                    // delete the message, are not known by kind.
                    if let Some(kind) = held.dead_kind() {
                        queue.tally.dead(kind);
                    }
                }
                Exit::Returned => {
                    // Without a reason of its own, a return is due to the stop, to the queue's retirement, or to
                    // another message of the group.
                    let common = if self.phase.is_stopping() {
                        ReturnReason::Stopping
                    } else if !queue.is_serving() {
                        ReturnReason::Retiring
                    } else {
                        ReturnReason::Group
                    };
                    queue.tally.returned(held.special().return_reason.unwrap_or(common));
                }
                Exit::Duplicate | Exit::LeaseLost => {}
            }
        }
    }
}
