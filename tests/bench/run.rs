//! Runs the engine as `run` does: created from a configuration, and run until its queues are empty.

use std::time::{Duration, Instant};

use bytes::Bytes;
use octoconf::config::{self, Context, Environment, FileFormat, Loaded};
use octoconf::dispatch::QueueCounts;
use octoconf::engine::{Engine, RunOptions};
use octoconf::handler::Registry;
use octoconf::queue::NewMessage;

/// The result of a run.
pub struct Done {
    pub messages: u64,
    pub took: Duration,
}

impl Done {
    pub fn per_second(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }
}

/// Creates an engine with the built-in handlers.
pub fn engine(text: &str) -> Engine {
    engine_with(&Registry::new(), text)
}

pub fn engine_with(registry: &Registry, text: &str) -> Engine {
    let text = format!("[admin]\nlisten = \"\"\n{text}");
    let context = Context { environment: &Environment::default(), handlers: registry };
    let loaded = config::parse(&text, FileFormat::Toml, "bench", &context);
    let Loaded { settings, handlers, .. } = loaded.unwrap_or_else(|errors| panic!("the configuration is not good: {errors}"));
    Engine::new(&settings, &handlers).expect("the engine can be set up")
}

/// Runs until every queue is empty. Asserts that every message was delivered, once as far as the engine knows.
pub fn until_empty(engine: Engine) -> Done {
    let start = Instant::now();
    let running = engine.start(RunOptions { until_empty: true, seed: 1 }).expect("threads");
    let report = running.wait().expect("the run ends well");
    let took = start.elapsed();
    let sum = |count: fn(&QueueCounts) -> u64| report.status.queues.iter().map(|queue| count(&queue.counts)).sum::<u64>();
    let messages = sum(|counts| counts.acked);
    let (received, otherwise) = (sum(|counts| counts.received), sum(|counts| counts.returned + counts.dead));
    assert_eq!((received, otherwise), (messages, 0), "every message is delivered");
    Done { messages, took }
}

/// Puts messages on the queue `invoice`.
pub fn fill(engine: &Engine, bodies: &[Bytes]) {
    let queue = engine.queue("invoice").expect("it is configured");
    for bodies in bodies.chunks(queue.limits().entries) {
        let messages: Vec<NewMessage> =
            bodies.iter().map(|body| NewMessage { body: body.clone(), ..NewMessage::default() }).collect();
        queue.send(&messages).expect("the queue takes them");
    }
}
