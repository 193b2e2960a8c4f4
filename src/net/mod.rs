//! What both queues and sinks need in order to reach servers over the network.

pub mod clocks;
pub mod names;
pub mod tls;
