//! What both queues and sinks need in order to reach servers over the network.

pub mod clock;
pub mod names;
pub mod tls;
