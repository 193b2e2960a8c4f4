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

pub use crate::plain::{json as shown_json, meant};
