//! The commands of the command line. Each opens what it needs, shows its progress, and reports how it ended.
//!
//! They run on the main thread. The work itself is in the library (`octoconf::commands`, `octoconf::engine`); this
//! module adds arguments, terminals, signals and the log.

pub mod args;
mod ask;
mod client;
mod dead;
mod demo;
pub mod failure;
mod input;
pub mod logger;
pub mod output;
mod parked;
mod patience;
mod progress;
mod records;
mod reload;
mod report;
mod run;
mod setup;
mod signals;
mod systemd;

use std::io::{self, BufWriter, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use clap::CommandFactory;
use octoconf::commands::try_out::TryError;
use octoconf::commands::{check, send, try_out};
use octoconf::engine::{HANDLER_STACK, forgotten};

use self::args::{Arguments, Command};
use self::failure::Failure;
use self::input::Input;
use self::progress::Progress;
use self::signals::Caught;

/// Takes the signals over if the command is `run`. Called before anything else, since parsing the arguments takes
/// milliseconds in which a signal would end the process.
pub fn catch_early() -> Option<Caught> {
    // If the system refuses, the command tries again and reports it.
    args::name_run(std::env::args_os().skip(1)).then(signals::catch)?.ok()
}

/// Runs the command that the arguments name, and returns the exit status. Blocks until the command ends. `caught` is
/// what [`catch_early`] returned.
pub fn run(arguments: &Arguments, caught: Option<Caught>) -> Result<ExitCode, Failure> {
    signals::outlive_file_limit().context("cannot take signals over")?;
    let config = &arguments.config;
    match &arguments.command {
        Command::Run(run) => {
            logger::choose(arguments.log_format);
            run::run(config, run, caught)
        }
        Command::Check { json } => check(config, *json),
        Command::Try { queue, file, json } => try_out(config, queue, file, *json),
        Command::Send { queue, file, json } => send(config, queue, file, *json),
        Command::Status { watch, json } => ask::status(config, *watch, *json),
        Command::Why { partner, json } => ask::why(config, partner, *json),
        Command::Skip { partner, json } => ask::skip(config, partner, *json),
        Command::Dead(dead) => dead::run(config, dead),
        Command::Parked(parked) => parked::run(config, parked),
        Command::Demo(demo) => demo::run(demo),
        Command::Completions { shell } => {
            // Generated into memory first, since `generate` panics when it cannot write.
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "octoconf", &mut text);
            let mut out = io::stdout();
            output::unless_unread(out.write_all(&text).and_then(|()| out.flush()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(config: &Path, json: bool) -> Result<ExitCode, Failure> {
    let mut outcome = setup::load(config);
    if let Ok(loaded) = &mut outcome {
        loaded.warnings.extend(forgotten(&loaded.settings).iter().map(ToString::to_string));
        loaded.warnings.sort();
    }
    let refused = outcome.is_err();
    if refused && !json {
        // The problems are the result: a pager that does not read on for a while is waited for. If nobody reads them, the exit
        // status alone says it.
        let _ = io::stderr().write_all(format!("{}\n", check::text(&outcome).trim_end()).as_bytes());
        return Ok(ExitCode::from(2));
    }
    let text = if json { format!("{:#}\n", check::json(&outcome)) } else { check::text(&outcome) };
    output::tell(&text, || format!("the configuration is {}", if refused { "refused" } else { "good" }))?;
    Ok(ExitCode::from(if refused { 2 } else { 0 }))
}

fn try_out(config: &Path, queue: &str, file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let setup = setup::Setup::new(config)?;
    let handler = setup.handler(queue)?;
    // A body whose values need more stack than the main thread has would end this command, and not the service.
    let trying = thread::Builder::new().name("handle".to_owned()).stack_size(HANDLER_STACK);
    thread::scope(|scope| {
        let trying = trying.spawn_scoped(scope, || {
            let mut out = BufWriter::new(io::stdout().lock());
            match try_out::try_out(handler.as_ref(), input::open(file)?, &mut out, json) {
                Err(TryError::Write(error)) if output::is_unread(&error) => Ok(ExitCode::SUCCESS),
                tried => Ok(tried.map(|_| ExitCode::SUCCESS).context("try")?),
            }
        });
        trying.context("cannot start the thread handle")?.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn send(config: &Path, queue: &str, file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let of_memory = "set preload to a file of bodies, or source = \"sqlite\"";
    let setup = setup::Setup::new(config)?;
    // Before the queue is opened: opening it may create its file, which a missing input file should not cause.
    let lines = input::open(file)?;
    let queue = setup.open(queue, of_memory)?;
    let stop = signals::stops().context("cannot take signals over")?;
    let mut input = Input::start(lines, stop).context("cannot start the thread read")?;
    let mut progress = Progress::counting("messages sent");
    let done = send::send(queue.as_ref(), &mut || input.next(), &mut |sent| progress.reached(sent));
    progress.end();
    let object = |sent: u64, interrupted: bool, [refused, not_confirmed]: [Vec<u64>; 2]| {
        let object = serde_json::json!({
            "sent": sent, "interrupted": interrupted, "refused": refused, "not_confirmed": not_confirmed,
        });
        object.to_string()
    };
    let send::Done { sent, whole } = done.inspect_err(|error| {
        if json {
            // A program that reads the output gets one object however the command ends. If that cannot be written, the
            // error printed afterwards contains the same count.
            let lines = [error.refused(), error.unconfirmed()];
            let _ = writeln!(io::stdout(), "{}", object(error.sent(), false, lines));
        }
    })?;
    let text = match (json, whole) {
        (true, _) => object(sent, !whole, Default::default()),
        (false, true) => format!("{sent} sent"),
        (false, false) => format!("{sent} sent, then interrupted"),
    };
    output::tell(&(text + "\n"), || match sent {
        1 => "1 message was sent".to_owned(),
        sent => format!("{sent} messages were sent"),
    })?;
    // A stream ends only by a signal. A file that was interrupted still has unsent lines, and a script that deletes the
    // file after a success would lose them.
    let has_end = file != Path::new("-");
    Ok(ExitCode::from(u8::from(!whole && has_end)))
}
