//! Puts another configuration in force while the engine runs.
//!
//! A reload is all or nothing. Everything that can fail happens first, on the thread that asks for the reload: queues
//! are opened, pipelines compiled, sinks set up. Then `dispatch` applies the result between two of its turns. What a
//! partner needs (a thread or none), where its deliveries go and which queues exist thus always fit together.

use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, bounded};

use crate::handler::registry::Registry;
use crate::settings::{EngineSettings, Settings};

use super::error::ReloadError;
use super::inquiries::ANSWER_TIMEOUT;
use super::plan::Queues;
use super::restart::need_restart;
use super::shell::{Applied, Control, Reload, Unstarted};
use super::{Remote, forgotten, rules};

/// The configuration that a reload starts from. Locked only for moments; [`Remote::reload`] holds a separate lock
/// for as long as it takes.
pub struct InForce {
    pub settings: Settings,
    pub queues: Queues,
}

impl Remote {
    /// Puts the settings in force together with the handlers of the registry, or changes nothing. A queue has another handler
    /// from then on if its name was registered anew, unless that registry is a clone. Flushes on the wire
    /// keep the rules under which they left, and running jobs end with the handler that they began with. Waiting
    /// deliveries leave by the new rules.
    ///
    /// Blocks while queues are opened (seconds if a file is locked or a disk does not answer), and until the dispatcher has
    /// taken the reload, however late that is: a reload that was handed over cannot be taken back, so to give up waiting
    /// would leave it unknown which settings are in force. Neither a stop nor a request to the engine waits for a
    /// reload; once the engine has ended, this returns within 2 s. The status shows how it ended.
    ///
    /// # Errors
    ///
    /// See [`ReloadError`].
    #[expect(clippy::disallowed_methods, reason = "the status shows when the reload ended")]
    pub fn reload(&self, settings: &Settings, registry: &Registry) -> Result<(), ReloadError> {
        // Held until the end is recorded, or that of the reload before could be recorded after it.
        let _one_at_a_time = self.reloading.lock();
        let done = self.put_in_force(settings, registry);
        self.reload_ended(Instant::now(), done.as_ref().err().map(ToString::to_string).as_deref());
        done
    }

    fn put_in_force(&self, settings: &Settings, registry: &Registry) -> Result<(), ReloadError> {
        let (before, queues_before) = {
            let in_force = self.in_force.lock();
            (in_force.settings.clone(), in_force.queues.clone())
        };
        let keys = need_restart(&before, settings);
        if !keys.is_empty() {
            return Err(ReloadError::NeedsRestart(keys));
        }
        let sinks = self.sinks.prepare(&settings.partners).map_err(ReloadError::Sinks)?;
        let (mut plan, queues) = queues_before.plan(&before, settings, registry)?;
        // Only now: a file that is no queue after all would be refused to its partner.
        self.sinks.reserve(settings);
        let changes = plan.changes(settings, queues_before.seen());
        // The pool keeps its threads, whatever the file says now.
        let engine = EngineSettings { handler_threads: before.engine.handler_threads, ..settings.engine.clone() };
        let settings = Settings { engine, ..settings.clone() };
        let (done, answer) = bounded(1);
        let partners = rules::partner_table(&settings.partners);
        let reload = Reload { sinks, partners, plan, changes, done };
        // The files of the previous settings are closed here, since nothing but this thread waits for that.
        match self.apply(reload, &answer)?.map(drop) {
            Ok(()) => {
                let mut in_force = self.in_force.lock();
                (in_force.settings, in_force.queues) = (settings, queues.clone());
                drop(in_force);
                forgotten::tell(&queues);
                Ok(())
            }
            Err(unstarted) => {
                let Unstarted { error, plan } = *unstarted;
                drop(plan);
                Err(error)
            }
        }
    }

    /// Hands the reload to the dispatcher and waits for its answer. Says in the log if that takes long. Fails only if the
    /// engine drains or ends, and then the reload has changed nothing.
    fn apply(&self, reload: Reload, answer: &Receiver<Applied>) -> Result<Applied, ReloadError> {
        let mut is_late = false;
        let mut late = || {
            if !std::mem::replace(&mut is_late, true) {
                log::warn!(
                    "the reload is late, and not refused: the dispatcher has not answered within {} s and is waited for; the log will \
                     say how the reload ended",
                    ANSWER_TIMEOUT.as_secs()
                );
            }
        };
        let mut control = Control::Reload(Box::new(reload));
        while let Err(unsent) = self.control.send_timeout(control, ANSWER_TIMEOUT) {
            let SendTimeoutError::Timeout(unsent) = unsent else { return Err(ReloadError::Stopping) };
            control = unsent;
            late();
        }
        loop {
            match answer.recv_timeout(ANSWER_TIMEOUT) {
                Ok(applied) => return Ok(applied),
                // A request that arrives while the engine ends stays in its channel, unanswered.
                Err(RecvTimeoutError::Timeout) if self.has_ended() => {
                    return answer.try_recv().map_err(|_| ReloadError::Stopping);
                }
                Err(RecvTimeoutError::Timeout) => late(),
                Err(RecvTimeoutError::Disconnected) => return Err(ReloadError::Stopping),
            }
        }
    }
}
