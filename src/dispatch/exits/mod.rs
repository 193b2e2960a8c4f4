//! The ways out of the ledger: a held copy is deleted, returned to its queue or set aside as a dead letter, and leaves
//! once its queue has confirmed that.
//!
//! `leave` decides, `calls` makes the calls to the queue, one at a time for each acker, `letters` follows a dead letter
//! until it is written, and `reason` says why copies are returned. `expire`, `too_long` and `circulate` are three causes.
//! `give_back` returns a message together with those behind it in its FIFO group. `known` remembers what of a message is
//! settled after its copy has left, and `again` finds that among the deliveries of a copy that comes back.

pub(super) mod again;
pub(super) mod calls;
pub(super) mod circulate;
pub(super) mod expire;
pub(super) mod give_back;
pub(super) mod known;
pub(super) mod leave;
pub(super) mod letters;
pub(super) mod reason;
pub(super) mod too_long;
