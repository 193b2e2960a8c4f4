//! What each thread is doing, and since when, for an operator who asks why nothing moves.
//!
//! A thread writes into its own cell once per batch, never once per message. The only other access to the cell
//! is an occasional reader.

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
    /// What the thread is doing; `None` while it waits for work.
    what: Option<&'static str>,
    /// The queue or account concerned; empty if there is none.
    about: CompactString,
    /// When the thread began this.
    since: Instant,
}

impl Duty {
    /// Records that the thread begins something.
    #[expect(clippy::disallowed_methods, reason = "a thread that works is an edge")]
    pub fn begin(&self, what: &'static str, about: &str) {
        self.begin_at(Instant::now(), what, about);
    }

    /// Like [`Duty::begin`], for a thread that has just read the clock.
    pub fn begin_at(&self, now: Instant, what: &'static str, about: &str) {
        *self.now.lock() = Doing { what: Some(what), about: about.into(), since: now };
    }

    /// Records that the thread waits for work.
    #[expect(clippy::disallowed_methods, reason = "a thread that works is an edge")]
    pub fn rest(&self) {
        self.rest_at(Instant::now());
    }

    /// Like [`Duty::rest`], for a thread that has just read the clock.
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

/// What one thread was doing at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadReport {
    /// The name of the thread.
    pub name: String,
    /// What the thread is doing; `None` while it waits for work.
    pub doing: Option<&'static str>,
    /// The queue or account concerned; may be empty.
    pub about: CompactString,
    /// How long the thread has been doing this, or waiting for work.
    pub lasts: Duration,
}

impl Roster {
    /// Adds a cell for a thread that is about to start, and returns it.
    #[expect(clippy::disallowed_methods, reason = "the start of a thread is an edge")]
    pub fn enlist(&self, name: &str) -> Arc<Duty> {
        let doing = Doing { what: None, about: CompactString::default(), since: Instant::now() };
        let duty = Arc::new(Duty { name: name.to_owned(), now: Mutex::new(doing) });
        let mut cells = self.cells.lock();
        cells.retain(|cell| cell.strong_count() > 0);
        cells.push(Arc::downgrade(&duty));
        duty
    }

    /// Returns a report of all running threads: busy threads first, the longest busy of them first.
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
