//! The calls to one queue about the copies received from it: deletes, returns, extensions of leases and dead letters. The dispatcher
//! keeps one [`QueueCalls`] for each queue: what is requested and not yet begun with, and what each acker has under way.
//! `compose` makes the next call of it.
//!
//! Each acker has one call under way at a time. Requests that come up meanwhile are collected, so a queue that
//! throttles slows down its own messages only. Each kind of call has its own pause after failures: a dead-letter queue
//! that is away holds up no delete. Nor does one that hangs: letters, the only calls that may go to another queue than all
//! others, get half of the ackers at most.

mod compose;
mod entry;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::dispatch::due::earlier;
use crate::dispatch::keys::Ticket;
use crate::dispatch::pause::Pause;
use crate::dispatch::rules::QueueRules;

use self::entry::Wanted;

pub use self::entry::{CallKind, Entry, Hide, Letter, Return, Show, Subject, UnderWay};

/// The bounds of the pause after a failed call.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

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
    ackers: Vec<Option<UnderWay>>,
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
            UnderWay::Hides(subjects) => Some(subjects),
            UnderWay::Deletes(_) | UnderWay::Letters(_) | UnderWay::Count => None,
        });
        let sent = sent.flatten().map(|subject| match subject {
            Subject::Held(Entry { what: (_, until), .. }) | Subject::Show(Show { until, .. }) => until,
        });
        let wanted = self.hides.wanted.iter_mut().filter_map(|wanted| match wanted {
            Wanted::Show(Show { until, .. }) => Some(until),
            Wanted::Held(..) => None,
        });
        for until in sent.chain(wanted) {
            *until = earlier(*until, by);
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

    /// Returns the next moment after `now` at which time alone may make a call due.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        let deletes = self.deletes_since.map(|since| since + self.linger).max(self.deletes.next_look());
        let looks = [deletes, self.hides.next_look(), self.letters.next_look(), self.counts.next_look()];
        looks.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Records that an acker's call has ended. Returns that call, `None` if the acker had none under way.
    pub fn done(&mut self, acker: usize) -> Option<UnderWay> {
        self.ended += 1;
        self.ackers.get_mut(acker)?.take()
    }

    /// Records that an acker's count has ended. Returns false if the acker had another call under way, or none.
    pub fn counted(&mut self, acker: usize) -> bool {
        self.ended += 1;
        let call = self.ackers.get_mut(acker);
        call.is_some_and(|call| call.take_if(|sent| matches!(sent, UnderWay::Count)).is_some())
    }

    /// Records that a call succeeded. Returns whether that ends a failure.
    pub fn recovered(&mut self, kind: CallKind) -> bool {
        self.pause(kind).succeeded()
    }

    /// Records that a call, or an entry of one, failed: calls of this kind pause. Returns for how long, if this is the
    /// first failure in a row.
    pub fn failed(&mut self, kind: CallKind, now: Instant, transient: bool, random: &mut Rng) -> Option<Duration> {
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
