//! How the threads around the queues follow when queues change, come and go while the engine runs. Runs on the thread
//! `dispatch`, which must not wait.

use std::sync::Arc;

use crate::dispatch::QueueIndex;

use super::Shell;
use crate::engine::edge::{Around, Edge};
use crate::engine::error::ReloadError;
use crate::engine::lane::{Lane, Opened};
use crate::engine::plan::{Changed, Plan};
use crate::engine::threads::thread_name;

impl Shell {
    /// Starts the first threads of the queues that a reload adds. Called before anything
    /// else changes: the error names the queue for which the system refuses a thread.
    pub(super) fn edges_of(&self, plan: &Plan) -> Result<Vec<Edge>, ReloadError> {
        let lanes = plan
            .added
            .iter()
            .flat_map(|Opened { lane, parking }| [lane].into_iter().chain(parking.as_ref().map(|parking| &parking.lane)));
        let start = |(index, lane): (QueueIndex, &Lane)| {
            let around = Around { index, lane, inbox: &self.to_inbox, crew: &self.crew };
            Edge::start(around).map_err(|none| ReloadError::Open { queue: lane.name.to_string(), error: none.into() })
        };
        (self.lanes.len()..).zip(lanes).map(start).collect()
    }

    /// Applies a reload to the threads around the queues. The dispatcher is notified
    /// in the same turn. `edges` belong to the queues that the reload adds.
    pub(super) fn take_in(&mut self, plan: Plan, edges: Vec<Edge>) {
        let Plan { changed, retired, added } = plan;
        for Changed { index, rules, handler_name, handler, parking_max_bytes } in changed {
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            let is_other = handler.is_some() || lane.concurrency != rules.concurrency;
            (lane.handler_name, lane.concurrency) = (handler_name, rules.concurrency);
            if handler.is_some() {
                lane.handler = handler;
            }
            if let Some(parking) = &lane.parking {
                parking.set_max_bytes(parking_max_bytes);
            }
            if is_other {
                self.pool.open(index, lane);
            }
        }
        for index in retired {
            let Some(name) = self.lanes.get(index).map(|lane| Arc::clone(&lane.name)) else { continue };
            log::info!("the queue retires, what it holds is delivered: queue={name}");
            let is_of_it = |(at, lane): &(QueueIndex, &mut Lane)| *at == index || lane.parks_for == Some(index);
            for (_, lane) in self.lanes.iter_mut().enumerate().filter(is_of_it) {
                // Failures of the retiring queue from now on must not appear as failures of the next queue of its name.
                self.health.forget(&lane.name);
                lane.retires = true;
            }
        }
        for Opened { lane, parking } in added {
            log::info!("the queue is new: queue={} source={} handler={}", lane.name, lane.source, lane.handler_name);
            for lane in [lane].into_iter().chain(parking.map(|parking| parking.lane)) {
                self.pool.open(self.lanes.len(), &lane);
                self.lanes.push(lane);
            }
        }
        self.edges.extend(edges);
    }

    /// Ends the threads of a queue that has nothing left, and closes its files.
    pub(super) fn close(&mut self, queue: QueueIndex) {
        let (Some(lane), Some(edge)) = (self.lanes.get_mut(queue), self.edges.get_mut(queue)) else { return };
        self.health.forget(&lane.label());
        self.pool.close(queue);
        log::info!("the queue is gone: queue={}", lane.name);
        let last = (lane.queue.take(), lane.parking.take(), lane.handler.take(), std::mem::take(edge));
        // Closing a file may take a sync, which must not hold up `dispatch`.
        let name = thread_name("close", &lane.name, 0);
        if let Err(error) = self.crew.spawn(name, None, move |_| drop(last)) {
            log::warn!("the files of a queue that is gone are closed by the dispatcher, since no thread can be started: {error}");
        }
        self.crew.forget_ended();
    }
}
