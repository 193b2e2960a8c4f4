//! Suspects: messages that were received so often that one of them may be what ends the process. The handler of such a
//! message never ended, and everything that was held with it was received once more.
//!
//! Suspects go to the handler one at a time and after all other messages, each once the one before it has left or has
//! had [`PATIENCE`]. So one more death of the process costs a receive of that suspect alone. On a standard queue no
//! other message waits for the outcome of a suspect, which may take its turn much later: after several returns its
//! place in the order is lost anyway. Among suspects on their last receive the last goes first: those that stood behind
//! the culprit all the time get their turn before it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::dispatch::event::ToHandle;
use crate::dispatch::keys::Ticket;

/// How long after the end of its handler a suspect is waited for: enough to leave, unless its partner is slow or away.
const PATIENCE: Duration = Duration::from_millis(200);

/// The most jobs of other messages between two suspects, so that a queue that is never empty holds suspects up no
/// longer.
const OTHERS: u32 = 64;

/// The suspects of one queue.
#[derive(Debug, Default)]
pub struct Suspects {
    /// The suspects that no handler has begun with, in the order of receive.
    waiting: VecDeque<ToHandle>,
    /// The suspect at work, and until when the next one waits for it. `None` inside: its handler has not ended.
    at_work: Option<(Ticket, Option<Instant>)>,
    /// The number of jobs of other messages since the last suspect.
    others: u32,
}

/// Returns whether a message that was received this often is a suspect: more than once, and more than
/// half as often as it may be.
pub fn is_suspect(receives: u32, max_receives: u32) -> bool {
    max_receives > 0 && receives > 1 && receives > max_receives / 2
}

/// Returns whether one more receive would make the message a dead letter.
pub fn is_last_chance(receives: u32, max_receives: u32) -> bool {
    is_suspect(receives, max_receives) && receives >= max_receives
}

impl Suspects {
    /// Returns the number of suspects that no handler has begun with.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes in a suspect.
    pub fn push(&mut self, one: ToHandle) {
        self.waiting.push_back(one);
    }

    /// Puts back a suspect that its job left undone, so that it is the next one.
    pub fn put_back(&mut self, one: ToHandle) {
        self.at_work = None;
        self.waiting.push_front(one);
    }

    /// Records that a job of other messages starts.
    pub fn other_started(&mut self) {
        self.others = self.others.saturating_add(1);
    }

    /// Returns the next suspect, if none is at work, and no other messages wait (`others_wait`) or enough of
    /// those have had their turn.
    pub fn next(&mut self, now: Instant, max_receives: u32, others_wait: bool) -> Option<ToHandle> {
        let waits = self.at_work.is_some_and(|(_, until)| until.is_none_or(|until| until > now));
        if waits || self.waiting.is_empty() || (others_wait && self.others < OTHERS) {
            return None;
        }
        let last_first = self.waiting.back().is_some_and(|job| is_last_chance(job.message.receives, max_receives));
        let job = if last_first { self.waiting.pop_back() } else { self.waiting.pop_front() }?;
        (self.at_work, self.others) = (Some((job.ticket, None)), 0);
        Some(job)
    }

    /// Records that the handler is done with a message; ignored unless that is the suspect at work.
    pub fn handled(&mut self, ticket: Ticket, now: Instant) {
        if let Some((_, until)) = self.at_work.as_mut().filter(|(at_work, _)| *at_work == ticket) {
            *until = Some(now + PATIENCE);
        }
    }

    /// Records that a copy is no longer held; ignored unless that is the suspect at work.
    pub fn departed(&mut self, ticket: Ticket) {
        self.at_work = self.at_work.filter(|(at_work, _)| *at_work != ticket);
    }

    /// Returns when the next waiting suspect is due, if that is known.
    pub fn next_look(&self) -> Option<Instant> {
        self.at_work.and_then(|(_, until)| until).filter(|_| !self.waiting.is_empty())
    }

    /// Takes out all waiting suspects.
    pub fn drain(&mut self) -> impl Iterator<Item = ToHandle> + '_ {
        self.waiting.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::{message, start, tickets};

    const MAX: u32 = 4;

    fn job(ticket: Ticket, receives: u32) -> ToHandle {
        let mut message = message("m", None);
        message.receives = receives;
        ToHandle { ticket, message: message.into() }
    }

    #[test]
    fn are_those_that_came_more_than_half_as_often_as_they_may() {
        let suspects = |max| (1..=5).filter(|receives| is_suspect(*receives, max)).collect::<Vec<u32>>();
        assert_eq!(
            (suspects(0), suspects(1), suspects(4), suspects(5)),
            (vec![], vec![2, 3, 4, 5], vec![3, 4, 5], vec![3, 4, 5])
        );
        assert!(is_last_chance(4, 4) && !is_last_chance(3, 4));
    }

    #[test]
    fn one_is_at_work_until_it_has_left_or_its_partner_takes_long() {
        let (mut suspects, start, tickets) = (Suspects::default(), start(), tickets(3));
        tickets.iter().for_each(|ticket| suspects.push(job(*ticket, 3)));
        let next = |suspects: &mut Suspects, now| suspects.next(now, MAX, false).map(|job| job.ticket);
        assert_eq!(next(&mut suspects, start), Some(tickets[0]));
        assert_eq!((next(&mut suspects, start), suspects.next_look()), (None, None));
        suspects.handled(tickets[0], start);
        assert_eq!((next(&mut suspects, start), suspects.next_look()), (None, Some(start + PATIENCE)));
        suspects.departed(tickets[0]);
        assert_eq!(next(&mut suspects, start), Some(tickets[1]));
        suspects.handled(tickets[1], start);
        assert_eq!(next(&mut suspects, start + PATIENCE), Some(tickets[2]));
    }

    #[test]
    fn on_their_last_receive_the_last_goes_first() {
        let (mut suspects, tickets) = (Suspects::default(), tickets(2));
        tickets.iter().for_each(|ticket| suspects.push(job(*ticket, 4)));
        assert_eq!(suspects.next(start(), MAX, false).map(|job| job.ticket), Some(tickets[1]));
    }

    #[test]
    fn others_go_first_but_not_for_ever() {
        let (mut suspects, tickets) = (Suspects::default(), tickets(1));
        suspects.push(job(tickets[0], 3));
        for _ in 0..OTHERS {
            assert!(suspects.next(start(), MAX, true).is_none());
            suspects.other_started();
        }
        assert!(suspects.next(start(), MAX, true).is_some());
    }
}
