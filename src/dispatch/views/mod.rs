//! What is told of the dispatcher, and what is counted for that: the status, a partner and why it waits, a survey of all partners, metrics,
//! and log lines that stand for many events.

pub(super) mod counts;
pub(super) mod histogram;
pub(super) mod progress;
pub(super) mod status;
pub(super) mod summary;
pub(super) mod sums;
pub(super) mod survey;
pub(super) mod tally;
pub(super) mod why;
