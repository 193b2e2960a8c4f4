//! The tests' own tools: the books of the chaos run, the proxy and the SQS server.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

#[path = "../chaos/books.rs"]
#[allow(dead_code, reason = "the chaos run uses the rest")]
mod books;
mod chaos_books;
mod proxy_faults;
mod proxy_messages;
mod sqs_server;
#[path = "../support/mod.rs"]
mod support;
#[path = "../chaos/traffic.rs"]
#[allow(dead_code, reason = "the chaos run uses the rest")]
mod traffic;
