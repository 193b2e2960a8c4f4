//! The jobs that are with a world's handlers.

use std::collections::HashMap;

use fastrand::Rng;

use crate::dispatch::{Handled, Job, TakenBack, Ticket};
use crate::message::{Message, Outcome};

#[derive(Default)]
pub struct Pool {
    jobs: HashMap<(usize, Ticket), Vec<Job>>,
}

impl Pool {
    /// Gives the job's name.
    pub fn start(&mut self, queue: usize, jobs: Vec<Job>) -> Ticket {
        let name = jobs[0].ticket;
        self.jobs.insert((queue, name), jobs);
        name
    }

    /// What is left of the job, which ends.
    pub fn end(&mut self, queue: usize, job: Ticket) -> Vec<Job> {
        self.jobs.remove(&(queue, job)).expect("it was given away")
    }

    /// What is to be handled now, and what is not: all but the message that the job is at. Sometimes no thread has come to it yet.
    pub fn take_back(&mut self, queue: usize, job: Ticket, random: &mut Rng) -> Option<(Vec<Job>, Vec<Job>)> {
        let jobs = self.jobs.get_mut(&(queue, job)).filter(|_| random.u8(..4) > 0)?;
        let at = random.usize(..jobs.len());
        let left = jobs.split_off(at + 1);
        Some((jobs.drain(..at).collect(), left))
    }
}

pub fn handled(jobs: Vec<Job>, mut handle: impl FnMut(&Message) -> Outcome) -> Vec<Handled> {
    let handled = |Job { ticket, message }: Job| {
        let outcome = handle(&message);
        Handled { ticket, message, outcome }
    };
    jobs.into_iter().map(handled).collect()
}

pub fn taken_back((done, left): (Vec<Job>, Vec<Job>), handle: impl FnMut(&Message) -> Outcome) -> TakenBack {
    TakenBack { done: handled(done, handle), left }
}
