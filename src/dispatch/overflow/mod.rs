//! What happens when the room is short: which partner holds more than its share, and where its deliveries go.
//!
//! `make_room` decides whose deliveries leave memory unsent, `shed` where they go: to the parking, or back to their
//! queue. `hidden` counts the messages that went back, `show_again` asks for them once the partner takes, and `bury`
//! makes dead letters of deliveries that can neither stay nor go.

pub(super) mod bury;
pub(super) mod hidden;
pub(super) mod make_room;
pub(super) mod shed;
pub(super) mod show_again;
