//! The pipeline of a queue: message in, outcome out. Handlers run on the pool's threads, many at once.

use crate::json::{Problem, SyntaxError};
use crate::message::{Message, Outcome};

pub mod builtin;
pub(crate) mod guard;
pub mod jq;
pub(crate) mod registry;

pub use guard::{MAX_REASON, MIN_RETRY, run_caught};
pub use registry::Registry;

/// A queue's handler: turns a message into an [`Outcome`]. It may block; the queue's `concurrency` limits how many
/// messages are in it at once. A panic is caught and rejects the message with the panic's text.
///
/// Its thread is a rayon pool by itself, of that one thread. What it does with rayon (`join`, `scope`, parallel iterators)
/// therefore stays on its own thread, and what it leaves behind with `rayon::spawn` is done after it, so it must not wait
/// for that; a panic there ends the engine. Work for several threads goes to a pool of the program's own, by
/// `ThreadPool::install`.
pub trait Handler: Send + Sync {
    /// Returns what is to become of the message.
    fn handle(&self, message: &Message) -> Outcome;
}

impl<F> Handler for F
where
    F: Fn(&Message) -> Outcome + Send + Sync,
{
    fn handle(&self, message: &Message) -> Outcome {
        self(message)
    }
}

/// Returns the reason to reject a body that cannot be read.
fn unreadable(error: &SyntaxError) -> String {
    match error.problem {
        Problem::TooDeep => format!("the body nests too deep: {error}"),
        Problem::LongNumber => format!("the body cannot be read: {error}"),
        _ => format!("the body is not JSON: {error}"),
    }
}
