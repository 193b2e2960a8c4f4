//! A command that takes long: on TERM or INT it ends early with what it has done, and failures that are
//! tried again are reported on standard error.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use octoconf::queue::Attendant;

use super::{output, signals};

/// The command, as the attendant of what it does.
pub struct Patient {
    stop: Receiver<()>,
    stopped: AtomicBool,
}

impl Patient {
    /// Takes TERM and INT over. The second of them ends the process at once.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { stop: signals::stops()?, stopped: AtomicBool::new(false) }))
    }

    /// Waits for this time, or until the command is stopped. Returns whether it goes on.
    pub fn rest(&self, time: Duration) -> bool {
        // Only the first signal reaches the channel, so nothing waits for another.
        if self.goes_on() && self.stop.recv_timeout(time) != Err(RecvTimeoutError::Timeout) {
            self.stopped.store(true, Ordering::Relaxed);
        }
        self.goes_on()
    }
}

impl Attendant for Patient {
    fn goes_on(&self) -> bool {
        if self.stop.try_recv().is_ok() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        !self.stopped.load(Ordering::Relaxed)
    }

    fn wait(&self, why: &str, pause: Duration) -> bool {
        let goes_on = self.goes_on();
        if goes_on {
            output::remark(&format!("octoconf: {why}; trying again in {pause:?}\n"), Duration::ZERO);
        }
        goes_on && self.rest(pause)
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn a_stop_ends_a_wait_and_is_remembered() {
        let (tell, stop) = bounded(1);
        let patient = Patient { stop, stopped: AtomicBool::new(false) };
        assert!(patient.goes_on() && patient.rest(Duration::ZERO));
        tell.send(()).unwrap();
        assert!(!patient.rest(Duration::MAX));
        assert!(!patient.goes_on() && !patient.wait("it failed", Duration::MAX) && !patient.rest(Duration::MAX));
    }
}
