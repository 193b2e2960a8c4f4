//! Whoever waits for a long operation on dead letters. It hears of failures that are tried again, and may stop the operation.

use std::time::Duration;

/// The person or program that waits for an operation. Operations on SQS ask it between
/// their requests; those of embedded queues are short, and never do.
pub trait Attendant: Send + Sync {
    /// Returns whether the operation goes on. If not, it ends early, in an orderly way.
    fn goes_on(&self) -> bool;

    /// Called when a request failed with `why` and may succeed when it is made again. Blocks
    /// for `pause`, or until the operation is stopped. Returns whether to make the request again.
    fn wait(&self, why: &str, pause: Duration) -> bool;
}
