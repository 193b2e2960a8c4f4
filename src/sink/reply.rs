//! The way back for the answer to a flush that no thread waits for.

use crate::message::Answer;

/// Takes one answer. If it is dropped without one, it sends an answer that says so, since a flush must
/// be answered in any case.
pub struct Reply(Option<Box<dyn FnOnce(Answer) + Send>>);

impl Reply {
    /// Creates a reply that passes its answer to `tell`.
    pub fn new(tell: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    /// Sends the answer.
    pub fn send(mut self, answer: Answer) {
        if let Some(tell) = self.0.take() {
            tell(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Answer::Unreachable { reason: "a fault in octoconf itself, please report it: the delivery was dropped".into() });
        }
    }
}
