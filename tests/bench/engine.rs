//! The benchmarks: each row beside its limit, measured in the same run, medians over repeated runs. Called by `scripts/bench`.
//!
//! Prints a table and writes `target/bench.json`. Nothing here asserts on time: machines differ by a factor of two from hour to hour, so
//! a figure counts as a ratio to its limit.

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
mod data;
mod rows;
mod table;

use std::process::ExitCode;

use table::{Row, Table};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counted runs of each row.
const RUNS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| name.contains(argument.as_str()));
    let bodies = data::bodies();
    let mut table = Table::new();
    let measures: [(&str, rows::Measure); 4] = [
        ("limit: plain loop, all cores", rows::plain_loop),
        ("memory -> order -> discard", rows::memory_to_discard),
        ("memory -> jq -> discard", rows::memory_jq_to_discard),
        ("sqlite -> order -> file", rows::sqlite_to_file),
    ];
    let (limit_name, limit) = measures[0];
    for (name, measure) in measures {
        if !wanted(name) && name != limit_name {
            continue;
        }
        // The limit is measured again right before each run of a row: the machine's speed drifts.
        let pairs: Vec<(f64, f64)> = (0..RUNS).map(|_| (measure(&bodies), limit(&bodies))).collect();
        table.add(Row::new(name, &pairs));
    }
    table.print();
    if wanted("asking for status") {
        asking::print();
    }
    match table.write("target/bench.json") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write target/bench.json: {error}");
            ExitCode::FAILURE
        }
    }
}
