//! The ways out: a held copy is deleted, returned or set aside, and leaves the ledger once its queue has confirmed it.

use std::time::{Duration, Instant};

use crate::message::settle::{DeadDelivery, DeadReason, EntryError, EntryResult};

use crate::dispatch::Dispatcher;
use crate::dispatch::event::{Fault, Note};
use crate::dispatch::exits::known::Settled;
use crate::dispatch::exits::settling::{Entry, Hide, Kind, Letter, Sent, Show, Subject};
use crate::dispatch::keys::{QueueIndex, Ticket};
use crate::dispatch::ledger::{Exit, Stage};
use crate::dispatch::views::tally::CallResult;

/// Copies that are looked ahead at, at once.
const AT_ONCE: usize = 32;

impl Dispatcher {
    /// Something of the message landed, or a letter about it was written: acts upon it when nothing is open any more, or when nothing
    /// more of it is to be sent.
    pub(in crate::dispatch) fn settle(&mut self, ticket: Ticket) {
        let Some(held) = self.ledger.get(ticket) else { return };
        if held.is_under_way() || held.is_leaving() {
            return;
        }
        if held.open == 0 {
            let exit = if held.accepted > 0 || held.dead == 0 { Exit::Acked } else { Exit::Dead };
            self.leave_by_delete(ticket, exit);
        } else if held.lost {
            self.drop_lost(ticket);
        } else if let Some(until) = held.special().withdrawn {
            self.leave_by_return(ticket, until);
        }
    }

    /// The copy is to be deleted.
    pub(in crate::dispatch) fn leave_by_delete(&mut self, ticket: Ticket, exit: Exit) {
        let Some(queue) = self.leaving(ticket, exit) else { return };
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.settling.delete(ticket, self.now);
        }
    }

    /// The copy is given back, hidden until then; now, or once what is on the wire has landed and its letters are written, since
    /// those may settle it.
    pub(in crate::dispatch) fn leave_by_return(&mut self, ticket: Ticket, until: Instant) {
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        if held.is_leaving() {
            return;
        }
        if held.is_under_way() {
            held.special_mut().withdrawn = Some(until);
            return;
        }
        if held.special().row.is_some() {
            return self.forget_row(ticket);
        }
        let Some(queue) = self.leaving(ticket, Exit::Returned) else { return };
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.settling.hide(ticket, Hide::Return(until));
        }
    }

    /// The whole message is to be set aside.
    pub(in crate::dispatch) fn leave_as_dead(&mut self, ticket: Ticket, reason: DeadReason) {
        self.leave_with_letter(ticket, None, reason);
    }

    pub(in crate::dispatch) fn leave_with_letter(&mut self, ticket: Ticket, delivery: Option<DeadDelivery>, reason: DeadReason) {
        if self.circulates(ticket) {
            return self.circulate(ticket, &reason);
        }
        self.set_exit_reason(ticket, reason.kind);
        let Some(index) = self.leaving(ticket, Exit::Dead) else { return };
        if let Some(queue) = self.queues.get_mut(index) {
            queue.settling.set_aside(Letter { ticket, delivery, reason, last: true });
        }
    }

    /// Says in a word why the copy is returned or dead, for metrics.
    pub(in crate::dispatch) fn set_exit_reason(&mut self, ticket: Ticket, why: &'static str) {
        if let Some(held) = self.ledger.get_mut(ticket) {
            held.special_mut().why = Some(why);
        }
    }

    fn leaving(&mut self, ticket: Ticket, exit: Exit) -> Option<QueueIndex> {
        if exit == Exit::Returned {
            // Whatever the queue answers, it hides the message no longer than is wanted.
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

    /// What an acker did, entry by entry.
    pub(in crate::dispatch) fn settled(&mut self, index: QueueIndex, acker: usize, results: Result<Vec<EntryResult>, Fault>) {
        let Some(queue) = self.queues.get_mut(index) else { return self.stray("results of an unknown queue") };
        let Some(sent) = queue.settling.done(acker) else { return self.stray("results of an idle acker") };
        let (results, fault) = match results {
            Ok(results) => (results, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        let not_said = || Err(EntryError::Failed("the call failed as a whole".into()));
        let mut results = results.into_iter();
        let mut failed: Option<String> = None;
        let mut result = || {
            let result = results.next().unwrap_or_else(not_said);
            if let Err(EntryError::Failed(why)) = &result {
                failed.get_or_insert_with(|| why.clone());
            }
            result
        };
        let kind = sent.kind();
        match sent {
            Sent::Deletes(entries) => {
                // Not more at once than stay near until it is their turn.
                for entries in entries.chunks(AT_ONCE) {
                    self.ledger.look_ahead(entries.iter().map(|entry| entry.ticket));
                    entries.iter().for_each(|entry| self.delete_ended(index, entry, &result()));
                }
            }
            Sent::Hides(subjects) => subjects.into_iter().for_each(|subject| match subject {
                Subject::Held(entry) => self.hide_ended(index, &entry, &result()),
                Subject::Show(show) => self.show_ended(index, show, &result()),
            }),
            Sent::Letters(entries) => entries.into_iter().for_each(|entry| self.letter_ended(index, entry, &result())),
            Sent::Count => {}
        }
        self.call_ended(index, kind, fault.or(failed.map(|reason| Fault { reason, transient: true })));
    }

    /// A call to the queue went well or not: the first failure and its end are said.
    pub(in crate::dispatch) fn call_ended(&mut self, index: QueueIndex, kind: Kind, fault: Option<Fault>) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        let doing = kind.word();
        queue.tally.called(kind.operation(), if fault.is_some() { CallResult::Failed } else { CallResult::Ok });
        match fault {
            None => {
                if queue.settling.recovered(kind) {
                    self.mended(index, doing);
                    self.note(Note::QueueWell { queue: index, doing });
                }
            }
            Some(fault) => {
                let (retry_in, first) = queue.settling.failed(kind, self.now, fault.transient, &mut self.random);
                if first {
                    self.fails(index, doing, fault, retry_in);
                }
            }
        }
    }

    fn delete_ended(&mut self, index: QueueIndex, entry: &Entry<()>, result: &EntryResult) {
        let ticket = entry.ticket;
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        let Stage::Leaving(exit) = held.stage() else { return };
        let (renewed, expired) = (held.renewals != entry.renewals, held.leased_until <= self.now);
        match result {
            // A newer copy came meanwhile: it is the one to delete.
            Ok(()) | Err(EntryError::Gone) if renewed => self.delete_again(index, ticket),
            Ok(()) => self.leave(ticket, exit),
            // As long as the lease lasts nobody else can have it.
            Err(EntryError::Failed(_)) if !expired => self.delete_again(index, ticket),
            Err(_) => {
                let id = held.message.id.clone();
                self.remember(index, id, Settled::All);
                self.leave(ticket, if exit == Exit::Duplicate { exit } else { Exit::LeaseLost });
            }
        }
    }

    pub(in crate::dispatch) fn delete_again(&mut self, index: QueueIndex, ticket: Ticket) {
        if let Some(queue) = self.queues.get_mut(index) {
            queue.settling.delete(ticket, self.now);
        }
    }

    fn hide_ended(&mut self, index: QueueIndex, entry: &Entry<(Hide, Instant)>, result: &EntryResult) {
        let (ticket, (hide, until)) = (entry.ticket, entry.what);
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        held.hiding = false;
        let renewed = held.renewals != entry.renewals;
        match (hide, result) {
            // The newer receipt has its own lease, which is looked after.
            (Hide::Extend, _) if renewed => {}
            (Hide::Extend, Ok(())) => {
                self.ledger.extended(ticket, until);
                self.watch_leases(index);
            }
            // Its delete or its letter will hear the same.
            (Hide::Extend, Err(EntryError::Gone)) if held.is_leaving() => {}
            (Hide::Extend, Err(EntryError::Gone)) => self.lease_lost(index, ticket),
            (Hide::Return(_), Ok(())) if !renewed => {
                self.remember_hidden(ticket, until);
                self.leave(ticket, Exit::Returned);
            }
            (Hide::Return(_), Err(EntryError::Gone)) if !renewed => self.leave(ticket, Exit::LeaseLost),
            (Hide::Extend | Hide::Return(_), _) => {
                if let Some(queue) = self.queues.get_mut(index) {
                    queue.settling.hide(ticket, hide);
                }
            }
        }
    }

    /// A message that was given back shows again now, or is somebody's already; where its queue could not, it is asked once more.
    fn show_ended(&mut self, index: QueueIndex, show: Show, result: &EntryResult) {
        if let Err(EntryError::Failed(_)) = result
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.settling.show(show);
        }
    }

    /// The queue gave the message to someone else: what of it still waits here must not be sent.
    pub(in crate::dispatch) fn lease_lost(&mut self, index: QueueIndex, ticket: Ticket) {
        let Some(held) = self.ledger.get_mut(ticket) else { return };
        held.lost = true;
        let (id, decided_elsewhere) = (held.message.id.clone(), held.is_under_way());
        if let Some(queue) = self.queues.get_mut(index)
            && let Some(sum) = queue.leases_lost.add(self.now, id, String::new)
        {
            self.note(Note::LeasesLost { queue: index, count: sum.count, example: sum.example });
        }
        self.watch_sums(index);
        if !decided_elsewhere {
            self.drop_lost(ticket);
        }
    }

    fn drop_lost(&mut self, ticket: Ticket) {
        // Whoever has the message now must be first with it.
        self.give_back_those_behind(ticket, self.now);
        self.forget_order(ticket);
        self.leave(ticket, Exit::LeaseLost);
        self.let_go();
    }

    /// The queue whose places what is held of that one takes: rows take those of the queue whose deliveries they are.
    pub(in crate::dispatch) fn takes_places_of(&self, index: QueueIndex) -> QueueIndex {
        self.queues.get(index).and_then(|queue| queue.parks_for).unwrap_or(index)
    }

    /// The copy is held no more.
    pub(in crate::dispatch) fn leave(&mut self, ticket: Ticket, exit: Exit) {
        let Some(held) = self.ledger.remove(ticket) else { return };
        self.room.leave(self.takes_places_of(held.queue), held.bytes);
        if held.open > held.on_wire {
            // What still waits of it has its payload in memory, and would be counted as waiting.
            for spot in held.spots() {
                self.partners.take(spot, ticket);
            }
        }
        if let Some(place) = held.special().row {
            self.row_left(held.queue, held.spot, place, exit);
        }
        if held.special().given_up_by.is_some() {
            self.hidden.arrived(held.queue);
        }
        if let Some(known) = held.known().filter(|_| exit != Exit::Acked) {
            self.remember(held.queue, held.message.id.clone(), known);
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
                Exit::Dead => queue.tally.dead.add(held.special().why.unwrap_or("other")),
                // What nobody gave a reason for follows one of its group, or makes way for whoever comes next.
                Exit::Returned if self.phase.is_stopping() => queue.tally.returned.add(held.special().why.unwrap_or("stopping")),
                Exit::Returned if !queue.is_serving() => queue.tally.returned.add(held.special().why.unwrap_or("retiring")),
                Exit::Returned => queue.tally.returned.add(held.special().why.unwrap_or("group")),
                Exit::Duplicate | Exit::LeaseLost => {}
            }
        }
    }
}
