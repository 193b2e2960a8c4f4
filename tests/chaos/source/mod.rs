//! Where the messages come from: what the run needs of a queue service besides the program that it tests.

pub mod sqlite;
pub mod sqs;

use serde_json::Value;

use crate::traffic::Number;

/// Called by the sender and by the main thread.
pub trait Source: Send + Sync {
    /// The keys of `[queues.NAME]` that say where a queue is.
    fn configuration(&self, queue: usize) -> String;

    /// Puts messages on a queue, in order. Past all faults: what it reports as sent is there.
    fn send(&self, queue: usize, messages: &[Number]);

    /// How many messages are on a queue, hidden ones included.
    fn remaining(&self, queue: usize) -> u64;

    /// How many dead letters a queue has.
    fn dead_count(&self, queue: usize) -> u64;

    /// The dead letters of a queue, at the end of the run.
    fn dead(&self, queue: usize) -> Vec<Number>;

    /// From now on this share of the program's requests, 0 to 1, fares badly.
    fn disturb(&self, _share: f64) {}

    /// Stops answering, until [`Source::thaw`].
    fn freeze(&self) {}

    fn thaw(&self) {}

    /// What was done to the program's requests.
    fn figures(&self) -> Option<String> {
        None
    }
}

/// Of a dead letter, by the body of the message.
fn number(body: &[u8]) -> Number {
    let body: Value = serde_json::from_slice(body).expect("the body of a dead letter is the one that was sent");
    Number::of(&body).expect("a body carries its number")
}
