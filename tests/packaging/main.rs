//! What surrounds the program: the licences and sources of its dependencies, the systemd units and the scripts that
//! install them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod dependencies;
mod systemd_units;
