//! Composes the next call of a free acker from what is requested of the queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::dead::SetAside;
use crate::message::settle::VisibilityChange;

use crate::dispatch::event::QueueCall;
use crate::dispatch::ledger::{Exit, Ledger, Stage};

use super::QueueCalls;
use super::entry::{CallKind, Entry, Hide, Return, Subject, UnderWay, Wanted};

/// The size of the messages, their attributes included, and of the payloads, in bytes, from which on a call takes no further
/// dead letter. An embedded queue writes a call in one transaction, and a disk that has room for some of the letters shall get
/// these.
const LETTER_BYTES: usize = 4 * 1024 * 1024;

impl QueueCalls {
    /// Returns the next call and the number of the acker that makes it. `None`: all ackers are busy, or nothing is due.
    ///
    /// `hurry`: deletes do not wait to be joined by others. `keep_returns`: returns are kept back, since a poller still
    /// has demand and would receive the returned messages again.
    pub fn next(&mut self, now: Instant, hurry: bool, keep_returns: bool, ledger: &mut Ledger) -> Option<(usize, QueueCall)> {
        let acker = self.ackers.iter().position(Option::is_none)?;
        let letters = self.has_acker_for_letters();
        for _ in 0..3 {
            let (next, made) = match self.turn {
                CallKind::Hide => (CallKind::SetAside, if letters { self.next_letters(now, ledger) } else { None }),
                CallKind::SetAside => (CallKind::Delete, self.next_deletes(now, hurry, ledger)),
                CallKind::Delete | CallKind::Count => (CallKind::Hide, self.next_hides(now, keep_returns, ledger)),
            };
            self.turn = next;
            if let Some((sent, call)) = made {
                *self.ackers.get_mut(acker)? = Some(sent);
                return Some((acker, call));
            }
        }
        if self.counts.is_ready(now) {
            self.counts.wanted.clear();
            *self.ackers.get_mut(acker)? = Some(UnderWay::Count);
            return Some((acker, QueueCall::Count));
        }
        None
    }

    /// Composes a change of visibility.
    fn next_hides(&mut self, now: Instant, keep_returns: bool, ledger: &mut Ledger) -> Option<(UnderWay, QueueCall)> {
        if !keep_returns && !self.kept_returns.is_empty() {
            self.kept_returns.append(&mut self.hides.wanted);
            std::mem::swap(&mut self.kept_returns, &mut self.hides.wanted);
        }
        if !self.hides.is_ready(now) {
            return None;
        }
        let mut kept = VecDeque::new();
        let (mut sent, mut entries) = (Vec::new(), Vec::new());
        while entries.len() < self.entry_limit {
            let (ticket, hide) = match self.hides.wanted.pop_front() {
                None => break,
                Some(Wanted::Held(ticket, hide)) => (ticket, hide),
                // While the process stops, the message shows by itself when its time comes.
                Some(Wanted::Show(show)) if show.until <= now || keep_returns => continue,
                Some(Wanted::Show(show)) => {
                    entries.push(VisibilityChange::new(show.receipt.clone(), Duration::ZERO));
                    sent.push(Subject::Show(show));
                    continue;
                }
            };
            let Some(held) = ledger.get(ticket) else { continue };
            let (wanted, uncounted) = match hide {
                Hide::Extend if held.stage() == Stage::Leaving(Exit::Returned) => continue,
                Hide::Extend => (self.lease, false),
                Hide::Return(Return { until, uncounted }) => (until.saturating_duration_since(now), uncounted),
            };
            if keep_returns && hide != Hide::Extend {
                self.kept_returns.push_back(Wanted::Held(ticket, hide));
                continue;
            }
            if held.hiding {
                kept.push_back(Wanted::Held(ticket, hide));
                continue;
            }
            let duration = ledger.hiding(held, wanted, now);
            // Only a copy that goes back says what is settled: to write that at each extension would cost more than it saves.
            let settled = if hide == Hide::Extend { None } else { held.settled_part().map(Box::new) };
            entries.push(VisibilityChange { receipt: held.receipt.clone(), hidden: duration, settled, uncounted });
            sent.push(Subject::Held(Entry::new(ticket, held, (hide, now + duration))));
            if let Some(held) = ledger.get_mut(ticket) {
                held.hiding = true;
            }
        }
        kept.append(&mut self.hides.wanted);
        self.hides.wanted = kept;
        (!entries.is_empty()).then_some((UnderWay::Hides(sent), QueueCall::ChangeVisibility(entries)))
    }

    /// Composes a call that writes dead letters.
    fn next_letters(&mut self, now: Instant, ledger: &Ledger) -> Option<(UnderWay, QueueCall)> {
        if !self.letters.is_ready(now) {
            return None;
        }
        let (mut sent, mut entries, mut bytes) = (Vec::new(), Vec::new(), 0);
        while entries.len() < self.entry_limit && bytes < LETTER_BYTES {
            let Some(letter) = self.letters.wanted.pop_front() else { break };
            let Some(held) = ledger.get(letter.ticket) else { continue };
            // Each letter holds the whole message beside its own payload.
            bytes += held.message.weight() + letter.delivery.as_ref().map_or(0, |delivery| delivery.payload.len());
            entries.push(SetAside {
                message: Arc::clone(&held.message),
                receipt: held.receipt.clone(),
                delivery: letter.delivery.clone(),
                reason: letter.reason.clone(),
                last: letter.last,
            });
            sent.push(Entry::new(letter.ticket, held, letter));
        }
        (!entries.is_empty()).then_some((UnderWay::Letters(sent), QueueCall::SetAside(entries)))
    }

    /// Composes a delete, if enough requests are there or the oldest has lingered.
    fn next_deletes(&mut self, now: Instant, hurry: bool, ledger: &Ledger) -> Option<(UnderWay, QueueCall)> {
        let since = self.deletes_since?;
        let full = self.deletes.wanted.len() >= self.entry_limit;
        if !self.deletes.pause.is_over(now) || !(hurry || full || now >= since + self.linger) {
            return None;
        }
        let count = self.deletes.wanted.len().min(self.entry_limit);
        let (mut sent, mut entries) = (Vec::with_capacity(count), Vec::with_capacity(count));
        while entries.len() < self.entry_limit {
            let Some(ticket) = self.deletes.wanted.pop_front() else { break };
            let Some(held) = ledger.get(ticket) else { continue };
            entries.push(held.receipt.clone());
            sent.push(Entry::new(ticket, held, ()));
        }
        self.deletes_since = (!self.deletes.wanted.is_empty()).then_some(now);
        (!entries.is_empty()).then_some((UnderWay::Deletes(sent), QueueCall::Delete(entries)))
    }
}
