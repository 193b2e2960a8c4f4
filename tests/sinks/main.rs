//! Sinks: what goes over HTTP, which answers mean what, and which settings lead where. What holds for every sink is in
//! `tests/sink_conformance`.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod http_formats;
mod http_keep_alive;
mod http_no_answer;
mod http_retry_after;
mod http_stale_connection;
mod http_tls;
mod http_verdict;
mod settings;
#[path = "../support/mod.rs"]
mod support;
