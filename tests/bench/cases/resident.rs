//! Memory with as many messages held as allowed: 20,000 of 300 bytes, from the embedded queue, for 2,900
//! partners that take one per second.

use std::thread;
use std::time::{Duration, Instant};

use octoconf::engine::RunOptions;
use serde_json::{Value, json};

use crate::extent::runs;
use crate::table::{Aim, Figure, Table};
use crate::{data, process, run};

const RUNS: usize = 3;
const HELD: usize = 20_000;
const MESSAGES: u64 = 60_000;
const BYTES: usize = 300;

pub fn measure(table: &mut Table) {
    let run = || {
        let folder = tempfile::tempdir_in("target").expect("a folder to work in");
        let file = folder.path().join("queue.db").display().to_string();
        // Filled by this process, as another program would do it, so that the memory needed for that is not counted.
        let accounts = data::accounts("1", data::ACCOUNTS as usize);
        run::fill(&run::engine(&settings(&file)), &data::padded(MESSAGES, &accounts, BYTES));
        process::ask(&format!("resident {file}"))
    };
    let answers: Vec<Value> = (0..runs(RUNS)).map(|_| run()).collect();
    let number = |name: &str| answers.iter().map(|answer| answer[name].as_f64().expect("a number")).collect::<Vec<_>>();
    table.add(Figure::new("held: messages of 300 bytes", "messages", number("held")));
    let resident = number("bytes").iter().map(|bytes| bytes / 1024.0 / 1024.0).collect();
    table.add(Figure::new("held: resident memory of the process", "MiB", resident).aim(Aim::AtMost(64.0)));
}

fn settings(file: &str) -> String {
    format!(
        "[engine]\nshutdown_timeout = \"1s\"\n[queues.invoice]\nsource = \"sqlite\"\npath = {file:?}\nhandler = \"order\"\n\
         [partners.default]\ndeliver = \"discard\"\nmax_batch = 1\nrate = \"1/s\"\n",
    )
}

/// Runs in a process of its own, on a queue that has messages.
pub fn part(file: &str) -> Value {
    let engine = run::engine(&settings(file));
    let running = engine.start(RunOptions { until_empty: false, seed: 1 }).expect("threads");
    let remote = running.remote();
    let (mut held, mut bytes) = (0, 0.0_f64);
    let mut full_since = None;
    let start = Instant::now();
    // Two seconds with the engine full, in which held messages are settled and new ones received.
    while full_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_secs(2)) {
        assert!(start.elapsed() < Duration::from_secs(60), "the engine never held what it may: {held}");
        thread::sleep(Duration::from_millis(50));
        let now = remote.status().expect("it runs").in_flight;
        held = held.max(now);
        if now * 100 >= HELD * 95 {
            full_since.get_or_insert_with(Instant::now);
            bytes = bytes.max(process::memory("VmRSS"));
        }
    }
    remote.stop();
    running.wait().expect("the run ends well");
    json!({ "held": held, "bytes": bytes })
}
