//! Sends stamped messages at a steady pace through a running engine, and measures how long they
//! take to reach their partners.

use std::thread;
use std::time::{Duration, Instant};

use octoconf::engine::{Engine, RunOptions};
use octoconf::handler::Registry;
use octoconf::queue::{NewMessage, Queue};

use crate::run;
use crate::server::Server;
use crate::stamp::{self, Arrival};

/// The interval at which groups of messages are sent.
const BEAT: Duration = Duration::from_millis(1);

/// How long the run waits for the last messages.
const PATIENCE: Duration = Duration::from_secs(20);

/// The accounts that receive messages, and the pace.
pub struct Traffic<'a> {
    pub accounts: &'a [String],
    /// The number of messages per second; the accounts take turns.
    pub rate: u64,
    pub time: Duration,
    /// Messages sent at once before the others: the accounts, and the number for each.
    pub burst: (&'a [String], u64),
    /// Additional keys of `[engine]` and of `[partners.default]`.
    pub engine: &'static str,
    pub partner: &'static str,
}

/// The arrivals at partners that answer (`ok-…`).
pub struct Came {
    /// The number of messages sent to these partners.
    pub sent: usize,
    /// The arrivals in order, repetitions included.
    pub arrivals: Vec<Arrival>,
    /// The time from the first message sent to the last arrival.
    pub took: Duration,
}

impl Traffic<'_> {
    /// Runs an engine and sends. Ends once every message to a partner that answers has arrived, or 20 s later.
    pub fn run(&self, server: &Server) -> Came {
        let engine = self.engine_at(server);
        let queue = engine.queue("invoice").expect("it is configured");
        let running = engine.start(RunOptions { until_empty: false, seed: 1 }).expect("threads");
        let start = Instant::now();
        let sent = self.send(queue.as_ref());
        let mut arrivals: Vec<Arrival> = Vec::with_capacity(sent);
        while arrivals.len() < sent {
            let Ok(arrival) = server.arrivals.recv_timeout(PATIENCE) else { break };
            arrivals.push(arrival);
        }
        let took = start.elapsed();
        running.remote().stop();
        running.wait().expect("the run ends well");
        // Repetitions that arrive after all messages are collected here. One that arrives earlier, in place of another
        // message, is already among the arrivals.
        arrivals.extend(server.arrivals.try_iter());
        Came { sent, arrivals, took }
    }

    fn engine_at(&self, server: &Server) -> Engine {
        let mut registry = Registry::new();
        registry.register("stamped", stamp::handle);
        run::engine_with(
            &registry,
            &format!(
                "[engine]\nshutdown_timeout = \"1s\"\n{}\n[queues.invoice]\nsource = \"memory\"\nhandler = \"stamped\"\n\
                 [partners.default]\nurl = \"http://127.0.0.1:{}/{{account}}\"\n{}\n",
                self.engine, server.port, self.partner
            ),
        )
    }

    /// Sends the messages, and returns how many went to partners that answer.
    fn send(&self, queue: &dyn Queue) -> usize {
        let mut number = 0;
        let mut to_answering = 0;
        let mut send = |accounts: &mut dyn Iterator<Item = &String>| {
            let messages: Vec<NewMessage> = accounts
                .map(|account| {
                    number += 1;
                    to_answering += usize::from(account.starts_with("ok"));
                    let body = stamp::body(account, number).into();
                    NewMessage { body, ..NewMessage::default() }
                })
                .collect();
            for messages in messages.chunks(queue.limits().entries) {
                queue.send(messages).expect("memory takes them");
            }
        };
        let (accounts, each) = self.burst;
        for _ in 0..each {
            send(&mut accounts.iter());
        }
        let mut turns = self.accounts.iter().cycle();
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < self.time {
            // Computed from the clock, so that a late beat is made up for.
            let due = (start.elapsed().as_secs_f64() * self.rate as f64) as u64;
            send(&mut turns.by_ref().take((due - done) as usize));
            done = due;
            thread::sleep(BEAT);
        }
        to_answering
    }
}

impl Came {
    /// Returns the latency, in milliseconds, that the given part of the messages did not exceed: 0.5 for the median,
    /// 0.99 for all but one in a hundred.
    pub fn quantile(&self, part: f64, since: fn(&Arrival) -> Duration) -> f64 {
        let mut times: Vec<Duration> = self.arrivals.iter().map(since).collect();
        times.sort_unstable();
        let at = (times.len() as f64 * part) as usize;
        times[at.min(times.len() - 1)].as_secs_f64() * 1e3
    }

    pub fn per_second(&self) -> f64 {
        self.arrivals.len() as f64 / self.took.as_secs_f64()
    }

    /// Returns the number of messages that did not arrive, and the number of repeated arrivals.
    pub fn missing_and_repeated(&self) -> (usize, usize) {
        let mut numbers: Vec<u64> = self.arrivals.iter().map(|arrival| arrival.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        (self.sent - numbers.len(), self.arrivals.len() - numbers.len())
    }
}
