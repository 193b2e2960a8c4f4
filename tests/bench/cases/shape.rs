//! The limit of the shape: the same threads, channels and batches as the engine's, and the least that can be between them. The queue's own
//! receive and delete, the handler on every core, one thread that groups by account. No ledger, no order, no lease, no gate, no room.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use octoconf::handler::Handler;
use octoconf::handler::registry::Registry;
use octoconf::message::settle::Ask;
use octoconf::message::{Outcome, Receipt, Received};
use octoconf::queue::Queue;

use crate::run;

/// Messages of one receive.
const TENS: usize = 10;

/// Messages that a poller tells of at once, and those of one job: the most that the engine has.
const TOLD: usize = 256;
const JOB: usize = 64;

/// Messages that are under way: as many as keep every thread busy, and few enough to stay in the processor's cache.
const UNDER_WAY: usize = 2_048;

enum Event {
    Received(Vec<Received>),
    Handled(Vec<(Receipt, Outcome)>),
    Deleted(usize),
}

/// Messages a second until the queue is empty. `settings`: of a queue in memory.
pub fn per_second(settings: &str, messages: u64) -> f64 {
    let queue = run::engine(settings).queue("invoice").expect("it is configured");
    let order = Registry::new().get("order").expect("it is built in");
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // Each is as wide as what may be under way: nothing waits for a place.
    let (to_inbox, inbox) = bounded(UNDER_WAY);
    let (to_poller, demand) = bounded(UNDER_WAY);
    let (to_handlers, jobs) = bounded(UNDER_WAY);
    let (to_acker, deletes) = bounded(UNDER_WAY);
    let start = Instant::now();
    thread::scope(|scope| {
        let inbox_of = |_| to_inbox.clone();
        let [of_poller, of_acker] = [0, 1].map(inbox_of);
        let queue = queue.as_ref();
        scope.spawn(move || poll(queue, &demand, &of_poller));
        for _ in 0..cores {
            let (jobs, to_inbox, order) = (jobs.clone(), to_inbox.clone(), order.as_ref());
            scope.spawn(move || handle(order, &jobs, &to_inbox));
        }
        scope.spawn(move || delete(queue, &deletes, &of_acker));
        dispatch(messages as usize, &inbox, to_poller, to_handlers, to_acker);
    });
    messages as f64 / start.elapsed().as_secs_f64()
}

fn poll(queue: &dyn Queue, demand: &Receiver<usize>, inbox: &Sender<Event>) {
    let ask = Ask { max: TENS, lease: Duration::from_secs(60), wait: Duration::ZERO };
    for wanted in demand {
        let mut received = Vec::with_capacity(wanted);
        while received.len() < wanted {
            let ask = Ask { max: TENS.min(wanted - received.len()), ..ask };
            received.extend(queue.receive(&ask).expect("memory is there"));
        }
        inbox.send(Event::Received(received)).expect("it is heard");
    }
}

fn handle(handler: &dyn Handler, jobs: &Receiver<Vec<Received>>, inbox: &Sender<Event>) {
    for job in jobs {
        let done = job.into_iter().map(|received| (received.receipt, handler.handle(&received.message)));
        inbox.send(Event::Handled(done.collect())).expect("it is heard");
    }
}

fn delete(queue: &dyn Queue, deletes: &Receiver<Vec<Receipt>>, inbox: &Sender<Event>) {
    for receipts in deletes {
        queue.delete(&receipts).expect("memory is there");
        inbox.send(Event::Deleted(receipts.len())).expect("it is heard");
    }
}

/// The one thread that has the buckets. The other threads end with its senders.
fn dispatch(
    messages: usize,
    inbox: &Receiver<Event>,
    poller: Sender<usize>,
    handlers: Sender<Vec<Received>>,
    acker: Sender<Vec<Receipt>>,
) {
    let mut buckets: HashMap<_, Vec<_>> = HashMap::new();
    let (mut asked, mut under_way, mut deleted) = (0, 0, 0);
    while deleted < messages {
        while asked < messages && under_way + TOLD <= UNDER_WAY {
            let max = TOLD.min(messages - asked);
            poller.send(max).expect("it is heard");
            (asked, under_way) = (asked + max, under_way + max);
        }
        match inbox.recv().expect("this thread has an end too") {
            Event::Received(received) => {
                let mut received = received.into_iter();
                while !received.as_slice().is_empty() {
                    handlers.send(received.by_ref().take(JOB).collect()).expect("it is heard");
                }
            }
            Event::Handled(done) => {
                let mut settled = Vec::with_capacity(done.len());
                for (receipt, outcome) in done {
                    let Outcome::Deliver(deliveries) = outcome else { panic!("every invoice is good") };
                    for delivery in deliveries {
                        let waiting = buckets.entry(delivery.account).or_default();
                        waiting.push(delivery.payload);
                        // The partner takes it at once.
                        waiting.clear();
                    }
                    settled.push(receipt);
                }
                acker.send(settled).expect("it is heard");
            }
            Event::Deleted(count) => (deleted, under_way) = (deleted + count, under_way - count),
        }
    }
}
