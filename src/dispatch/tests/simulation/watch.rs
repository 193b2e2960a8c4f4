//! An observer of the wire, which knows only what the dispatcher sends, and checks the rules that hold for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dispatch::{FlushId, Medium, PartnerRules};
use crate::message::Answer;

#[derive(Default)]
pub struct Watch {
    threads: usize,
    disk_threads: usize,
    seen: BTreeMap<String, Seen>,
}

/// What the observer saw of one partner.
struct Seen {
    rules: Arc<PartnerRules>,
    /// The flushes on the wire: when each began, and the medium that it went to.
    on_wire: Vec<(FlushId, Instant, Medium)>,
    /// When each flush so far began.
    began: Vec<Instant>,
    /// Until when the partner asked for silence.
    silence: Option<Instant>,
    paused: bool,
    /// Whether the last flush failed.
    failing: bool,
    /// The number of answers about messages since the last success: after `breaker_failures` culprits in a
    /// row the fault is the partner's.
    refused: u32,
    last_success: Option<Duration>,
    /// When the last flush landed.
    landed: Option<Instant>,
}

impl Seen {
    /// Returns whether the partner is neither slow, failing nor unproven.
    fn is_well(&self, now: Instant) -> bool {
        self.last_success.is_some() && !self.is_slow_or_failing(now)
    }

    /// Returns whether the partner is slow or failing.
    fn is_slow_or_failing(&self, now: Instant) -> bool {
        let patience = self.last_success.map_or(Duration::ZERO, |usual| usual * 2).max(Duration::from_secs(1));
        // The service answers an inline flush before anything else happens: the dispatcher does not watch it.
        let in_time = |began: Instant, medium: Medium| medium == Medium::Inline || now < began + patience;
        self.failing || !self.on_wire.iter().all(|(_, began, medium)| in_time(*began, *medium))
    }

    /// Returns whether an inline flush is left although the partner has another medium by now, through a reload. The
    /// simulated services take their time even for an inline flush, so the dispatcher may hold that one to be slow.
    fn has_inline_left(&self) -> bool {
        self.rules.medium != Medium::Inline && self.on_wire.iter().any(|(.., medium)| *medium == Medium::Inline)
    }

    /// Returns whether the dispatcher may take the partner for slow or failing, as far as can be seen from the wire.
    fn may_be_slow_or_failing(&self, now: Instant) -> bool {
        self.is_slow_or_failing(now) || self.may_be_at_fault() || self.has_inline_left()
    }

    /// Returns whether the partner may be at fault for the answers about its messages, which makes it a failing one.
    fn may_be_at_fault(&self) -> bool {
        self.refused >= self.rules.breaker_failures
    }

    /// Returns whether nothing has been on the wire for so long that the dispatcher may have forgotten the partner,
    /// and with it the partner's health.
    fn may_be_forgotten(&self, now: Instant) -> bool {
        self.on_wire.is_empty() && self.landed.is_none_or(|landed| landed + self.rules.idle_timeout <= now)
    }

    /// Returns the shortest time that the rate allows between the first and the last of this many flushes.
    fn shortest_span(&self, flushes: usize) -> Duration {
        let Some((requests, per)) = self.rules.rate else { return Duration::ZERO };
        let beyond_burst = flushes.saturating_sub(self.rules.burst as usize);
        per * u32::try_from(beyond_burst).expect("few flushes") / requests
    }
}

impl Watch {
    pub fn new(threads: usize, disk_threads: usize, partners: impl Iterator<Item = (String, Arc<PartnerRules>)>) -> Self {
        let seen = partners.map(|(account, rules)| {
            let seen = Seen {
                rules,
                on_wire: Vec::new(),
                began: Vec::new(),
                silence: None,
                paused: false,
                failing: false,
                refused: 0,
                last_success: None,
                landed: None,
            };
            (account, seen)
        });
        Self { threads, disk_threads, seen: seen.collect() }
    }

    /// Returns the number of flushes on delivery threads, of these partners.
    fn occupied(&self, of: impl Fn(&Seen) -> bool) -> usize {
        self.flushes(of).filter(|medium| *medium != Medium::Inline).count()
    }

    /// Returns the number of flushes to the disk, of these partners.
    fn on_disk(&self, of: impl Fn(&Seen) -> bool) -> usize {
        self.flushes(of).filter(|medium| *medium == Medium::Disk).count()
    }

    /// Returns how many flushes to the disk there may be, those that hang included.
    fn most_on_disk(&self) -> usize {
        self.disk_threads.max(self.threads / 2)
    }

    fn flushes(&self, of: impl Fn(&Seen) -> bool) -> impl Iterator<Item = Medium> {
        self.seen.values().filter(move |seen| of(seen)).flat_map(|seen| &seen.on_wire).map(|(.., medium)| *medium)
    }

    /// Checks a flush that begins.
    pub fn begins(&mut self, now: Instant, account: &str, flush: FlushId) {
        let seen = &self.seen[account];
        assert!(seen.silence.is_none_or(|until| now >= until), "{account} asked for silence");
        assert!(!seen.paused, "{account} is paused");
        assert!(seen.on_wire.len() < seen.rules.parallel, "more than parallel flushes to {account}");
        for (back, began) in seen.began.iter().rev().take(50).enumerate() {
            assert!(now - *began >= seen.shortest_span(back + 2), "the rate of {account} is exceeded");
        }
        if seen.rules.medium != Medium::Inline && !seen.is_well(now) {
            let unwell = self.occupied(|seen| !seen.is_well(now));
            assert!(unwell * 2 < self.threads, "{account} is not well, and {unwell} of {} threads are like it", self.threads);
        }
        if seen.rules.medium == Medium::Disk && !seen.is_well(now) {
            let new = self.on_disk(|seen| !seen.is_well(now) && !seen.may_be_slow_or_failing(now));
            assert!(new * 2 < self.disk_threads, "{account} is not well, and {new} of {} for files", self.disk_threads);
        }
        let seen = self.seen.get_mut(account).expect("one of the accounts");
        seen.on_wire.push((flush, now, seen.rules.medium));
        seen.began.push(now);
        assert!(self.occupied(|_| true) <= self.threads, "more flushes than threads");
        let begins_on_disk = self.seen[account].rules.medium == Medium::Disk;
        assert!(!begins_on_disk || self.on_disk(|_| true) <= self.most_on_disk(), "flushes to files take more than half");
        // When one that was slow is well again, its flushes count again, so there may be more than that for a while. None begins then.
        let begins = &self.seen[account];
        if begins.rules.medium == Medium::Disk && !begins.may_be_slow_or_failing(now) {
            let on_disk = self.on_disk(|seen| !seen.may_be_slow_or_failing(now));
            assert!(on_disk <= self.disk_threads, "more flushes to files than threads for them");
        }
    }

    /// Records that a flush has landed with this answer.
    pub fn lands(&mut self, now: Instant, account: &str, flush: FlushId, answer: &Answer) {
        let seen = self.seen.get_mut(account).expect("one of the accounts");
        let place = seen.on_wire.iter().position(|(other, ..)| *other == flush).expect("a flush on the wire");
        let (_, began, _) = seen.on_wire.remove(place);
        seen.landed = Some(now);
        match answer {
            Answer::Accepted => {
                // A partner that has asked for silence takes nothing, although an older flush is accepted.
                seen.failing = seen.silence.is_some_and(|until| until > now);
                (seen.refused, seen.last_success) = (0, Some(now - began));
            }
            // As long as they are few, these answers are about messages, not about the partner.
            Answer::Status { code: 413 | 422, .. } => seen.refused += 1,
            // That is about the endpoint of one queue.
            Answer::Status { code: 404, .. } => {}
            Answer::Status { retry_after, .. } => {
                seen.failing = true;
                seen.silence = seen.silence.max(retry_after.map(|wait| now + wait));
            }
            _ => seen.failing = true,
        }
    }

    /// Records that a partner has other rules from now on. What it took before says nothing about its new rate.
    pub fn changed(&mut self, account: &str, rules: Arc<PartnerRules>) {
        let seen = self.seen.get_mut(account).expect("one of the accounts");
        (seen.rules, seen.began) = (rules, Vec::new());
    }

    pub fn paused(&mut self, account: &str, paused: bool) {
        self.seen.get_mut(account).expect("one of the accounts").paused = paused;
    }

    /// Checks that a partner may have a delivery waiting at the end of a turn although it could leave: a partner that
    /// is well may wait only for a thread, and only while all threads that it may use are taken.
    pub fn waits(&self, now: Instant, account: &str) {
        let seen = &self.seen[account];
        let may_wait = !seen.is_well(now) || seen.may_be_slow_or_failing(now) || seen.may_be_forgotten(now);
        if seen.rules.medium != Medium::Inline && may_wait {
            return;
        }
        let all_taken = self.occupied(|_| true) == self.threads;
        let on_disk = || self.on_disk(|seen| !seen.is_slow_or_failing(now));
        let hang_on_disk = || self.on_disk(|_| true) >= self.most_on_disk();
        let all_on_disk = seen.rules.medium == Medium::Disk && (on_disk() >= self.disk_threads || hang_on_disk());
        let all_at_pipe =
            seen.rules.medium == Medium::Pipe && self.flushes(|_| true).filter(|medium| *medium == Medium::Pipe).count() >= 2;
        let waits_for_one = seen.rules.medium != Medium::Inline && (all_taken || all_on_disk || all_at_pipe);
        assert!(waits_for_one, "{account} is well and waits although a thread is free");
    }
}
