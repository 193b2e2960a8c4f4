//! The source of the messages: what the run needs of a queue service, besides the program under test.

pub mod sqlite;
pub mod sqs;

use serde_json::Value;

use crate::traffic::Number;

/// A queue service. It is called by the sender and by the main thread.
pub trait Source: Send + Sync {
    /// Returns the keys of `[queues.NAME]` that locate a queue.
    fn configuration(&self, queue: usize) -> String;

    /// Puts messages on a queue, in order, unaffected by faults: once this returns, they are on the queue.
    fn send(&self, queue: usize, messages: &[Number]);

    /// Returns the number of messages on a queue, hidden ones included.
    fn remaining(&self, queue: usize) -> u64;

    /// Returns the number of a queue's dead letters.
    fn dead_count(&self, queue: usize) -> u64;

    /// Returns the dead letters of a queue, at the end of the run.
    fn dead(&self, queue: usize) -> Vec<Number>;

    /// Makes this share of the program's requests, 0 to 1, fail from now on.
    fn disturb(&self, _share: f64) {}

    /// Stops answering, until [`Source::thaw`].
    fn freeze(&self) {}

    fn thaw(&self) {}

    /// Returns what was done to the program's requests.
    fn figures(&self) -> Option<String> {
        None
    }
}

/// Returns the number of a dead letter, from the body of its message.
fn number(body: &[u8]) -> Number {
    let body: Value = serde_json::from_slice(body).expect("the body of a dead letter is the one that was sent");
    Number::of(&body).expect("a body carries its number")
}
