//! Puts another configuration in force while the engine runs.
//!
//! A reload is all or nothing. Everything that can fail happens first, on the thread that asks for the reload: queues
//! are opened, pipelines compiled, sinks set up. Then `dispatch` applies the result between two of its turns. What a
//! partner needs (a thread or none), where its deliveries go and which queues exist thus always fit together.

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, TryRecvError, bounded};

use crate::handler::registry::Registry;
use crate::settings::{EngineSettings, Settings};
use crate::sink::Prepared;

use super::error::ReloadError;
use super::inquiries::ANSWER_TIMEOUT;
use super::plan::Queues;
use super::restart::need_restart;
use super::shell::{Control, Reload, Unstarted};
use super::{Remote, rules};

/// The configuration that a reload starts from. Locked only for moments; [`Remote::reload`] holds a separate lock
/// for as long as it takes.
pub struct InForce {
    pub settings: Settings,
    pub queues: Queues,
    /// A reload whose confirmation did not come in time; `None` if there is none.
    awaited: Option<Awaited>,
}

/// A reload that was handed to the dispatcher, and the configuration in force once the dispatcher confirms it.
struct Awaited {
    answer: Receiver<Result<Prepared, Box<Unstarted>>>,
    settings: Settings,
    queues: Queues,
}

impl InForce {
    pub fn new(settings: Settings, queues: Queues) -> Self {
        Self { settings, queues, awaited: None }
    }

    /// Determines what became of a reload whose confirmation did not come in time.
    fn catch_up(&mut self) -> Result<(), ReloadError> {
        let Some(awaited) = self.awaited.take() else { return Ok(()) };
        match awaited.answer.try_recv() {
            Ok(Ok(_before)) => (self.settings, self.queues) = (awaited.settings, awaited.queues),
            // The reload changed nothing.
            Ok(Err(_)) => {}
            Err(TryRecvError::Empty) => {
                self.awaited = Some(awaited);
                return Err(ReloadError::NoAnswer);
            }
            Err(TryRecvError::Disconnected) => return Err(ReloadError::Stopping),
        }
        Ok(())
    }
}

impl Remote {
    /// Puts the settings in force together with the handlers of the registry, or changes nothing. Flushes on the wire
    /// keep the rules under which they left, and running jobs end with the handler that they began with. Waiting
    /// deliveries leave by the new rules.
    ///
    /// Blocks while queues are opened (seconds if a file is locked or a disk does not answer), and for the
    /// dispatcher: at most 2 s until it takes the reload and 2 s until it confirms it. Neither a stop nor a request
    /// to the engine waits for a reload.
    ///
    /// # Errors
    ///
    /// See [`ReloadError`]. After [`ReloadError::NoAnswer`] the settings may still come into force.
    pub fn reload(&self, settings: &Settings, registry: &Registry) -> Result<(), ReloadError> {
        let _one_at_a_time = self.reloading.lock();
        let (before, queues_before) = {
            let mut in_force = self.in_force.lock();
            in_force.catch_up()?;
            (in_force.settings.clone(), in_force.queues.clone())
        };
        let keys = need_restart(&before, settings);
        if !keys.is_empty() {
            return Err(ReloadError::NeedsRestart(keys));
        }
        let sinks = self.sinks.prepare(&settings.partners).map_err(ReloadError::Sinks)?;
        let (mut plan, queues) = queues_before.plan(&before, settings, registry)?;
        let changes = plan.changes(settings, queues_before.seen());
        // The pool keeps its threads, whatever the file says now.
        let engine = EngineSettings { handler_threads: before.engine.handler_threads, ..settings.engine.clone() };
        let settings = Settings { engine, ..settings.clone() };
        let (done, answer) = bounded(1);
        let partners = rules::partner_table(&settings.partners);
        let reload = Reload { sinks, partners, plan, changes, done };
        self.control.send_timeout(Control::Reload(Box::new(reload)), ANSWER_TIMEOUT).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => ReloadError::NoAnswer,
            SendTimeoutError::Disconnected(_) => ReloadError::Stopping,
        })?;
        // The files of the previous settings are closed here, since nothing but this thread waits for that.
        let answered = answer.recv_timeout(ANSWER_TIMEOUT).map(|outcome| outcome.map(drop));
        let mut in_force = self.in_force.lock();
        match answered {
            Ok(Ok(())) => (in_force.settings, in_force.queues) = (settings, queues),
            Ok(Err(unstarted)) => {
                drop(in_force);
                let Unstarted { error, plan } = *unstarted;
                drop(plan);
                return Err(error);
            }
            Err(RecvTimeoutError::Timeout) => {
                in_force.awaited = Some(Awaited { answer, settings, queues });
                return Err(ReloadError::NoAnswer);
            }
            Err(RecvTimeoutError::Disconnected) => return Err(ReloadError::Stopping),
        }
        Ok(())
    }
}
