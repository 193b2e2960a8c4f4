//! The progress of long work: a bar on a terminal, plain lines elsewhere. It goes to standard error, so
//! that the output can be piped.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

use super::output;

/// The interval between two lines. Work that takes less prints only its result.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// The progress of one piece of work.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// When the next line is due, or `None` if there is a bar.
    line_at: Option<Instant>,
}

impl Progress {
    /// Shows progress towards a known end; `what` follows the number, as in `7 of 12 redriven`.
    pub fn towards(end: u64, what: &'static str) -> Self {
        Self::new(ProgressBar::new(end).with_style(towards(what)), what)
    }

    /// Shows progress without a known end.
    pub fn counting(what: &'static str) -> Self {
        Self::new(ProgressBar::no_length().with_style(counting(what)), what)
    }

    #[expect(clippy::disallowed_methods, reason = "how often somebody is told")]
    fn new(bar: ProgressBar, what: &'static str) -> Self {
        let line_at = (!io::stderr().is_terminal()).then(|| Instant::now() + LINE_INTERVAL);
        Self { bar, what, line_at }
    }

    /// Moves the end, if there is more to do than expected.
    pub fn end_at(&mut self, end: u64) {
        self.bar.set_length(end);
    }

    /// Records that `count` more are done.
    pub fn add(&mut self, count: u64) {
        self.reached(self.bar.position() + count);
    }

    /// Records that `position` are done in total.
    #[expect(clippy::disallowed_methods, reason = "how often somebody is told")]
    pub fn reached(&mut self, position: u64) {
        self.bar.set_position(position);
        let now = Instant::now();
        if self.line_at.is_some_and(|at| at <= now) {
            self.line_at = Some(now + LINE_INTERVAL);
            let of = self.bar.length().map_or(String::new(), |length| format!(" of {length}"));
            // Progress is only shown: the work does not wait for whoever does not look.
            output::remark(&format!("octoconf: {position}{of} {}\n", self.what), Duration::ZERO);
        }
    }

    /// Returns how many are done.
    pub fn position(&self) -> u64 {
        self.bar.position()
    }

    /// Removes the bar.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// The style of a bar for work without a known end.
pub fn counting(what: &str) -> ProgressStyle {
    style(&format!("{{spinner}} {{human_pos}} {what} ({{rate}}, {{elapsed}}) {{msg}}"))
}

/// The style of a bar for work with a known end.
pub fn towards(what: &str) -> ProgressStyle {
    style(&format!("{{bar:30}} {{human_pos}}/{{human_len}} {what} ({{rate}}, {{eta}} left) {{msg}}"))
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Where the bar cannot be drawn, nothing else can be done about it.
        let _ = out.write_str(&rate(state.per_sec()));
    })
}

/// Returns a number per second without the four decimals of the bar's own `per_sec`.
fn rate(per_second: f64) -> String {
    format!("{}/s", HumanCount(per_second.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_whole_number() {
        assert_eq!([0.0, 0.6, 62_522.036_9].map(rate), ["0/s", "1/s", "62,522/s"]);
    }
}
