//! Errors of queues in the dispatcher's terms, for the threads that call queues.

use crate::dispatch::Fault;
use crate::queue::QueueError;

impl From<&QueueError> for Fault {
    fn from(error: &QueueError) -> Self {
        Self { reason: error.to_string(), transient: error.is_transient() }
    }
}
