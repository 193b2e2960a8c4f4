//! Several threads on one queue.

use std::collections::HashSet;
use std::thread::{Scope, ScopedJoinHandle};

use octoconf::message::Received;
use octoconf::queue::Queue;

use crate::driver::Driver;
use crate::tools::*;

const MESSAGES: usize = 2000;

/// Receives and deletes until nothing is left.
fn consume<'scope>(scope: &'scope Scope<'scope, '_>, queue: &'scope dyn Queue) -> ScopedJoinHandle<'scope, Vec<Received>> {
    scope.spawn(|| {
        let mut all = Vec::new();
        loop {
            let taken = take(queue, 7);
            if taken.is_empty() {
                return all;
            }
            delete(queue, &taken);
            all.extend(taken);
        }
    })
}

fn filled(driver: &dyn Driver) -> Box<dyn Queue> {
    let queue = driver.queue(false);
    for part in (0..MESSAGES).collect::<Vec<_>>().chunks(1000) {
        queue.send(&part.iter().map(|n| message(n.to_string())).collect::<Vec<_>>()).unwrap();
    }
    queue
}

pub fn two_consumers_share_without_overlap(driver: &dyn Driver) {
    let queue = filled(driver);
    let taken = std::thread::scope(|scope| {
        let consumers = [consume(scope, &*queue), consume(scope, &*queue)];
        consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect::<Vec<_>>()
    });
    let ids: HashSet<_> = taken.iter().map(|received| received.message.id.clone()).collect();
    assert_eq!((taken.len(), ids.len()), (MESSAGES, MESSAGES));
    assert!(queue.count().unwrap().is_empty());
}

/// Returns what four consumers received, in the order of the sequence numbers.
fn taken_by_four(queue: &dyn Queue) -> Vec<Received> {
    let mut taken = std::thread::scope(|scope| {
        let consumers = [(); 4].map(|()| consume(scope, queue));
        consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect::<Vec<_>>()
    });
    taken.sort_by_key(|received| received.sequence);
    taken
}

pub fn sequences_are_gapless_over_threads(driver: &dyn Driver) {
    let taken = taken_by_four(&*filled(driver));
    let sequences: Vec<_> = taken.iter().map(|received| usize::try_from(received.sequence).unwrap()).collect();
    assert_eq!(sequences, (0..MESSAGES).collect::<Vec<_>>());
}

/// The order of the sequence numbers is the order in which the messages were sent.
pub fn sequences_follow_the_order_of_taking_over_threads(driver: &dyn Driver) {
    assert_eq!(bodies(&taken_by_four(&*filled(driver))), (0..MESSAGES).map(|n| n.to_string()).collect::<Vec<_>>());
}
