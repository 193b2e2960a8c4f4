//! The queue in memory and the queue in a file answer alike, whatever is done to them: each is the other's model.

use std::time::Duration;

use compact_str::CompactString;
use octoconf::message::{DeliveryName, Received};
use octoconf::queue::{DeadLetter, NewMessage, Queue, SetAside, SettledPart, VisibilityChange};
use proptest::prelude::*;

use crate::driver::{Driver, Memory, Sqlite};
use crate::tools::*;

#[derive(Debug, Clone)]
enum Step {
    /// Sends messages: the group of each, by number (0 is none), and its delay in seconds.
    Send(Vec<(u8, u64)>),
    Take(usize),
    /// Deletes copies, given by their place among all that were ever received. The older a
    /// copy, the more likely it is gone.
    Delete(Vec<prop::sample::Index>),
    /// Hides copies for some seconds, some with a delivery that is settled, some with a receive that does not count.
    Hide(Vec<(prop::sample::Index, u64, Option<u16>, bool)>),
    SetAside(Vec<(prop::sample::Index, Option<u16>, bool)>),
    Redrive(prop::sample::Index),
    Purge(prop::sample::Index),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let copy = any::<prop::sample::Index>;
    prop_oneof![
        4 => prop::collection::vec((0..4_u8, prop_oneof![3 => Just(0), 1 => 1..40_u64]), 1..6).prop_map(Step::Send),
        5 => (1..6_usize).prop_map(Step::Take),
        3 => prop::collection::vec(copy(), 1..5).prop_map(Step::Delete),
        3 => prop::collection::vec((copy(), prop_oneof![Just(0), 1..60_u64], prop::option::of(0..3_u16), any::<bool>()), 1..4)
            .prop_map(Step::Hide),
        2 => prop::collection::vec((copy(), prop::option::of(0..3_u16), any::<bool>()), 1..4).prop_map(Step::SetAside),
        1 => copy().prop_map(Step::Redrive),
        1 => copy().prop_map(Step::Purge),
        3 => (1..40_u64).prop_map(Step::Pass),
    ]
}

/// One queue, and every copy that was ever received from it.
struct Side<D> {
    driver: D,
    queue: Box<dyn Queue>,
    copies: Vec<Received>,
    sent: usize,
}

impl<D: Driver + Default> Side<D> {
    fn new(fifo: bool) -> Self {
        let driver = D::default();
        let queue = driver.queue(fifo);
        Self { driver, queue, copies: Vec::new(), sent: 0 }
    }

    /// Performs a step, and describes everything observable except ids, which differ.
    fn take_step(&mut self, step: &Step) -> String {
        let seen = self.act(step);
        let letters: Vec<_> = letters(&*self.queue).into_iter().map(|letter| tell_letter(&letter)).collect();
        format!("{seen}; {:?}; {letters:?}", self.queue.count().unwrap())
    }

    fn act(&mut self, step: &Step) -> String {
        match step {
            Step::Send(messages) => {
                let messages: Vec<_> = messages.iter().map(|(group, delay)| self.next(*group, *delay)).collect();
                format!("{}", self.queue.send(&messages).unwrap().len())
            }
            Step::Take(max) => {
                let taken = take(&*self.queue, *max);
                let told: Vec<_> = taken.iter().map(tell).collect();
                self.copies.extend(taken);
                format!("{told:?}")
            }
            Step::Pass(time) => {
                self.driver.pass(seconds(*time));
                String::new()
            }
            Step::Redrive(letter) => format!("{:?}", self.letter(letter).map(|id| self.dead().redrive(&[id]).unwrap())),
            Step::Purge(letter) => format!("{:?}", self.letter(letter).map(|id| self.dead().purge(&[id]).unwrap())),
            _ if self.copies.is_empty() => String::new(),
            Step::Delete(which) => {
                let receipts: Vec<_> = which.iter().map(|at| at.get(&self.copies).receipt.clone()).collect();
                format!("{:?}", self.queue.delete(&receipts).unwrap())
            }
            Step::Hide(which) => {
                let change = |(at, time, index, uncounted): &(prop::sample::Index, u64, Option<u16>, bool)| VisibilityChange {
                    settled: index.map(|index| Box::new(accepted(index))),
                    uncounted: *uncounted,
                    ..VisibilityChange::new(at.get(&self.copies).receipt.clone(), seconds(*time))
                };
                format!("{:?}", self.queue.change_visibility(&which.iter().map(change).collect::<Vec<_>>()).unwrap())
            }
            Step::SetAside(which) => {
                let letter = |(at, index, last): &(prop::sample::Index, Option<u16>, bool)| match index {
                    Some(index) => partial(at.get(&self.copies), *index, *last),
                    None => SetAside { last: *last, ..whole(at.get(&self.copies)) },
                };
                format!("{:?}", self.queue.set_aside(&which.iter().map(letter).collect::<Vec<_>>()).unwrap())
            }
        }
    }

    fn next(&mut self, group: u8, delay: u64) -> NewMessage {
        self.sent += 1;
        let body = if group == 0 { self.sent.to_string() } else { format!("{group}:{}", self.sent) };
        NewMessage { delay: Duration::from_secs(delay), ..message(body) }
    }

    fn dead(&self) -> &dyn octoconf::queue::DeadLetters {
        self.queue.dead_letters().unwrap()
    }

    fn letter(&self, at: &prop::sample::Index) -> Option<CompactString> {
        let letters = letters(&*self.queue);
        (!letters.is_empty()).then(|| at.get(&letters).id.clone())
    }
}

fn tell(received: &Received) -> String {
    let message = &received.message;
    let body = String::from_utf8_lossy(&message.body);
    let redriven = message.id.contains("-r");
    let group = message.group.as_deref();
    format!(
        "{} {body} {} {group:?} {:?} {redriven} {:?} {:?}",
        received.sequence, message.receives, message.open, message.sent_at, received.settled
    )
}

fn accepted(index: u16) -> SettledPart {
    SettledPart { deliveries: vec![DeliveryName { index, account: Some("acme".into()) }], accepted: true }
}

fn tell_letter(letter: &DeadLetter) -> String {
    let times = (letter.sent_at, letter.dead_at);
    let counts = (letter.receives, letter.redrives);
    format!("{} {:?} {:?} {counts:?} {times:?} {:?}", letter.kind, letter.body, letter.index, letter.payload)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_file_answer_alike(fifo in any::<bool>(), steps in prop::collection::vec(step(), 1..60)) {
        let mut memory = Side::<Memory>::new(fifo);
        let mut file = Side::<Sqlite>::new(fifo);
        for (at, step) in steps.iter().enumerate() {
            prop_assert_eq!(memory.take_step(step), file.take_step(step), "step {} {:?}", at, step);
        }
    }
}
