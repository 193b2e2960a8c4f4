//! Runs many seeds on all cores, with progress if it was asked for, and names those that fail.

use std::any::Any;
use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

/// The number of failing seeds after which a sweep stops.
const ENOUGH: usize = 10;

/// The number of progress lines if there is no terminal.
const LINES: u64 = 20;

pub struct Sweep {
    pub seeds: Range<u64>,
    /// Whether progress is shown.
    pub shown: bool,
}

/// A seed under which a rule did not hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    pub seed: u64,
    pub reason: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} fails: {}; replay it with scripts/simulate --seed {}", self.seed, self.reason, self.seed)
    }
}

impl Sweep {
    /// Returns the sweep that `scripts/simulate` asks for; without it, the usual number of seeds
    /// of a test run, without progress.
    pub fn from_environment(usual: u64) -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number is needed")))
        };
        let from = number("OCTOCONF_SIM_FROM").unwrap_or(0);
        let seeds = number("OCTOCONF_SIM_SEEDS");
        Self { seeds: from..from + seeds.unwrap_or(usual), shown: seeds.is_some() }
    }

    /// Runs each seed, as many at once as there are cores, until all are done or enough have failed.
    /// Returns the failed seeds in order.
    pub fn run(self, simulate: impl Fn(u64) + Sync + std::panic::RefUnwindSafe) -> Vec<Failed> {
        let next = AtomicU64::new(self.seeds.start);
        let failed = Mutex::new(Vec::new());
        let progress = Progress::new(self.seeds.end - self.seeds.start, self.shown);
        let work = || {
            while failed.lock().len() < ENOUGH {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.seeds.end {
                    return;
                }
                if let Err(panic) = catch_unwind(|| simulate(seed)) {
                    let found = Failed { seed, reason: text_of(&*panic) };
                    progress.say(&found.to_string());
                    failed.lock().push(found);
                }
                progress.one_more();
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
        progress.end();
        let mut failed = failed.into_inner();
        failed.sort_by_key(|failed| failed.seed);
        failed
    }
}

/// The progress display: a bar on a terminal, else a line now and then.
struct Progress {
    bar: ProgressBar,
    total: u64,
    done: AtomicU64,
    lines: bool,
}

impl Progress {
    fn new(total: u64, shown: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if shown && terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {eta} left").expect("a good template");
        Self { bar: bar.with_style(style), total, done: AtomicU64::new(0), lines: shown && !terminal }
    }

    fn one_more(&self) {
        self.bar.inc(1);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.lines && (done == self.total || done.is_multiple_of(self.total.div_ceil(LINES))) {
            eprintln!("{done} of {} seeds done", self.total);
        }
    }

    fn say(&self, line: &str) {
        if self.lines {
            eprintln!("{line}");
        }
        self.bar.println(line);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text").to_owned()
}
