//! The command line: arguments, logger, signals, exit status.
//!
//! Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration.

#![forbid(unsafe_code)]

mod cli;
#[cfg(test)]
#[allow(dead_code, reason = "the unit tests use a part of it")]
#[path = "../tests/support/server.rs"]
mod scripted_server;

use std::process::ExitCode;

/// Messages are allocated by one thread and freed by another. With this allocator that costs half as
/// much as with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use crate::cli::args::Arguments;
use crate::cli::failure::{Failure, in_full};
use crate::cli::logger::last_words;

fn main() -> ExitCode {
    // First of all: until then a signal ends the process, whatever it asks for.
    let caught = cli::catch_early();
    refuse_huge_pages();
    octoconf::sink::raise_open_files();
    let arguments = Arguments::of_process();
    match cli::run(&arguments, caught) {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

/// Turns transparent huge pages off for this process.
///
/// The allocator asks for pages of 2 MiB, and each of hundreds of threads gets its own. Zeroing them costs more than
/// they save, and a service with 40 threads holds five times the memory. A kernel that does not know this setting has
/// no huge pages to turn off, so an error is ignored.
fn refuse_huge_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

impl Failure {
    fn report(self) -> ExitCode {
        let (text, status) = match self {
            Self::Failed(error) => (last_words(&format!("octoconf: {}", in_full(&error))), 1),
            Self::Refused(why) => (last_words(why.trim_end()), 2),
        };
        // Where nobody reads standard error, the exit status alone says it, and says it now: a service is restarted only
        // once its process has ended.
        cli::output::remark(&text, cli::output::PATIENCE);
        ExitCode::from(status)
    }
}
