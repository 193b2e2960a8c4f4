//! One job: some messages of one queue on their way through its handler, in order.
//!
//! A job is shared by the pool thread that runs it and the dispatcher's thread, which takes back the rest of a job if
//! one of its messages takes long. Each locks the job only for a moment; the pool thread does so once per message.

use parking_lot::Mutex;

use crate::dispatch::{Handled, TakenBack, Ticket, ToHandle};

/// A job. See the [module documentation](self).
pub struct Job {
    /// The ticket of the job's first message.
    name: Ticket,
    state: Mutex<State>,
}

struct State {
    /// Whether a thread has begun with the job.
    begun: bool,
    /// The messages that were not begun.
    todo: std::vec::IntoIter<ToHandle>,
    /// The messages that were handled and not taken back yet.
    done: Vec<Handled>,
}

impl Job {
    /// Creates a job, or returns `None` if there are no messages.
    pub fn new(jobs: Vec<ToHandle>) -> Option<Self> {
        let name = jobs.first()?.ticket;
        let done = Vec::with_capacity(jobs.len());
        Some(Self { name, state: Mutex::new(State { begun: false, todo: jobs.into_iter(), done }) })
    }

    /// Returns the job's name: the ticket of its first message.
    pub fn name(&self) -> Ticket {
        self.name
    }

    /// Records the outcome of the message before, if there was one, and returns the next message. `None` means
    /// that no message is left.
    pub fn next(&self, handled: Option<Handled>) -> Option<ToHandle> {
        let mut state = self.state.lock();
        state.begun = true;
        state.done.extend(handled);
        state.todo.next()
    }

    /// Drops the messages that were not begun, whether or not a thread has begun with the job.
    pub fn forget_rest(&self) {
        self.state.lock().todo = Vec::new().into_iter();
    }

    /// Takes everything out but the message that is being handled. `None` means that no thread has begun with the job.
    pub fn take_back(&self) -> Option<TakenBack> {
        let mut state = self.state.lock();
        let State { begun, todo, done } = &mut *state;
        begun.then(|| TakenBack { done: std::mem::take(done), undone: std::mem::take(todo).collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dispatch::tests::{message, tickets};
    use crate::message::Outcome;

    #[test]
    fn what_is_being_done_stays_and_everything_else_can_be_taken_back() {
        let tickets = tickets(4);
        let job = |ticket: &Ticket| ToHandle { ticket: *ticket, message: Arc::new(message("m", None)) };
        let job = Job::new(tickets.iter().map(job).collect()).unwrap();
        assert!(job.take_back().is_none(), "nothing of it is begun");
        let handled = |ToHandle { ticket, message }: ToHandle| Handled { ticket, message, outcome: Outcome::Discard };
        let first = job.next(None).unwrap();
        let second = job.next(Some(handled(first))).unwrap();
        let back = job.take_back().unwrap();
        assert_eq!(back.done.iter().map(|handled| handled.ticket).collect::<Vec<_>>(), tickets[..1]);
        assert_eq!(back.undone.iter().map(|job| job.ticket).collect::<Vec<_>>(), tickets[2..]);
        assert!(job.next(Some(handled(second))).is_none());
        let back = job.take_back().unwrap();
        assert_eq!((back.done[0].ticket, back.done.len(), back.undone.len()), (tickets[1], 1, 0));
        assert!(Job::new(Vec::new()).is_none());
    }
}
