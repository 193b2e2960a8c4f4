//! The whole path: from SQS through a handler to partners over HTTP, and the delete. The partners are in this process and
//! the engine in another, so that only the engine's CPU time counts.

use serde_json::{Value, json};

use super::{emptied, this_program};
use crate::RUNS;
use crate::extent::runs;
use crate::server::Server;
use crate::support::sqs_server::SqsServer;
use crate::table::median;

/// The bytes of a message's body.
const BYTES: usize = 300;

/// A way to send, with the CPU time of a message in microseconds that Vector 0.58 needs for the same. That was measured
/// apart from these runs.
struct Way {
    name: &'static str,
    accounts: u32,
    partner: &'static str,
    vector_cpu_us: f64,
}

const WAYS: [Way; 2] = [
    Way { name: "one a request", accounts: 2_900, partner: "format = \"single\"", vector_cpu_us: 61.0 },
    // So few partners that a batch fills up to some fifty messages at the pace of the tests' server.
    Way { name: "in batches", accounts: 20, partner: "linger = \"1s\"", vector_cpu_us: 57.0 },
];

/// The medians for one way.
struct Figure {
    way: &'static Way,
    runs: usize,
    cpu_us: f64,
    messages_a_request: f64,
}

/// Measures and prints both ways, and returns their figures as JSON.
pub fn measure(server: &SqsServer) -> Value {
    println!("{:41} {:>14} {:>10} {:>5}", "\nsqs -> order -> http -> delete", "us", "of Vector", "runs");
    let figures = WAYS.iter().map(|way| {
        let figure = measure_way(server, way);
        let Figure { runs, cpu_us, messages_a_request, .. } = figure;
        println!(
            "{:40} {cpu_us:>14.1} {:>10.3} {runs:>5}",
            format!("{}: CPU of a message", way.name),
            cpu_us / way.vector_cpu_us
        );
        println!("{:40} {messages_a_request:>14.1}", format!("{}: messages a request", way.name));
        figure.json()
    });
    Value::Array(figures.collect())
}

impl Figure {
    fn json(&self) -> Value {
        json!({
            "way": self.way.name, "runs": self.runs, "cpu_us": self.cpu_us, "of_vector": self.cpu_us / self.way.vector_cpu_us,
            "messages_a_request": self.messages_a_request,
        })
    }
}

fn measure_way(sqs: &SqsServer, way: &'static Way) -> Figure {
    let said: Vec<(f64, f64)> = (0..runs(RUNS))
        .map(|run| {
            let partners = Server::start();
            let settings = format!("url = \"http://127.0.0.1:{}/{{account}}\"\n{}", partners.port, way.partner);
            let emptied = emptied(sqs, (BYTES, way.accounts), run, |queue| {
                this_program(&["http", &settings, &sqs.endpoint(), &queue.name])
            });
            let figure = |key: &str| emptied[key].as_f64().expect("a figure");
            (figure("cpu_us") / figure("counted"), super::messages() as f64 / partners.requests() as f64)
        })
        .collect();
    Figure {
        way,
        runs: said.len(),
        cpu_us: median(said.iter().map(|(cpu, _)| *cpu)),
        messages_a_request: median(said.iter().map(|(_, messages)| *messages)),
    }
}
