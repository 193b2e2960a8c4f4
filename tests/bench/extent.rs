//! How much is measured. `cargo bench` measures all of it; run as a test (`cargo test --bench engine`) each row runs once, with so little
//! that it shows nothing but that it works.

use std::time::Duration;

/// Cargo gives it to a benchmark that is to measure.
pub const MEASURE: &str = "--bench";

/// Whether this is a test. Processes that measure a part are told with [`MEASURE`] too.
pub fn rehearses() -> bool {
    !std::env::args().any(|argument| argument == MEASURE)
}

pub fn runs(all: usize) -> usize {
    if rehearses() { 1 } else { all }
}

/// Messages, accounts or partners.
pub fn count(all: u64) -> u64 {
    if rehearses() { all / 100 } else { all }
}

pub fn time(all: Duration) -> Duration {
    if rehearses() { all / 10 } else { all }
}
