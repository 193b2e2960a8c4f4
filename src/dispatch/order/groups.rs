//! The order within message groups: an outcome waits for those before it in its group, for as long as it takes.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use compact_str::CompactString;
use foldhash::fast::RandomState;

use crate::dispatch::event::Handled;
use crate::dispatch::keys::Ticket;
use crate::message::{Message, Outcome};

use super::Release;

/// The held messages of each group, in line. A message without a group has no line and waits for none.
#[derive(Debug, Default)]
pub struct Groups {
    lines: HashMap<CompactString, Group, RandomState>,
    /// The number of outcomes that wait for their turn.
    done: usize,
}

#[derive(Debug, Default)]
struct Group {
    /// The held messages, ascending by sequence.
    members: VecDeque<Member>,
    /// How many members at the front have had their turn.
    over: usize,
}

#[derive(Debug)]
struct Member {
    sequence: u64,
    ticket: Ticket,
    turn: Turn,
    /// The message is to be returned, hidden until then, whatever its handler makes of it.
    follow: Option<Instant>,
}

#[derive(Debug)]
enum Turn {
    /// The handler is not done with the message.
    Waits,
    /// The outcome waits for its turn.
    Done(Handled),
    /// The turn is over; the message is still held.
    Over,
}

impl Groups {
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the outcomes that wait for their turn, in no order.
    pub fn held_back(&self) -> impl Iterator<Item = &Handled> {
        let members = self.lines.values().flat_map(|group| &group.members);
        members.filter_map(|member| match &member.turn {
            Turn::Done(handled) => Some(handled),
            Turn::Waits | Turn::Over => None,
        })
    }

    /// Returns whether outcomes wait for their turn.
    pub fn any_waits(&self) -> bool {
        self.done > 0
    }

    /// Returns the messages behind this one in its group, in order.
    pub fn behind(&self, sequence: u64, message: &Message) -> impl Iterator<Item = Ticket> {
        let group = message.group.as_ref().and_then(|name| self.lines.get(name));
        let behind = group.map(|group| {
            let first = group.members.partition_point(|member| member.sequence <= sequence);
            group.members.range(first..).map(|member| member.ticket)
        });
        behind.into_iter().flatten()
    }

    /// Puts a received message into the line of its group.
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

    /// Records that the message has had its turn without an outcome, and releases what waited for it.
    pub fn skip(&mut self, sequence: u64, message: &Message, out: &mut Vec<Release>) {
        let Some(group) = self.group(message) else { return };
        if let Some(member) = group.member(sequence) {
            let was_done = usize::from(member.turn.is_done());
            member.turn = Turn::Over;
            let over = was_done + group.release(out);
            self.done -= over;
        }
    }

    /// Records the outcome of a message, and releases what may pass. A message without a group passes at once.
    pub fn complete(&mut self, sequence: u64, handled: Handled, out: &mut Vec<Release>) {
        if let Some(group) = self.group(&handled.message)
            && let Some(member) = group.member(sequence)
        {
            member.turn = Turn::Done(handled);
            let released = group.release(out);
            self.done = self.done + 1 - released;
        } else {
            out.push(Release::Outcome(handled));
        }
    }

    /// Marks all messages behind this one in its group as having to follow it, and returns them in order.
    pub fn take_along(&mut self, sequence: u64, message: &Message, until: Instant) -> Vec<Ticket> {
        let Some(group) = self.group(message) else { return Vec::new() };
        let behind = group.members.partition_point(|member| member.sequence <= sequence);
        let follow = group.members.iter_mut().skip(behind).map(|member| {
            member.follow = Some(until);
            member.ticket
        });
        follow.collect()
    }

    /// Returns whether the message will be returned once its handler is done with it.
    pub fn has_to_follow(&self, sequence: u64, message: &Message) -> bool {
        let group = message.group.as_ref().and_then(|name| self.lines.get(name));
        let member = group.and_then(|group| group.members.get(group.place(sequence)?));
        member.is_some_and(|member| member.follow.is_some() && !matches!(member.turn, Turn::Over))
    }

    /// Takes a message that is no longer held out of the line. It has had its turn, by its outcome or by [`Groups::skip`]. A line
    /// that is empty then goes away.
    pub fn departed(&mut self, sequence: u64, message: &Message) {
        let Some(group) = self.group(message) else { return };
        if let Some(place) = group.place(sequence) {
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

impl Turn {
    fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

impl Group {
    fn place(&self, sequence: u64) -> Option<usize> {
        self.members.binary_search_by_key(&sequence, |member| member.sequence).ok()
    }

    fn member(&mut self, sequence: u64) -> Option<&mut Member> {
        let place = self.place(sequence)?;
        self.members.get_mut(place)
    }

    /// Releases members from the first that has not had its turn, up to one whose handler is not done. Returns the number
    /// of outcomes that waited no longer.
    fn release(&mut self, out: &mut Vec<Release>) -> usize {
        let mut released = 0;
        while let Some(member) = self.members.get_mut(self.over) {
            let handled = match std::mem::replace(&mut member.turn, Turn::Over) {
                Turn::Done(handled) => Some(handled),
                Turn::Over => None,
                Turn::Waits => {
                    member.turn = Turn::Waits;
                    return released;
                }
            };
            self.over += 1;
            released += usize::from(handled.is_some());
            match (handled, member.follow) {
                (None, _) => {}
                (Some(_), Some(until)) => out.push(Release::Follow(member.ticket, until)),
                (Some(handled), None) => {
                    let wants_later = matches!(handled.outcome, Outcome::Retry { .. });
                    out.push(Release::Outcome(handled));
                    if wants_later {
                        // The dispatcher decides whether the rest of the group has to follow. Either way this message
                        // leaves, and `skip` then releases the rest.
                        return released;
                    }
                }
            }
        }
        released
    }
}
