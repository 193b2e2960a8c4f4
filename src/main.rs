//! The command line: arguments, logger, signals, exit status.
//!
//! Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

/// Messages are made by one thread and dropped by another: here that costs half of what the system's allocator takes for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use crate::cli::args::Arguments;
use crate::cli::failure::{Failure, in_full};
use crate::cli::logger::last_words;

fn main() -> ExitCode {
    refuse_huge_pages();
    octoconf::sink::raise_open_files();
    let arguments = Arguments::of_process();
    match cli::run(&arguments) {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

/// The allocator asks for pages of 2 MiB, and each of hundreds of threads gets its own: zeroing them costs more than what they are for, and
/// a service with 40 threads holds five times the memory. A kernel that does not know this has none.
fn refuse_huge_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

impl Failure {
    #[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
    fn report(self) -> ExitCode {
        match self {
            // Whoever reads our output has seen enough: `octoconf dead list … | head` is no failure.
            Self::Failed(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Self::Failed(error) => {
                eprint!("{}", last_words(&format!("octoconf: {}", in_full(&error))));
                ExitCode::from(1)
            }
            Self::Refused(why) => {
                eprint!("{}", last_words(why.trim_end()));
                ExitCode::from(2)
            }
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is))
}
