//! The benchmarks. Each row stands beside its limit, measured in the same run, as a median over repeated
//! runs. Called by `scripts/bench`.
//!
//! Prints a table and writes `target/bench.json`. No time is asserted: machines differ by a factor of two from hour to
//! hour, so a figure is judged by its ratio to its limit. It is asserted that every message is delivered.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reads the clock, prints, and ends where what it measures does not work"
)]

mod asking;
mod cases;
mod data;
mod extent;
mod process;
mod run;
mod server;
mod sqs;
mod stamp;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod traffic;

use std::process::ExitCode;

use cases::Case;
use table::Table;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of counted runs of a row that takes seconds.
const RUNS: usize = 5;

fn main() -> ExitCode {
    // As in the program.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    octoconf::sink::raise_open_files();
    if let Some(part) = process::part() {
        let answer = match part.split_once(' ') {
            Some(("scale", settings)) => cases::scale::part(settings),
            Some(("resident", file)) => cases::resident::part(file),
            _ => panic!("there is no part {part}"),
        };
        println!("{answer}");
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| argument != extent::MEASURE).collect();
    if let Some(status) = sqs::contend(&words) {
        return status;
    }
    let wanted = |case: &&Case| words.is_empty() || words.iter().any(|word| case.name.contains(word.as_str()));
    let chosen: Vec<&Case> = cases::ALL.iter().filter(wanted).collect();
    let names_any = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let (asks, polls) = (names_any("asking"), sqs::ROWS.iter().any(|row| names_any(row)));
    if chosen.is_empty() && !asks && !polls {
        let names: Vec<&str> = cases::ALL.iter().map(|case| case.name).collect();
        eprintln!("no rows are called {}; there are: asking, sqs, {}", words.join(", "), names.join(", "));
        return ExitCode::from(2);
    }
    if extent::rehearses() {
        println!("a rehearsal: each row once, with so little that its figures mean nothing");
    }
    println!("{}", table::machine_line());
    let mut table = Table::default();
    for case in chosen {
        (case.measure)(&mut table);
    }
    if asks {
        asking::print();
    }
    if let Some(figures) = sqs::measure(names_any) {
        table.add_section("sqs", figures);
    }
    if extent::rehearses() {
        return ExitCode::SUCCESS;
    }
    match table.write("target/bench.json") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write target/bench.json: {error}");
            ExitCode::FAILURE
        }
    }
}
