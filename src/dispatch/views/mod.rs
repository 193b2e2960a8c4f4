//! What the dispatcher shows, without a change to itself: the status, the report on one partner and why it waits, the
//! survey of all partners, and how far all work is.

pub(super) mod progress;
pub(super) mod status;
pub(super) mod survey;
pub(super) mod why;
