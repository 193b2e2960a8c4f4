//! The threads that look names up: those that are always there, and those that stand in for look-ups that take long.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The largest number of threads that stand in for others.
const MAX_STAND_INS: usize = 56;

/// The pause before another attempt to start threads after the system refused one.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What a thread does.
pub type Work = Box<dyn FnOnce() + Send>;

/// A function that starts a thread of this name.
type Spawn = Box<dyn Fn(String, Work) -> io::Result<()> + Send + Sync>;

/// The threads, which are started in order.
pub struct Crew {
    /// The number of threads without stand-ins.
    regular: usize,
    state: Mutex<State>,
    spawn: Spawn,
}

#[derive(Default)]
struct State {
    running: usize,
    /// When the system last refused a thread.
    refused: Option<Instant>,
    /// Why the system refused a thread; `None` once all threads run.
    lacks: Option<Arc<str>>,
}

impl Crew {
    /// Creates a crew of which no thread runs yet.
    pub fn new(regular: usize) -> Self {
        Self::with_spawn(regular, |name, work| thread::Builder::new().name(name).spawn(work).map(drop))
    }

    /// Creates a crew whose threads are started by this function.
    pub fn with_spawn(regular: usize, spawn: impl Fn(String, Work) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { regular, state: Mutex::default(), spawn: Box::new(spawn) }
    }

    /// Starts the threads that are missing, and stand-ins for those that are `stuck`. `work` returns what a thread does,
    /// by its number. If the system refuses one, they are tried again after [`RETRY_PAUSE`]. Fails only if no thread runs
    /// at all, with the system's reason.
    ///
    /// A thread ends when its work does. None is joined, since a thread may be inside the system's resolver for very
    /// long, and it holds nothing.
    pub fn complete(&self, stuck: usize, now: Instant, work: impl Fn(usize) -> Work) -> Result<(), Arc<str>> {
        let mut state = self.state.lock();
        let wanted = self.regular + stuck.min(MAX_STAND_INS);
        let due = state.refused.is_none_or(|refused| now.saturating_duration_since(refused) >= RETRY_PAUSE);
        while state.running < wanted && due {
            let number = state.running;
            if let Err(error) = (self.spawn)(format!("resolve-{number}"), work(number)) {
                if state.lacks.is_none() {
                    log::error!(
                        "thread=resolve-{number}: it cannot be started: {error}; trying again with later look-ups; raise the limits of \
                         this service on tasks and on memory"
                    );
                }
                state.lacks = Some(error.to_string().into());
                state.refused = Some(now);
                break;
            }
            state.running += 1;
            if state.running >= wanted && state.lacks.take().is_some() {
                log::info!("threads={}: all threads for look-ups run now", state.running);
            }
        }
        let lacks = state.lacks.as_ref().filter(|_| state.running == 0);
        lacks.map_or(Ok(()), |why| Err(Arc::clone(why)))
    }

    /// Returns the number of threads that run, and why the system refused another.
    #[cfg(test)]
    pub fn state(&self) -> (usize, Option<Arc<str>>) {
        let state = self.state.lock();
        (state.running, state.lacks.clone())
    }
}
