//! The way back for the answer to a flush that no thread waits for, and the work that many such flushes wait for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::fault;
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

/// The work that ends several flushes, for the thread that has to do it. Dropped undone, it drops the replies of the
/// flushes that wait for it.
#[must_use = "no other thread does it"]
pub struct SharedWork {
    /// The work in words, for the list of what each thread does.
    pub what: &'static str,
    work: Box<dyn FnOnce() + Send>,
}

impl SharedWork {
    /// `what`: the work in words.
    pub fn new(what: &'static str, work: impl FnOnce() + Send + 'static) -> Self {
        Self { what, work: Box::new(work) }
    }

    /// Does the work. Blocks for as long as it takes. Never panics: a panic is logged, and the deliveries that it cost are
    /// answered by their dropped [`Reply`].
    pub fn run(self) {
        let Self { what, work } = self;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            log::error!("a thread that {what}: {}", fault(&*panic));
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
