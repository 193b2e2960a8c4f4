//! The calls to one queue about the copies received from it: deletes, returns, extensions of leases and dead letters. The dispatcher
//! keeps one [`QueueCalls`] for each queue.
//!
//! Each acker has one call under way at a time. Requests that come up meanwhile are collected, so a queue that
//! throttles slows down its own messages only. Each kind of call has its own pause after failures: a dead-letter queue
//! that is away holds up no delete. Nor does one that hangs: letters, the only calls that may go to another queue than all
//! others, get half of the ackers at most.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::message::Receipt;
use crate::message::dead::{DeadDelivery, DeadReason, SetAside};
use crate::message::settle::VisibilityChange;

use crate::dispatch::event::QueueCall;
use crate::dispatch::keys::Ticket;
use crate::dispatch::ledger::{Exit, Held, Ledger, Stage};
use crate::dispatch::pause::Pause;
use crate::dispatch::record::tally::Operation;
use crate::dispatch::rules::QueueRules;

/// The bounds of the pause after a failed call.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// The size of the messages and payloads, in bytes, from which on a call takes no further dead letter. An embedded queue
/// writes a call in one transaction, and a disk that has room for some of the letters shall get these.
const LETTER_BYTES: usize = 4 * 1024 * 1024;

/// A message whose visibility is to be changed.
#[derive(Debug)]
enum Wanted {
    /// A held copy.
    Held(Ticket, Hide),
    /// A message that was returned.
    Show(Show),
}

/// A returned message that is to be shown again before its time. Nothing of it is held but its receipt.
#[derive(Debug)]
pub struct Show {
    /// The receipt that the message was returned with.
    pub receipt: Receipt,
    /// When the message shows by itself.
    pub until: Instant,
}

/// Why a copy is to be hidden for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hide {
    /// To extend the lease, since the copy is held.
    Extend,
    /// To return the copy, hidden until then.
    Return(Instant),
}

/// A dead letter on its way.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The copy that the letter is about.
    pub ticket: Ticket,
    /// The delivery that the letter is about. `None`: the whole message.
    pub delivery: Option<DeadDelivery>,
    /// Why it is a dead letter.
    pub reason: DeadReason,
    /// Whether the letter settles the message, so that its copy leaves the queue with it.
    pub last: bool,
}

/// A call that is under way: what its entries are about, in their order.
#[derive(Debug)]
pub enum Sent {
    /// Deletes of held copies.
    Deletes(Vec<Entry<()>>),
    /// Changes of visibility.
    Hides(Vec<Subject>),
    /// Dead letters.
    Letters(Vec<Entry<Letter>>),
    /// A count of the queue's messages, which has no entries.
    Count,
}

/// What one entry of a change of visibility is about.
#[derive(Debug)]
pub enum Subject {
    /// A held copy, with the end of its lease if the call succeeds.
    Held(Entry<(Hide, Instant)>),
    /// A returned message, which is not in the ledger any more.
    Show(Show),
}

/// One entry of a call, about a held copy.
#[derive(Debug)]
pub struct Entry<T> {
    /// The held copy.
    pub ticket: Ticket,
    /// [`Held::renewals`] at the time of the call: tells whether a newer receipt came since.
    pub renewals: u32,
    /// What the entry asks for.
    pub what: T,
}

impl<T> Entry<T> {
    fn new(ticket: Ticket, held: &Held, what: T) -> Self {
        Self { ticket, renewals: held.renewals, what }
    }
}

/// The kinds of calls to a queue that ackers make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// Changes of visibility.
    Hide,
    /// Dead letters.
    SetAside,
    /// Deletes.
    Delete,
    /// Counts of the queue's messages.
    Count,
}

impl CallKind {
    /// Returns the kind for log lines and metrics.
    pub fn operation(self) -> Operation {
        match self {
            Self::Hide => Operation::ChangeVisibility,
            Self::SetAside => Operation::SetAside,
            Self::Delete => Operation::Delete,
            Self::Count => Operation::Count,
        }
    }
}

impl Sent {
    /// Returns the kind of the call.
    pub fn kind(&self) -> CallKind {
        match self {
            Self::Deletes(_) => CallKind::Delete,
            Self::Hides(_) => CallKind::Hide,
            Self::Letters(_) => CallKind::SetAside,
            Self::Count => CallKind::Count,
        }
    }
}

/// The requests of one kind that no acker has begun with, and the pause after failures.
#[derive(Debug)]
struct Calls<T> {
    /// The requests, in order.
    wanted: VecDeque<T>,
    /// The pause after a failed call of this kind.
    pause: Pause,
}

impl<T> Calls<T> {
    fn new() -> Self {
        Self { wanted: VecDeque::new(), pause: Pause::new(MIN_BACKOFF, MAX_BACKOFF) }
    }

    /// Returns whether there are requests and no pause keeps them back.
    fn is_ready(&self, now: Instant) -> bool {
        !self.wanted.is_empty() && self.pause.is_over(now)
    }

    /// Returns when the pause ends, if requests wait for that.
    fn next_look(&self) -> Option<Instant> {
        self.pause.until().filter(|_| !self.wanted.is_empty())
    }
}

/// The calls to one queue about its copies.
#[derive(Debug)]
pub struct QueueCalls {
    /// The most entries of one call, at least 1.
    entry_limit: usize,
    /// For how long deletes wait to be joined by others.
    linger: Duration,
    /// For how long a lease is extended.
    lease: Duration,
    deletes: Calls<Ticket>,
    /// When the oldest of the waiting deletes was requested.
    deletes_since: Option<Instant>,
    hides: Calls<Wanted>,
    /// The returns that are kept back, first in line once they no longer are. They stand apart, or each look for the next
    /// call would pass over all of them.
    kept_returns: VecDeque<Wanted>,
    letters: Calls<Letter>,
    counts: Calls<()>,
    /// What each acker has under way, if anything.
    ackers: Vec<Option<Sent>>,
    /// The number of calls that have ended.
    ended: u64,
    /// The kind that was tried last. The search for the next call begins with the one after it, so that none of
    /// them starves the others.
    turn: CallKind,
}

impl QueueCalls {
    /// Creates the state for a queue with these rules.
    pub fn new(rules: &QueueRules) -> Self {
        Self {
            entry_limit: rules.entry_limit.max(1),
            linger: rules.delete_linger,
            lease: rules.visibility_timeout,
            deletes: Calls::new(),
            deletes_since: None,
            hides: Calls::new(),
            kept_returns: VecDeque::new(),
            letters: Calls::new(),
            counts: Calls::new(),
            ackers: (0..rules.ackers.max(1)).map(|_| None).collect(),
            ended: 0,
            turn: CallKind::Hide,
        }
    }

    /// Takes other rules; the number of ackers stays the same.
    pub fn set_rules(&mut self, rules: &QueueRules) {
        self.entry_limit = rules.entry_limit.max(1);
        self.linger = rules.delete_linger;
        self.lease = rules.visibility_timeout;
    }

    /// Requests that the copy be deleted.
    pub fn delete(&mut self, ticket: Ticket, now: Instant) {
        self.deletes.wanted.push_back(ticket);
        self.deletes_since.get_or_insert(now);
    }

    /// Requests that the copy's visibility be changed.
    pub fn hide(&mut self, ticket: Ticket, hide: Hide) {
        self.hides.wanted.push_back(Wanted::Held(ticket, hide));
    }

    /// Records that the leases which are being extended, and the times for which messages are being hidden, or are until they
    /// are shown, end earlier by this much.
    pub fn lose_time(&mut self, by: Duration) {
        let sent = self.ackers.iter_mut().flatten().filter_map(|sent| match sent {
            Sent::Hides(subjects) => Some(subjects),
            Sent::Deletes(_) | Sent::Letters(_) | Sent::Count => None,
        });
        let sent = sent.flatten().map(|subject| match subject {
            Subject::Held(Entry { what: (_, until), .. }) | Subject::Show(Show { until, .. }) => until,
        });
        let wanted = self.hides.wanted.iter_mut().filter_map(|wanted| match wanted {
            Wanted::Show(Show { until, .. }) => Some(until),
            Wanted::Held(..) => None,
        });
        for until in sent.chain(wanted) {
            *until = until.checked_sub(by).unwrap_or(*until);
        }
    }

    /// Requests that a returned message be shown again.
    pub fn show(&mut self, show: Show) {
        self.hides.wanted.push_back(Wanted::Show(show));
    }

    /// Returns whether the requested changes of visibility fill more than one call.
    pub fn is_behind(&self) -> bool {
        self.hides.wanted.len() > self.entry_limit
    }

    /// Requests that a dead letter be written.
    pub fn set_aside(&mut self, letter: Letter) {
        self.letters.wanted.push_back(letter);
    }

    /// Takes out all waiting letters if the last attempt to write some has failed.
    pub fn failing_letters(&mut self) -> VecDeque<Letter> {
        if self.letters.pause.until().is_some() { std::mem::take(&mut self.letters.wanted) } else { VecDeque::new() }
    }

    /// Requests a count of the queue's messages.
    pub fn count(&mut self) {
        self.counts.wanted.push_back(());
    }

    /// Returns whether deletes have failed, and some are waiting or being tried again.
    pub fn cannot_delete(&self) -> bool {
        self.deletes.pause.is_failing() && (!self.deletes.wanted.is_empty() || self.is_out(CallKind::Delete))
    }

    /// Returns whether dead letters could not be written, and some are waiting or being tried again.
    pub fn cannot_set_aside(&self) -> bool {
        self.letters.pause.is_failing() && (!self.letters.wanted.is_empty() || self.is_out(CallKind::SetAside))
    }

    fn is_out(&self, kind: CallKind) -> bool {
        self.ackers.iter().flatten().any(|sent| sent.kind() == kind)
    }

    /// Returns whether nothing is requested of the queue, counts aside, and no call is under way.
    pub fn is_idle(&self) -> bool {
        let no_hides = self.hides.wanted.is_empty() && self.kept_returns.is_empty();
        let nothing_wanted = self.deletes.wanted.is_empty() && no_hides && self.letters.wanted.is_empty();
        nothing_wanted && self.ackers.iter().all(Option::is_none)
    }

    /// Returns whether a count is requested that no acker has begun with.
    pub fn is_counting(&self) -> bool {
        !self.counts.wanted.is_empty()
    }

    /// Returns the number of requests that wait for an acker, 0 if an acker is free for them.
    pub fn overdue(&self) -> usize {
        let is_busy = self.ackers.iter().all(Option::is_some);
        let hides = self.hides.wanted.len() + self.kept_returns.len();
        let others = if is_busy { self.deletes.wanted.len() + hides + self.counts.wanted.len() } else { 0 };
        others + if is_busy || !self.has_acker_for_letters() { self.letters.wanted.len() } else { 0 }
    }

    /// Returns whether one more acker may write letters. A dead letter queue that hangs would otherwise keep all of them, and
    /// neither leases be extended nor messages deleted meanwhile.
    fn has_acker_for_letters(&self) -> bool {
        let letters = self.ackers.iter().flatten().filter(|sent| sent.kind() == CallKind::SetAside).count();
        letters < self.ackers.len().div_ceil(2)
    }

    /// Returns the number of calls that have ended so far.
    pub fn ended(&self) -> u64 {
        self.ended
    }

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
            *self.ackers.get_mut(acker)? = Some(Sent::Count);
            return Some((acker, QueueCall::Count));
        }
        None
    }

    /// Composes a change of visibility.
    fn next_hides(&mut self, now: Instant, keep_returns: bool, ledger: &mut Ledger) -> Option<(Sent, QueueCall)> {
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
            let wanted = match hide {
                Hide::Extend if held.stage() == Stage::Leaving(Exit::Returned) => continue,
                Hide::Extend => self.lease,
                Hide::Return(until) => until.saturating_duration_since(now),
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
            entries.push(VisibilityChange { receipt: held.receipt.clone(), hidden: duration, settled });
            sent.push(Subject::Held(Entry::new(ticket, held, (hide, now + duration))));
            if let Some(held) = ledger.get_mut(ticket) {
                held.hiding = true;
            }
        }
        kept.append(&mut self.hides.wanted);
        self.hides.wanted = kept;
        (!entries.is_empty()).then_some((Sent::Hides(sent), QueueCall::ChangeVisibility(entries)))
    }

    /// Composes a call that writes dead letters.
    fn next_letters(&mut self, now: Instant, ledger: &Ledger) -> Option<(Sent, QueueCall)> {
        if !self.letters.is_ready(now) {
            return None;
        }
        let (mut sent, mut entries, mut bytes) = (Vec::new(), Vec::new(), 0);
        while entries.len() < self.entry_limit && bytes < LETTER_BYTES {
            let Some(letter) = self.letters.wanted.pop_front() else { break };
            let Some(held) = ledger.get(letter.ticket) else { continue };
            // Each letter holds the whole message beside its own payload.
            bytes += held.message.body.len() + letter.delivery.as_ref().map_or(0, |delivery| delivery.payload.len());
            entries.push(SetAside {
                message: Arc::clone(&held.message),
                receipt: held.receipt.clone(),
                delivery: letter.delivery.clone(),
                reason: letter.reason.clone(),
                last: letter.last,
            });
            sent.push(Entry::new(letter.ticket, held, letter));
        }
        (!entries.is_empty()).then_some((Sent::Letters(sent), QueueCall::SetAside(entries)))
    }

    /// Composes a delete, if enough requests are there or the oldest has lingered.
    fn next_deletes(&mut self, now: Instant, hurry: bool, ledger: &Ledger) -> Option<(Sent, QueueCall)> {
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
        (!entries.is_empty()).then_some((Sent::Deletes(sent), QueueCall::Delete(entries)))
    }

    /// Returns the next moment after `now` at which time alone may make a call due.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        let deletes = self.deletes_since.map(|since| since + self.linger).max(self.deletes.next_look());
        let looks = [deletes, self.hides.next_look(), self.letters.next_look(), self.counts.next_look()];
        looks.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Records that an acker's call has ended. Returns that call, `None` if the acker had none under way.
    pub fn done(&mut self, acker: usize) -> Option<Sent> {
        self.ended += 1;
        self.ackers.get_mut(acker)?.take()
    }

    /// Records that an acker's count has ended. Returns false if the acker had another call under way, or none.
    pub fn counted(&mut self, acker: usize) -> bool {
        self.ended += 1;
        let call = self.ackers.get_mut(acker);
        call.is_some_and(|call| call.take_if(|sent| matches!(sent, Sent::Count)).is_some())
    }

    /// Records that a call succeeded. Returns whether that ends a failure.
    pub fn recovered(&mut self, kind: CallKind) -> bool {
        self.pause(kind).succeeded()
    }

    /// Records that a call, or an entry of one, failed: calls of this kind pause. Returns how long the pause lasts, and
    /// whether this is the first failure in a row.
    pub fn failed(&mut self, kind: CallKind, now: Instant, transient: bool, random: &mut Rng) -> (Duration, bool) {
        self.pause(kind).failed(now, transient, random)
    }

    fn pause(&mut self, kind: CallKind) -> &mut Pause {
        match kind {
            CallKind::Hide => &mut self.hides.pause,
            CallKind::SetAside => &mut self.letters.pause,
            CallKind::Delete => &mut self.deletes.pause,
            CallKind::Count => &mut self.counts.pause,
        }
    }
}
