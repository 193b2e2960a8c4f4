//! The path from SQS, measured in CPU time: the server is another process, and its time must not count.
//!
//! Each contender is a process of its own that empties a queue of the tests' SQS server and prints its costs: the
//! engine; our queue alone; the bare calls of rusoto over the same HTTP client; AWS's own client on tokio, which is the
//! limit of the row. All but the engine only receive and delete. The contenders take turns, so that a machine that
//! becomes slower becomes slower for all of them. The rows of `http` have the engine alone.

mod contend;
mod figures;
mod http;
mod idle;
mod message;
mod rusoto;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use self::figures::Figures;
use crate::RUNS;
use crate::extent::{MEASURE, rehearses, runs};
use crate::support::sqs_server::{SqsServer, TestQueue, aws_environment};
use crate::table::median;

pub use self::contend::contend;

/// The number of messages per run: the tests' server becomes slower with the depth of a queue.
const MESSAGES: usize = 1_500;

/// The number of accounts: as many as the talk had buckets.
const ACCOUNTS: u32 = 2_900;

/// The sizes of bodies in bytes, and the names of their rows.
const SIZES: [(usize, &str); 2] = [(300, "300 B"), (20_000, "20 kB")];

/// The names of the rows, by which they are chosen.
pub const ROWS: [&str; 4] = ["sqs 300 B", "sqs 20 kB", "sqs http", "sqs idle"];

/// Measures and prints the rows that are wanted, and returns their figures as JSON.
pub fn measure(wanted: impl Fn(&str) -> bool) -> Option<Value> {
    let sizes = SIZES.iter().filter(|(_, name)| wanted(&format!("sqs {name}")));
    let mut figures = Vec::new();
    let mut server = None;
    for (bytes, name) in sizes {
        figures.push(size(server.get_or_insert_with(SqsServer::start), *bytes, name));
    }
    if !figures.is_empty() {
        figures::print(&figures);
    }
    let http = wanted("sqs http").then(|| http::measure(server.get_or_insert_with(SqsServer::start)));
    let idle = wanted("sqs idle").then(|| idle::measure(server.get_or_insert_with(SqsServer::start)));
    if let Some(idle) = &idle {
        idle.print();
    }
    let rows: Vec<Value> = figures.iter().map(Figures::json).collect();
    server.map(|_| json!({ "busy": rows, "http": http, "idle": idle.map(|idle| idle.json()) }))
}

fn messages() -> usize {
    if rehearses() { MESSAGES / 10 } else { MESSAGES }
}

/// Measures all contenders with messages of one size.
fn size(server: &SqsServer, bytes: usize, name: &str) -> Figures {
    let runs: Vec<[Value; 4]> = (0..runs(RUNS))
        .map(|run| {
            let engine =
                emptied(server, (bytes, ACCOUNTS), run, |queue| this_program(&["engine", &server.endpoint(), &queue.name]));
            let queue =
                emptied(server, (bytes, ACCOUNTS), run, |queue| this_program(&["queue", &server.endpoint(), &queue.name]));
            let rusoto =
                emptied(server, (bytes, ACCOUNTS), run, |queue| this_program(&["rusoto", &server.endpoint(), &queue.url]));
            // AWS's client takes minutes to build, so in a test run our queue's figures stand in for it.
            let aws_sdk = if rehearses() {
                queue.clone()
            } else {
                emptied(server, (bytes, ACCOUNTS), run, |queue| aws_sdk(&[&server.endpoint(), &queue.url]))
            };
            [engine, queue, rusoto, aws_sdk]
        })
        .collect();
    let figure = |said: &Value, key: &str| said[key].as_f64().expect("a figure");
    let cpu = |run: &[Value; 4], who: usize| figure(&run[who], "cpu_us") / figure(&run[who], "counted");
    let of_engine = |key: &str| median(runs.iter().map(|[engine, ..]| figure(engine, key)));
    Figures {
        size: name.to_owned(),
        runs: runs.len(),
        cpu_us: [0, 1, 2, 3].map(|who| median(runs.iter().map(|run| cpu(run, who)))),
        of_limit: [0, 1, 2].map(|who| median(runs.iter().map(|run| cpu(run, who) / cpu(run, 3)))),
        requests_a_message: of_engine("requests") / messages() as f64,
        empty_polls: of_engine("empty_polls"),
    }
}

/// Returns what a contender prints about a queue that it has emptied, of messages of this size for so many accounts.
fn emptied(
    server: &SqsServer,
    (bytes, accounts): (usize, u32),
    run: usize,
    contender: impl Fn(&TestQueue<'_>) -> Command,
) -> Value {
    let queue = server.queue("bench", &[]);
    queue.send(&message::bodies(bytes, accounts, messages(), run as u64));
    let said = outcome(contender(&queue).arg(messages().to_string()));
    assert_eq!(queue.counts(), (0, 0, 0), "every message was deleted");
    queue.delete();
    said
}

/// Returns the command that runs this program as one of the contenders.
fn this_program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a name"));
    command.arg(contend::WORD).args(arguments);
    if !rehearses() {
        command.arg(MEASURE);
    }
    command
}

fn aws_sdk(arguments: &[&str]) -> Command {
    let program = PathBuf::from("target/aws-sdk/release/octoconf-bench-aws-sdk");
    assert!(program.exists(), "{} is missing: scripts/bench builds it", program.display());
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn outcome(command: &mut Command) -> Value {
    let output = command.envs(aws_environment()).stderr(Stdio::inherit()).output().expect("a contender starts");
    assert!(output.status.success(), "{command:?} ended with {}", output.status);
    serde_json::from_slice(&output.stdout).expect("a contender prints an object")
}
