//! The deliver threads: each hands one batch at a time to its partner and reports the answer. Started when needed, up to a limit.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::dispatch::{Event, FlushId};
use crate::message::Batch;
use crate::sink::Sinks;

use super::threads::Crew;

/// Enough for a request with TLS; most of it is never touched.
const STACK: usize = 256 * 1024;

/// A flush on its way to a thread.
type Flush = (FlushId, Arc<Batch>);

pub struct Deliverers {
    work: Sender<Flush>,
    to_do: Receiver<Flush>,
    results: Sender<Event>,
    sinks: Arc<Sinks>,
    crew: Crew,
    /// Handed over and not yet answered.
    on_wire: usize,
    started: usize,
}

impl Deliverers {
    pub fn new(sinks: Arc<Sinks>, at_most: usize, results: Sender<Event>, crew: Crew) -> Self {
        let (work, to_do) = bounded(at_most);
        Self { work, to_do, results, sinks, crew, on_wire: 0, started: 0 }
    }

    /// Hands a flush over to a thread; starts one where all are busy. Does not wait.
    pub fn hand_over(&mut self, flush: FlushId, batch: Arc<Batch>) -> Result<(), String> {
        self.on_wire += 1;
        if self.on_wire > self.started {
            self.start_thread()?;
        }
        self.work.try_send((flush, batch)).map_err(|_| "more flushes on the wire than delivery threads".to_owned())
    }

    pub fn answered(&mut self) {
        self.on_wire = self.on_wire.saturating_sub(1);
    }

    fn start_thread(&mut self) -> Result<(), String> {
        let (to_do, results, sinks) = (self.to_do.clone(), self.results.clone(), Arc::clone(&self.sinks));
        let body = move || {
            for (flush, batch) in to_do {
                let answer = sinks.deliver(&batch);
                if results.send(Event::Answered { flush, answer }).is_err() {
                    return;
                }
            }
        };
        match self.crew.spawn(format!("deliver-{}", self.started), Some(STACK), body) {
            Ok(()) => {
                self.started += 1;
                Ok(())
            }
            // Those that there are go on: a flush waits in the channel until one is free.
            Err(error) if self.started > 0 => {
                log::warn!("cannot start a further delivery thread than {}: {error}; raise the limit on tasks", self.started);
                Ok(())
            }
            Err(error) => Err(format!("cannot start any delivery thread: {error}; raise the limit on tasks")),
        }
    }
}
