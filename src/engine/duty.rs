//! What each thread is doing, and since when: for whoever asks why nothing moves.
//!
//! A thread writes into its own cell once a batch, never once a message, and nobody else locks it but a reader once in a while.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use compact_str::CompactString;
use parking_lot::Mutex;

/// One thread's cell. It leaves the roster when the thread ends.
pub struct Duty {
    name: String,
    now: Mutex<Doing>,
}

struct Doing {
    /// `None`: it waits for work.
    what: Option<&'static str>,
    /// A queue or an account, where there is one.
    about: CompactString,
    since: Instant,
}

impl Duty {
    /// The thread begins something.
    #[expect(clippy::disallowed_methods, reason = "a thread that works is an edge")]
    pub fn begin(&self, what: &'static str, about: &str) {
        self.begin_at(Instant::now(), what, about);
    }

    /// The same, where the thread has just read the clock.
    pub fn begin_at(&self, now: Instant, what: &'static str, about: &str) {
        *self.now.lock() = Doing { what: Some(what), about: about.into(), since: now };
    }

    /// The thread waits for work.
    #[expect(clippy::disallowed_methods, reason = "a thread that works is an edge")]
    pub fn rest(&self) {
        self.rest_at(Instant::now());
    }

    pub fn rest_at(&self, now: Instant) {
        let mut doing = self.now.lock();
        (doing.what, doing.since) = (None, now);
    }
}

/// The cells of all threads of an engine. Cheap to clone.
#[derive(Clone, Default)]
pub struct Roster {
    cells: Arc<Mutex<Vec<Weak<Duty>>>>,
}

/// One thread, as it was at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadReport {
    pub name: String,
    /// `None`: it waits for work.
    pub doing: Option<&'static str>,
    /// The queue or account in question; may be empty.
    pub about: CompactString,
    /// For how long.
    pub lasts: Duration,
}

impl Roster {
    /// A cell for a thread that is about to start.
    #[expect(clippy::disallowed_methods, reason = "the start of a thread is an edge")]
    pub fn enlist(&self, name: &str) -> Arc<Duty> {
        let doing = Doing { what: None, about: CompactString::default(), since: Instant::now() };
        let duty = Arc::new(Duty { name: name.to_owned(), now: Mutex::new(doing) });
        let mut cells = self.cells.lock();
        cells.retain(|cell| cell.strong_count() > 0);
        cells.push(Arc::downgrade(&duty));
        duty
    }

    /// All threads that run: those that do something first, of these the longest at it first.
    pub fn report(&self, now: Instant) -> Vec<ThreadReport> {
        let cells: Vec<Arc<Duty>> = self.cells.lock().iter().filter_map(Weak::upgrade).collect();
        let report = |duty: &Arc<Duty>| {
            let doing = duty.now.lock();
            let lasts = now.saturating_duration_since(doing.since);
            ThreadReport { name: duty.name.clone(), doing: doing.what, about: doing.about.clone(), lasts }
        };
        let mut threads: Vec<_> = cells.iter().map(report).collect();
        threads.sort_by(|a, b| (a.doing.is_none(), b.lasts, &a.name).cmp(&(b.doing.is_none(), a.lasts, &b.name)));
        threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_comes_first_and_who_has_ended_does_not_come() {
        let roster = Roster::default();
        let [idle, young, old, gone] = ["ack-a-0", "deliver-1", "deliver-0", "poll-a-0"].map(|name| roster.enlist(name));
        let start = idle.now.lock().since;
        let at = |seconds| start + Duration::from_secs(seconds);
        old.begin_at(at(1), "delivers", "acme");
        young.begin_at(at(5), "delivers", "initech");
        idle.begin_at(at(2), "deletes", "a");
        idle.rest_at(at(3));
        drop(gone);
        let report = roster.report(at(9));
        let seen: Vec<_> = report.iter().map(|thread| (&*thread.name, thread.doing, thread.lasts.as_secs())).collect();
        assert_eq!(seen, [("deliver-0", Some("delivers"), 8), ("deliver-1", Some("delivers"), 4), ("ack-a-0", None, 6)]);
        assert_eq!(report[0].about, "acme");
    }
}
