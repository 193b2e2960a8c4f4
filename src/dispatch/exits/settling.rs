//! What goes back to one queue: deletes, returned and extended leases, dead letters. Each acker has one call at a time, so that what
//! comes up meanwhile is collected, and a queue that throttles slows its own messages only. Each kind of call has its own pause after
//! failures: a dead-letter queue that is away holds up no delete.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::message::Receipt;
use crate::message::settle::{DeadDelivery, DeadReason, SetAside};

use crate::dispatch::event::QueueCall;
use crate::dispatch::keys::Ticket;
use crate::dispatch::ledger::{Exit, Held, Ledger, Stage};
use crate::dispatch::pause::Pause;
use crate::dispatch::rules::QueueRules;
use crate::dispatch::views::tally::Operation;

const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Whose visibility is to be changed.
#[derive(Debug)]
enum Wanted {
    Held(Ticket, Hide),
    Show(Show),
}

/// A message that was given back is to be shown again: nothing of it is held but its receipt.
#[derive(Debug)]
pub struct Show {
    pub receipt: Receipt,
    /// It shows by itself then.
    pub until: Instant,
}

/// Why a copy is hidden for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hide {
    /// It is held: for another lease.
    Extend,
    /// It is given back, hidden until then.
    Return(Instant),
}

/// A dead letter on its way.
#[derive(Debug, Clone)]
pub struct Letter {
    pub ticket: Ticket,
    pub delivery: Option<DeadDelivery>,
    pub reason: DeadReason,
    pub last: bool,
}

/// A call that is under way, with what it is about in the order of its entries.
#[derive(Debug)]
pub enum Sent {
    Deletes(Vec<Entry<()>>),
    Hides(Vec<Subject>),
    Letters(Vec<Entry<Letter>>),
    Count,
}

/// What one entry of a call that changes visibility is about.
#[derive(Debug)]
pub enum Subject {
    /// With the end of the lease if the call does it.
    Held(Entry<(Hide, Instant)>),
    /// Not in the ledger any more.
    Show(Show),
}

/// One entry of a call about a held copy.
#[derive(Debug)]
pub struct Entry<T> {
    pub ticket: Ticket,
    /// Of the receipt that the call was made with: [`Held::renewals`] then.
    pub renewals: u32,
    pub what: T,
}

impl<T> Entry<T> {
    fn new(ticket: Ticket, held: &Held, what: T) -> Self {
        Self { ticket, renewals: held.renewals, what }
    }
}

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Hide,
    SetAside,
    Delete,
    Count,
}

impl Kind {
    /// What log lines call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hide => "change visibility",
            Self::SetAside => "set aside",
            Self::Delete => "delete",
            Self::Count => "count",
        }
    }
}

impl Kind {
    /// What metrics call it.
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
    pub fn kind(&self) -> Kind {
        match self {
            Self::Deletes(_) => Kind::Delete,
            Self::Hides(_) => Kind::Hide,
            Self::Letters(_) => Kind::SetAside,
            Self::Count => Kind::Count,
        }
    }
}

/// What is wanted of one kind.
#[derive(Debug)]
struct Calls<T> {
    wanted: VecDeque<T>,
    pause: Pause,
}

impl<T> Calls<T> {
    fn new() -> Self {
        Self { wanted: VecDeque::new(), pause: Pause::new(MIN_BACKOFF, MAX_BACKOFF) }
    }

    fn is_ready(&self, now: Instant) -> bool {
        !self.wanted.is_empty() && self.pause.is_over(now)
    }

    /// When the pause ends, where something waits for that.
    fn next_look(&self) -> Option<Instant> {
        self.pause.until().filter(|_| !self.wanted.is_empty())
    }
}

#[derive(Debug)]
pub struct Settling {
    entry_limit: usize,
    linger: Duration,
    lease: Duration,
    deletes: Calls<Ticket>,
    /// When the oldest of the deletes came up.
    deletes_since: Option<Instant>,
    hides: Calls<Wanted>,
    letters: Calls<Letter>,
    counts: Calls<()>,
    /// By acker: what it is doing.
    ackers: Vec<Option<Sent>>,
    /// Calls that have ended.
    ended: u64,
    /// Whose turn it is first: none of the kinds starves the others.
    turn: Kind,
}

impl Settling {
    pub fn new(rules: &QueueRules) -> Self {
        Self {
            entry_limit: rules.entry_limit.max(1),
            linger: rules.settle_linger,
            lease: rules.visibility_timeout,
            deletes: Calls::new(),
            deletes_since: None,
            hides: Calls::new(),
            letters: Calls::new(),
            counts: Calls::new(),
            ackers: (0..rules.ackers.max(1)).map(|_| None).collect(),
            ended: 0,
            turn: Kind::Hide,
        }
    }

    /// Other rules from now on; the ackers stay as many.
    pub fn set_rules(&mut self, rules: &QueueRules) {
        self.entry_limit = rules.entry_limit.max(1);
        self.linger = rules.settle_linger;
        self.lease = rules.visibility_timeout;
    }

    pub fn delete(&mut self, ticket: Ticket, now: Instant) {
        self.deletes.wanted.push_back(ticket);
        self.deletes_since.get_or_insert(now);
    }

    pub fn hide(&mut self, ticket: Ticket, hide: Hide) {
        self.hides.wanted.push_back(Wanted::Held(ticket, hide));
    }

    pub fn show(&mut self, show: Show) {
        self.hides.wanted.push_back(Wanted::Show(show));
    }

    /// Whether leases and returns that are wanted fill more than the next call.
    pub fn is_behind(&self) -> bool {
        self.hides.wanted.len() > self.entry_limit
    }

    pub fn set_aside(&mut self, letter: Letter) {
        self.letters.wanted.push_back(letter);
    }

    /// Takes out the letters that wait for another try, where the last one failed.
    pub fn failing_letters(&mut self) -> VecDeque<Letter> {
        if self.letters.pause.until().is_some() { std::mem::take(&mut self.letters.wanted) } else { VecDeque::new() }
    }

    pub fn count(&mut self) {
        self.counts.wanted.push_back(());
    }

    /// Whether deletes failed and are to be tried again.
    pub fn cannot_delete(&self) -> bool {
        let is_out = || self.ackers.iter().flatten().any(|sent| sent.kind() == Kind::Delete);
        self.deletes.pause.is_failing() && (!self.deletes.wanted.is_empty() || is_out())
    }

    /// Whether nothing is wanted of the queue and nothing is under way.
    pub fn is_idle(&self) -> bool {
        let nothing_wanted = self.deletes.wanted.is_empty() && self.hides.wanted.is_empty() && self.letters.wanted.is_empty();
        nothing_wanted && self.ackers.iter().all(Option::is_none)
    }

    /// Whether a count is wanted that no acker has begun.
    pub fn is_counting(&self) -> bool {
        !self.counts.wanted.is_empty()
    }

    /// How much waits for an acker, where all of them have a call under way.
    pub fn overdue(&self) -> usize {
        if self.ackers.iter().any(Option::is_none) {
            return 0;
        }
        self.deletes.wanted.len() + self.hides.wanted.len() + self.letters.wanted.len() + self.counts.wanted.len()
    }

    /// Calls that have ended so far.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// The next call and who makes it, where an acker is free and something is wanted.
    ///
    /// `keep_returns`: a poller is still out, and would receive again what is returned.
    pub fn next(&mut self, now: Instant, hurry: bool, keep_returns: bool, ledger: &mut Ledger) -> Option<(usize, QueueCall)> {
        let acker = self.ackers.iter().position(Option::is_none)?;
        for _ in 0..3 {
            let (next, made) = match self.turn {
                Kind::Hide => (Kind::SetAside, self.next_letters(now, ledger)),
                Kind::SetAside => (Kind::Delete, self.next_deletes(now, hurry, ledger)),
                Kind::Delete | Kind::Count => (Kind::Hide, self.next_hides(now, keep_returns, ledger)),
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

    fn next_hides(&mut self, now: Instant, keep_returns: bool, ledger: &mut Ledger) -> Option<(Sent, QueueCall)> {
        if !self.hides.is_ready(now) {
            return None;
        }
        let mut kept = VecDeque::new();
        let (mut sent, mut entries) = (Vec::new(), Vec::new());
        while entries.len() < self.entry_limit {
            let (ticket, hide) = match self.hides.wanted.pop_front() {
                None => break,
                Some(Wanted::Held(ticket, hide)) => (ticket, hide),
                // While it stops, whoever comes next finds it in its time.
                Some(Wanted::Show(show)) if show.until <= now || keep_returns => continue,
                Some(Wanted::Show(show)) => {
                    entries.push((show.receipt.clone(), Duration::ZERO));
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
            if held.hiding || (keep_returns && hide != Hide::Extend) {
                kept.push_back(Wanted::Held(ticket, hide));
                continue;
            }
            let duration = ledger.hiding(held, wanted, now);
            entries.push((held.receipt.clone(), duration));
            sent.push(Subject::Held(Entry::new(ticket, held, (hide, now + duration))));
            if let Some(held) = ledger.get_mut(ticket) {
                held.hiding = true;
            }
        }
        kept.append(&mut self.hides.wanted);
        self.hides.wanted = kept;
        (!entries.is_empty()).then_some((Sent::Hides(sent), QueueCall::ChangeVisibility(entries)))
    }

    fn next_letters(&mut self, now: Instant, ledger: &Ledger) -> Option<(Sent, QueueCall)> {
        if !self.letters.is_ready(now) {
            return None;
        }
        let (mut sent, mut entries) = (Vec::new(), Vec::new());
        while entries.len() < self.entry_limit {
            let Some(letter) = self.letters.wanted.pop_front() else { break };
            let Some(held) = ledger.get(letter.ticket) else { continue };
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

    /// The next moment at which something may be wanted that is not now, for reasons of time.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        let deletes = self.deletes_since.map(|since| since + self.linger).max(self.deletes.next_look());
        let looks = [deletes, self.hides.next_look(), self.letters.next_look(), self.counts.next_look()];
        looks.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// An acker is done with its call.
    pub fn done(&mut self, acker: usize) -> Option<Sent> {
        self.ended += 1;
        self.ackers.get_mut(acker)?.take()
    }

    /// An acker is done with a count; `false`: it had another call, or none.
    pub fn counted(&mut self, acker: usize) -> bool {
        self.ended += 1;
        let call = self.ackers.get_mut(acker);
        call.is_some_and(|call| call.take_if(|sent| matches!(sent, Sent::Count)).is_some())
    }

    /// A call went well. Gives whether that ends a failure.
    pub fn recovered(&mut self, kind: Kind) -> bool {
        self.pause(kind).succeeded()
    }

    /// A call, or an entry of it, failed: no further call of its kind is made for a while. Gives the wait, and whether it is the first
    /// in a row.
    pub fn failed(&mut self, kind: Kind, now: Instant, transient: bool, random: &mut Rng) -> (Duration, bool) {
        self.pause(kind).failed(now, transient, random)
    }

    fn pause(&mut self, kind: Kind) -> &mut Pause {
        match kind {
            Kind::Hide => &mut self.hides.pause,
            Kind::SetAside => &mut self.letters.pause,
            Kind::Delete => &mut self.deletes.pause,
            Kind::Count => &mut self.counts.pause,
        }
    }
}
