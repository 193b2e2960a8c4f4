//! The threads around one queue (its pollers, ackers and parker) and the channels to them. Each thread is started
//! when it is first needed.
//!
//! Owned by the thread `dispatch`, which must not wait: a hand-over is a `try_send` into a channel that has space,
//! since the dispatcher counts what it has handed out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::dispatch::{Demand, Event, QueueCall, QueueIndex};
use crate::queue::Queue;

use super::BUG;
use super::acker::Acker;
use super::duty::Duty;
use super::lane::Lane;
use super::parker::{ERRANDS, Errand, Parker};
use super::poller::Poller;
use super::threads::{Crew, thread_name};

/// The number of demands that a poller may not have seen yet. Each is for at least one message.
const DEMANDS: usize = 2048;

/// The number of calls that an acker has at once: the dispatcher waits for the result of one before it sends the next.
const CALLS: usize = 1;

/// The threads of one queue that were started so far.
#[derive(Default)]
pub struct Edge {
    /// The channels to the pollers, by number; `None` if the thread was never started. The ackers'
    /// channels are kept alike.
    pollers: BTreeMap<usize, Option<Sender<Demand>>>,
    ackers: BTreeMap<usize, Option<Sender<QueueCall>>>,
    parker: Option<Sender<Errand>>,
    /// Set once the pollers have to stop receiving.
    stop: Arc<AtomicBool>,
    /// Set once the queue's facts were reported to the dispatcher.
    told: Arc<AtomicBool>,
}

/// What a thread of the queue is created with.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    pub index: QueueIndex,
    pub lane: &'a Lane,
    pub inbox: &'a Sender<Event>,
    pub crew: &'a Crew,
}

impl Edge {
    /// Gives a poller demand, and starts the poller if it is not running.
    ///
    /// # Errors
    ///
    /// An error of this and of the following functions means that something the dispatcher relies on does not hold, or
    /// that the system refuses a thread.
    pub fn receive(&mut self, around: Around<'_>, poller: usize, demand: Demand) -> Result<(), String> {
        let (stop, told) = (Arc::clone(&self.stop), Arc::clone(&self.told));
        let start = |demands| {
            let (name, queue, inbox) = (Arc::clone(&around.lane.name), around.queue()?, around.inbox.clone());
            let body = Poller { name, queue, index: around.index, number: poller, demands, inbox, stop, told };
            around.start("poll", poller, move |duty| body.run(duty))
        };
        let demands = started(self.pollers.entry(poller).or_default(), DEMANDS, start)?;
        demands.try_send(demand).map_err(|_| around.bug("a poller has more demand than it was given"))
    }

    /// Hands a call to an acker, which is started if it is not running.
    pub fn settle(&mut self, around: Around<'_>, acker: usize, call: QueueCall) -> Result<(), String> {
        let start = |calls| {
            let body = Acker { queue: around.queue()?, index: around.index, number: acker, calls, inbox: around.inbox.clone() };
            around.start("ack", acker, move |duty| body.run(duty))
        };
        let to_acker = started(self.ackers.entry(acker).or_default(), CALLS, start)?;
        to_acker.try_send(call).map_err(|_| around.bug("an acker has a second call"))
    }

    /// Hands an errand to the parker, which is started if it is not running.
    pub fn run_errand(&mut self, around: Around<'_>, errand: Errand) -> Result<(), String> {
        let start = |errands| {
            let parking = around.lane.parking.as_ref().ok_or_else(|| around.bug("an errand without a parking"))?;
            let body = Parker { parking: Arc::clone(parking), queue: around.index, errands, inbox: around.inbox.clone() };
            around.start("park", 0, move |duty| body.run(duty))
        };
        let to_parker = started(&mut self.parker, ERRANDS, start)?;
        to_parker.try_send(errand).map_err(|_| around.bug("the parker has too many errands"))
    }

    /// Makes the queue's pollers stop receiving, and ends those waits of theirs that can be ended.
    pub fn interrupt(&self, lane: &Lane) {
        self.stop.store(true, Ordering::Release);
        if let Some(queue) = &lane.queue {
            queue.interrupt();
        }
    }
}

impl Around<'_> {
    fn queue(&self) -> Result<Arc<dyn Queue>, String> {
        self.lane.queue.clone().ok_or_else(|| self.bug("something is wanted of it after its end"))
    }

    fn start(&self, kind: &str, number: usize, body: impl FnOnce(&Duty) + Send + 'static) -> Result<(), String> {
        let name = thread_name(kind, &self.lane.name, number);
        let started = self.crew.spawn(name.clone(), None, body);
        started.map_err(|error| format!("cannot start the thread {name}: {error}; raise the limits on tasks and on memory"))
    }

    /// Returns the message for a broken invariant.
    fn bug(&self, what: &str) -> String {
        format!("queue {}: {what}; {BUG}", self.lane.name)
    }
}

/// Returns the channel to a thread, after starting the thread if there is none.
fn started<T>(
    place: &mut Option<Sender<T>>,
    depth: usize,
    start: impl FnOnce(Receiver<T>) -> Result<(), String>,
) -> Result<&Sender<T>, String> {
    match place {
        Some(there) => Ok(there),
        None => {
            let (sender, receiver) = bounded(depth);
            start(receiver)?;
            Ok(place.insert(sender))
        }
    }
}
