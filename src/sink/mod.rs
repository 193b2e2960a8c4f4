//! Where batches go: [`Sinks`] is the one way out, over a sink for each kind of `deliver`.
//!
//! Called by deliver threads, many at once, at most `parallel` for one partner.

use crate::message::{Answer, Batch};

mod file;
mod http;
mod limits;
mod lines;
mod reply;
mod sinks;
mod sqs;
mod stdout;
#[cfg(test)]
mod testing;

pub use crate::net::clock::Clock;
pub(crate) use file::template::Template as FileTemplate;
pub(crate) use http::target;
pub use limits::{Limits, raise_open_files};
pub use reply::Reply;
pub use sinks::{Prepared, SetupError, Sinks, Syncing};
pub use sqs::SqsSink;
pub use stdout::StdoutSink;

/// Hands one batch to one partner.
pub trait Sink: Send + Sync {
    /// Blocks until the partner has answered: http and sqs at most for their timeouts, a file and standard output for as long as those
    /// take. What it accepts is durable on the partner's side: the messages are deleted from their queue upon [`Answer::Accepted`].
    fn deliver(&self, batch: &Batch) -> Answer;
}
