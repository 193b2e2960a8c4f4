//! SQS: a real server, and a proxy of ours between it and the program.

use super::{Source, number};
use crate::support::proxy::Proxy;
use crate::support::sqs_server::{SqsServer, TestQueue};
use crate::traffic::Number;

pub struct Sqs<'server> {
    // Dropped before the server, so that its connections end first.
    proxy: Proxy,
    server: &'server SqsServer,
    /// The queues, each with its dead letter queue.
    queues: Vec<[TestQueue<'server>; 2]>,
}

impl<'server> Sqs<'server> {
    pub fn new(server: &'server SqsServer, fifo: &[bool], seed: u64) -> Self {
        let queue = |fifo: &bool| {
            let end = if *fifo { ".fifo" } else { "" };
            [server.queue(&format!("chaos{end}"), &[]), server.queue(&format!("chaos-dead{end}"), &[])]
        };
        Self { proxy: Proxy::start(server.address(), seed), server, queues: fifo.iter().map(queue).collect() }
    }
}

impl Source for Sqs<'_> {
    fn configuration(&self, queue: usize) -> String {
        let [queue, dead] = &self.queues[queue];
        let endpoint = self.proxy.endpoint();
        format!("source = \"sqs\"\nname = \"{}\"\ndead_letter = \"{}\"\nendpoint = \"{endpoint}\"\n", queue.name, dead.name)
    }

    fn send(&self, queue: usize, messages: &[Number]) {
        let [queue, _] = &self.queues[queue];
        if queue.is_fifo() {
            queue.send_to_groups(&messages.iter().map(|one| (one.account(), one.body())).collect::<Vec<_>>());
        } else {
            queue.send(&messages.iter().map(|one| one.body()).collect::<Vec<_>>());
        }
    }

    fn remaining(&self, queue: usize) -> u64 {
        all(&self.queues[queue][0])
    }

    fn dead_count(&self, queue: usize) -> u64 {
        all(&self.queues[queue][1])
    }

    fn dead(&self, queue: usize) -> Vec<Number> {
        let letters = self.queues[queue][1].drain();
        letters.iter().map(|letter| number(letter["Body"].as_str().expect("a letter has a body").as_bytes())).collect()
    }

    fn disturb(&self, share: f64) {
        self.proxy.disturb(share);
    }

    fn freeze(&self) {
        self.server.freeze();
    }

    fn thaw(&self) {
        self.server.thaw();
    }

    fn figures(&self) -> Option<String> {
        let counts = self.proxy.counts();
        let requests: u64 = counts.requests.values().sum();
        let faults: u64 = counts.faults.values().sum();
        Some(format!("{requests} requests {:?}\n            {faults} faults {:?}", counts.requests, counts.faults))
    }
}

fn all(queue: &TestQueue<'_>) -> u64 {
    let (visible, hidden, delayed) = queue.counts();
    visible + hidden + delayed
}
