//! What goes back to one queue: deletes, returned and extended leases, dead letters. Each acker has one call at a time, so that what
//! comes up meanwhile is collected, and a queue that throttles slows its own messages only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::message::settle::{DeadDelivery, DeadReason, SetAside};

use super::event::Work;
use super::ledger::{Ledger, Ticket};
use super::partner::{backoff, jittered};
use super::rules::QueueRules;

const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Visibility timeouts end 12 hours after the receive (the limit of SQS).
const LONGEST_HIDING: Duration = Duration::from_secs(12 * 3600 - 60);

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

/// What an acker was given, with the tickets in the order of the call's entries.
#[derive(Debug)]
pub enum Sent {
    Deletes(Vec<Ticket>),
    Hides(Vec<(Ticket, Hide)>),
    Letters(Vec<Letter>),
    Count,
}

#[derive(Debug)]
pub struct Settling {
    entry_limit: usize,
    linger: Duration,
    lease: Duration,
    deletes: VecDeque<Ticket>,
    deletes_since: Option<Instant>,
    hides: VecDeque<(Ticket, Hide)>,
    letters: VecDeque<Letter>,
    count_wanted: bool,
    /// By acker: what it is doing.
    ackers: Vec<Option<Sent>>,
    failures: u32,
    retry_at: Option<Instant>,
    /// Whose turn it is first: none of the kinds starves the others.
    turn: u8,
}

impl Settling {
    pub fn new(rules: &QueueRules) -> Self {
        Self {
            entry_limit: rules.entry_limit.max(1),
            linger: rules.settle_linger,
            lease: rules.visibility_timeout,
            deletes: VecDeque::new(),
            deletes_since: None,
            hides: VecDeque::new(),
            letters: VecDeque::new(),
            count_wanted: false,
            ackers: (0..rules.ackers.max(1)).map(|_| None).collect(),
            failures: 0,
            retry_at: None,
            turn: 0,
        }
    }

    pub fn delete(&mut self, ticket: Ticket, now: Instant) {
        self.deletes.push_back(ticket);
        self.deletes_since.get_or_insert(now);
    }

    pub fn hide(&mut self, ticket: Ticket, hide: Hide) {
        self.hides.push_back((ticket, hide));
    }

    pub fn set_aside(&mut self, letter: Letter) {
        self.letters.push_back(letter);
    }

    pub fn count(&mut self) {
        self.count_wanted = true;
    }

    /// Whether nothing is wanted of the queue and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.deletes.is_empty() && self.hides.is_empty() && self.letters.is_empty() && self.ackers.iter().all(Option::is_none)
    }

    /// The next call and who makes it, where an acker is free and something is wanted.
    ///
    /// `keep_returns`: a poller is still out, and would receive again what is returned.
    pub fn next(&mut self, now: Instant, hurry: bool, keep_returns: bool, ledger: &mut Ledger) -> Option<(usize, Work)> {
        if self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        let acker = self.ackers.iter().position(Option::is_none)?;
        for _ in 0..3 {
            self.turn = (self.turn + 1) % 3;
            let made = match self.turn {
                0 => self.next_hides(now, keep_returns, ledger),
                1 => self.next_letters(ledger),
                _ => self.next_deletes(now, hurry, ledger),
            };
            if let Some((sent, work)) = made {
                *self.ackers.get_mut(acker)? = Some(sent);
                return Some((acker, work));
            }
        }
        if std::mem::take(&mut self.count_wanted) {
            *self.ackers.get_mut(acker)? = Some(Sent::Count);
            return Some((acker, Work::Count));
        }
        None
    }

    fn next_hides(&mut self, now: Instant, keep_returns: bool, ledger: &mut Ledger) -> Option<(Sent, Work)> {
        let mut kept = VecDeque::new();
        let (mut sent, mut entries) = (Vec::new(), Vec::new());
        while entries.len() < self.entry_limit {
            let Some((ticket, hide)) = self.hides.pop_front() else { break };
            let Some(held) = ledger.get_mut(ticket) else { continue };
            if hide == Hide::Extend && held.is_leaving() {
                continue;
            }
            if keep_returns && matches!(hide, Hide::Return(_)) {
                kept.push_back((ticket, hide));
                continue;
            }
            let longest = LONGEST_HIDING.saturating_sub(now.saturating_duration_since(held.received_at));
            let duration = match hide {
                Hide::Extend => self.lease.min(longest),
                Hide::Return(until) => until.saturating_duration_since(now).min(longest),
            };
            held.renewed = false;
            entries.push((held.receipt.clone(), duration));
            if hide == Hide::Extend {
                ledger.extended(ticket, now + duration);
            }
            sent.push((ticket, hide));
        }
        kept.append(&mut self.hides);
        self.hides = kept;
        (!entries.is_empty()).then_some((Sent::Hides(sent), Work::Hide(entries)))
    }

    fn next_letters(&mut self, ledger: &mut Ledger) -> Option<(Sent, Work)> {
        let (mut sent, mut entries) = (Vec::new(), Vec::new());
        while entries.len() < self.entry_limit {
            let Some(letter) = self.letters.pop_front() else { break };
            let Some(held) = ledger.get_mut(letter.ticket) else { continue };
            held.renewed = false;
            entries.push(SetAside {
                message: Arc::clone(&held.message),
                receipt: held.receipt.clone(),
                delivery: letter.delivery.clone(),
                reason: letter.reason.clone(),
                last: letter.last,
            });
            sent.push(letter);
        }
        (!entries.is_empty()).then_some((Sent::Letters(sent), Work::SetAside(entries)))
    }

    fn next_deletes(&mut self, now: Instant, hurry: bool, ledger: &mut Ledger) -> Option<(Sent, Work)> {
        let since = self.deletes_since?;
        if !hurry && self.deletes.len() < self.entry_limit && now < since + self.linger {
            return None;
        }
        let count = self.deletes.len().min(self.entry_limit);
        let (mut sent, mut entries) = (Vec::with_capacity(count), Vec::with_capacity(count));
        while entries.len() < self.entry_limit {
            let Some(ticket) = self.deletes.pop_front() else { break };
            let Some(held) = ledger.get_mut(ticket) else { continue };
            held.renewed = false;
            entries.push(held.receipt.clone());
            sent.push(ticket);
        }
        self.deletes_since = (!self.deletes.is_empty()).then_some(now);
        (!entries.is_empty()).then_some((Sent::Deletes(sent), Work::Delete(entries)))
    }

    /// When something is wanted that is not now, for reasons of time.
    pub fn next_look(&self) -> Option<Instant> {
        self.retry_at.or(self.deletes_since.map(|since| since + self.linger))
    }

    /// An acker is done with its call.
    pub fn done(&mut self, acker: usize) -> Option<Sent> {
        self.ackers.get_mut(acker)?.take()
    }

    /// A call went well. Gives whether that ends a failure.
    pub fn recovered(&mut self) -> bool {
        self.retry_at = None;
        std::mem::take(&mut self.failures) > 0
    }

    /// A call, or an entry of it, failed: nothing further is asked for a while. Gives the wait, and whether it is the first in a row.
    pub fn failed(&mut self, now: Instant, random: &mut Rng) -> (Duration, bool) {
        self.failures = self.failures.saturating_add(1);
        let wait = jittered(backoff(MIN_BACKOFF, MAX_BACKOFF, self.failures), random);
        self.retry_at = Some(now + wait);
        (wait, self.failures == 1)
    }
}
