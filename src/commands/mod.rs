//! What the commands do, apart from arguments and terminals: each takes its input and output from its caller.

pub mod check;
pub mod dead;
pub mod lines;
pub mod listing;
pub mod parked;
pub mod send;
pub mod status;
mod table;
pub mod try_out;
