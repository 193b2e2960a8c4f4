//! A million buckets against 2,900: the same messages in batches of one, each size in a process of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::memory::Preload;
use crate::extent::{count, runs};
use crate::table::{Aim, Figure, Table};
use crate::{data, process, run};

const RUNS: usize = 3;

/// The largest number of buckets. Each body comes twice: first for a new bucket, then for an existing one.
const BODIES: u64 = 1_000_000;

const SIZES: [u64; 3] = [data::ACCOUNTS, 100_000, 1_000_000];

pub fn measure(table: &mut Table) {
    // Created by this process, so that the memory needed for that is not reused by the measured one.
    let preloads = SIZES.map(|size| Preload::new(&data::taking_turns(count(BODIES), &data::accounts("1", count(size) as usize))));
    let run = |preload: &Preload| {
        let queue = preload.queue("invoice", 2 * count(BODIES), r#"handler = "order""#);
        Cost::of(&process::ask(&format!("scale {queue}[partners.default]\ndeliver = \"discard\"\nmax_batch = 1\n")))
    };
    let runs: Vec<[Cost; 3]> = (0..runs(RUNS)).map(|_| preloads.each_ref().map(run)).collect();
    table.add(Figure::new("scale, 2,900 buckets: CPU", "us/message", runs.iter().map(|run| run[0].cpu_us).collect()));
    for (at, size) in SIZES.iter().enumerate().skip(1) {
        let pairs: Vec<_> = runs.iter().map(|run| (run[at].cpu_us, run[0].cpu_us)).collect();
        table.add(
            Figure::pairs(format!("scale, {size} buckets: CPU"), "us/message", &pairs, "2,900 buckets").aim(Aim::AtMost(1.5)),
        );
        let pairs: Vec<_> = runs.iter().map(|run| (run[at].seconds, run[0].seconds)).collect();
        table.add(Figure::pairs(format!("scale, {size} buckets: time"), "s", &pairs, "2,900 buckets").aim(Aim::AtMost(1.5)));
    }
    for (at, size) in SIZES.iter().enumerate() {
        let beyond = runs.iter().map(|run| run[at].bytes / 1024.0 / 1024.0).collect();
        table.add(Figure::new(format!("scale, {size} buckets: memory for the run"), "MiB", beyond));
    }
    let beyond = |run: &[Cost; 3]| (run[2].bytes - run[0].bytes) / (SIZES[2] - SIZES[0]) as f64;
    table.add(Figure::new("scale: an idle bucket", "bytes", runs.iter().map(beyond).collect()).aim(Aim::AtMost(1024.0)));
}

struct Cost {
    cpu_us: f64,
    seconds: f64,
    /// The maximum memory of the run, in bytes, beyond what was used before it.
    bytes: f64,
}

impl Cost {
    fn of(answer: &Value) -> Self {
        let number = |name: &str| answer[name].as_f64().expect("a number");
        Self { cpu_us: number("cpu_us"), seconds: number("seconds"), bytes: number("bytes") }
    }
}

/// Runs with these settings, in a process of its own.
pub fn part(settings: &str) -> Value {
    let engine = run::engine(settings);
    let (before, cpu) = (process::memory("VmRSS"), process::cpu());
    let running = AtomicBool::new(true);
    let (done, most) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = before;
            while running.load(Ordering::Acquire) {
                most = most.max(process::memory("VmRSS"));
                thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let done = run::until_empty(engine);
        running.store(false, Ordering::Release);
        (done, watch.join().expect("it only looks"))
    });
    let spent = process::cpu() - cpu;
    json!({
        "cpu_us": spent.as_secs_f64() * 1e6 / done.messages as f64,
        "seconds": done.took.as_secs_f64(),
        "bytes": most - before,
    })
}
