//! When the room is short: which partner holds more than its share, and what becomes of what it holds.
//!
//! `make_room` decides whose deliveries leave memory unsent, `give_up` where they go: to the parking, or back to their queue. `hidden` counts
//! what went back, `show_again` asks for it once the partner takes, and `bury` makes dead letters of what can neither stay nor go.

pub(super) mod bury;
pub(super) mod give_up;
pub(super) mod hidden;
pub(super) mod make_room;
pub(super) mod show_again;
