//! Why an engine does not start, why it ends early, and why a reload is refused.

use crate::queue::QueueError;
use crate::sink::SetupError;

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A queue cannot be opened as it is configured. The service does not start: a person has to act.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A queue names a handler that is neither in code nor in `[handlers]`.
    #[error("queues.{queue}.handler: no handler is called {handler}: register it, or add [handlers.{handler}]")]
    Handler {
        /// The name of the queue.
        queue: String,
        /// The name of the unknown handler.
        handler: String,
    },
    /// The sinks of these partners cannot be set up.
    #[error("{}", joined(.0))]
    Sinks(Vec<SetupError>),
    /// The system refuses another thread.
    #[error("cannot start the thread {name}: {why}; raise the limits on tasks and on memory, or lower handler_threads")]
    Thread {
        /// The name of the thread.
        name: String,
        /// The system's error.
        why: String,
    },
}

impl StartError {
    /// Returns whether the engine does not start as it is configured, so that a person has to act before it can.
    pub fn is_of_configuration(&self) -> bool {
        match self {
            Self::Queue(error) => !error.is_transient(),
            Self::Handler { .. } | Self::Sinks(_) => true,
            Self::Thread { .. } => false,
        }
    }
}

/// Why an engine ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A thread panicked, or something that the dispatcher relies on does not hold. The messages held become visible
    /// again when their leases lapse.
    #[error("the engine ended: {0}; what was held comes back when its leases lapse")]
    Died(Death),
}

/// What keeps an engine from going on. It ends the process, which loses no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Death {
    /// A thread of the engine panicked.
    #[error("the thread {thread} panicked")]
    Panicked {
        /// The name of the thread.
        thread: String,
    },
    /// Something that the engine relies on does not hold.
    #[error("{what}; this is a bug in octoconf, please report it")]
    Broken {
        /// What does not hold, and for which queue.
        what: String,
    },
    /// A thread that the process needs and the engine did not start cannot go on.
    #[error("{0}")]
    Reported(String),
}

impl Death {
    pub(super) fn panicked(thread: impl Into<String>) -> Self {
        Self::Panicked { thread: thread.into() }
    }

    pub(super) fn broken(what: impl Into<String>) -> Self {
        Self::Broken { what: what.into() }
    }
}

fn joined(errors: &[SetupError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The keys that differ from the configuration in force and cannot change while the engine runs.
    #[error("these keys need a restart: {}", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// A new queue cannot be opened, or the system refuses a thread for it.
    #[error("queues.{queue}: {error}")]
    Open {
        /// The name of the queue.
        queue: String,
        /// Why the queue cannot be opened.
        error: StartError,
    },
    /// A retiring queue still has deliveries in the parking file that the new queue is to use.
    #[error(
        "queues.{queue}.parking: {path} is still being emptied by the queue of that name that an earlier reload took away; name another \
         file, or reload again once that queue is gone from the status"
    )]
    ParkingInUse {
        /// The name of the queue.
        queue: String,
        /// The path of the parking file, as configured.
        path: String,
    },
    /// Reloads have added too many queues over the life of the process.
    #[error(
        "queues: with these the process would have had {seen}, parkings included, and a process can have {most} in its life; restart it"
    )]
    TooMany {
        /// The number of queues that the process would have had, parkings included.
        seen: usize,
        /// The largest number that it may have.
        most: usize,
    },
    /// The sinks of these partners cannot be set up.
    #[error("{}", joined(.0))]
    Sinks(Vec<SetupError>),
    /// The engine drains or has ended.
    #[error("the service is stopping: its next start reads the file")]
    Stopping,
}
