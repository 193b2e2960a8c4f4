//! The thread `signal`. For `run`: TERM and INT drain the engine, and the second of them stops it without delivering
//! what waits, or ends the process while there is no engine yet; HUP asks for a reload; USR1 logs the state. For `send`,
//! `dead` and `demo`: the first TERM or INT asks the command to end with what it has done, and the second ends the
//! process. HUP does the same to `demo`, which would otherwise leave its folder behind.
//!
//! The thread never waits for the work that a signal causes, because the next signal may be
//! the one that stops the service.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use octoconf::engine::Remote;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag::{register, register_conditional_default};
use signal_hook::iterator::Signals;

use super::reload::Reloads;
use super::systemd::Notify;

/// Takes over the signals. Must be called before the engine starts any thread, so that no signal is lost: signals are
/// kept until [`Caught::pass_to`]. Until [`Caught::spare`], the second signal to stop ends the process, since
/// reading a file or opening a queue may block for ever.
pub fn catch() -> io::Result<Caught> {
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let first = Arc::new(AtomicBool::new(false));
    let mut endings = Vec::new();
    for stop in [SIGTERM, SIGINT] {
        // In this order: the first signal is not a second one yet.
        endings.push(register_conditional_default(stop, Arc::clone(&first))?);
        endings.push(register(stop, Arc::clone(&first))?);
    }
    Ok(Caught { signals, early: Vec::new(), endings, stops: bounded(1) })
}

/// Makes a write beyond the file size limit (`ulimit -f`) fail with an error, instead of ending the process
/// silently. The signal is handled by a handler that does nothing, and not ignored, because child processes inherit
/// an ignored signal but not a handler.
pub fn outlive_file_limit() -> io::Result<()> {
    register(SIGXFSZ, Arc::default()).map(drop)
}

/// Returns a channel that receives an item on the first TERM or INT, for commands that stop in an orderly way. The
/// second of these signals ends the process at once, as it would without this function.
pub fn stops() -> io::Result<Receiver<()>> {
    stops_at(&[SIGTERM, SIGINT], || ())
}

/// Does the same, also if the terminal goes away (HUP), and runs `clean_up` before a second signal ends the process.
pub fn stops_or(clean_up: impl FnOnce() + Send + 'static) -> io::Result<Receiver<()>> {
    // Whoever started the command so that it outlives the terminal (`nohup`) has HUP ignored.
    let of_process = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let all = [SIGTERM, SIGINT, SIGHUP];
    let signals = if ignores(&of_process, SIGHUP) { &all[..2] } else { &all };
    stops_at(signals, clean_up)
}

/// Returns whether a process ignores a signal, by its `/proc/PID/status` (`SigIgn`, a mask in hexadecimal).
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

fn stops_at(signals: &[i32], clean_up: impl FnOnce() + Send + 'static) -> io::Result<Receiver<()>> {
    let (tell, told) = bounded(1);
    let mut signals = Signals::new(signals)?;
    thread::Builder::new().name("signal".to_owned()).spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            // The send fails if the command is already ending. It is then left to finish its last step.
            let _ = tell.try_send(());
        }
        let second = signals.next();
        clean_up();
        // Fails only for signals that it does not know.
        let _ = second.map(signal_hook::low_level::emulate_default_handler);
    })?;
    Ok(told)
}

/// The signals taken over but not yet passed to an engine.
pub struct Caught {
    signals: Signals,
    /// Signals other than those that stop, which arrived before there was an engine.
    early: Vec<i32>,
    /// What lets a second signal to stop end the process.
    endings: Vec<SigId>,
    /// Has an item once a signal to stop has come after [`Caught::pass_to`].
    pub stops: (Sender<()>, Receiver<()>),
}

impl Caught {
    /// Returns whether a signal to stop has arrived. Such a signal is consumed; all others are kept.
    pub fn stops(&mut self) -> bool {
        let (stops, others): (Vec<i32>, Vec<i32>) = self.signals.pending().partition(|signal| [SIGTERM, SIGINT].contains(signal));
        self.early.extend(others);
        !stops.is_empty()
    }

    /// Keeps every signal from ending the process from now on. To be called before anything is received.
    pub fn spare(&mut self) {
        for ending in self.endings.drain(..) {
            signal_hook::low_level::unregister(ending);
        }
    }

    /// Starts the thread. It ends only with the process, since it blocks in a wait that nothing else ends. Returns
    /// whether a signal to stop has come, now and later.
    pub fn pass_to(mut self, remote: Remote, notify: Notify, reloads: Reloads) -> io::Result<Arc<AtomicBool>> {
        let stopped = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&stopped);
        thread::Builder::new().name("signal".to_owned()).spawn(move || {
            // If this thread died, nothing could stop the service in an orderly way.
            let _guard = remote.guard("signal");
            let early = std::mem::take(&mut self.early);
            let mut first = true;
            for signal in early.into_iter().chain(self.signals.forever()) {
                match signal {
                    SIGHUP => reloads.ask(),
                    SIGUSR1 => remote.log_state(),
                    stop => {
                        let name = signal_hook::low_level::signal_name(stop).unwrap_or("a signal");
                        tell.store(true, Ordering::Release);
                        let _ = self.stops.0.try_send(());
                        if std::mem::replace(&mut first, false) {
                            log::info!("stopping: signal={name}; a second signal stops without delivering what waits");
                            notify.stopping();
                            // The run may be at its end already, by `--for`, and this signal is the first all the same.
                            remote.drain();
                        } else {
                            log::info!("stopping: signal={name}; what waits is returned");
                            remote.stop();
                        }
                    }
                }
            }
        })?;
        Ok(stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_ignored_if_its_bit_is_set() {
        let status = "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert_eq!([SIGHUP, SIGINT, 13, SIGTERM].map(|signal| ignores(status, signal)), [true, false, true, false]);
        assert!(!ignores("", SIGHUP) && !ignores("SigIgn:\tx\n", SIGHUP));
    }
}
