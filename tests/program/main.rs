//! The program from outside, as a user runs it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

mod admin;
mod commands;
mod demo;
mod interrupted;
mod kill_mid_run;
mod main_job;
mod output;
mod parking;
mod process_limits;
mod reload;
mod run_report;
mod service;
mod stop;
mod stop_partly_settled;
#[path = "../support/mod.rs"]
mod support;
mod verdict_table;
