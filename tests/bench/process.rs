//! The costs of a process, as Linux counts them.

use std::time::Duration;

use serde_json::Value;

use crate::extent::{MEASURE, rehearses};

/// The variable that tells this binary to run one part in a process of its own.
const PART: &str = "OCTOCONF_BENCH_PART";

/// Returns the CPU time of this process so far, in units of a hundredth of a second (`USER_HZ`, fixed in the
/// interface), including threads that have ended.
pub fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // The second field is a name in parentheses that may hold anything. User and system time are fields
    // 14 and 15 (proc_pid_stat(5)).
    let (_, rest) = text.rsplit_once(") ").expect("a name");
    let ticks = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

/// Returns a figure of this process's memory in bytes: `VmRSS` is the resident memory.
pub fn memory(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("the kernel says it");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0
}

/// Returns the part that this process should run, if it is a child of the benchmark.
pub fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Runs a part in a process of its own, so that no other memory is counted, and returns what the part prints.
pub fn ask(part: &str) -> Value {
    let binary = std::env::current_exe().expect("this binary has a path");
    let mut command = std::process::Command::new(binary);
    if !rehearses() {
        command.arg(MEASURE);
    }
    let output = command.env(PART, part).stderr(std::process::Stdio::inherit()).output();
    let output = output.expect("the part starts");
    assert!(output.status.success(), "the part {part} failed");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
