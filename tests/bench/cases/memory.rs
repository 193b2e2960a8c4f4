//! From the queue in memory to nowhere: what the engine itself costs.

use std::collections::HashMap;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use jaq_core::data::JustLut;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars};
use jaq_json::Val;
use octoconf::handler::Handler;
use octoconf::handler::Registry;
use octoconf::message::{Message, Outcome};

use super::shape;
use crate::extent::{count, runs};
use crate::table::{Aim, Figure, Table};
use crate::{RUNS, data, run};

/// The number of messages per run, enough for a second or so.
const MESSAGES: u64 = 2_000_000;

const PROGRAM: &str = "{invoice, total: (.quantity * .unit_price)}";
const BUCKET: &str = ".account";

const PLAIN: &str = "plain loop, all cores";

pub fn order(table: &mut Table) {
    let bodies = data::bodies();
    let measure = |_| {
        let of_engine = engine(&bodies, r#"handler = "order""#, "", count(MESSAGES));
        let preload = Preload::new(&bodies);
        let settings = format!("{}{DISCARD}", preload.queue("invoice", count(MESSAGES), r#"handler = "order""#));
        (of_engine, shape::per_second(&settings, count(MESSAGES)), plain_loop(&bodies))
    };
    let seen: Vec<_> = (0..runs(RUNS)).map(measure).collect();
    let limit = "limit: parse, total, serialise, group; all cores";
    table.add(Figure::new(limit, "messages/s", seen.iter().map(|(_, _, limit)| *limit).collect()));
    let pairs: Vec<_> = seen.iter().map(|(_, shape, limit)| (*shape, *limit)).collect();
    table.add(Figure::pairs("limit of the shape: its threads and channels, nothing kept", "messages/s", &pairs, PLAIN));
    let pairs: Vec<_> = seen.iter().map(|(engine, _, limit)| (*engine, *limit)).collect();
    table.add(Figure::pairs("memory -> order -> discard", "messages/s", &pairs, PLAIN).aim(Aim::AtLeast(0.6)));
}

pub fn jq(table: &mut Table) {
    let bodies = data::bodies();
    let messages = count(MESSAGES) / 10;
    let pipeline = format!("[handlers.total]\njq = '{PROGRAM}'\nbucket = '{BUCKET}'\n");
    let pairs: Vec<_> = (0..runs(RUNS))
        .map(|_| (engine(&bodies, r#"handler = "total""#, &pipeline, messages), jaq_loop(&bodies, messages)))
        .collect();
    table.add(
        Figure::pairs("memory -> jq -> discard", "messages/s", &pairs, "jaq alone in a loop, all cores").aim(Aim::AtLeast(0.5)),
    );
}

/// Compares the same traffic on one queue and on twenty.
pub fn queues(table: &mut Table) {
    let bodies = data::bodies();
    let with = |among: u64| {
        let preload = Preload::new(&bodies);
        let queue = |number: u64| preload.queue(&format!("q{number}"), count(MESSAGES) / among, r#"handler = "order""#);
        let queues: String = (0..among).map(queue).collect();
        run::until_empty(run::engine(&format!("{queues}{DISCARD}"))).per_second()
    };
    let pairs: Vec<_> = (0..runs(RUNS)).map(|_| (with(20), with(1))).collect();
    table.add(Figure::pairs("memory -> order -> discard, 20 queues", "messages/s", &pairs, "one queue"));
}

const DISCARD: &str = "[partners.default]\ndeliver = \"discard\"\nmax_batch = 10\n";

fn engine(bodies: &[Bytes], handler: &str, more: &str, messages: u64) -> f64 {
    let preload = Preload::new(bodies);
    run::until_empty(run::engine(&format!("{}{DISCARD}{more}", preload.queue("invoice", messages, handler)))).per_second()
}

/// A file of bodies with which a queue starts.
pub struct Preload {
    folder: tempfile::TempDir,
    bodies: u64,
}

impl Preload {
    pub fn new(bodies: &[Bytes]) -> Self {
        let folder = tempfile::tempdir().expect("a folder to work in");
        std::fs::write(folder.path().join("preload.jsonl"), bodies.join(&b'\n')).expect("a file to load from");
        Self { folder, bodies: bodies.len() as u64 }
    }

    /// Returns the section of a queue with that many messages, received in tens as SQS returns
    /// them. `more` are further keys.
    pub fn queue(&self, name: &str, messages: u64, more: &str) -> String {
        let repeat = (messages / self.bodies).max(1);
        let file = self.folder.path().join("preload.jsonl");
        format!("[queues.{name}]\nsource = \"memory\"\npreload = {file:?}\nrepeat = {repeat}\nreceive_batch = 10\n{more}\n")
    }
}

/// Runs `work` on every core, and returns the number of messages per second.
fn on_all_cores(messages: u64, work: impl Fn(u64) + Sync) -> f64 {
    let cores = thread::available_parallelism().map_or(1, usize::from) as u64;
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| work(messages / cores));
        }
    });
    messages as f64 / start.elapsed().as_secs_f64()
}

/// The upper limit: every core parses, computes totals, serialises and groups by account. There is no
/// queue, no deletion and no bucket.
fn plain_loop(bodies: &[Bytes]) -> f64 {
    let order = Registry::new().get("order").expect("it is built in");
    on_all_cores(count(MESSAGES), |messages| group(order.as_ref(), bodies, messages))
}

fn group(handler: &dyn Handler, bodies: &[Bytes], messages: u64) {
    let mut groups: HashMap<_, Vec<Bytes>> = HashMap::new();
    let mut message = Message::new("m", Bytes::new());
    for body in bodies.iter().cycle().take(messages as usize) {
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

/// What jaq's own crates need for the same two programs, with their own reader and writer, independently on every core.
fn jaq_loop(bodies: &[Bytes], messages: u64) -> f64 {
    on_all_cores(messages, |count| {
        let (program, bucket) = (compile(PROGRAM), compile(BUCKET));
        let mut line = Vec::new();
        for body in bodies.iter().cycle().take(count as usize) {
            let value = jaq_json::read::parse_single(body).expect("every invoice is good");
            line.clear();
            let payload = first(&program, value.clone());
            jaq_json::write::write(&mut line, &jaq_json::write::Pp::default(), 0, &payload).expect("memory takes it");
            std::hint::black_box((&line, first(&bucket, value)));
        }
    })
}

fn compile(code: &str) -> Filter<JustLut<Val>> {
    let arena = Arena::default();
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let modules = Loader::new(definitions).load(&arena, File { code, path: () }).unwrap_or_else(|_| panic!("it parses"));
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    Compiler::default().with_funs(functions).compile(modules).unwrap_or_else(|_| panic!("it compiles"))
}

fn first(filter: &Filter<JustLut<Val>>, input: Val) -> Val {
    let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([]));
    filter.id.run((context, input)).next().and_then(Result::ok).expect("one result")
}
