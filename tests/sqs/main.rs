//! The program on a real SQS server, or on one that is none.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod bad_input;
mod dead_redrive;
mod instances;
mod invoices;
mod policies;
mod queue_comes_and_goes;
#[path = "../support/mod.rs"]
mod support;
mod two_tiers;
