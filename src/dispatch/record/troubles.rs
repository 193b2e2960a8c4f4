//! The kinds of calls to a queue that fail, as the log and the status show them.
//!
//! If calls of one kind fail and go well side by side, that is one trouble, which lasts
//! until none of them has failed for [`QUIET`]. Otherwise each failure and each success
//! would be a line in the log, and a status read in between would show that all is well.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::dispatch::Dispatcher;
use crate::dispatch::event::{Command, Fault, Note};
use crate::dispatch::keys::QueueIndex;
use crate::dispatch::record::tally::Operation;
use crate::dispatch::timer::Timer;

/// How long a kind of call that failed again this soon after it went well has to go well before its end is reported.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Troubles(Vec<Trouble>);

#[derive(Debug)]
struct Trouble {
    doing: Operation,
    reason: String,
    /// Whether the trouble is reported; `false` once its end is reported as well.
    told: bool,
    /// Whether the kind failed again soon after it went well.
    comes_and_goes: bool,
    /// When the kind will have gone well for long enough; `None` while it fails.
    quiet_at: Option<Instant>,
}

impl Troubles {
    /// Records the first failure in a row of a kind of call. Returns whether to report it.
    pub fn fails(&mut self, doing: Operation, reason: &str, now: Instant) -> bool {
        self.0.retain(|trouble| trouble.told || trouble.quiet_at.is_some_and(|at| now < at));
        let Some(trouble) = self.0.iter_mut().find(|trouble| trouble.doing == doing) else {
            let (reason, told, comes_and_goes, quiet_at) = (reason.to_owned(), true, false, None);
            self.0.push(Trouble { doing, reason, told, comes_and_goes, quiet_at });
            return true;
        };
        reason.clone_into(&mut trouble.reason);
        (trouble.comes_and_goes, trouble.quiet_at) = (true, None);
        !std::mem::replace(&mut trouble.told, true)
    }

    /// Records that a kind of call that failed goes well again. Returns whether to report that now.
    pub fn goes_well(&mut self, doing: Operation, now: Instant) -> bool {
        let Some(trouble) = self.0.iter_mut().find(|trouble| trouble.doing == doing) else { return false };
        trouble.quiet_at = Some(now + QUIET);
        let is_over = trouble.told && !trouble.comes_and_goes;
        trouble.told &= !is_over;
        is_over
    }

    /// Removes and returns a kind of call that came and went and has gone
    /// well for long enough by now, to be reported. `None` if there is none.
    pub fn next_over(&mut self, now: Instant) -> Option<Operation> {
        let is_over = |trouble: &Trouble| trouble.told && trouble.quiet_at.is_some_and(|at| at <= now);
        let at = self.0.iter().position(is_over)?;
        Some(self.0.swap_remove(at).doing)
    }

    /// Returns when the next of the reported troubles may be over; `None` if all of them still fail.
    pub fn next_look(&self) -> Option<Instant> {
        self.0.iter().filter(|trouble| trouble.told).filter_map(|trouble| trouble.quiet_at).min()
    }

    /// Returns the kinds of calls that are reported to fail.
    pub fn failing(&self) -> Vec<Failing> {
        let told = self.0.iter().filter(|trouble| trouble.told);
        told.map(|trouble| Failing { doing: trouble.doing, reason: trouble.reason.clone() }).collect()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// A kind of call to a queue that failed when it was last made, or that fails again and again while others go well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failing {
    /// The kind of call, such as `receive` or `delete`.
    pub doing: Operation,
    /// The reason of the failure, in words.
    pub reason: String,
}

impl Dispatcher {
    /// Records the first failure in a row of one kind of call (`doing`) to the queue, and logs it unless
    /// it is a known trouble. The kind counts as failing until it [goes well](Dispatcher::goes_well).
    pub(in crate::dispatch) fn fails(&mut self, index: QueueIndex, doing: Operation, fault: Fault, retry_in: Duration) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        if queue.troubles.fails(doing, &fault.reason, self.now) {
            self.note(Note::QueueFailing { queue: index, doing, fault, retry_in });
        }
    }

    /// Records that calls of this kind go well again. Logs that at once, or after some time if the kind comes and goes.
    pub(in crate::dispatch) fn goes_well(&mut self, index: QueueIndex, doing: Operation) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        if queue.troubles.goes_well(doing, self.now) {
            self.note(Note::QueueWell { queue: index, doing });
        }
        self.watch_troubles(index);
    }

    /// Logs the kinds of calls that have gone well for long enough by now, and looks again when there may be more.
    pub(in crate::dispatch) fn watch_troubles(&mut self, index: QueueIndex) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        while let Some(doing) = queue.troubles.next_over(self.now) {
            self.commands.push_back(Command::Note(Note::QueueWell { queue: index, doing }));
        }
        if let Some(at) = queue.troubles.next_look() {
            queue.alarms.trouble.by(&mut self.due, at, Timer::Trouble(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::start;

    #[test]
    fn one_failure_and_its_end_are_told_at_once() {
        let (mut troubles, now) = (Troubles::default(), start());
        assert!(troubles.fails(Operation::Delete, "away", now));
        assert_eq!(troubles.failing(), [Failing { doing: Operation::Delete, reason: "away".into() }]);
        assert!(troubles.goes_well(Operation::Delete, now));
        assert_eq!((troubles.failing(), troubles.next_look()), (vec![], None));
        assert!(!troubles.goes_well(Operation::Delete, now));
        assert!(
            troubles.fails(Operation::Delete, "away", now + QUIET) && troubles.goes_well(Operation::Delete, now + QUIET),
            "another one"
        );
    }

    #[test]
    fn what_comes_and_goes_is_one_trouble_until_it_has_gone_well_for_a_while() {
        let (mut troubles, start) = (Troubles::default(), start());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(troubles.fails(Operation::Delete, "first", at(0)) && troubles.goes_well(Operation::Delete, at(5)));
        assert!(troubles.fails(Operation::Delete, "second", at(10)), "now it is known to come and go");
        for millis in (20..5000).step_by(20) {
            assert!(
                !troubles.goes_well(Operation::Delete, at(millis))
                    && !troubles.fails(Operation::Delete, "third", at(millis + 10))
            );
            assert_eq!(troubles.failing(), [Failing { doing: Operation::Delete, reason: "third".into() }]);
        }
        assert_eq!(troubles.next_look(), None, "it fails");
        assert!(!troubles.goes_well(Operation::Delete, at(5000)));
        assert_eq!(troubles.next_look(), Some(at(15_000)));
        assert_eq!((troubles.next_over(at(14_999)), troubles.failing().len()), (None, 1));
        assert_eq!((troubles.next_over(at(15_000)), troubles.failing()), (Some(Operation::Delete), vec![]));
        assert_eq!((troubles.next_over(at(15_000)), troubles.next_look()), (None, None));
    }
}
