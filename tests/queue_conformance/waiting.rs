//! Long polls. Each waits for an hour, so that a test cannot pass because a wait has ended by itself.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use octoconf::queue::{Ask, Queue};

use crate::driver::Driver;
use crate::tools::*;

fn long() -> Ask {
    Ask { wait: LONG, ..ask(10) }
}

/// Starts a long poll on a thread of its own, calls `wake`, and returns the bodies that the poll received.
fn woken(queue: &dyn Queue, wake: impl FnOnce()) -> Vec<String> {
    std::thread::scope(|scope| {
        let (starts, started) = sync_channel(1);
        let waiter = scope.spawn(move || {
            starts.send(()).unwrap();
            bodies(&queue.receive(&long()).unwrap())
        });
        started.recv().unwrap();
        wake();
        waiter.join().unwrap()
    })
}

pub fn a_wait_ends_with_a_send(driver: &dyn Driver) {
    let queue = driver.queue(false);
    assert_eq!(woken(&*queue, || send(&*queue, &["a"])), ["a"]);
}

pub fn a_wait_ends_with_a_return(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take(&*queue, 1);
    assert_eq!(woken(&*queue, || hide(&*queue, &taken, Duration::ZERO)), ["a"]);
}

pub fn a_wait_ends_with_a_lapse(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["g:a"]);
        take_one(&*queue);
        assert_eq!(woken(&*queue, || driver.pass(LEASE)), ["g:a"]);
    }
}

pub fn a_wait_ends_with_a_delay(driver: &dyn Driver) {
    end_with_a_delay(driver, false);
}

pub fn a_wait_on_a_fifo_queue_ends_with_a_delay(driver: &dyn Driver) {
    end_with_a_delay(driver, true);
}

fn end_with_a_delay(driver: &dyn Driver, fifo: bool) {
    let queue = driver.queue(fifo);
    send_delayed(&*queue, "b", seconds(20));
    assert_eq!(woken(&*queue, || driver.pass(seconds(20))), ["b"]);
}

pub fn a_wait_ends_when_a_group_is_freed(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "g:2"]);
    let first = take(&*queue, 1);
    assert_eq!(woken(&*queue, || delete(&*queue, &first)), ["g:2"]);
}

pub fn a_wait_runs_out(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    take_one(&*queue);
    let short = Ask { wait: Duration::from_secs(1), ..ask(1) };
    assert!(queue.receive(&short).unwrap().is_empty());
}
