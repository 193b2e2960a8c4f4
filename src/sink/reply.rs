//! Where the answer to a flush goes when no thread waits for it.

use crate::message::Answer;

/// Takes one answer. Dropped without one, it says so: whoever waits for a flush must hear of it in any case.
pub struct Reply(Option<Box<dyn FnOnce(Answer) + Send>>);

impl Reply {
    pub fn new(tell: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

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
