//! What was sent and what became of it, as seen by the partners and the dead letter queues.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

use crate::traffic::{Fate, Number};

/// The books, written by the sender and by the partners' threads.
pub struct Books {
    /// Whether each queue keeps the order of its groups.
    fifo: Vec<bool>,
    /// The number of messages sent to each queue. Their numbers are below it.
    sent: Mutex<Vec<usize>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// How often each message was accepted.
    accepted: HashMap<Number, usize>,
    /// The last number accepted for the first time, by queue and account.
    last: HashMap<(usize, String), usize>,
    disorder: Vec<String>,
}

impl Books {
    pub fn new(fifo: &[bool]) -> Self {
        Self { fifo: fifo.to_vec(), sent: Mutex::new(vec![0; fifo.len()]), inner: Mutex::default() }
    }

    /// Calls `send` with the next numbers of a queue.
    pub fn send(&self, queue: usize, count: usize, send: impl FnOnce(&[Number])) {
        let mut sent = self.sent.lock();
        let sent = sent.get_mut(queue).expect("a queue of ours");
        let numbers: Vec<_> = (*sent..*sent + count).map(|number| Number { queue, number }).collect();
        send(&numbers);
        *sent += count;
    }

    /// Calls `look` with the number of messages sent, while none is being sent.
    pub fn between_sends<T>(&self, look: impl FnOnce(usize) -> T) -> T {
        look(self.sent.lock().iter().sum())
    }

    /// Records that a partner accepts these messages, in this order.
    pub fn accept(&self, batch: &[Number]) {
        let mut inner = self.inner.lock();
        for number in batch {
            let times = inner.accepted.entry(*number).or_default();
            *times += 1;
            if *times > 1 || self.fifo.get(number.queue) != Some(&true) {
                continue;
            }
            let before = inner.last.insert((number.queue, number.account()), number.number);
            if let Some(before) = before.filter(|before| *before > number.number) {
                inner.disorder.push(format!("{number} of {} came after {}-{before}", number.account(), number.queue));
            }
        }
    }

    /// Returns the number of messages accepted at least once.
    pub fn delivered(&self) -> usize {
        self.inner.lock().accepted.len()
    }

    /// Closes the books with the dead letters.
    pub fn close(&self, letters: &[Number]) -> Closing {
        let (counts, inner) = (self.sent.lock(), self.inner.lock());
        let mut dead: BTreeMap<Number, usize> = BTreeMap::new();
        for letter in letters {
            *dead.entry(*letter).or_default() += 1;
        }
        let sent = counts.iter().enumerate().flat_map(|(queue, sent)| (0..*sent).map(move |number| Number { queue, number }));
        let mut closing = Closing {
            sent: counts.iter().sum(),
            delivered: inner.accepted.len(),
            delivered_again: inner.accepted.values().map(|times| times - 1).sum(),
            dead: dead.len(),
            dead_again: dead.values().map(|times| times - 1).sum(),
            disorder: inner.disorder.clone(),
            ..Closing::default()
        };
        for number in sent {
            let (accepted, dead) = (inner.accepted.contains_key(&number), dead.contains_key(&number));
            match (number.fate(), accepted, dead) {
                (_, false, false) => closing.missing.push(number),
                (Fate::Delivered, false, true) => closing.dead_without_fault.push(number),
                (Fate::Rejected | Fate::Refused, true, _) => closing.accepted_by_mistake.push(number),
                _ => {}
            }
        }
        closing
    }
}

/// The result of closing the books.
#[derive(Debug, Default)]
pub struct Closing {
    pub sent: usize,
    /// Messages that a partner accepted, and the number of repeated acceptances.
    pub delivered: usize,
    pub delivered_again: usize,
    pub dead: usize,
    pub dead_again: usize,
    /// Messages that were sent, and are neither accepted nor dead: lost.
    pub missing: Vec<Number>,
    /// Dead letters with nothing wrong: the service gave them up because of their partner. They
    /// are not lost, but worth a look.
    pub dead_without_fault: Vec<Number>,
    /// Messages that the partners should have refused: the run itself is wrong.
    pub accepted_by_mistake: Vec<Number>,
    /// First deliveries of a FIFO group that overtook another.
    pub disorder: Vec<String>,
}
