//! Puts outcomes back into the order of receive, although handlers run in parallel. Part of the dispatcher's state
//! machine, which has one [`Order`] for each queue.
//!
//! On a standard queue all messages form one line: an outcome waits for those before it, but not for a handler that has
//! run for `order_wait`. On a FIFO queue each message group is a line of its own, which waits for as long as it takes.

use std::time::{Duration, Instant};

use crate::message::Message;

use super::event::Handled;
use super::keys::Ticket;

mod groups;
mod resequencer;

use self::groups::Groups;
use self::resequencer::Resequencer;

/// What an [`Order`] releases.
#[derive(Debug, PartialEq)]
pub enum Release {
    /// An outcome whose turn has come.
    Outcome(Handled),
    /// A message that has to follow one before it in its group: it is to be returned too, hidden until this moment.
    Follow(Ticket, Instant),
}

/// The order of one queue.
#[derive(Debug)]
pub enum Order {
    /// No order is kept: outcomes pass at once.
    Free,
    /// The order of the whole queue.
    Whole(Resequencer),
    /// The order within each message group.
    Groups(Groups),
}

impl Order {
    /// Creates the order of a queue. `order_wait` counts on standard queues only; zero means that no order is kept.
    pub fn new(fifo: bool, order_wait: Duration) -> Self {
        match (fifo, order_wait.is_zero()) {
            (true, _) => Self::Groups(Groups::default()),
            (false, true) => Self::Free,
            (false, false) => Self::Whole(Resequencer::new(order_wait)),
        }
    }

    /// Changes `order_wait`, also for handlers that are running. Has no effect where no order is kept,
    /// or where it is by group.
    pub fn set_wait(&mut self, wait: Duration) {
        if let Self::Whole(resequencer) = self {
            resequencer.set_wait(wait);
        }
    }

    /// Records that a message was received and will go to its handler.
    pub fn expect(&mut self, sequence: u64, ticket: Ticket, message: &Message) {
        match self {
            Self::Free => {}
            Self::Whole(resequencer) => resequencer.expect(sequence),
            Self::Groups(groups) => groups.expect(sequence, ticket, message),
        }
    }

    /// Records that no message waits for this number: its copy goes to no handler, or leaves before its turn. Pushes to
    /// `out` what that releases.
    pub fn skip(&mut self, sequence: u64, message: &Message, now: Instant, out: &mut Vec<Release>) {
        match self {
            Self::Free => {}
            Self::Whole(resequencer) => resequencer.skip(sequence, now, out),
            Self::Groups(groups) => groups.skip(sequence, message, out),
        }
    }

    /// Records that the copy is no longer held.
    pub fn departed(&mut self, sequence: u64, message: &Message) {
        if let Self::Groups(groups) = self {
            groups.departed(sequence, message);
        }
    }

    /// Records that the handler starts with the message.
    pub fn started(&mut self, sequence: u64, now: Instant) {
        if let Self::Whole(resequencer) = self {
            resequencer.started(sequence, now);
        }
    }

    /// Records that the job of the message ended before the handler came to it.
    pub fn waits_again(&mut self, sequence: u64) {
        if let Self::Whole(resequencer) = self {
            resequencer.expect(sequence);
        }
    }

    /// Records that the handler is done with the message. Pushes to `out` its outcome if its turn has come, and all
    /// outcomes that waited for it.
    pub fn complete(&mut self, sequence: u64, handled: Handled, now: Instant, out: &mut Vec<Release>) {
        match self {
            Self::Free => out.push(Release::Outcome(handled)),
            Self::Whole(resequencer) => resequencer.complete(sequence, handled, now, out),
            Self::Groups(groups) => groups.complete(sequence, handled, out),
        }
    }

    /// Returns whether the fate of one message may decide that of the messages behind it, so that each outcome must be
    /// acted upon before the next one is completed.
    pub fn is_by_group(&self) -> bool {
        matches!(self, Self::Groups(_))
    }

    /// Pushes to `out` the outcomes that may overtake the message at the head by now.
    pub fn release(&mut self, now: Instant, out: &mut Vec<Release>) {
        if let Self::Whole(resequencer) = self {
            resequencer.release(now, out);
        }
    }

    /// Returns when the message at the head will be overtaken. `None`: its handler does not run, or nothing is behind
    /// it.
    pub fn next_overtaking(&self) -> Option<Instant> {
        match self {
            Self::Whole(resequencer) => resequencer.next_overtaking(),
            Self::Free | Self::Groups(_) => None,
        }
    }

    /// Returns the outcomes that wait for their turn, in no order. Costs O(messages held of the queue).
    pub fn held_back(&self) -> Box<dyn Iterator<Item = &Handled> + '_> {
        match self {
            Self::Free => Box::new(std::iter::empty()),
            Self::Whole(resequencer) => Box::new(resequencer.held_back()),
            Self::Groups(groups) => Box::new(groups.held_back()),
        }
    }

    /// Returns whether outcomes wait for a message that no handler has begun with. `idle`: no handler of the queue runs.
    pub fn waits_for_pending(&self, idle: bool) -> bool {
        match self {
            Self::Free => false,
            Self::Whole(resequencer) => resequencer.waits_for_pending(),
            // A group does not know whose handler runs.
            Self::Groups(groups) => idle && groups.any_waits(),
        }
    }

    /// Returns the messages that would have to follow if this one were returned, in order.
    pub fn behind(&self, sequence: u64, message: &Message) -> impl Iterator<Item = Ticket> {
        let behind = match self {
            Self::Groups(groups) => Some(groups.behind(sequence, message)),
            Self::Free | Self::Whole(_) => None,
        };
        behind.into_iter().flatten()
    }

    /// Returns whether the message will be returned once its handler is done with it, behind one before it in its group.
    pub fn has_to_follow(&self, sequence: u64, message: &Message) -> bool {
        match self {
            Self::Groups(groups) => groups.has_to_follow(sequence, message),
            Self::Free | Self::Whole(_) => false,
        }
    }

    /// Records that the message is returned, hidden until `until`, and that those behind it in its group have to
    /// follow. Returns all of these, in order. Those whose handler still runs are released as
    /// [`Release::Follow`] once it ends.
    pub fn take_along(&mut self, sequence: u64, message: &Message, until: Instant) -> Vec<Ticket> {
        match self {
            Self::Groups(groups) => groups.take_along(sequence, message, until),
            Self::Free | Self::Whole(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dispatch::tests::{message, start, tickets};
    use crate::message::Outcome;

    fn done(order: &mut Order, sequence: u64, ticket: Ticket, now: Instant) -> Vec<Ticket> {
        let mut out = Vec::new();
        order.complete(sequence, handled(ticket, None, Outcome::Discard), now, &mut out);
        released(out)
    }

    fn handled(ticket: Ticket, group: Option<&str>, outcome: Outcome) -> Handled {
        Handled { ticket, message: Arc::new(message("m", group)), outcome }
    }

    fn released(out: Vec<Release>) -> Vec<Ticket> {
        out.into_iter()
            .map(|release| match release {
                Release::Outcome(Handled { ticket, .. }) | Release::Follow(ticket, _) => ticket,
            })
            .collect()
    }

    #[test]
    fn a_line_lets_go_in_the_order_of_receive() {
        let (mut order, start, t) = (Order::new(false, Duration::from_secs(5)), start(), tickets(3));
        // The second receive is reported first: number 0 is not known yet.
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
            assert_eq!(order.next_overtaking().is_some(), sequence > 0, "nobody waits behind the first");
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
            order.complete(n as u64, handled(t[n], groups[n], Outcome::Discard), start + Duration::from_secs(3600), &mut out);
            released(out)
        };
        assert_eq!(complete(1), [], "its group waits, for however long");
        assert_eq!(complete(2), [t[2]]);
        assert_eq!(complete(3), [t[3]]);
        assert_eq!(complete(0), [t[0], t[1]]);
    }

    #[test]
    fn a_returned_message_takes_the_rest_of_its_group_along() {
        let (mut order, start, t) = (Order::new(true, Duration::ZERO), start(), tickets(4));
        let a = message("m", Some("a"));
        for (sequence, ticket) in (0..).zip(&t) {
            order.expect(sequence, *ticket, &a);
        }
        let mut out = Vec::new();
        order.complete(0, handled(t[0], Some("a"), Outcome::Discard), start, &mut out);
        order.complete(2, handled(t[2], Some("a"), Outcome::Discard), start, &mut out);
        let retry = Outcome::Retry { after: Duration::from_secs(1), reason: "not yet".into() };
        order.complete(1, handled(t[1], Some("a"), retry.clone()), start, &mut out);
        let expected = [(t[0], Outcome::Discard), (t[1], retry)];
        assert_eq!(out, expected.map(|(ticket, outcome)| Release::Outcome(handled(ticket, Some("a"), outcome))));
        let until = start + Duration::from_secs(1);
        assert_eq!(order.take_along(1, &a, until), [t[2], t[3]], "not what came before it");
        out.clear();
        order.skip(1, &a, start, &mut out);
        order.complete(3, handled(t[3], Some("a"), Outcome::Discard), start, &mut out);
        assert_eq!(out, [Release::Follow(t[2], until), Release::Follow(t[3], until)]);
    }

    #[test]
    fn a_message_that_leaves_out_of_turn_holds_nobody_up() {
        let (mut order, start, t) = (Order::new(true, Duration::ZERO), start(), tickets(3));
        let a = message("m", Some("a"));
        for (sequence, ticket) in (0..).zip(&t) {
            order.expect(sequence, *ticket, &a);
        }
        let mut out = Vec::new();
        order.skip(1, &a, start, &mut out);
        order.complete(0, handled(t[0], Some("a"), Outcome::Discard), start, &mut out);
        order.departed(0, &a);
        order.departed(1, &a);
        order.complete(2, handled(t[2], Some("a"), Outcome::Discard), start, &mut out);
        assert_eq!(released(out), [t[0], t[2]]);
    }

    #[test]
    fn one_that_is_reported_late_has_its_turn() {
        let (mut order, start, t) = (Order::new(true, Duration::ZERO), start(), tickets(3));
        let (a, mut out) = (message("m", Some("a")), Vec::new());
        for sequence in [1, 0, 2] {
            order.expect(sequence as u64, t[sequence], &a);
            order.complete(sequence as u64, handled(t[sequence], Some("a"), Outcome::Discard), start, &mut out);
        }
        assert_eq!(released(out), [t[1], t[0], t[2]]);
        assert_eq!(order.behind(1, &a).collect::<Vec<_>>(), [t[2]]);
    }

    #[test]
    fn a_group_is_forgotten_with_its_last_message() {
        let (mut order, start, t) = (Order::new(true, Duration::ZERO), start(), tickets(2));
        let a = message("m", Some("a"));
        let mut out = Vec::new();
        for (sequence, ticket) in (0..).zip(&t) {
            order.expect(sequence, *ticket, &a);
            order.complete(sequence, handled(*ticket, Some("a"), Outcome::Discard), start, &mut out);
        }
        order.departed(1, &a);
        order.departed(0, &a);
        let Order::Groups(groups) = order else { unreachable!() };
        assert!(groups.is_empty());
    }

    #[test]
    fn outcomes_are_known_to_wait_for_a_message_that_no_handler_has_begun_with() {
        for fifo in [false, true] {
            let (mut order, start, t) = (Order::new(fifo, Duration::from_secs(5)), start(), tickets(4));
            let (a, mut out) = (message("m", Some("a")), Vec::new());
            for (sequence, ticket) in (0..).zip(&t) {
                order.expect(sequence, *ticket, &a);
            }
            assert!(!order.waits_for_pending(true), "no outcome waits");
            order.complete(2, handled(t[2], Some("a"), Outcome::Discard), start, &mut out);
            order.complete(3, handled(t[3], Some("a"), Outcome::Discard), start, &mut out);
            assert!(order.waits_for_pending(true));
            order.started(0, start);
            assert!(!order.waits_for_pending(false), "the handler runs");
            order.waits_again(0);
            order.skip(0, &a, start, &mut out);
            order.skip(3, &a, start, &mut out);
            order.departed(3, &a);
            assert!(order.waits_for_pending(true), "for the second");
            order.skip(1, &a, start, &mut out);
            assert_eq!((released(out), order.waits_for_pending(true)), (vec![t[2]], false));
            order.expect(4, t[0], &a);
            assert!(!order.waits_for_pending(true), "no outcome waits for the next one");
        }
    }
}
