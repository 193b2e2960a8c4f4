//! What both queues and sinks need in order to reach others over the network.

pub mod clock;
pub mod names;
