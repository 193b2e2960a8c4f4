//! The measurements, one file per family. Each uses the real `run` path, and each row stands beside its limit.

mod disk;
mod hosts;
mod http;
mod independence;
mod latency;
mod memory;
pub mod resident;
pub mod scale;
mod shape;
mod start;
mod threads;

use crate::table::Table;

/// A family of rows, under the name by which it is chosen.
pub struct Case {
    pub name: &'static str,
    pub measure: fn(&mut Table),
}

pub const ALL: [Case; 13] = [
    Case { name: "memory", measure: memory::order },
    Case { name: "jq", measure: memory::jq },
    Case { name: "queues", measure: memory::queues },
    Case { name: "sqlite", measure: disk::sqlite_to_file },
    Case { name: "http-single", measure: http::single },
    Case { name: "http-batches", measure: http::batches },
    Case { name: "hosts", measure: hosts::many },
    Case { name: "threads", measure: threads::more },
    Case { name: "latency", measure: latency::measure },
    Case { name: "independence", measure: independence::measure },
    Case { name: "scale", measure: scale::measure },
    Case { name: "resident", measure: resident::measure },
    Case { name: "start", measure: start::measure },
];
