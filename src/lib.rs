//! Octoconf takes messages from many queues, runs each through a pipeline, sorts the results into one bucket per partner,
//! and flushes every bucket as soon as its partner can take it.
//!
//! # The way of a message
//!
//! 1. A poller ([`engine`]) receives it from its [`queue`], because the dispatcher gave it demand for one more: a
//!    [`message::Received`], with the receipt by which it is settled.
//! 2. The [`dispatch`]er enters it into its ledger, where it stays until the queue has confirmed how it ended. A second copy, or one
//!    that was settled before, ends here.
//! 3. A thread of the pool has its [`handler`] make deliveries of it: a [`message::Outcome`].
//! 4. The dispatcher puts outcomes back into the order of receive, and each delivery into the bucket of its (queue, partner).
//! 5. Once that partner may be asked (rate, back-off, `Retry-After`, breaker, what is on the wire) a [`message::Batch`] leaves for a
//!    deliver thread and its [`sink`], which gives a [`message::Answer`]. A verdict says what that means for the delivery, the bucket and
//!    the partner.
//! 6. When all of a message's deliveries are accepted, parked or dead letters, an acker deletes it: [`message::settle`]. What cannot be
//!    decided goes back to its queue.
//!
//! The dispatcher is pure: time and [`dispatch::Event`]s in, [`dispatch::Command`]s out. It has no clock, thread, channel, queue or sink,
//! so that its rules are tested in virtual time; the engine gives it all of these. [`config`] makes rules and sinks of what the operator
//! wrote, [`admin`] and [`commands`] show what goes on.
//!
//! # In a program of your own
//!
//! Give [`handler::registry::Registry`] your handlers, and [`engine::Engine`] your settings and that: `tests/examples/` in the repository has whole ones.

#![forbid(unsafe_code)]

pub mod admin;
pub mod commands;
pub mod config;
pub mod dispatch;
pub mod engine;
pub mod handler;
pub mod json;
mod lru;
mod mask;
pub mod message;
mod net;
mod plain;
pub mod queue;
pub mod sink;
