//! The state of an engine as log lines, written on SIGUSR1 and when the engine stalls.
//!
//! A person asked for these lines or has to see them, so they are logged at a level that `engine.log` lets through.

use std::fmt::Write as _;
use std::time::Instant;

use log::Level;

use crate::dispatch::Status;
use crate::plain;

use super::Remote;
use super::duty::ThreadReport;

/// The largest number of waiting partners that are listed.
const MAX_LISTED: usize = 20;

impl Remote {
    /// Logs the state of the engine and what each of its threads is doing. Blocks for a few of the
    /// dispatcher's turns, at most 4 s.
    #[expect(clippy::disallowed_methods, reason = "a person asked: this is an edge")]
    pub fn log_state(&self) {
        match self.status() {
            Some(status) => log_status(&status),
            None => log::log!(level().min(Level::Warn), "state: the dispatcher does not answer"),
        }
        for stall in self.health().stalls() {
            log::error!("state: stalled: {stall}");
        }
        log_threads(&self.threads(Instant::now()));
    }
}

/// Returns the level at which the filter lets these lines through: `info`, else the least severe that passes.
fn level() -> Level {
    [Level::Info, Level::Warn].into_iter().find(|level| log::log_enabled!(*level)).unwrap_or(Level::Error)
}

fn log_status(status: &Status) {
    let partners = &status.partners;
    log::log!(
        level(),
        "state: state={} in_flight={} in_flight_bytes={} partners={} waiting={} backing_off={} open={} limited={} paused={}",
        status.state,
        status.in_flight,
        status.in_flight_bytes,
        partners.total,
        partners.waiting,
        partners.backing_off,
        partners.open,
        partners.limited,
        partners.paused,
    );
    for queue in &status.queues {
        let counts = &queue.counts;
        log::log!(
            level(),
            "state: queue={} source={} received={} handled={} delivered={} acked={} returned={} dead={} requests={} oldest_age_s={}",
            queue.name,
            queue.source,
            counts.received,
            counts.handled,
            counts.delivered,
            counts.acked,
            counts.returned,
            counts.dead,
            counts.requests,
            seconds(queue.oldest_age_s),
        );
    }
    for partner in status.waiting.iter().take(MAX_LISTED) {
        log::log!(
            level(),
            "state: partner={} queue={} state={} waiting={} in_flight={} oldest_age_s={:.1} next_attempt_in_s={} reason={:?} last_error={:?}",
            plain::quoted(&partner.account),
            partner.queue,
            partner.state,
            partner.waiting,
            partner.in_flight,
            partner.oldest_age_s,
            seconds(partner.next_attempt_in_s),
            partner.reason,
            partner.last_error.as_deref().unwrap_or(""),
        );
    }
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"))
}

/// Logs a line for each busy thread, and one line that sums up the idle ones.
pub fn log_threads(threads: &[ThreadReport]) {
    for thread in threads {
        if let Some(doing) = thread.doing {
            log::log!(
                level(),
                "thread: name={} doing={doing:?} about={} for_ms={}",
                thread.name,
                plain::quoted(&thread.about),
                thread.lasts.as_millis()
            );
        }
    }
    log::log!(level(), "threads that wait for work: {}", idle(threads));
}

/// Counts idle threads by kind: `ack-stock=1 deliver=31 handle=9`.
fn idle(threads: &[ThreadReport]) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for thread in threads.iter().filter(|thread| thread.doing.is_none()) {
        let kind = thread.name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    kinds.sort_unstable();
    let mut text = String::new();
    for (kind, count) in kinds {
        // Writing into a string does not fail.
        let _ = write!(text, "{}{kind}={count}", if text.is_empty() { "" } else { " " });
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_that_wait_for_work_are_summed_up_by_kind() {
        let thread =
            |name: &str, doing| ThreadReport { name: name.to_owned(), doing, about: "".into(), lasts: Duration::from_secs(1) };
        let threads = [
            thread("deliver-0", Some("delivers")),
            thread("deliver-12", None),
            thread("deliver-3", None),
            thread("ack-stock-0", None),
            thread("dispatch", None),
        ];
        assert_eq!(idle(&threads), "ack-stock=1 deliver=2 dispatch=1");
    }
}
