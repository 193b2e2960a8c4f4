//! Outcomes back into the order of receive, although handlers run side by side.
//!
//! A standard queue is one line: an outcome waits for those before it, but not for a handler that has run for `order_wait`.
//! On a FIFO queue each message group is a line of its own, which waits for as long as it takes.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use compact_str::CompactString;
use foldhash::fast::RandomState;

use crate::message::{Message, Outcome};

use super::ledger::Ticket;

/// What an [`Order`] lets go.
#[derive(Debug, PartialEq)]
pub enum Release {
    /// Its turn has come.
    Outcome(Ticket, Outcome),
    /// A message before it in its group was returned until then, and it has to follow.
    Follow(Ticket, Instant),
}

/// The order of one queue.
#[derive(Debug)]
pub enum Order {
    /// None is kept: outcomes pass at once.
    Free,
    Line(Line),
    Groups(Groups),
}

impl Order {
    pub fn new(fifo: bool, order_wait: Duration) -> Self {
        match (fifo, order_wait.is_zero()) {
            (true, _) => Self::Groups(Groups::default()),
            (false, true) => Self::Free,
            (false, false) => Self::Line(Line { wait: order_wait, base: 0, slots: VecDeque::new() }),
        }
    }

    /// A message was received and goes to its handler.
    pub fn expect(&mut self, sequence: u64, ticket: Ticket, message: &Message) {
        match self {
            Self::Free => {}
            Self::Line(line) => line.put(sequence, Slot::Pending),
            Self::Groups(groups) => groups.expect(sequence, ticket, message),
        }
    }

    /// The number was given to a copy that goes to no handler, or whose message is not held any more.
    pub fn skip(&mut self, sequence: u64, message: &Message, now: Instant, out: &mut Vec<Release>) {
        match self {
            Self::Free => {}
            Self::Line(line) => {
                line.put(sequence, Slot::Gone);
                line.release(now, out);
            }
            Self::Groups(groups) => groups.skip(sequence, message, out),
        }
    }

    /// Its handler starts.
    pub fn started(&mut self, sequence: u64, now: Instant) {
        if let Self::Line(line) = self {
            line.put(sequence, Slot::Running(now));
        }
    }

    /// Its job ended before its handler came to it.
    pub fn waits_again(&mut self, sequence: u64) {
        if let Self::Line(line) = self {
            line.put(sequence, Slot::Pending);
        }
    }

    /// Its handler ended.
    pub fn complete(
        &mut self,
        sequence: u64,
        ticket: Ticket,
        message: &Message,
        outcome: Outcome,
        now: Instant,
        out: &mut Vec<Release>,
    ) {
        match self {
            Self::Free => out.push(Release::Outcome(ticket, outcome)),
            Self::Line(line) => line.complete(sequence, ticket, outcome, now, out),
            Self::Groups(groups) => groups.complete(sequence, ticket, message, outcome, out),
        }
    }

    /// Lets go what is due to overtake.
    pub fn release(&mut self, now: Instant, out: &mut Vec<Release>) {
        if let Self::Line(line) = self {
            line.release(now, out);
        }
    }

    /// When the message at the head is overtaken, where outcomes wait behind it.
    pub fn next_overtaking(&self) -> Option<Instant> {
        match self {
            Self::Line(line) => line.next_overtaking(),
            Self::Free | Self::Groups(_) => None,
        }
    }

    /// A message of the group was returned until then: those behind it follow, now or when their handler ends. Gives those that are
    /// ready now, in order.
    pub fn follow(&mut self, message: &Message, until: Instant) -> Vec<Ticket> {
        match self {
            Self::Groups(groups) => groups.follow(message, until),
            Self::Free | Self::Line(_) => Vec::new(),
        }
    }
}

/// One line over all messages of a queue, by their gapless numbers.
#[derive(Debug)]
pub struct Line {
    wait: Duration,
    /// The number of the first slot. What has a lower number passes at once: it was overtaken.
    base: u64,
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
enum Slot {
    /// Its receive is not reported yet: two pollers may report in either order.
    Absent,
    Pending,
    Running(Instant),
    Done(Ticket, Outcome),
    Gone,
}

impl Line {
    fn put(&mut self, sequence: u64, slot: Slot) {
        let Some(place) = sequence.checked_sub(self.base).and_then(|place| usize::try_from(place).ok()) else { return };
        while self.slots.len() <= place {
            self.slots.push_back(Slot::Absent);
        }
        if let Some(old) = self.slots.get_mut(place) {
            *old = slot;
        }
    }

    fn complete(&mut self, sequence: u64, ticket: Ticket, outcome: Outcome, now: Instant, out: &mut Vec<Release>) {
        if sequence < self.base || (sequence == self.base && self.slots.len() <= 1) {
            // Overtaken, or the only one there is: nothing to wait for and nobody waiting.
            if sequence == self.base {
                self.slots.clear();
                self.base += 1;
            }
            out.push(Release::Outcome(ticket, outcome));
            return;
        }
        self.put(sequence, Slot::Done(ticket, outcome));
        if sequence == self.base {
            self.release(now, out);
        }
    }

    fn release(&mut self, now: Instant, out: &mut Vec<Release>) {
        loop {
            match self.slots.front() {
                Some(Slot::Done(..) | Slot::Gone) => {}
                Some(Slot::Running(since)) if *since + self.wait <= now => {}
                _ => return,
            }
            self.base += 1;
            if let Some(Slot::Done(ticket, outcome)) = self.slots.pop_front() {
                out.push(Release::Outcome(ticket, outcome));
            }
        }
    }

    fn next_overtaking(&self) -> Option<Instant> {
        match self.slots.front() {
            Some(Slot::Running(since)) if self.slots.len() > 1 => Some(*since + self.wait),
            _ => None,
        }
    }
}

/// A line per message group. A message without a group stands alone.
#[derive(Debug, Default)]
pub struct Groups {
    lines: HashMap<CompactString, VecDeque<Member>, RandomState>,
}

#[derive(Debug)]
struct Member {
    sequence: u64,
    ticket: Ticket,
    outcome: Option<Outcome>,
    /// Whatever its handler says, it is returned until then.
    follow: Option<Instant>,
}

impl Groups {
    fn expect(&mut self, sequence: u64, ticket: Ticket, message: &Message) {
        if let Some(group) = &message.group {
            let line = self.lines.entry(group.clone()).or_default();
            let place = line.partition_point(|member| member.sequence < sequence);
            line.insert(place, Member { sequence, ticket, outcome: None, follow: None });
        }
    }

    fn skip(&mut self, sequence: u64, message: &Message, out: &mut Vec<Release>) {
        let Some(group) = &message.group else { return };
        if let Some(line) = self.lines.get_mut(group) {
            line.retain(|member| member.sequence != sequence);
        }
        self.release(group, out);
    }

    fn complete(&mut self, sequence: u64, ticket: Ticket, message: &Message, outcome: Outcome, out: &mut Vec<Release>) {
        let Some(group) = &message.group else {
            out.push(Release::Outcome(ticket, outcome));
            return;
        };
        let member = self.lines.get_mut(group).and_then(|line| line.iter_mut().find(|member| member.sequence == sequence));
        match member {
            None => out.push(Release::Outcome(ticket, outcome)),
            Some(member) => {
                member.outcome = Some(outcome);
                self.release(group, out);
            }
        }
    }

    fn release(&mut self, group: &CompactString, out: &mut Vec<Release>) {
        let Some(line) = self.lines.get_mut(group) else { return };
        while line.front().is_some_and(|member| member.outcome.is_some()) {
            let Some(Member { ticket, outcome: Some(outcome), follow, .. }) = line.pop_front() else { return };
            let returned = matches!(outcome, Outcome::Retry { .. });
            out.push(match follow {
                Some(until) => Release::Follow(ticket, until),
                None => Release::Outcome(ticket, outcome),
            });
            if returned && follow.is_none() {
                // Its return is decided by whoever takes this: the rest may follow only then.
                break;
            }
        }
        if line.is_empty() {
            self.lines.remove(group);
        }
    }

    fn follow(&mut self, message: &Message, until: Instant) -> Vec<Ticket> {
        let Some(line) = message.group.as_ref().and_then(|group| self.lines.get_mut(group)) else { return Vec::new() };
        let mut ready = Vec::new();
        line.retain_mut(|member| {
            member.follow = Some(until);
            if member.outcome.is_some() {
                ready.push(member.ticket);
            }
            member.outcome.is_none()
        });
        if line.is_empty()
            && let Some(group) = &message.group
        {
            self.lines.remove(group);
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::{message, start, tickets};

    fn done(order: &mut Order, sequence: u64, ticket: Ticket, now: Instant) -> Vec<Ticket> {
        let mut out = Vec::new();
        order.complete(sequence, ticket, &message("m", None), Outcome::Discard, now, &mut out);
        released(out)
    }

    fn released(out: Vec<Release>) -> Vec<Ticket> {
        out.into_iter()
            .map(|release| match release {
                Release::Outcome(ticket, _) | Release::Follow(ticket, _) => ticket,
            })
            .collect()
    }

    #[test]
    fn a_line_lets_go_in_the_order_of_receive() {
        let (mut order, start, t) = (Order::new(false, Duration::from_secs(5)), start(), tickets(3));
        // The second receive reports first: number 0 is not known yet.
        order.expect(1, t[1], &message("b", None));
        order.expect(2, t[2], &message("c", None));
        order.started(1, start);
        order.started(2, start);
        assert_eq!(done(&mut order, 1, t[1], start), []);
        order.expect(0, t[0], &message("a", None));
        order.started(0, start);
        assert_eq!(done(&mut order, 2, t[2], start), []);
        assert_eq!(done(&mut order, 0, t[0], start), [t[0], t[1], t[2]]);
    }

    #[test]
    fn a_handler_that_runs_for_too_long_is_overtaken_and_passes_later() {
        let (mut order, start, t) = (Order::new(false, Duration::from_secs(5)), start(), tickets(2));
        for (sequence, ticket) in t.iter().enumerate() {
            order.expect(sequence as u64, *ticket, &message("m", None));
            order.started(sequence as u64, start);
        }
        assert_eq!(done(&mut order, 1, t[1], start), []);
        assert_eq!(order.next_overtaking(), Some(start + Duration::from_secs(5)));
        let mut out = Vec::new();
        order.release(start + Duration::from_secs(4), &mut out);
        assert_eq!(out, []);
        order.release(start + Duration::from_secs(5), &mut out);
        assert_eq!(released(out), [t[1]]);
        assert_eq!(done(&mut order, 0, t[0], start + Duration::from_secs(60)), [t[0]]);
        assert_eq!(order.next_overtaking(), None);
    }

    #[test]
    fn a_copy_that_goes_to_no_handler_leaves_no_gap() {
        let (mut order, start, t) = (Order::new(false, Duration::from_secs(5)), start(), tickets(2));
        order.expect(0, t[0], &message("a", None));
        order.expect(2, t[1], &message("b", None));
        let mut out = Vec::new();
        order.skip(1, &message("a", None), start, &mut out);
        assert_eq!(done(&mut order, 2, t[1], start), []);
        assert_eq!(done(&mut order, 0, t[0], start), [t[0], t[1]]);
    }

    #[test]
    fn groups_wait_each_for_its_own() {
        let (mut order, start, t) = (Order::new(true, Duration::ZERO), start(), tickets(4));
        let groups = [Some("a"), Some("a"), Some("b"), None];
        let messages: Vec<_> = groups.iter().map(|group| message("m", *group)).collect();
        for (sequence, ticket) in t.iter().enumerate() {
            order.expect(sequence as u64, *ticket, &messages[sequence]);
        }
        let mut complete = |n: usize| {
            let mut out = Vec::new();
            order.complete(n as u64, t[n], &messages[n], Outcome::Discard, start + Duration::from_secs(3600), &mut out);
            released(out)
        };
        assert_eq!(complete(1), [], "its group waits, for however long");
        assert_eq!(complete(2), [t[2]]);
        assert_eq!(complete(3), [t[3]]);
        assert_eq!(complete(0), [t[0], t[1]]);
    }

    #[test]
    fn a_returned_message_takes_the_rest_of_its_group_along() {
        let (mut order, start, t) = (Order::new(true, Duration::ZERO), start(), tickets(3));
        let a = message("m", Some("a"));
        for (sequence, ticket) in t.iter().enumerate() {
            order.expect(sequence as u64, *ticket, &a);
        }
        let mut out = Vec::new();
        order.complete(1, t[1], &a, Outcome::Discard, start, &mut out);
        let retry = Outcome::Retry { after: Duration::from_secs(1), reason: "not yet".into() };
        order.complete(0, t[0], &a, retry.clone(), start, &mut out);
        assert_eq!(out, [Release::Outcome(t[0], retry)]);
        let until = start + Duration::from_secs(1);
        assert_eq!(order.follow(&a, until), [t[1]]);
        out.clear();
        order.complete(2, t[2], &a, Outcome::Discard, start, &mut out);
        assert_eq!(out, [Release::Follow(t[2], until)]);
    }
}
