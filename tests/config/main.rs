//! Configuration: the layers, what is wrong, what is promised, and the files in `conf/`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

mod contract;
mod examples;
mod layers;
mod misfits;
mod partners_dir;
mod problems;
mod secrets;
mod warnings;
