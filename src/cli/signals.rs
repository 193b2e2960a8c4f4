//! The thread `signal`: TERM and INT stop the engine (or `send`), the second one harder; HUP asks for a reload, USR1 how it is. It never
//! waits for what a signal leads to: the next one may be the one to stop.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use octoconf::engine::Remote;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::reload::Reloads;
use super::systemd::Notify;

/// Takes the signals over. To be called before the engine starts any thread, so that none is lost: until [`Caught::pass_to`] they wait.
pub fn catch() -> io::Result<Caught> {
    Ok(Caught { signals: Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?, early: Vec::new() })
}

/// Has a write beyond the limit on files (`ulimit -f`) fail with a reason, instead of ending the process without a word. A handler that does
/// nothing: programs that we start would inherit a signal that is ignored, not a handler.
pub fn outlive_file_limit() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// TERM or INT as an item for whoever works without an engine. The second one ends the process at once, as if nobody had asked for them.
pub fn stops() -> io::Result<Receiver<()>> {
    let (tell, told) = bounded(1);
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("signal".to_owned()).spawn(move || {
        let mut first = true;
        for signal in signals.forever() {
            if std::mem::replace(&mut first, false) {
                // Nobody listens any more: it has come to its end, and is not to be cut short on its last step.
                let _ = tell.try_send(());
            } else {
                // Fails for signals alone that it does not know.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    })?;
    Ok(told)
}

/// Has TERM and INT end the process as if nobody had asked for them, once that is done.
pub fn on_stop(clean_up: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("signal".to_owned()).spawn(move || {
        let stop = signals.forever().next();
        clean_up();
        // Fails for signals alone that it does not know.
        let _ = stop.map(signal_hook::low_level::emulate_default_handler);
    })?;
    Ok(())
}

/// Signals that wait for an engine.
pub struct Caught {
    signals: Signals,
    /// Came before there was one, and mean nothing to it yet.
    early: Vec<i32>,
}

impl Caught {
    /// Whether a signal to stop has come. It is taken; others are kept.
    pub fn stops(&mut self) -> bool {
        let (stops, others): (Vec<i32>, Vec<i32>) = self.signals.pending().partition(|signal| [SIGTERM, SIGINT].contains(signal));
        self.early.extend(others);
        !stops.is_empty()
    }

    /// Starts the thread. It ends with the process: it is blocked in a wait that nothing else ends.
    pub fn pass_to(mut self, remote: Remote, notify: Notify, reloads: Reloads) -> io::Result<()> {
        thread::Builder::new().name("signal".to_owned()).spawn(move || {
            // Without this thread nothing would stop the service in order.
            let _guard = remote.guard("signal");
            let early = std::mem::take(&mut self.early);
            for signal in early.into_iter().chain(self.signals.forever()) {
                match signal {
                    SIGHUP => reloads.ask(),
                    SIGUSR1 => remote.log_state(),
                    stop => {
                        let name = signal_hook::low_level::signal_name(stop).unwrap_or("a signal");
                        log::info!("stopping: signal={name}; once more stops without delivering what waits");
                        notify.stopping();
                        remote.stop();
                    }
                }
            }
        })?;
        Ok(())
    }
}
