//! The jobs that the handlers of a simulated world work on.

use std::collections::HashMap;

use fastrand::Rng;

use crate::dispatch::{Handled, TakenBack, Ticket, ToHandle};
use crate::message::{Message, Outcome};

#[derive(Default)]
pub struct Pool {
    jobs: HashMap<(usize, Ticket), Vec<ToHandle>>,
}

impl Pool {
    /// Adds a job and returns its name.
    pub fn start(&mut self, queue: usize, messages: Vec<ToHandle>) -> Ticket {
        let name = messages[0].ticket;
        self.jobs.insert((queue, name), messages);
        name
    }

    /// Ends a job and returns its undone messages.
    pub fn end(&mut self, queue: usize, job: Ticket) -> Vec<ToHandle> {
        self.jobs.remove(&(queue, job)).expect("it was given away")
    }

    /// Splits a job's messages around the one being handled: those to be handled now, and those left undone. Returns
    /// `None` if no thread has begun with the job, which is sometimes the case.
    pub fn take_back(&mut self, queue: usize, job: Ticket, random: &mut Rng) -> Option<(Vec<ToHandle>, Vec<ToHandle>)> {
        let messages = self.jobs.get_mut(&(queue, job)).filter(|_| random.u8(..4) > 0)?;
        let at = random.usize(..messages.len());
        let undone = messages.split_off(at + 1);
        Some((messages.drain(..at).collect(), undone))
    }
}

pub fn handled(messages: Vec<ToHandle>, mut handle: impl FnMut(&Message) -> Outcome) -> Vec<Handled> {
    let handled = |ToHandle { ticket, message }: ToHandle| {
        let outcome = handle(&message);
        Handled { ticket, message, outcome }
    };
    messages.into_iter().map(handled).collect()
}

pub fn taken_back((done, undone): (Vec<ToHandle>, Vec<ToHandle>), handle: impl FnMut(&Message) -> Outcome) -> TakenBack {
    TakenBack { done: handled(done, handle), undone }
}
