//! The embedded queue in a file: files of other versions, and files that are not as they should be. What several processes
//! do to one file is in `tests/sqlite_processes.rs`, and what holds for every queue in `tests/queue_conformance`.

mod faults;
mod versions;
