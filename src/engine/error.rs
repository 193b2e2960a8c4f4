//! Why an engine does not start, ends before its time, or goes on as it was.

use crate::queue::QueueError;

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A queue cannot be opened as it is set up. The service does not start: a person has to act.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A queue names a handler that is neither in code nor in `[handlers]`.
    #[error("queues.{queue}.handler: no handler is called {handler}: register it, or add [handlers.{handler}]")]
    Handler { queue: String, handler: String },
    /// Partners whose sinks cannot be set up; all of them.
    #[error("{0}")]
    Sinks(String),
    /// The system gives no further thread.
    #[error("cannot start the thread {name}: {why}; raise the limits on tasks and on memory, or lower handler_threads")]
    Thread { name: String, why: String },
}

/// Why an engine ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A thread panicked, or something the dispatcher relies on does not hold. What was held comes back when its leases lapse.
    #[error("the engine ended: {0}; what was held comes back when its leases lapse")]
    Died(String),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// These keys differ from what is in force.
    #[error("these keys need a restart: {}", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// A queue that is new cannot be opened.
    #[error("queues.{queue}: {error}")]
    Open { queue: String, error: StartError },
    /// A queue that retires has deliveries in the file that the new one is to have.
    #[error(
        "queues.{queue}.parking: {path} is still being emptied by the queue of that name that an earlier reload took away; name another \
         file, or reload again once that queue is gone from the status"
    )]
    ParkingInUse { queue: String, path: String },
    /// Too many reloads brought queues.
    #[error(
        "queues: with these the process would have had {seen}, parkings included, and it takes {most} in its life; restart it"
    )]
    TooMany { seen: usize, most: usize },
    /// Partners whose sinks cannot be set up; all of them.
    #[error("{0}")]
    Sinks(String),
    /// The dispatcher hangs.
    #[error("the dispatcher does not answer: the reload may yet come into force; reload again to be sure")]
    NoAnswer,
    /// The engine drains, or has ended.
    #[error("the service is stopping: its next start reads the file")]
    Stopping,
}
