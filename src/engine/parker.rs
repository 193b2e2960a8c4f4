//! A parker thread: moves one queue's deliveries into its parking and back, one call after the other, so that each read
//! sees all earlier writes. It decides nothing.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::dispatch::{Event, Fault, QueueIndex};
use crate::message::park::{ToPark, Want};
use crate::queue::parking::Parking;

use super::duty::Duty;

/// A call that a parker carries out.
pub enum Errand {
    /// Write deliveries into the parking.
    Park(Vec<ToPark>),
    /// Read parked deliveries of some accounts.
    Unpark(Vec<Want>),
}

/// The largest number of errands under way at once: one in each direction.
pub const MAX_ERRANDS: usize = 2;

/// The state of one parker thread.
pub struct Parker {
    pub parking: Arc<Parking>,
    /// The queue whose deliveries are parked.
    pub queue: QueueIndex,
    pub errands: Receiver<Errand>,
    pub inbox: Sender<Event>,
}

impl Parker {
    /// Runs the thread: carries out errands until the dispatcher drops its end of the channel.
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
                Event::Parked { queue, results: self.parking.park(deliveries).map_err(|error| Fault::from(&error)) }
            }
            Errand::Unpark(wants) => {
                Event::Unparked { queue, answers: self.parking.unpark(wants).map_err(|error| Fault::from(&error)) }
            }
        }
    }
}
