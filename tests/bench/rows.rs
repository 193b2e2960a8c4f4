//! What is measured: each gives messages a second, on the real `run` path.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use octoconf::config::{self, Context, Environment, Kind, Loaded};
use octoconf::engine::{Engine, RunOptions};
use octoconf::handler::Handler;
use octoconf::handler::jq;
use octoconf::handler::registry::Registry;
use octoconf::message::{Message, Outcome};
use octoconf::queue::NewMessage;
use tempfile::TempDir;

pub type Measure = fn(&[Bytes]) -> f64;

/// Messages of one run from memory: enough for a second or so.
const FROM_MEMORY: u64 = 2_000_000;

/// What can be reached at all: every core parses, totals, serialises and groups by account. No queue, no ack, no bucket.
pub fn plain_loop(bodies: &[Bytes]) -> f64 {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let order = Registry::new().get("order").expect("it is built in");
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| group(order.as_ref(), bodies, FROM_MEMORY / threads as u64));
        }
    });
    FROM_MEMORY as f64 / start.elapsed().as_secs_f64()
}

fn group(handler: &dyn Handler, bodies: &[Bytes], count: u64) {
    let mut groups: HashMap<_, Vec<Bytes>> = HashMap::new();
    let mut message = Message {
        id: "m".into(),
        body: Bytes::new(),
        attributes: Vec::new(),
        group: None,
        sent_at: SystemTime::UNIX_EPOCH,
        receives: 1,
        open: None,
    };
    for body in bodies.iter().cycle().take(count as usize) {
        message.body = body.clone();
        let Outcome::Deliver(deliveries) = handler.handle(&message) else { panic!("every invoice is good") };
        for delivery in deliveries {
            let waiting = groups.entry(delivery.account).or_default();
            waiting.push(delivery.payload);
            if waiting.len() == 10 {
                waiting.clear();
            }
        }
    }
}

pub fn memory_to_discard(bodies: &[Bytes]) -> f64 {
    from_memory(bodies, r#"handler = "order""#, "", FROM_MEMORY)
}

pub fn memory_jq_to_discard(bodies: &[Bytes]) -> f64 {
    let pipeline = "[handlers.total]\njq = '{invoice, total: (.quantity * .unit_price)}'\nbucket = '.account'\n";
    from_memory(bodies, r#"handler = "total""#, pipeline, FROM_MEMORY / 10)
}

fn from_memory(bodies: &[Bytes], handler: &str, more: &str, messages: u64) -> f64 {
    let folder = tempfile::tempdir().expect("a folder to work in");
    let preload = folder.path().join("preload.jsonl");
    std::fs::write(&preload, bodies.join(&b'\n')).expect("a file to load from");
    let repeat = messages / bodies.len() as u64;
    run(&format!(
        "[admin]\nlisten = \"\"\n[queues.invoice]\nsource = \"memory\"\npreload = {preload:?}\nrepeat = {repeat}\nreceive_batch = 10\n{handler}\n\
         [partners.default]\ndeliver = \"discard\"\nmax_batch = 10\n{more}"
    ))
}

/// Through the embedded queue to a file a partner, all of it synced. Partners' files are there from the first run on, as they are on any
/// day but the first: deleting thousands of files between runs would measure how the file system finds numbers for new ones.
pub fn sqlite_to_file(bodies: &[Bytes]) -> f64 {
    static OUT: OnceLock<TempDir> = OnceLock::new();
    let out = OUT.get_or_init(|| tempfile::tempdir_in("target").expect("a folder for the partners' files"));
    let folder = tempfile::tempdir_in("target").expect("a folder to work in");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let settings = format!(
        "[admin]\nlisten = \"\"\n[queues.invoice]\nsource = \"sqlite\"\npath = {:?}\nhandler = \"order\"\n\
         [partners.default]\ndeliver = \"file\"\npath = {:?}\n",
        file("queue.db"),
        out.path().join("{queue}/{account}.jsonl").display().to_string(),
    );
    fill(&settings, bodies);
    run(&settings)
}

fn fill(settings: &str, bodies: &[Bytes]) {
    let engine = engine(settings);
    let queue = engine.queue("invoice").expect("it is configured");
    for bodies in bodies.chunks(queue.limits().entries) {
        let messages: Vec<NewMessage> =
            bodies.iter().map(|body| NewMessage { body: body.clone(), ..NewMessage::default() }).collect();
        queue.send(&messages).expect("the queue takes them");
    }
}

fn run(settings: &str) -> f64 {
    let engine = engine(settings);
    let start = Instant::now();
    let running = engine.start(RunOptions { until_empty: true, seed: 1 }).expect("threads");
    let report = running.wait().expect("the run ends well");
    let queue = &report.status.queues[0].counts;
    assert_eq!((queue.received, queue.returned, queue.dead), (queue.acked, 0, 0), "every message is delivered");
    queue.acked as f64 / start.elapsed().as_secs_f64()
}

fn engine(text: &str) -> Engine {
    let registry = Registry::new();
    let handlers: Vec<&str> = registry.names().collect();
    let environment = Environment::default();
    let check_jq = |program: &str| jq::check(program).map_err(|error| error.to_string());
    let context = Context { environment: &environment, handlers: &handlers, check_jq: &check_jq };
    let Loaded { settings, .. } = config::parse(text, Kind::Toml, "bench", &context).expect("the configuration is good");
    let registry = registry.with_pipelines(&settings.handlers).unwrap_or_else(|_| panic!("the pipelines compile"));
    debug_assert!(Path::new("Cargo.toml").exists(), "run from the repository's folder");
    Engine::new(&settings, &registry).expect("the engine can be set up")
}
