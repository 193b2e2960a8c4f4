//! How much is measured. `cargo bench` measures everything. Run as a test (`cargo test --bench engine`), each row runs
//! once, with so little work that it only shows that the row works.

use std::time::Duration;

/// The argument that cargo passes to a benchmark that should measure.
pub const MEASURE: &str = "--bench";

/// Whether this run is a test. Child processes that measure are also started with [`MEASURE`].
pub fn rehearses() -> bool {
    !std::env::args().any(|argument| argument == MEASURE)
}

pub fn runs(all: usize) -> usize {
    if rehearses() { 1 } else { all }
}

/// Reduces a number of messages, accounts or partners if this run is a test.
pub fn count(all: u64) -> u64 {
    if rehearses() { all / 100 } else { all }
}

pub fn time(all: Duration) -> Duration {
    if rehearses() { all / 10 } else { all }
}
