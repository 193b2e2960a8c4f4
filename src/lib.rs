//! Octoconf takes messages from many queues, runs each through a pipeline, sorts the results into one bucket per
//! partner, and flushes every bucket as soon as its partner can take it.
//!
//! # The path of a message
//!
//! 1. A poller (see [`engine`]) receives the message from its [`queue`], once the dispatcher has given the
//!    poller demand for it. The result is a [`message::Received`], which carries the receipt by which the
//!    message is settled later.
//! 2. The [`dispatch`]er enters the message into its ledger, where it stays until the queue has confirmed how it ended.
//!    A second copy of a held message, or a copy of a message that was settled before, goes no further.
//! 3. A thread of the pool runs the queue's [`handler`], which turns the message into deliveries: a
//!    [`message::Outcome`].
//! 4. The dispatcher puts the outcomes back into the order of receive, and each delivery into the bucket of
//!    its queue and partner.
//! 5. Once the partner may be sent something (rate, back-off, `Retry-After`, breaker, flushes on the wire), a
//!    [`message::Batch`] goes to a delivery thread and its [`sink`], which returns a [`message::Answer`]. A verdict
//!    says what the answer means for the delivery, the bucket and the partner.
//! 6. When all deliveries of a message are accepted, parked or dead letters, an acker deletes the message
//!    ([`message::settle`]). A message that cannot be settled this way is returned to its queue.
//!
//! The dispatcher is pure: time and [`dispatch::Event`]s go in, [`dispatch::Command`]s come out. It has no clock,
//! thread, channel, queue or sink, so its rules are tested in virtual time; the engine supplies all of these.
//! [`config`] turns the operator's file into rules and sinks, and [`admin`] and [`commands`] show what is going on.
//!
//! # In your own program
//!
//! Register your handlers in a [`handler::Registry`], read the settings with it, and pass both results to
//! [`engine::Engine`]:
//!
//! ```no_run
//! use octoconf::config::{self, Context, Environment, FileFormat, Loaded};
//! use octoconf::engine::{Engine, RunOptions};
//! use octoconf::handler::Registry;
//! use octoconf::message::{Message, Outcome};
//! use octoconf::queue::NewMessage;
//!
//! const SETTINGS: &str = r#"
//!     [queues.readings]
//!     source = "memory"
//!     handler = "to_north"
//!
//!     [partners.default]
//!     deliver = "stdout"
//! "#;
//!
//! let mut registry = Registry::new();
//! registry.register("to_north", |message: &Message| Outcome::deliver("north", message.body.clone()));
//!
//! let context = Context { environment: &Environment::default(), handlers: &registry };
//! let Loaded { settings, handlers, .. } = config::parse(SETTINGS, FileFormat::Toml, "the settings", &context)?;
//!
//! let engine = Engine::new(&settings, &handlers)?;
//! let queue = engine.queue("readings").ok_or("there is no such queue")?;
//! queue.send(&[NewMessage { body: "20.1".into(), ..NewMessage::default() }])?;
//!
//! let running = engine.start(RunOptions { until_empty: true, seed: 1 })?;
//! let report = running.wait()?;
//! assert_eq!(report.status.queues[0].counts.delivered, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `tests/examples/` in the repository has complete programs.
//!
//! What the library does to the process around it:
//!
//! * It handles no signals, sets no panic hook and no logger, and changes neither limits nor variables. A program stops an
//!   engine by [`engine::Remote::stop`], and reloads it by [`engine::Remote::reload`].
//! * It calls the logger of the crate `log` from its own threads, among them the one that makes all decisions: the engine
//!   stands still while a logger blocks. The logger should hand lines over, and drop them where nobody takes them.
//! * The configuration comes from the text and the [`config::Environment`] that the program passes in. Only the region, the
//!   server, the keys and the proxy of SQS are looked for in the environment and the files of the process itself.
//! * `deliver = "stdout"` writes whole lines to the descriptor, beside what the program has in the buffer of
//!   [`std::io::stdout`].
//!
//! Handlers are all that a program adds from outside. Another kind of queue or another way to deliver is a change of this
//! crate, since settings, checks and rules name each of them; `.github/CONTRIBUTING.md` lists the places.

#![forbid(unsafe_code)]

// What all modules share, and the decisions.
pub mod message;

pub mod dispatch;

// The edges, one trait each.
pub mod handler;
mod net;
pub mod queue;
pub mod sink;

// Threads, channels and the main loop.
pub mod engine;

// What is configured.
pub mod config;
mod environment;
pub mod settings;

// What operators see and do.
pub mod admin;
pub mod commands;

// Tools that know nothing of messages.
pub mod json;
mod log_limit;
mod lru;
mod mask;
mod panics;
mod plain;
pub mod rfc3339;

#[cfg(test)]
#[allow(dead_code, reason = "the unit tests use a part of it")]
#[path = "../tests/support/server.rs"]
mod scripted_server;
