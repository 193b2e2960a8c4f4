//! The limit of the architecture: the same threads, channels and batches as in the engine, with the minimum between
//! them: the queue's own receive and delete, the handler on every core, and one thread that groups by account. There is
//! no ledger, no order, no lease, no gate and no room.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use octoconf::handler::Handler;
use octoconf::handler::Registry;
use octoconf::message::service::Ask;
use octoconf::message::{Outcome, Receipt, Received};
use octoconf::queue::Queue;

use crate::run;

/// The number of messages per receive.
const TENS: usize = 10;

/// The number of messages that a poller reports at once, and the number in one job: the maxima of the engine.
const TOLD: usize = 256;
const JOB: usize = 64;

/// The number of messages under way: enough to keep every thread busy, but few enough to stay in the processor's cache.
const UNDER_WAY: usize = 2_048;

enum Event {
    Received(Vec<Received>),
    Handled(Vec<(Receipt, Outcome)>),
    Deleted(usize),
}

/// Returns the number of messages per second until the queue is empty. `settings` configure a queue in memory.
pub fn per_second(settings: &str, messages: u64) -> f64 {
    let queue = run::engine(settings).queue("invoice").expect("it is configured");
    let order = Registry::new().get("order").expect("it is built in");
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // Each channel is as wide as the number of messages under way, so no send waits.
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
    let ask = Ask { max: TENS, lease: Duration::from_secs(60), wait: Duration::ZERO, bytes: usize::MAX };
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

/// The one thread that owns the buckets. The other threads end when its senders are dropped.
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
                        // The partner accepts at once.
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
