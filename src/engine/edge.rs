//! The threads around one queue (its pollers, ackers and parker) and the channels to them.
//! The first thread of each kind is started with the queue, the others when they are first
//! needed. If the system refuses a thread, the queue goes on with those that it has.
//!
//! Owned by the thread `dispatch`, which must not wait: a hand-over is a `try_send` into a channel that has space,
//! since the dispatcher counts what it has handed out.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::dispatch::{Demand, Event, QueueCall, QueueIndex};
use crate::queue::Queue;

use super::acker::Acker;
use super::duty::Duty;
use super::error::{Death, StartError};
use super::lane::Lane;
use super::parker::{Errand, MAX_ERRANDS, Parker};
use super::poller::Poller;
use super::rules::ackers;
use super::threads::{Crew, thread_name};

/// The number of demands that a poller may not have seen yet. Each is for at least one message.
const MAX_DEMANDS: usize = 2048;

/// The pause before another attempt to start an acker after the system refused a thread.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The threads of one queue that run so far. The default has none: nothing is left of the queue.
#[derive(Default)]
pub struct Edge {
    /// The channels to the pollers, by number.
    pollers: BTreeMap<usize, Sender<Demand>>,
    ackers: Option<Ackers>,
    parker: Option<Sender<Errand>>,
    /// Set once the pollers have to stop receiving.
    stop: Arc<AtomicBool>,
    /// Set once the queue's facts were reported to the dispatcher.
    told: Arc<AtomicBool>,
}

/// The ackers of the queue, which share one channel: any of them takes the next call, under the number that
/// the dispatcher gave it. If there are fewer threads than calls, the other calls wait in the channel.
struct Ackers {
    to_them: Sender<(usize, QueueCall)>,
    calls: Receiver<(usize, QueueCall)>,
    threads: usize,
    /// When the next acker may be started, after the system refused a thread; `None` if it did not.
    retry_at: Option<Instant>,
}

/// What a thread of the queue is created with.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    pub index: QueueIndex,
    pub lane: &'a Lane,
    pub inbox: &'a Sender<Event>,
    pub crew: &'a Crew,
}

/// The system refuses another thread.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread {name}: {why}")]
pub struct NoThread {
    name: String,
    why: io::Error,
}

impl From<NoThread> for StartError {
    fn from(NoThread { name, why }: NoThread) -> Self {
        Self::Thread { name, why: why.to_string() }
    }
}

impl Edge {
    /// Starts the threads without which the queue does not move: its first poller and
    /// acker, and its parker if it has a parking. They are started before anything is
    /// delivered, since the delivery threads may take all threads that the system grants.
    pub fn start(around: Around<'_>) -> Result<Self, NoThread> {
        let mut edge = Self::default();
        let Some(queue) = &around.lane.queue else { return Ok(edge) };
        let (to_them, calls) = bounded(ackers(around.lane.limits));
        edge.ackers.insert(Ackers { to_them, calls, threads: 0, retry_at: None }).start_one(around, queue)?;
        // The rows of a parking are not received; the parker of its queue brings them back.
        if around.lane.handler.is_some() {
            edge.start_poller(around, queue, 0)?;
        }
        if let Some(parking) = &around.lane.parking {
            let (to_parker, errands) = bounded(MAX_ERRANDS);
            let body = Parker { parking: Arc::clone(parking), queue: around.index, errands, inbox: around.inbox.clone() };
            around.start("park", 0, move |duty| body.run(duty))?;
            edge.parker = Some(to_parker);
        }
        Ok(edge)
    }

    fn start_poller(&mut self, around: Around<'_>, queue: &Arc<dyn Queue>, number: usize) -> Result<(), NoThread> {
        let (to_poller, demands) = bounded(MAX_DEMANDS);
        let (name, queue, inbox) = (Arc::clone(&around.lane.name), Arc::clone(queue), around.inbox.clone());
        let (stop, told) = (Arc::clone(&self.stop), Arc::clone(&self.told));
        let parks = around.lane.parking.is_some();
        let body = Poller { name, queue, index: around.index, number, demands, inbox, stop, told, parks };
        around.start("poll", number, move |duty| body.run(duty))?;
        self.pollers.insert(number, to_poller);
        Ok(())
    }

    /// Hands demand to a poller, and starts the poller if it is not running. Returns
    /// why if the system refuses the thread: the demand was not handed over then.
    ///
    /// # Errors
    ///
    /// An error of this and of the following functions means that something the dispatcher relies on does not hold.
    pub fn receive(&mut self, around: Around<'_>, poller: usize, demand: Demand) -> Result<Option<NoThread>, Death> {
        if !self.pollers.contains_key(&poller)
            && let Err(none) = self.start_poller(around, around.queue()?, poller)
        {
            return Ok(Some(none));
        }
        let handed = self.pollers.get(&poller).is_some_and(|demands| demands.try_send(demand).is_ok());
        if handed { Ok(None) } else { Err(around.broken("a poller has more demand than it was given")) }
    }

    /// Hands a call to the ackers, and starts another acker if one is needed. Returns why
    /// if the system refuses the thread: the call then waits for the ackers that run.
    pub fn call(&mut self, around: Around<'_>, now: Instant, acker: usize, call: QueueCall) -> Result<Option<NoThread>, Death> {
        let queue = around.queue()?;
        let ackers = self.ackers.as_mut().ok_or_else(|| around.broken("a call without ackers"))?;
        // The dispatcher uses the lowest number that is free, so all ackers with lower numbers are at work.
        let is_wanted = ackers.threads <= acker && ackers.retry_at.is_none_or(|at| at <= now);
        let none = if is_wanted { ackers.start_one(around, queue).err() } else { None };
        if none.is_some() {
            ackers.retry_at = Some(now + RETRY_PAUSE);
        }
        ackers.to_them.try_send((acker, call)).map_err(|_| around.broken("an acker has a second call"))?;
        Ok(none)
    }

    /// Hands an errand to the parker.
    pub fn run_errand(&mut self, around: Around<'_>, errand: Errand) -> Result<(), Death> {
        let to_parker = self.parker.as_ref().ok_or_else(|| around.broken("an errand without a parking"))?;
        to_parker.try_send(errand).map_err(|_| around.broken("the parker has too many errands"))
    }

    /// Makes the queue's pollers stop receiving, and ends those waits of theirs that can be ended.
    pub fn interrupt(&self, lane: &Lane) {
        self.stop.store(true, Ordering::Release);
        if let Some(queue) = &lane.queue {
            queue.interrupt();
        }
    }
}

impl Ackers {
    fn start_one(&mut self, around: Around<'_>, queue: &Arc<dyn Queue>) -> Result<(), NoThread> {
        let body =
            Acker { queue: Arc::clone(queue), index: around.index, calls: self.calls.clone(), inbox: around.inbox.clone() };
        around.start("ack", self.threads, move |duty| body.run(duty))?;
        self.threads += 1;
        Ok(())
    }
}

impl<'a> Around<'a> {
    fn queue(&self) -> Result<&'a Arc<dyn Queue>, Death> {
        self.lane.queue.as_ref().ok_or_else(|| self.broken("a call after its end"))
    }

    fn start(&self, kind: &str, number: usize, body: impl FnOnce(&Duty) + Send + 'static) -> Result<(), NoThread> {
        let name = thread_name(kind, &self.lane.name, number);
        self.crew.spawn(name.clone(), None, body).map_err(|why| NoThread { name, why })
    }

    fn broken(&self, what: &str) -> Death {
        Death::broken(format!("queue {}: {what}", self.lane.name))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dispatch::WAITS_WITH;
    use crate::message::service::Ask;
    use crate::queue::memory::{MemoryOptions, MemoryQueue};
    use crate::queue::{Limits, Queue};

    /// Returns a lane whose queue may have several pollers and ackers.
    fn lane() -> Lane {
        let queue = MemoryQueue::new(MemoryOptions::new("a"));
        Lane {
            name: "a".into(),
            source: "memory",
            handler_name: String::new(),
            limits: Limits { remote: true, ..queue.limits() },
            queue: Some(Arc::new(queue)),
            handler: Some(Arc::new(|_: &crate::message::Message| crate::message::Outcome::Discard)),
            concurrency: 1,
            parking: None,
            parks_for: None,
            retires: false,
        }
    }

    fn names(crew: &Crew, now: Instant) -> Vec<String> {
        crew.roster().report(now).into_iter().map(|thread| thread.name).collect()
    }

    #[test]
    fn a_queue_starts_with_its_first_threads_or_not_at_all() {
        let (crew, lane, (inbox, _events)) = (Crew::new(), lane(), bounded(8));
        let around = Around { index: 0, lane: &lane, inbox: &inbox, crew: &crew };
        for threads in 0..2 {
            crew.give(threads);
            let none = Edge::start(around).err().unwrap().to_string();
            assert!(
                none.starts_with(["cannot start the thread ack-a-0: ", "cannot start the thread poll-a-0: "][threads]),
                "{none}"
            );
        }
        crew.give(2);
        assert!(Edge::start(around).is_ok());
    }

    #[test]
    fn where_no_thread_is_left_a_queue_goes_on_with_those_that_it_has() {
        let (crew, lane, (inbox, events)) = (Crew::new(), lane(), bounded(8));
        let around = Around { index: 0, lane: &lane, inbox: &inbox, crew: &crew };
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Instant::now();
        let next = || events.recv_timeout(Duration::from_secs(10)).unwrap();
        let mut edge = Edge::start(around).unwrap();

        crew.give(0);
        for acker in 0..3 {
            let none = edge.call(around, now, acker, QueueCall::Count).unwrap();
            // A thread is tried for once, and then not again before [`RETRY_PAUSE`] has passed.
            assert_eq!(none.is_some(), acker == 1);
            assert!(matches!(next(), Event::Counted { acker: of, count: Ok(_), .. } if of == acker));
        }
        let ask = Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX };
        let demand = Demand { messages: WAITS_WITH, ask };
        assert!(edge.receive(around, 1, demand).unwrap().is_some());
        assert!(edge.receive(around, 0, demand).unwrap().is_none());
        assert!(matches!(next(), Event::Facts { .. }));
        assert!(matches!(next(), Event::Received { poller: 0, .. }));

        crew.give(2);
        assert!(edge.call(around, now + RETRY_PAUSE, 1, QueueCall::Count).unwrap().is_none());
        assert!(edge.receive(around, 1, demand).unwrap().is_none());
        let names = names(&crew, now);
        assert!(["ack-a-1", "poll-a-1"].iter().all(|name| names.iter().any(|other| other == name)), "{names:?}");
    }
}
