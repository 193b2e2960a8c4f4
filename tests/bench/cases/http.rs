//! HTTP delivery, against a plain loop of the same client on as many threads with the same server.

use std::thread;
use std::time::Instant;

use bytes::Bytes;
use octoconf::handler::Handler;
use octoconf::handler::Registry;
use octoconf::message::{Message, Outcome};
use ureq::Agent;

use super::memory::Preload;
use crate::extent::{count, runs};
use crate::process::cpu;
use crate::server::Server;
use crate::table::{Aim, Figure, Table};
use crate::{data, run};

/// The number of delivery threads, and of the plain loop's threads.
const THREADS: usize = 32;

const RUNS: usize = 5;

const PLAIN: &str = "plain loop of the client, 32 threads";

pub fn single(table: &mut Table) {
    let accounts = data::accounts("ok-", data::ACCOUNTS as usize);
    let way = Way { accounts: &accounts, messages: count(60_000), batch: 1, partner: "format = \"single\"" };
    measure(table, "http, one message a request, 2,900 partners", &way);
}

pub fn batches(table: &mut Table) {
    // As many accounts as there are full batches of 100 among the 20,000 messages that the
    // engine holds, with some to spare.
    let accounts = data::accounts("ok-", 64);
    let way = Way { accounts: &accounts, messages: count(640_000), batch: 100, partner: "max_batch = 100\nlinger = \"100ms\"" };
    measure(table, "http, 100 messages a request, 64 partners", &way);
}

struct Way<'a> {
    accounts: &'a [String],
    messages: u64,
    batch: u64,
    partner: &'static str,
}

/// The cost of requests.
#[derive(Clone, Copy)]
struct Cost {
    /// The number of requests per second.
    per_second: f64,
    /// This process's CPU time per request in microseconds, without that of the server's thread.
    cpu_us: f64,
    requests: f64,
}

fn measure(table: &mut Table, row: &str, way: &Way<'_>) {
    let server = Server::start();
    let pairs: Vec<(Cost, Cost)> = (0..runs(RUNS)).map(|_| (engine(&server, way), plain_loop(&server, way, &[]))).collect();
    let of = |cost: fn(&Cost) -> f64| pairs.iter().map(|(ours, plain)| (cost(ours), cost(plain))).collect::<Vec<_>>();
    table.add(Figure::pairs(row, "requests/s", &of(|cost| cost.per_second), PLAIN).aim(Aim::AtLeast(0.5)));
    table.add(Figure::pairs(format!("{row}: CPU"), "us/request", &of(|cost| cost.cpu_us), PLAIN));
    if way.batch > 1 {
        let sizes = pairs.iter().map(|(ours, _)| way.messages as f64 / ours.requests);
        table.add(Figure::new(format!("{row}: batch"), "messages", sizes.collect()));
        // A hundred messages cost more than the request that carries them.
        let bodies = data::taking_turns(way.batch, way.accounts);
        let made: Vec<_> =
            pairs.iter().map(|(ours, _)| (ours.per_second, plain_loop(&server, way, &bodies).per_second)).collect();
        table.add(Figure::pairs(format!("{row}, made in the loop too"), "requests/s", &made, PLAIN));
    }
}

/// Returns the number of requests and their cost while `work` runs.
fn observe(server: &Server, work: impl FnOnce()) -> Cost {
    let (requests, ours, theirs, start) = (server.requests(), cpu(), server.cpu(), Instant::now());
    work();
    let took = start.elapsed();
    let requests = (server.requests() - requests) as f64;
    let spent = (cpu() - ours).saturating_sub(server.cpu() - theirs);
    Cost { per_second: requests / took.as_secs_f64(), cpu_us: spent.as_secs_f64() * 1e6 / requests, requests }
}

fn engine(server: &Server, way: &Way<'_>) -> Cost {
    let preload = Preload::new(&data::taking_turns(way.messages, way.accounts));
    let engine = run::engine(&format!(
        "[engine]\ndelivery_threads = {THREADS}\n{}[partners.default]\nurl = \"http://127.0.0.1:{}/{{account}}\"\n{}\n",
        preload.queue("invoice", way.messages, r#"handler = "order""#),
        server.port,
        way.partner
    ));
    observe(server, || {
        let done = run::until_empty(engine);
        assert_eq!(done.messages, way.messages);
    })
}

/// Each thread, with an agent of its own, sends the same prepared bytes in one request after the other. If `made` is
/// not empty, each request instead carries what `order` makes of these bodies, computed anew.
fn plain_loop(server: &Server, way: &Way<'_>, made: &[Bytes]) -> Cost {
    let payload = r#"{"type":"invoice.issued","invoice":"536365","issued_at":"12/1/2010 8:26","country":"United Kingdom","quantity":250,"total":2512.5}"#;
    let payloads = vec![payload; way.batch as usize].join(",");
    let ready = if way.batch == 1 { payloads } else { format!("[{payloads}]") };
    let order = Registry::new().get("order").expect("it is built in");
    let each = way.messages / way.batch / THREADS as u64;
    observe(server, || {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (ready, order) = (&ready, &order);
                scope.spawn(move || {
                    // Without timeouts: with a timeout, ureq's own resolver starts a thread per request.
                    let agent = Agent::new_with_defaults();
                    let url = format!("http://127.0.0.1:{}/ok-{thread}", server.port);
                    for _ in 0..each {
                        let body = if made.is_empty() { ready.clone().into_bytes() } else { payloads_of(order.as_ref(), made) };
                        let answer = agent.post(&url).content_type("application/json").send(body.as_slice());
                        let text = answer.expect("an answer").body_mut().read_to_vec().expect("its body");
                        assert_eq!(text, b"ok");
                    }
                });
            }
        });
    })
}

/// Returns what the handler makes of messages, as a JSON array.
fn payloads_of(handler: &dyn Handler, bodies: &[Bytes]) -> Vec<u8> {
    let mut array = b"[".to_vec();
    for body in bodies {
        let message = Message::new("m", body.clone());
        let Outcome::Deliver(deliveries) = handler.handle(&message) else { panic!("every invoice is good") };
        for delivery in deliveries {
            array.extend_from_slice(&delivery.payload);
            array.push(b',');
        }
    }
    array.pop();
    array.push(b']');
    array
}
