//! What the dispatcher reports, and what it counts for that: the status, the report on one partner and why it waits,
//! the survey of all partners, metrics, and log lines that stand for many events.

pub(super) mod counts;
pub(super) mod histogram;
pub(super) mod progress;
pub(super) mod status;
pub(super) mod summary;
pub(super) mod sums;
pub(super) mod survey;
pub(super) mod tally;
pub(super) mod why;
