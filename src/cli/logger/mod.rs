//! The log on standard error, above the progress bar if there is one.
//!
//! A thread of its own writes the lines: the reader of standard error may be slow or may have stopped, and no thread of
//! the engine may wait for that. Lines that find no place in the channel are counted, and their number is logged.
//!
//! Whatever the filter says, lines of other crates below `info` are held back: the HTTP client writes whole
//! request heads at those levels, with queries, headers and keys, and a secret is never logged. Our own lines
//! hold no secrets at any level.

mod format;
mod writer;

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use env_logger::Logger;
use indicatif::MultiProgress;
use log::{Level, Log, Metadata, Record};
use parking_lot::RwLock;

use self::format::Look;
pub use self::writer::Writer;

/// The format of log lines, as chosen on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `journald` if standard error goes to the journal, else `text`
    Auto,
    /// Lines for people
    Text,
    /// One JSON object per line: time, level, target, message, and the fields in the message
    Json,
    /// Lines for systemd: the priority first, no time (the journal records it)
    Journald,
}

static LOOK: OnceLock<Look> = OnceLock::new();
static LOG: OnceLock<Switch> = OnceLock::new();

/// The logger, which a reload replaces.
struct Switch {
    logger: RwLock<Logger>,
    /// Builds a logger from a filter.
    build: Box<dyn Fn(&str) -> Logger + Send + Sync>,
    /// Whether it has been logged that lines which this filter asks for are held back.
    said: AtomicBool,
}

impl Switch {
    fn new(filter: &str, build: impl Fn(&str) -> Logger + Send + Sync + 'static) -> Self {
        Self { logger: RwLock::new(build(filter)), build: Box::new(build), said: AtomicBool::new(false) }
    }

    /// Puts another filter in force, and returns the most verbose level that it lets through.
    fn change(&self, filter: &str) -> log::LevelFilter {
        let logger = (self.build)(filter);
        let most = logger.filter();
        *self.logger.write() = logger;
        self.said.store(false, Ordering::Relaxed);
        most
    }

    /// Logs, once per filter, that lines are held back.
    fn say_held_back(&self, target: &str) {
        if !self.said.swap(true, Ordering::Relaxed) {
            self.logger.read().log(
                &Record::builder()
                    .level(Level::Warn)
                    .target(module_path!())
                    .args(format_args!(
                        "lines of other crates below info are held back, since they hold URLs, headers and keys: target={target}; \
                         to be rid of this set engine.log (or RUST_LOG) to a level for octoconf alone, as in info,octoconf=trace"
                    ))
                    .build(),
            );
        }
    }
}

/// Whether a line holds no secret, judged by its level and the crate that writes it.
fn is_clean(metadata: &Metadata<'_>) -> bool {
    let crate_name = metadata.target().split("::").next();
    metadata.level() <= Level::Info || crate_name == Some("octoconf")
}

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_clean(metadata) && self.logger.read().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_clean(record.metadata()) {
            self.logger.read().log(record);
        } else if self.logger.read().enabled(record.metadata()) {
            self.say_held_back(record.target());
        }
    }

    fn flush(&self) {
        self.logger.read().flush();
    }
}

/// Replaces the filter. `RUST_LOG` still overrides it.
pub fn change(filter: &str) {
    if let Some(log) = LOG.get() {
        log::set_max_level(log.change(filter));
    }
}

/// Chooses the format of lines from here on, including the last words of a command that fails.
pub fn choose(format: LogFormat) {
    let look = match format {
        LogFormat::Text => Look::Text,
        LogFormat::Json => Look::Json,
        LogFormat::Journald => Look::Journald,
        LogFormat::Auto if format::is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) => Look::Journald,
        LogFormat::Auto => Look::Text,
    };
    // A second choice has no effect.
    let _ = LOOK.set(look);
}

fn look() -> Look {
    LOOK.get().copied().unwrap_or(Look::Text)
}

/// Returns the last words of a command that failed, as lines for standard error.
pub fn last_words(text: &str) -> String {
    match look() {
        Look::Text => format!("{text}\n"),
        look => look.line(log::Level::Error, "octoconf", text, since_epoch()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a line says when it was said")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Starts the log. `filter` is `engine.log`; `RUST_LOG` overrides it. Everything logged until the [`Writer`] is dropped
/// is written, unless the reader of standard error does not read for a second.
pub fn start(filter: &str, bars: &MultiProgress) -> std::io::Result<Writer> {
    let bars = bars.clone();
    let look = look();
    // Without a terminal there are no bars, and no thread may wait for a bar that waits for a reader.
    let has_bars = std::io::stderr().is_terminal();
    let write = move |bytes: &[u8]| {
        let write = || std::io::stderr().write_all(bytes);
        if has_bars { bars.suspend(write) } else { write() }
    };
    let (lines, writer) = writer::start(write, move |lost| {
        let text = format!("log lines were lost because their reader is too slow: n={lost}");
        look.line(log::Level::Warn, "octoconf", &text, since_epoch())
    })?;
    let build = move |filter: &str| {
        let mut builder = env_logger::Builder::new();
        builder.parse_filters(filter).parse_default_env();
        builder.format(move |buffer, record| {
            buffer.write_all(look.line(record.level(), record.target(), &record.args().to_string(), since_epoch()).as_bytes())
        });
        builder.target(env_logger::Target::Pipe(Box::new(lines.clone()))).build()
    };
    // A second start keeps the log of the first, which works the same.
    let log = LOG.get_or_init(|| Switch::new(filter, build));
    if log::set_logger(log).is_ok() {
        log::set_max_level(log.logger.read().filter());
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("without a text");
        log::error!("a thread panicked: thread={} at={place} text={text:?}", thread.name().unwrap_or("?"));
    }));
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// A target that keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        /// Returns a log that writes to this target.
        fn log(&self, filter: &str) -> Switch {
            let kept = self.clone();
            Switch::new(filter, move |filter| {
                let target = env_logger::Target::Pipe(Box::new(kept.clone()));
                let mut builder = env_logger::Builder::new();
                builder.parse_filters(filter).write_style(env_logger::WriteStyle::Never).target(target).build()
            })
        }

        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
        }
    }

    fn log(log: &Switch, level: Level, target: &str, text: &str) {
        log.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
    }

    #[test]
    fn what_other_crates_say_below_info_is_held_back_under_every_filter_and_said_once() {
        let kept = Kept::default();
        let switch = kept.log("trace");
        // If the filter asks only for other crates by name, our own remark is filtered out too.
        for (filter, is_said) in [
            ("trace", true),
            ("debug", true),
            ("warn,ureq=trace", true),
            ("octo=trace,ureq_proto=trace", true),
            ("info,octoconf=trace", false),
            ("ureq::run=debug", false),
            ("rustls=trace", false),
        ] {
            switch.change(filter);
            for target in ["ureq::run", "ureq_proto::client", "rustls", "rusoto_core::request", "another"] {
                for level in [Level::Debug, Level::Trace] {
                    assert!(!switch.enabled(&Metadata::builder().level(level).target(target).build()));
                    log(&switch, level, target, "authorization: hush");
                }
            }
            let said = kept.take();
            assert!(!said.contains("hush"), "{filter}: {said}");
            assert_eq!(said.matches("held back").count(), usize::from(is_said), "{filter}: {said}");
        }
    }

    #[test]
    fn ours_and_what_is_no_detail_pass_as_the_filter_says() {
        let kept = Kept::default();
        let switch = kept.log("trace");
        log(&switch, Level::Trace, "octoconf::engine", "a");
        log(&switch, Level::Info, "ureq", "b");
        log(&switch, Level::Warn, "rustls", "c");
        let said = kept.take();
        assert!(["] a", "] b", "] c"].iter().all(|line| said.contains(line)) && !said.contains("held back"), "{said}");
        switch.change("error");
        log(&switch, Level::Trace, "octoconf::engine", "d");
        log(&switch, Level::Debug, "ureq", "e");
        assert_eq!(kept.take(), "");
    }
}
