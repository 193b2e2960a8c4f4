//! The books of the demo: which messages were sent, which the partners accepted, which are dead. They are kept apart
//! from the engine, so that the engine's own figures can be checked against them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::traffic::DemoQueue;

/// The books of both queues.
#[derive(Default)]
pub struct Books {
    pages: [Mutex<Page>; 2],
}

/// The books of one queue.
#[derive(Default)]
struct Page {
    sent: HashMap<String, Instant>,
    accepted: HashMap<String, Accepted>,
    dead: u64,
    /// Messages that are still on the queue, since the demo was interrupted.
    left: u64,
}

struct Accepted {
    times: u32,
    first: Instant,
    healthy: bool,
}

/// How the messages of one queue ended.
#[derive(Debug, PartialEq)]
pub struct Reconciliation {
    /// The queue, or `all` for the sum.
    pub queue: &'static str,
    /// Messages put on the queue.
    pub sent: u64,
    /// Messages that a partner accepted at least once.
    pub delivered: u64,
    /// Messages that ended as dead letters and were never accepted.
    pub dead: u64,
    /// Messages that are neither delivered nor dead, nor still on their queue.
    pub lost: u64,
    /// Repeated deliveries: how many times partners accepted a message that they had already accepted.
    pub duplicated: u64,
}

impl Books {
    fn page(&self, kind: DemoQueue) -> &Mutex<Page> {
        let [stock, invoice] = &self.pages;
        match kind {
            DemoQueue::Stock => stock,
            DemoQueue::Invoice => invoice,
        }
    }

    /// Records that messages were put on their queue; `at` is the moment before the call.
    pub fn sent<'a>(&self, kind: DemoQueue, ids: impl Iterator<Item = &'a str>, at: Instant) {
        self.page(kind).lock().sent.extend(ids.map(|id| (id.to_owned(), at)));
    }

    /// Records that a partner accepted a batch; `healthy` marks a partner whose latencies count.
    pub fn accepted(&self, queue: &str, healthy: bool, ids: &[String], at: Instant) {
        let Some(kind) = DemoQueue::ALL.into_iter().find(|kind| kind.queue() == queue) else { return };
        let mut page = self.page(kind).lock();
        for id in ids {
            page.accepted.entry(id.clone()).or_insert(Accepted { times: 0, first: at, healthy }).times += 1;
        }
    }

    /// Counts those of the queue's dead letters whose messages were never accepted.
    pub fn dead(&self, kind: DemoQueue, ids: impl Iterator<Item = String>) {
        let mut page = self.page(kind).lock();
        page.dead = ids.filter(|id| page.sent.contains_key(id) && !page.accepted.contains_key(id)).count() as u64;
    }

    /// Records how many messages are still on the queue.
    pub fn left(&self, kind: DemoQueue, messages: u64) {
        self.page(kind).lock().left = messages;
    }

    /// Returns the number of messages sent so far, and accepted so far.
    pub fn so_far(&self) -> (u64, u64) {
        DemoQueue::ALL
            .iter()
            .map(|kind| self.page(*kind).lock())
            .fold((0, 0), |(sent, accepted), page| (sent + page.sent.len() as u64, accepted + page.accepted.len() as u64))
    }

    /// Compares what was sent with how it ended.
    pub fn reconcile(&self, kind: DemoQueue) -> Reconciliation {
        let page = self.page(kind).lock();
        let (sent, delivered) =
            (page.sent.len() as u64, page.sent.keys().filter(|id| page.accepted.contains_key(*id)).count() as u64);
        Reconciliation {
            queue: kind.queue(),
            sent,
            delivered,
            dead: page.dead,
            lost: sent.saturating_sub(delivered + page.dead + page.left),
            duplicated: page.accepted.values().map(|accepted| u64::from(accepted.times - 1)).sum(),
        }
    }

    /// Returns the median and the 99th percentile of the time from sent to accepted, of the quick partners.
    pub fn latency(&self) -> Option<(Duration, Duration)> {
        let mut latencies = Vec::new();
        for kind in DemoQueue::ALL {
            let page = self.page(kind).lock();
            let healthy = page.accepted.iter().filter(|(_, accepted)| accepted.healthy);
            latencies
                .extend(healthy.filter_map(|(id, accepted)| Some(accepted.first.saturating_duration_since(*page.sent.get(id)?))));
        }
        latencies.sort_unstable();
        let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied();
        at(0.5).zip(at(0.99))
    }
}

impl Reconciliation {
    /// Returns the sum over all queues.
    pub fn total(all: &[Self]) -> Self {
        let sum = |of: fn(&Self) -> u64| all.iter().map(of).sum();
        Self {
            queue: "all",
            sent: sum(|one| one.sent),
            delivered: sum(|one| one.delivered),
            dead: sum(|one| one.dead),
            lost: sum(|one| one.lost),
            duplicated: sum(|one| one.duplicated),
        }
    }

    pub fn json(&self) -> Value {
        let Self { queue, sent, delivered, dead, lost, duplicated } = self;
        json!({ "queue": queue, "sent": sent, "delivered": delivered, "dead": dead, "lost": lost, "duplicated": duplicated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
    fn what_is_missing_is_lost_and_what_came_twice_is_duplicated() {
        let (books, start) = (Books::default(), Instant::now());
        books.sent(DemoQueue::Stock, ["a", "b", "c", "d"].into_iter(), start);
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        books.accepted("stock", true, &ids(&["a", "b"]), start + Duration::from_millis(10));
        books.accepted("stock", true, &ids(&["b"]), start + Duration::from_millis(20));
        books.dead(DemoQueue::Stock, ids(&["c"]).into_iter());
        let found = books.reconcile(DemoQueue::Stock);
        assert_eq!(found, Reconciliation { queue: "stock", sent: 4, delivered: 2, dead: 1, lost: 1, duplicated: 1 });
        books.left(DemoQueue::Stock, 1);
        assert_eq!(books.reconcile(DemoQueue::Stock).lost, 0, "it is still on the queue");
        books.left(DemoQueue::Stock, 0);
        let twice = Reconciliation::total(&[books.reconcile(DemoQueue::Stock), books.reconcile(DemoQueue::Stock)]);
        assert_eq!(twice, Reconciliation { queue: "all", sent: 8, delivered: 4, dead: 2, lost: 2, duplicated: 2 });
        assert_eq!(books.latency(), Some((Duration::from_millis(10), Duration::from_millis(10))));
    }
}
