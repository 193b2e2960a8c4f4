//! An acker thread: carries out the dispatcher's calls to one queue (deletes, returns, extensions, dead letters,
//! counts), one at a time, and reports each result. It decides nothing.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::dispatch::{Event, Fault, QueueCall, QueueIndex};
use crate::queue::Queue;

use super::duty::Duty;

/// The state of one acker thread.
pub struct Acker {
    pub queue: Arc<dyn Queue>,
    pub index: QueueIndex,
    /// The calls for all of the queue's ackers, each with the number by which the dispatcher counts it.
    pub calls: Receiver<(usize, QueueCall)>,
    pub inbox: Sender<Event>,
}

impl Acker {
    /// Runs the thread: carries out calls until the dispatcher drops its end of the channel.
    pub fn run(self, duty: &Duty) {
        for (number, call) in &self.calls {
            let what = match call {
                QueueCall::Delete(_) => "deletes",
                QueueCall::ChangeVisibility(_) => "extends or returns",
                QueueCall::SetAside(_) => "sets aside",
                QueueCall::Count => "counts",
            };
            duty.begin(what, "");
            let event = self.make(number, &call);
            duty.rest();
            if self.inbox.send(event).is_err() {
                return;
            }
        }
    }

    fn make(&self, acker: usize, call: &QueueCall) -> Event {
        let queue = self.index;
        let results = match call {
            QueueCall::Delete(receipts) => self.queue.delete(receipts),
            QueueCall::ChangeVisibility(changes) => self.queue.change_visibility(changes),
            QueueCall::SetAside(letters) => self.queue.set_aside(letters),
            QueueCall::Count => {
                let count = self.queue.count().map_err(|error| Fault::from(&error));
                return Event::Counted { queue, acker, count };
            }
        };
        Event::QueueAnswered { queue, acker, results: results.map_err(|error| Fault::from(&error)) }
    }
}
