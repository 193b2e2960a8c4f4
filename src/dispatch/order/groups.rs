//! A line per message group: an outcome waits for those before it in its group, for as long as it takes.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use compact_str::CompactString;
use foldhash::fast::RandomState;

use crate::dispatch::event::Handled;
use crate::dispatch::keys::Ticket;
use crate::message::{Message, Outcome};

use super::Release;

/// A line per message group, of all that is held of it. A message without a group stands alone.
#[derive(Debug, Default)]
pub struct Groups {
    lines: HashMap<CompactString, Group, RandomState>,
}

#[derive(Debug, Default)]
struct Group {
    /// By sequence.
    members: VecDeque<Member>,
    /// So many at the front have had their turn.
    over: usize,
}

#[derive(Debug)]
struct Member {
    sequence: u64,
    ticket: Ticket,
    turn: Turn,
    /// Whatever its handler says, it is returned until then.
    follow: Option<Instant>,
}

#[derive(Debug)]
enum Turn {
    /// Its handler is not done.
    Waits,
    Done(Handled),
    /// Its turn is over; it is held still.
    Over,
}

impl Groups {
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Outcomes that wait for their turn, in no order.
    pub fn held_back(&self) -> impl Iterator<Item = &Handled> {
        let members = self.lines.values().flat_map(|group| &group.members);
        members.filter_map(|member| match &member.turn {
            Turn::Done(handled) => Some(handled),
            Turn::Waits | Turn::Over => None,
        })
    }

    /// Those behind the message in its group, in order.
    pub fn behind(&self, sequence: u64, message: &Message) -> impl Iterator<Item = Ticket> {
        let group = message.group.as_ref().and_then(|name| self.lines.get(name));
        let behind = group.map(|group| {
            let first = group.members.partition_point(|member| member.sequence <= sequence);
            group.members.range(first..).map(|member| member.ticket)
        });
        behind.into_iter().flatten()
    }

    pub fn expect(&mut self, sequence: u64, ticket: Ticket, message: &Message) {
        if let Some(name) = &message.group {
            let group = self.lines.entry(name.clone()).or_default();
            let place = group.members.partition_point(|member| member.sequence < sequence);
            group.members.insert(place, Member { sequence, ticket, turn: Turn::Waits, follow: None });
            group.over = group.over.min(place);
        }
    }

    fn group(&mut self, message: &Message) -> Option<&mut Group> {
        self.lines.get_mut(message.group.as_ref()?)
    }

    pub fn skip(&mut self, sequence: u64, message: &Message, out: &mut Vec<Release>) {
        let Some(group) = self.group(message) else { return };
        if let Some(member) = group.member(sequence) {
            member.turn = Turn::Over;
            group.release(out);
        }
    }

    pub fn complete(&mut self, sequence: u64, handled: Handled, out: &mut Vec<Release>) {
        if let Some(group) = self.group(&handled.message)
            && let Some(member) = group.member(sequence)
        {
            member.turn = Turn::Done(handled);
            group.release(out);
        } else {
            out.push(Release::Outcome(handled));
        }
    }

    pub fn take_along(&mut self, sequence: u64, message: &Message, until: Instant) -> Vec<Ticket> {
        let Some(group) = self.group(message) else { return Vec::new() };
        let behind = group.members.partition_point(|member| member.sequence <= sequence);
        let follow = group.members.iter_mut().skip(behind).map(|member| {
            member.follow = Some(until);
            member.ticket
        });
        follow.collect()
    }

    pub fn departed(&mut self, sequence: u64, message: &Message) {
        let Some(group) = self.group(message) else { return };
        if let Ok(place) = group.members.binary_search_by_key(&sequence, |member| member.sequence) {
            group.members.remove(place);
            group.over -= usize::from(place < group.over);
        }
        if group.members.is_empty()
            && let Some(name) = &message.group
        {
            self.lines.remove(name);
        }
    }
}

impl Group {
    fn member(&mut self, sequence: u64) -> Option<&mut Member> {
        let place = self.members.binary_search_by_key(&sequence, |member| member.sequence).ok()?;
        self.members.get_mut(place)
    }

    fn release(&mut self, out: &mut Vec<Release>) {
        while let Some(member) = self.members.get_mut(self.over) {
            let handled = match std::mem::replace(&mut member.turn, Turn::Over) {
                Turn::Done(handled) => Some(handled),
                Turn::Over => None,
                Turn::Waits => {
                    member.turn = Turn::Waits;
                    return;
                }
            };
            self.over += 1;
            match (handled, member.follow) {
                (None, _) => {}
                (Some(_), Some(until)) => out.push(Release::Follow(member.ticket, until)),
                (Some(handled), None) => {
                    let wants_later = matches!(handled.outcome, Outcome::Retry { .. });
                    out.push(Release::Outcome(handled));
                    if wants_later {
                        // Whoever takes this decides whether the rest has to follow; either way it leaves, and then they go on.
                        return;
                    }
                }
            }
        }
    }
}
