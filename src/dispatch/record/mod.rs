//! What the dispatcher counts and remembers of what happened, for others to see: counts for status and metrics,
//! durations, kinds of calls that fail, and log lines that stand for many events. `views` reads these.
//!
//! `counts` are for the status and `tally` for metrics, `histogram` for durations, `troubles` for kinds of calls that fail;
//! `summary` sums up frequent events, and `sums` logs them.

pub(super) mod counts;
pub(super) mod histogram;
pub(super) mod summary;
pub(super) mod sums;
pub(super) mod tally;
pub(super) mod troubles;
