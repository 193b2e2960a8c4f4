//! The dispatcher's notes as log lines, with fixed keys.

use crate::dispatch::{Note, QueueIndex};

use super::Lane;

pub fn log_note(note: &Note, lanes: &[Lane]) {
    let name = |queue: QueueIndex| lanes.get(queue).map_or("?", |lane| &*lane.name);
    match note {
        Note::QueueFailing { queue, doing, fault, retry_in } => {
            let (queue, ms) = (name(*queue), retry_in.as_millis());
            if fault.transient {
                log::warn!("the queue fails: queue={queue} doing={doing} retry_in_ms={ms} reason={:?}", fault.reason);
            } else {
                log::error!(
                    "the queue refuses, someone has to act: queue={queue} doing={doing} retry_in_ms={ms} reason={:?}",
                    fault.reason
                );
            }
        }
        Note::QueueWell { queue, doing } => log::info!("the queue is well again: queue={} doing={doing}", name(*queue)),
        Note::PartnerWaits { account, queue, state, reason, failures, next_attempt_in } => log::warn!(
            "a partner waits: partner={account:?} queue={} state={state} failures={failures} next_attempt_in_ms={} reason={reason:?}",
            name(*queue),
            next_attempt_in.as_millis(),
        ),
        Note::PartnerWell { account, after_failures } => {
            log::info!("a partner takes again: partner={account:?} after_failures={after_failures}");
        }
        Note::DeadLetters { queue, count, example, reason } => {
            log::warn!("dead letters: queue={} n={count} example={example} reason={reason:?}", name(*queue));
        }
        Note::LeasesLost { queue, count, example } => {
            log::warn!(
                "leases were lost: queue={} n={count} example={example}; raise visibility_timeout if this repeats",
                name(*queue)
            );
        }
        Note::Stray { what } => log::warn!("a result that nobody waits for: what={what:?}"),
    }
}
