//! The whole service inside another program, with a handler in code: `cargo run --example embedded`.
//!
//! Three readings of two meters are on a queue in memory. The readings of each meter go to its bucket, in order, and
//! from there to standard output.

use std::error::Error;

use bytes::Bytes;
use octoconf::config::{self, Context, Environment, FileFormat, Loaded};
use octoconf::engine::{Engine, RunOptions};
use octoconf::handler::Registry;
use octoconf::message::{Delivery, Message, Outcome};
use octoconf::queue::NewMessage;

const SETTINGS: &str = r#"
[queues.readings]
source = "memory"
handler = "by_meter"

[partners.default]
deliver = "stdout"
"#;

/// Delivers a body of the form `METER VALUE` to that meter's bucket.
fn by_meter(message: &Message) -> Outcome {
    match message.body.iter().position(|byte| *byte == b' ') {
        Some(end) => {
            let account = String::from_utf8_lossy(&message.body.slice(..end)).as_ref().into();
            Outcome::Deliver([Delivery { account, payload: message.body.slice(end + 1..) }].into_iter().collect())
        }
        None => Outcome::reject("no meter is named"),
    }
}

/// Public only so that a test can run it.
#[expect(clippy::print_stderr, reason = "an example shows what it does")]
pub fn main() -> Result<(), Box<dyn Error>> {
    let mut registry = Registry::new();
    registry.register("by_meter", by_meter);

    let context = Context { environment: &Environment::default(), handlers: &registry };
    let Loaded { settings, handlers, .. } = config::parse(SETTINGS, FileFormat::Toml, "the settings", &context)?;

    let engine = Engine::new(&settings, &handlers)?;
    let queue = engine.queue("readings").ok_or("there is no such queue")?;
    let bodies = ["north 20.1", "south 23.4", "north 20.3"].map(|text| Bytes::from_static(text.as_bytes()));
    queue.send(&bodies.map(|body| NewMessage { body, ..NewMessage::default() }))?;

    let running = engine.start(RunOptions { until_empty: true, seed: 1 })?;
    let report = running.wait()?;
    for queue in &report.status.queues {
        eprintln!("{}: {} received, {} delivered", queue.name, queue.counts.received, queue.counts.delivered);
    }
    Ok(())
}
