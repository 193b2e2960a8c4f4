//! The crew: named threads whose panics end the engine and which are all waited for.

use std::io;
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::duty::{Duty, Roster};
use super::error::Death;

/// The number of bytes of a thread's name that the kernel keeps (`TASK_COMM_LEN` less the final zero).
const MAX_NAME_BYTES: usize = 15;

/// Starts threads, reports their panics, and waits for their ends. Cheap to clone.
#[derive(Clone)]
pub struct Crew {
    shared: Arc<Shared>,
    alive: Member,
}

/// Held by each thread: once the last clone is dropped, all threads have ended.
pub type Member = Sender<()>;

struct Shared {
    handles: Mutex<Vec<JoinHandle<()>>>,
    ended: Receiver<()>,
    death: Sender<Death>,
    deaths: Receiver<Death>,
    roster: Roster,
    /// The number of threads that the system still grants in a test.
    #[cfg(test)]
    given: AtomicUsize,
}

impl Crew {
    pub fn new() -> Self {
        let (alive, ended) = bounded(0);
        let (death, deaths) = bounded(1);
        let shared = Shared {
            handles: Mutex::new(Vec::new()),
            ended,
            death,
            deaths,
            roster: Roster::default(),
            #[cfg(test)]
            given: AtomicUsize::new(usize::MAX),
        };
        Self { shared: Arc::new(shared), alive }
    }

    /// Makes the system grant only this many threads from now on.
    #[cfg(test)]
    pub fn give(&self, threads: usize) {
        self.shared.given.store(threads, Ordering::SeqCst);
    }

    /// Starts a thread, whose body gets the cell in which it records what it is doing. `stack` is in bytes; `None`
    /// means the system's default.
    pub fn spawn(&self, name: String, stack: Option<usize>, body: impl FnOnce(&Duty) + Send + 'static) -> io::Result<()> {
        #[cfg(test)]
        if self.shared.given.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |given| given.checked_sub(1)).is_err() {
            return Err(rustix::io::Errno::AGAIN.into());
        }
        let mut builder = thread::Builder::new().name(name.clone());
        if let Some(stack) = stack {
            builder = builder.stack_size(stack);
        }
        let duty = self.shared.roster.enlist(&name);
        let (member, guard) = (self.member(), self.death_line().guard(name));
        let handle = builder.spawn(move || {
            let _member = member;
            let _guard = guard;
            body(&duty);
        })?;
        self.shared.handles.lock().push(handle);
        Ok(())
    }

    /// Returns what a thread holds that the crew waits for although it did not start it.
    pub fn member(&self) -> Member {
        self.alive.clone()
    }

    /// Forgets the threads that have ended. Their handles would pile up while queues come and go.
    pub fn forget_ended(&self) {
        self.shared.handles.lock().retain(|handle| !handle.is_finished());
    }

    /// Returns the line on which panics of threads are reported.
    pub fn death_line(&self) -> DeathLine {
        DeathLine(self.shared.death.clone())
    }

    /// Returns the roster, which knows what each thread is doing.
    pub fn roster(&self) -> &Roster {
        &self.shared.roster
    }

    /// Returns the channel that receives the reason when the first thread panics.
    pub fn deaths(&self) -> &Receiver<Death> {
        &self.shared.deaths
    }

    /// Returns the reason if a thread has panicked and the reason was not received yet.
    pub fn first_death(&self) -> Option<Death> {
        self.shared.deaths.try_recv().ok()
    }

    /// Blocks until all threads have ended, for at most `patience`. Threads that are still blocked in a
    /// call then are left behind.
    pub fn join(self, patience: Duration) {
        let Self { shared, alive } = self;
        drop(alive);
        // Nothing is ever sent on this channel: the call ends when the last thread has dropped its
        // clone, or after `patience`.
        let _ = shared.ended.recv_timeout(patience);
        for handle in std::mem::take(&mut *shared.handles.lock()) {
            if handle.is_finished() && handle.join().is_err() {
                log::error!("a thread panicked while the engine stopped");
            }
        }
    }
}

/// Reports panics of threads. The receiver of a report ends the engine with that reason.
#[derive(Clone)]
pub struct DeathLine(Sender<Death>);

impl DeathLine {
    /// Returns a guard for the thread of this name to hold.
    pub fn guard(&self, name: impl Into<String>) -> DeathGuard {
        DeathGuard { name: name.into(), line: self.clone() }
    }

    /// Reports that the thread of this name has panicked.
    pub fn tell(&self, name: &str) {
        self.pass_on(Death::panicked(name));
    }

    /// Reports a death, be it one that was received before and that another thread has to hear of as well.
    pub fn pass_on(&self, death: Death) {
        // One report is enough to end the process. A second one finds the channel full and is dropped.
        let _ = self.0.try_send(death);
    }
}

/// Reports a panic of the thread that holds this guard, so that no thread dies silently.
pub struct DeathGuard {
    name: String,
    line: DeathLine,
}

impl Drop for DeathGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.line.tell(&self.name);
        }
    }
}

/// Returns `KIND-QUEUE-INDEX`, with the queue's name cut so that the whole has at most 15 bytes.
pub fn thread_name(kind: &str, queue: &str, index: usize) -> String {
    let index = index.to_string();
    let room = MAX_NAME_BYTES.saturating_sub(kind.len() + index.len() + 2);
    let queue = queue.get(..queue.floor_char_boundary(room)).unwrap_or_default();
    format!("{kind}-{queue}-{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        assert_eq!(thread_name("poll", "stock", 0), "poll-stock-0");
        assert_eq!(thread_name("poll", "a-very-long-queue-name", 12), "poll-a-very--12");
        assert_eq!(thread_name("ack", "größenänderungen", 3), "ack-größen-3");
        assert!(thread_name("ack", "größenänderungen", 3).len() <= MAX_NAME_BYTES);
    }

    #[test]
    fn a_panic_is_heard_with_the_threads_name() {
        let crew = Crew::new();
        crew.spawn("deliver-7".into(), None, |_| std::panic::resume_unwind(Box::new(()))).unwrap();
        assert_eq!(crew.deaths().recv_timeout(Duration::from_secs(10)).unwrap(), Death::panicked("deliver-7"));
        crew.join(Duration::from_secs(10));
    }
}
