//! The way out for batches: [`Sinks`] hands each batch to the sink for the `deliver` setting of its partner.
//!
//! Called by delivery threads, many at once, but at most `parallel` of them for one partner. A sink decides nothing:
//! the dispatcher's verdict says what an answer means.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::message::{Answer, Batch};
use crate::panics::text_of;

mod file;
mod http;
mod limits;
mod lines;
mod placeholders;
mod reply;
mod sinks;
mod sqs;
mod stdout;
#[cfg(test)]
mod testing;

pub use crate::net::clocks::Clocks;
pub(crate) use file::template::Template as FileTemplate;
pub(crate) use http::target;
pub use limits::{Limits, raise_open_files};
pub use reply::{Reply, SharedWork};
pub use sinks::{Prepared, SetupError, Sinks};
pub use sqs::{Outlet, SqsSink};
pub use stdout::StdoutSink;

/// A way to hand batches to partners. [`Sinks`] has one for each section of the configuration.
///
/// To add another way: implement this trait, give it a variant of [`Deliver`](crate::settings::Deliver) and a place in
/// `sinks.rs`, and add it to `tests/sink_conformance`.
pub trait Sink: Send + Sync {
    /// Hands one batch to its partner. Blocks until the partner has answered: http and sqs at most for their timeouts, a
    /// file and standard output without a bound. [`Answer::Accepted`] means that the batch is durable on the partner's
    /// side, since the messages are then deleted from their queue.
    fn deliver(&self, batch: &Batch) -> Answer;

    /// Does the same as [`Sink::deliver`], but may send the answer later: where one piece of work ends many deliveries, as
    /// one sync of a disk does, the thread that does the work sends it. Returns the work if the calling thread has to do it
    /// now.
    fn begin(&self, batch: &Batch, reply: Reply) -> Option<SharedWork> {
        reply.send(caught(|| self.deliver(batch)));
        None
    }
}

/// Delivers, and turns a panic into an answer: the trouble of one partner must not end the thread that serves the others.
fn caught(deliver: impl FnOnce() -> Answer) -> Answer {
    catch_unwind(AssertUnwindSafe(deliver)).unwrap_or_else(|panic| Answer::Unreachable { reason: fault(&*panic).into() })
}

/// Describes a panic, which is a bug, for an answer or the log.
fn fault(panic: &(dyn Any + Send)) -> String {
    format!("a fault in octoconf itself, please report it: {}", text_of(panic).unwrap_or("a panic without a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer_with_its_text() {
        for panic in [caught(|| panic!("as {} wants", "a test")), caught(|| std::panic::panic_any("as a test wants"))] {
            let Answer::Unreachable { reason } = panic else { panic!("expected Unreachable") };
            assert!(reason.ends_with("as a test wants"), "{reason}");
        }
        assert_eq!(caught(|| Answer::Accepted), Answer::Accepted);
    }
}
