//! The dispatcher's notes as log lines with fixed keys. Each change of a partner's state has a line of its own, until
//! there are too many lines to read; a storm of them is then summed up in one line. Owned by the thread `dispatch`.

use std::time::{Duration, Instant};

use crate::dispatch::{Note, QueueIndex};
use crate::plain;

use super::health::EngineHealth;
use super::lane::Lane;

/// The largest number of lines about single partners in one interval. The other changes appear
/// only in the interval's sum.
const MAX_LINES: u64 = 100;

/// The number of changes in one interval up to which no sum is logged: a reader sees them all at a glance.
const NO_SUM_UP_TO: u64 = 10;

/// The length of an interval.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts the lines that were logged about partners lately.
#[derive(Debug, Default)]
pub struct NoteLog {
    /// The sum of the current interval; `None` if nothing has happened since the last interval ended.
    sum: Option<Sum>,
}

/// What happened to partners in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum {
    ends_at: Instant,
    /// The number of times that a partner began to wait.
    waits: u64,
    /// The number of times that a partner took deliveries again.
    well: u64,
}

impl NoteLog {
    /// Logs a note. A queue's failure or recovery is recorded in `health`, too.
    pub fn say(&mut self, now: Instant, note: &Note, lanes: &[Lane], health: &EngineHealth) {
        let name = |queue: QueueIndex| lanes.get(queue).map_or("?", |lane| &*lane.name);
        let label = |queue: QueueIndex| lanes.get(queue).map_or_else(|| "?".to_owned(), Lane::label);
        match note {
            Note::QueueFailing { queue, doing, fault, .. } => health.trouble(&label(*queue), *doing, Some(&fault.reason)),
            Note::QueueWell { queue, doing } => health.trouble(&label(*queue), *doing, None),
            Note::PartnerWaits { .. } | Note::PartnerWell { .. }
                if !self.partner(now, matches!(note, Note::PartnerWell { .. })) =>
            {
                return;
            }
            _ => {}
        }
        log_note(note, name);
    }

    /// Counts a change of a partner's state, and returns whether it may have a line of its own.
    fn partner(&mut self, now: Instant, well: bool) -> bool {
        let sum = self.sum.get_or_insert(Sum { ends_at: now + INTERVAL, waits: 0, well: 0 });
        if well {
            sum.well += 1
        } else {
            sum.waits += 1
        }
        sum.waits + sum.well <= MAX_LINES
    }

    /// Logs the sum of an interval that is over. To be called about once a second, and with `last` at the end.
    pub fn say_sum(&mut self, now: Instant, last: bool) {
        if let Some(Sum { waits, well, .. }) = self.due(now, last) {
            let unsaid = (waits + well).saturating_sub(MAX_LINES);
            log::warn!(
                "partners in total: began_to_wait={waits} accept_again={well} interval_s={} without_a_line={unsaid}",
                INTERVAL.as_secs()
            );
        }
    }

    fn due(&mut self, now: Instant, last: bool) -> Option<Sum> {
        self.sum.take_if(|sum| last || sum.ends_at <= now).filter(|sum| sum.waits + sum.well > NO_SUM_UP_TO)
    }
}

fn log_note<'a>(note: &Note, name: impl Fn(QueueIndex) -> &'a str) {
    match note {
        Note::QueueFailing { queue, doing, fault, retry_in } => {
            let (queue, ms) = (name(*queue), retry_in.as_millis());
            if fault.transient {
                log::warn!("the queue fails: queue={queue} doing=\"{doing}\" retry_in_ms={ms} reason={:?}", fault.reason);
            } else {
                log::error!(
                    "the queue refuses the call, an operator has to act: queue={queue} doing=\"{doing}\" retry_in_ms={ms} reason={:?}",
                    fault.reason
                );
            }
        }
        Note::QueueWell { queue, doing } => log::info!("the queue works again: queue={} doing=\"{doing}\"", name(*queue)),
        Note::PartnerWaits { account, queue, state, reason, failures, next_attempt_in } => log::warn!(
            "a partner waits: partner={} queue={} state={state} failures={failures} next_attempt_in_ms={} reason={reason:?}",
            plain::quoted(account),
            name(*queue),
            next_attempt_in.as_millis(),
        ),
        Note::PartnerWell { account, after_failures } => {
            let account = plain::quoted(account);
            log::info!("a partner accepts deliveries again: partner={account} after_failures={after_failures}");
        }
        Note::DeadLetters { queue, count, example, reason } => {
            log::warn!("dead letters: queue={} n={count} example={example} reason={reason:?}", name(*queue));
        }
        Note::GivenBack { queue, count, example, reason, hidden } => log::warn!(
            "messages are returned to their queue for a while: queue={} n={count} hidden={hidden} example={example} reason={reason:?}",
            name(*queue),
        ),
        Note::Parked { queue, count, example, reason } => {
            log::info!("deliveries are parked: queue={} n={count} example={example} reason={reason:?}", name(*queue));
        }
        Note::LeasesLost { queue, count, example } => {
            log::warn!(
                "leases were lost: queue={} n={count} example={example}; raise visibility_timeout if this repeats",
                name(*queue)
            );
        }
        Note::Stray { what } => log::warn!("a result that nothing waits for is ignored: what={what:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_storm_of_partners_is_a_hundred_lines_and_a_sum() {
        let (mut notes, start) = (NoteLog::default(), start());
        let lines = (0..3000).filter(|_| notes.partner(start, false)).count();
        assert_eq!(lines, 100);
        assert_eq!(notes.due(start + INTERVAL / 2, false), None);
        let sum = notes.due(start + INTERVAL, false).unwrap();
        assert_eq!((sum.waits, sum.well), (3000, 0));
        assert!(notes.partner(start + INTERVAL, true), "the next interval has lines of its own");
        assert_eq!(notes.due(start + INTERVAL * 3, false), None, "a single edge needs no sum");
    }

    #[test]
    fn what_is_unsaid_at_the_end_is_said() {
        let (mut notes, start) = (NoteLog::default(), start());
        for _ in 0..11 {
            notes.partner(start, true);
        }
        assert_eq!(notes.due(start, true).map(|sum| sum.well), Some(11));
    }
}
