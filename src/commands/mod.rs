//! The work of the commands, apart from arguments and terminals. Each takes its input and output from its caller.
//!
//! The functions run on the caller's thread and block only for their input, their output and the queues.

pub mod check;
pub mod dead;
pub mod lines;
pub mod listing;
pub mod parked;
pub mod send;
pub mod status;
mod table;
pub mod try_out;

pub use crate::plain::meant;

/// Returns JSON with JSON's escapes for the characters on which a terminal would act; it stays the same JSON.
pub fn shown_json(text: &str) -> String {
    crate::plain::json(text).into_owned()
}
