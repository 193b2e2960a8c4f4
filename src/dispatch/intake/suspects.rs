//! Suspects: messages that were received so often that one of them may be what ends the process. The handler of such a
//! message never ended, and everything that was held with it was received once more.
//!
//! Suspects go to the handler one at a time and after all other messages, each once the one before it has left or has
//! had [`PATIENCE`]. So the one that ends the process is mostly alone in the handler. On a standard queue no
//! other message waits for the outcome of a suspect, which may take its turn much later: after several returns its
//! place in the order is lost anyway. Among suspects on their last receive the last goes first: those that stood behind
//! the culprit all the time get their turn before it.
//!
//! Nothing holds a suspect up for longer than [`LONG`]. A handler that has run for that time may never end; but it has not
//! ended the process either, and the next suspect is alone beside it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::dispatch::event::ToHandle;
use crate::dispatch::keys::Ticket;

/// How long after the end of its handler a suspect is waited for: enough to leave, unless its partner is slow or away.
const PATIENCE: Duration = Duration::from_millis(200);

/// The most jobs of other messages between two suspects, so that a queue that is never empty holds suspects up no
/// longer.
const OTHERS: u32 = 64;

/// The longest time for which a suspect waits for the handler of the one before it, and then for other messages.
pub const LONG: Duration = Duration::from_secs(3);

/// The suspects of one queue.
#[derive(Debug, Default)]
pub struct Suspects {
    /// The suspects that no handler has begun with, in the order of receive.
    waiting: VecDeque<ToHandle>,
    /// The suspect that was started last, and until when the next one waits for it.
    at_work: Option<(Ticket, Instant)>,
    /// When the turn of other messages began: the last suspect was started then, or the first of those that wait came.
    others_since: Option<Instant>,
    /// The number of jobs of other messages in that turn.
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
    pub fn push(&mut self, one: ToHandle, now: Instant) {
        if self.waiting.is_empty() {
            self.begin_turn_of_others(now);
        }
        self.waiting.push_back(one);
    }

    /// Puts back a suspect that its job left undone, so that it is the next one.
    pub fn put_back(&mut self, one: ToHandle) {
        self.departed(one.ticket);
        self.waiting.push_front(one);
    }

    fn begin_turn_of_others(&mut self, now: Instant) {
        (self.others_since, self.others) = (Some(now), 0);
    }

    /// Returns when the turn of other messages ends by time; `None`: it has ended by their number.
    fn others_until(&self) -> Option<Instant> {
        self.others_since.filter(|_| self.others < OTHERS).map(|since| since + LONG)
    }

    /// Records that a job of other messages starts.
    pub fn other_started(&mut self) {
        self.others = self.others.saturating_add(1);
    }

    /// Returns the next suspect, if it waits for none at work, and there are no other messages (`others`) or those
    /// have had their turn.
    pub fn next(&mut self, now: Instant, max_receives: u32, others: bool) -> Option<ToHandle> {
        let waits = self.at_work.is_some_and(|(_, until)| until > now);
        let yields = others && self.others_until().is_some_and(|until| until > now);
        if waits || yields || self.waiting.is_empty() {
            return None;
        }
        let last_first = self.waiting.back().is_some_and(|job| is_last_chance(job.message.receives, max_receives));
        let job = if last_first { self.waiting.pop_back() } else { self.waiting.pop_front() }?;
        self.at_work = Some((job.ticket, now + LONG));
        self.begin_turn_of_others(now);
        Some(job)
    }

    /// Records that the handler is done with a message; ignored unless that is the suspect at work.
    pub fn handled(&mut self, ticket: Ticket, now: Instant) {
        if let Some((_, until)) = self.at_work.as_mut().filter(|(at_work, _)| *at_work == ticket) {
            *until = now + PATIENCE;
        }
    }

    /// Records that a copy is no longer held; ignored unless that is the suspect at work.
    pub fn departed(&mut self, ticket: Ticket) {
        self.at_work = self.at_work.filter(|(at_work, _)| *at_work != ticket);
    }

    /// Returns until when the next suspect waits for the one at work and, if there are any, for other messages (`others`).
    /// `None`: no suspect waits, or for no moment.
    pub fn next_look(&self, others: bool) -> Option<Instant> {
        let at_work = self.at_work.map(|(_, until)| until);
        let others = self.others_until().filter(|_| others);
        at_work.max(others).filter(|_| !self.waiting.is_empty())
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
        tickets.iter().for_each(|ticket| suspects.push(job(*ticket, 3), start));
        let next = |suspects: &mut Suspects, now| suspects.next(now, MAX, false).map(|job| job.ticket);
        assert_eq!(next(&mut suspects, start), Some(tickets[0]));
        assert_eq!((next(&mut suspects, start), suspects.next_look(false)), (None, Some(start + LONG)));
        suspects.handled(tickets[0], start);
        assert_eq!((next(&mut suspects, start), suspects.next_look(false)), (None, Some(start + PATIENCE)));
        suspects.departed(tickets[0]);
        assert_eq!(next(&mut suspects, start), Some(tickets[1]));
        suspects.handled(tickets[1], start);
        assert_eq!(next(&mut suspects, start + PATIENCE), Some(tickets[2]));
    }

    #[test]
    fn one_whose_handler_does_not_end_is_waited_for_no_longer() {
        let (mut suspects, start, tickets) = (Suspects::default(), start(), tickets(3));
        tickets.iter().for_each(|ticket| suspects.push(job(*ticket, 3), start));
        let next = |suspects: &mut Suspects, now| suspects.next(now, MAX, false).map(|job| job.ticket);
        assert_eq!(next(&mut suspects, start), Some(tickets[0]));
        assert_eq!(next(&mut suspects, start + LONG), Some(tickets[1]));
        // The first one is not the one at work any more, whatever becomes of it.
        suspects.handled(tickets[0], start + LONG);
        suspects.put_back(job(tickets[0], 3));
        assert_eq!((next(&mut suspects, start + LONG), suspects.next_look(false)), (None, Some(start + LONG * 2)));
        suspects.departed(tickets[1]);
        assert_eq!(next(&mut suspects, start + LONG), Some(tickets[0]));
    }

    #[test]
    fn on_their_last_receive_the_last_goes_first() {
        let (mut suspects, tickets) = (Suspects::default(), tickets(2));
        tickets.iter().for_each(|ticket| suspects.push(job(*ticket, 4), start()));
        assert_eq!(suspects.next(start(), MAX, false).map(|job| job.ticket), Some(tickets[1]));
    }

    #[test]
    fn others_go_first_but_not_for_ever() {
        let (mut suspects, start, tickets) = (Suspects::default(), start(), tickets(1));
        // Jobs before there was a suspect do not count.
        (0..OTHERS).for_each(|_| suspects.other_started());
        suspects.push(job(tickets[0], 3), start);
        for _ in 0..OTHERS {
            assert!(suspects.next(start, MAX, true).is_none());
            assert_eq!(suspects.next_look(true), Some(start + LONG));
            suspects.other_started();
        }
        assert_eq!(suspects.next_look(true), None);
        assert!(suspects.next(start, MAX, true).is_some());
    }

    #[test]
    fn others_that_end_no_more_do_not_hold_them_up() {
        let (mut suspects, start, tickets) = (Suspects::default(), start(), tickets(2));
        tickets.iter().for_each(|ticket| suspects.push(job(*ticket, 3), start));
        let mut next = |now| suspects.next(now, MAX, true).map(|job| job.ticket);
        assert_eq!((next(start), next(start + LONG)), (None, Some(tickets[0])));
        suspects.departed(tickets[0]);
        let mut next = |now| suspects.next(now, MAX, true).map(|job| job.ticket);
        assert_eq!((next(start + LONG), next(start + LONG * 2)), (None, Some(tickets[1])));
    }
}
