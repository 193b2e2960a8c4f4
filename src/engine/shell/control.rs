//! What others ask of a running engine, and how the main loop takes it in.

use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::dispatch::{Event, PartnerTable, QueueChanges};
use crate::sink::Prepared;

use super::Shell;
use crate::engine::inquiries::Inquiry;
use crate::engine::plan::Plan;

/// What others ask of a running engine.
pub enum Control {
    Stop {
        drain: Duration,
    },
    FinishWhenEmpty,
    Ask(Inquiry),
    /// A thread around the engine died: it ends with this reason.
    Died(String),
    Reload(Box<Reload>),
}

/// Another configuration, ready to be taken in.
pub struct Reload {
    /// Where deliveries go.
    pub sinks: Prepared,
    pub partners: PartnerTable,
    pub(in crate::engine) plan: Plan,
    /// The plan in the dispatcher's words.
    pub changes: QueueChanges,
    pub done: Sender<()>,
}

impl Shell {
    /// The event that follows from it. `None`: whoever could control the engine is gone. An error ends the process with that reason.
    pub(super) fn controlled(&mut self, control: Option<Control>) -> Result<Event, String> {
        Ok(match control {
            Some(Control::Ask(inquiry)) => self.inquiries.take(inquiry, &self.dispatcher),
            Some(Control::Died(why)) => return Err(why),
            // What has begun to end takes nothing new: whoever asked hears it by the end of its channel.
            Some(Control::Reload(_)) if self.stopping => Event::Tick,
            Some(Control::Reload(reload)) => {
                let Reload { sinks, partners, plan, changes, done } = *reload;
                self.sinks.install(sinks);
                self.take_in(plan);
                // Whoever asked may have given up.
                let _ = done.try_send(());
                Event::Reloaded { partners, queues: changes }
            }
            Some(Control::FinishWhenEmpty) => Event::FinishWhenEmpty,
            // Whoever could control it is gone: so is the reason to run.
            Some(Control::Stop { .. }) | None if self.stopping => Event::Stop,
            Some(Control::Stop { drain }) => {
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
