//! What tests share. Each test program declares this module, and uses a part of it.

#![allow(dead_code, unused_imports, reason = "each test program uses a part of this")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

pub mod admin;
pub mod browser;
pub mod invoices;
pub mod partner;
pub mod program;
pub mod proxy;
pub mod server;
pub mod sqs_server;
