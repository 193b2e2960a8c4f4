//! An acker: tells one queue what became of its messages, one call at a time.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::dispatch::{Event, QueueIndex, Work};
use crate::queue::Queue;

use super::duty::Duty;
use super::poller::fault;

pub struct Acker {
    pub queue: Arc<dyn Queue>,
    pub index: QueueIndex,
    pub acker: usize,
    pub work: Receiver<Work>,
    pub inbox: Sender<Event>,
}

impl Acker {
    /// The thread's body: until the engine stops.
    pub fn run(self, duty: &Duty) {
        for work in &self.work {
            let what = match work {
                Work::Delete(_) => "deletes",
                Work::ChangeVisibility(_) => "extends or returns",
                Work::SetAside(_) => "sets aside",
                Work::Count => "counts",
            };
            duty.begin(what, "");
            let event = self.call(&work);
            duty.rest();
            if self.inbox.send(event).is_err() {
                return;
            }
        }
    }

    fn call(&self, work: &Work) -> Event {
        let (queue, acker) = (self.index, self.acker);
        let results = match work {
            Work::Delete(receipts) => self.queue.delete(receipts),
            Work::ChangeVisibility(changes) => self.queue.change_visibility(changes),
            Work::SetAside(letters) => self.queue.set_aside(letters),
            Work::Count => {
                let count = self.queue.count().map_err(|error| fault(&error));
                return Event::Counted { queue, acker, count };
            }
        };
        Event::Settled { queue, acker, results: results.map_err(|error| fault(&error)) }
    }
}
