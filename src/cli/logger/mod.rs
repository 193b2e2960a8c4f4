//! The log on standard error, above the progress bar where there is one.
//!
//! Lines are written by a thread of their own: whoever reads standard error may be slow or may have stopped, and no thread of the engine
//! waits for that. What finds no place is counted and said.

mod format;
mod writer;

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use env_logger::Logger;
use indicatif::MultiProgress;
use log::{Log, Metadata, Record};
use parking_lot::RwLock;

use self::format::Look;
pub use self::writer::Writer;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `journald` where standard error goes to the journal, else `text`
    Auto,
    /// For people
    Text,
    /// An object a line: time, level, target, message, and the fields that the message holds
    Json,
    /// For systemd: the priority in front, no time (the journal has it)
    Journald,
}

static LOOK: OnceLock<Look> = OnceLock::new();
static LOG: OnceLock<Switch> = OnceLock::new();

/// The logger, of which a reload makes another one.
struct Switch {
    logger: RwLock<Logger>,
    /// From a filter.
    build: Box<dyn Fn(&str) -> Logger + Send + Sync>,
}

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.read().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.logger.read().log(record);
    }

    fn flush(&self) {
        self.logger.read().flush();
    }
}

/// From now on this is the filter; `RUST_LOG` overrides it still.
pub fn change(filter: &str) {
    if let Some(log) = LOG.get() {
        let logger = (log.build)(filter);
        log::set_max_level(logger.filter());
        *log.logger.write() = logger;
    }
}

/// Decides how lines look from here on, also the last words of a command that fails.
pub fn choose(format: LogFormat) {
    let look = match format {
        LogFormat::Text => Look::Text,
        LogFormat::Json => Look::Json,
        LogFormat::Journald => Look::Journald,
        LogFormat::Auto if format::is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) => Look::Journald,
        LogFormat::Auto => Look::Text,
    };
    // A second choice finds the first one in place.
    let _ = LOOK.set(look);
}

fn look() -> Look {
    LOOK.get().copied().unwrap_or(Look::Text)
}

/// The last words of a command that failed, as lines for standard error.
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

/// Starts the log. `filter` is `engine.log`; `RUST_LOG` overrides it. What is logged until the [`Writer`] is dropped is written, unless
/// nobody reads it for a second then.
pub fn start(filter: &str, bars: &MultiProgress) -> std::io::Result<Writer> {
    let bars = bars.clone();
    let look = look();
    // Where there is no terminal there are no bars, and nobody may wait for one that waits for a reader.
    let has_bars = std::io::stderr().is_terminal();
    let write = move |bytes: &[u8]| {
        let write = || std::io::stderr().write_all(bytes);
        if has_bars { bars.suspend(write) } else { write() }
    };
    let (lines, writer) = writer::start(write, move |lost| {
        let text = format!("lines of the log were lost, whoever reads it is too slow: n={lost}");
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
    // A second start finds the first one's log in place, which is as good.
    let log = LOG.get_or_init(|| Switch { logger: RwLock::new(build(filter)), build: Box::new(build) });
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
