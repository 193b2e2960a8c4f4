//! Trying again what failed for a moment, for as long as the [`Attendant`] of the operation
//! goes along. An operation without one fails at its first failure.

use std::sync::Arc;
use std::time::Duration;

use crate::queue::Attendant;
use crate::queue::sqs::error::{EntryFault, Fault};

/// How often a request is made in all. With the pauses between them, these take 7.5 s and the time of the requests.
const TRIES: u32 = 5;
/// The first pause. Each further one is twice as long as the one before.
const FIRST: Duration = Duration::from_millis(500);

/// The attendant of an operation, if it has one.
#[derive(Clone, Default)]
pub(super) struct Patience(pub Option<Arc<dyn Attendant>>);

impl Patience {
    pub(super) fn goes_on(&self) -> bool {
        self.0.as_ref().is_none_or(|attendant| attendant.goes_on())
    }

    /// Makes a request again while it fails for a moment.
    pub(super) fn call<T>(&self, mut request: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
        let mut pauses = self.pauses();
        loop {
            match request() {
                Err(Fault::Transient(why)) if pauses.wait(&why) => {}
                outcome => return outcome,
            }
        }
    }

    /// Does the same with a request about many entries, and then makes it again for those that fail by themselves.
    pub(super) fn entries<T: Clone, R>(
        &self,
        entries: &[T],
        request: impl Fn(&[T]) -> Result<Vec<Result<R, EntryFault>>, Fault>,
    ) -> Result<Vec<Result<R, EntryFault>>, Fault> {
        let mut results = self.call(|| request(entries))?;
        let mut pauses = self.pauses();
        loop {
            let transient = |(at, result): (usize, &Result<R, EntryFault>)| match result {
                Err(EntryFault::Transient(why)) => Some((at, why.clone())),
                _ => None,
            };
            let failed: Vec<_> = results.iter().enumerate().filter_map(transient).collect();
            if !failed.first().is_some_and(|(_, why)| pauses.wait(why)) {
                return Ok(results);
            }
            let again: Vec<T> = failed.iter().filter_map(|(at, _)| entries.get(*at).cloned()).collect();
            // If this request fails as a whole, the entries that went well before must still be reported.
            for ((at, _), ended) in failed.into_iter().zip(request(&again).unwrap_or_default()) {
                if let Some(result) = results.get_mut(at) {
                    *result = ended;
                }
            }
        }
    }

    fn pauses(&self) -> Pauses<'_> {
        Pauses { attendant: self.0.as_deref(), left: TRIES - 1, next: FIRST }
    }
}

/// The pauses of one request.
struct Pauses<'a> {
    attendant: Option<&'a dyn Attendant>,
    /// How many pauses are left.
    left: u32,
    next: Duration,
}

impl Pauses<'_> {
    /// Waits for the next pause. Returns whether to make the request again.
    fn wait(&mut self, why: &str) -> bool {
        let Some(attendant) = self.attendant.filter(|_| self.left > 0) else { return false };
        let pause = self.next;
        (self.left, self.next) = (self.left - 1, pause * 2);
        attendant.wait(why, pause)
    }
}
