//! How far long work is: a bar on a terminal, plain lines elsewhere. On standard error, so that output can be piped.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::files;

/// Between two lines. What is done sooner says nothing but its result.
const EACH: Duration = Duration::from_secs(1);

pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// When the next line is due; `None`: there is a bar.
    line_at: Option<Instant>,
}

impl Progress {
    /// Towards an end that is known. `what`: as in `7 of 12 redriven`.
    pub fn towards(end: u64, what: &'static str) -> Self {
        Self::new(ProgressBar::new(end).with_style(files::towards(what)), what)
    }

    /// The end is not known.
    pub fn counting(what: &'static str) -> Self {
        Self::new(ProgressBar::no_length().with_style(files::counting(what)), what)
    }

    #[expect(clippy::disallowed_methods, reason = "how often somebody is told")]
    fn new(bar: ProgressBar, what: &'static str) -> Self {
        let line_at = (!io::stderr().is_terminal()).then(|| Instant::now() + EACH);
        Self { bar, what, line_at }
    }

    /// There are more than it seemed.
    pub fn end_at(&mut self, end: u64) {
        self.bar.set_length(end);
    }

    /// So many more are done.
    pub fn add(&mut self, count: u64) {
        self.reached(self.bar.position() + count);
    }

    /// So many are done.
    #[expect(clippy::disallowed_methods, reason = "how often somebody is told")]
    pub fn reached(&mut self, position: u64) {
        self.bar.set_position(position);
        let now = Instant::now();
        if self.line_at.is_some_and(|at| at <= now) {
            self.line_at = Some(now + EACH);
            let of = self.bar.length().map_or(String::new(), |length| format!(" of {length}"));
            // For whoever watches: if nobody can see it, the work goes on.
            let _ = writeln!(io::stderr(), "octoconf: {position}{of} {}", self.what);
        }
    }

    pub fn position(&self) -> u64 {
        self.bar.position()
    }

    pub fn end(self) {
        self.bar.finish_and_clear();
    }
}
