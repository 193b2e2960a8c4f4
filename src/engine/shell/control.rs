//! What other threads ask of a running engine, and how the main loop takes it in. Runs on the thread
//! `dispatch`, which must not wait.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::dispatch::{Event, PartnerTable, QueueChanges};
use crate::sink::Prepared;

use super::Shell;
use crate::engine::error::{Death, ReloadError};
use crate::engine::inquiries::Inquiry;
use crate::engine::plan::Plan;

/// A request from another thread to the engine.
pub enum Control {
    /// Stop receiving, deliver what can be delivered, and return the rest. A second stop returns everything that is
    /// not on the wire at once.
    Stop {
        /// How long waiting deliveries may still be delivered.
        drain: Duration,
    },
    /// Do the same as the first stop, unless the engine is stopping already.
    Drain {
        /// How long waiting deliveries may still be delivered.
        drain: Duration,
    },
    /// Finish once every queue is empty and every message is settled.
    FinishWhenEmpty,
    /// A thread that the engine did not start has died: the engine ends with this reason.
    Died(Death),
    /// Put another configuration in force.
    Reload(Box<Reload>),
}

/// Where the requests of other threads come in.
pub struct Requests {
    pub controls: Receiver<Control>,
    /// Apart from the controls, so that none of these waits behind questions that nobody answers.
    pub questions: Receiver<Inquiry>,
}

/// Another configuration, ready to be applied.
pub struct Reload {
    /// Where deliveries go.
    pub sinks: Prepared,
    /// The rules of all partners.
    pub partners: PartnerTable,
    /// The changes to the threads around the queues.
    pub(in crate::engine) plan: Plan,
    /// The same changes for the dispatcher.
    pub changes: QueueChanges,
    /// Answers once the configuration is in force, with the sinks that it replaced:
    /// the thread that requested the reload closes their files. An error means that
    /// nothing has changed. Dropped without an answer if the engine ends first.
    pub(in crate::engine) done: Sender<Applied>,
}

/// What became of a reload: the sinks that it replaced, or why nothing has changed.
pub type Applied = Result<Prepared, Box<Unstarted>>;

/// A reload whose queues could not be started, or that came during a stop.
pub struct Unstarted {
    pub error: ReloadError,
    /// What the reload had opened. The requester closes it: that
    /// may take a sync, for which the dispatcher must not wait.
    pub plan: Plan,
}

impl Shell {
    /// Returns the event that follows from a request; `None` stands for the end of all handles that could control the
    /// engine. An error ends the process with that reason.
    pub(super) fn controlled(&mut self, control: Option<Control>) -> Result<Event, Death> {
        Ok(match control {
            Some(Control::Died(why)) => return Err(why),
            // An engine that is stopping takes no new configuration. What the reload has opened goes back to the
            // requester, as below.
            Some(Control::Reload(reload)) if self.stopping => {
                let Reload { plan, done, .. } = *reload;
                let _ = done.try_send(Err(Box::new(Unstarted { error: ReloadError::Stopping, plan })));
                Event::Tick
            }
            Some(Control::Reload(reload)) => {
                let Reload { sinks, partners, plan, changes, done } = *reload;
                // The requester may have given up waiting, here and below.
                let edges = match self.edges_of(&plan) {
                    Ok(edges) => edges,
                    Err(error) => {
                        let _ = done.try_send(Err(Box::new(Unstarted { error, plan })));
                        return Ok(Event::Tick);
                    }
                };
                let before = self.sinks.install(sinks);
                self.take_in(plan, edges);
                let _ = done.try_send(Ok(before));
                Event::Reloaded { partners, queues: changes }
            }
            Some(Control::FinishWhenEmpty) => Event::FinishWhenEmpty,
            // No handle is left that could control the engine, so there is no reason to go on.
            Some(Control::Stop { .. }) | None if self.stopping => Event::Stop,
            Some(Control::Drain { .. }) if self.stopping => Event::Tick,
            Some(Control::Stop { drain } | Control::Drain { drain }) => {
                self.stopping = true;
                Event::Drain { deadline: self.deadline(drain) }
            }
            None => {
                self.stopping = true;
                Event::Drain { deadline: self.deadline(Duration::ZERO) }
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "a stop is counted from the moment in which it was asked for")]
    fn deadline(&self, drain: Duration) -> Instant {
        Instant::now() + drain
    }
}
