//! Handlers: what every one of them must do, and scenarios of single ones.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod conformance;
mod embedded;
mod environment;
mod invoices;
#[path = "../support/mod.rs"]
mod support;
