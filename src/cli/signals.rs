//! The thread `signal`: TERM and INT stop the engine; the second one stops it harder.

use std::io;
use std::thread;

use octoconf::engine::Remote;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Takes the signals over. To be called before the engine starts any thread, so that none is lost: until [`Caught::pass_to`] they wait.
pub fn catch() -> io::Result<Caught> {
    Ok(Caught { signals: Signals::new([SIGTERM, SIGINT])? })
}

/// Signals that wait for an engine.
pub struct Caught {
    signals: Signals,
}

impl Caught {
    /// Whether one has come. It is taken.
    pub fn any(&mut self) -> bool {
        self.signals.pending().next().is_some()
    }

    /// Starts the thread. It ends with the process: it is blocked in a wait that nothing else ends.
    pub fn pass_to(mut self, remote: Remote) -> io::Result<()> {
        thread::Builder::new().name("signal".to_owned()).spawn(move || {
            for signal in self.signals.forever() {
                let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                log::info!("stopping: signal={name}; once more stops without delivering what waits");
                remote.stop();
            }
        })?;
        Ok(())
    }
}
