//! A parker: takes one queue's deliveries to its parking and back, one call after the other, so that what it reads knows of all that it
//! wrote before.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::dispatch::{Event, QueueIndex};
use crate::message::park::{ToPark, Want};
use crate::queue::parking::Parking;

use super::duty::Duty;
use super::poller::fault;

/// What a parker does.
pub enum Errand {
    Park(Vec<ToPark>),
    Unpark(Vec<Want>),
}

/// Calls that may be under way at once: one each way.
pub const ERRANDS: usize = 2;

pub struct Parker {
    pub parking: Arc<Parking>,
    /// The queue whose deliveries they are.
    pub queue: QueueIndex,
    pub errands: Receiver<Errand>,
    pub inbox: Sender<Event>,
}

impl Parker {
    /// The thread's body: until the engine stops.
    pub fn run(self, duty: &Duty) {
        for errand in &self.errands {
            let what = match errand {
                Errand::Park(_) => "parks",
                Errand::Unpark(_) => "brings parked ones back",
            };
            duty.begin(what, "");
            let answer = self.call(&errand);
            duty.rest();
            if self.inbox.send(answer).is_err() {
                return;
            }
        }
    }

    fn call(&self, errand: &Errand) -> Event {
        let queue = self.queue;
        match errand {
            Errand::Park(deliveries) => {
                Event::Parked { queue, results: self.parking.park(deliveries).map_err(|error| fault(&error)) }
            }
            Errand::Unpark(wants) => {
                Event::Unparked { queue, answers: self.parking.unpark(wants).map_err(|error| fault(&error)) }
            }
        }
    }
}
