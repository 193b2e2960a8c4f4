//! Octoconf takes messages from many queues, runs each through a pipeline, sorts the results into one bucket per partner,
//! and flushes every bucket as soon as its partner can take it.

#![forbid(unsafe_code)]

pub mod admin;
pub mod commands;
pub mod config;
pub mod dispatch;
pub mod engine;
pub mod handler;
pub mod json;
pub mod message;
pub mod queue;
pub mod sink;
