//! Receiving messages: order, leases, counts.

use std::time::Duration;

use octoconf::queue::Count;

use crate::driver::Driver;
use crate::tools::*;

pub fn messages_come_in_the_order_sent(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["a", "b"]);
        send(&*queue, &["c"]);
        assert_eq!(take_bodies(&*queue, 2), ["a", "b"]);
        assert_eq!(take_bodies(&*queue, 2), ["c"]);
    }
}

pub fn an_empty_queue_gives_nothing(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        assert!(take(&*queue, 10).is_empty());
        assert!(queue.count().unwrap().is_empty());
        assert_eq!(queue.limits().fifo, fifo);
    }
}

pub fn no_more_is_given_than_asked(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a", "b", "c"]);
    assert!(take(&*queue, 0).is_empty());
    assert_eq!(take(&*queue, 1).len(), 1);
    assert_eq!(take(&*queue, 10).len(), 2);
}

pub fn a_message_says_what_is_known_of_it(driver: &dyn Driver) {
    let queue = driver.queue(true);
    let ids = queue.send(&[message("g:a"), message("b")]).unwrap();
    let taken = take(&*queue, 2);
    let given: Vec<_> = taken.iter().map(|received| received.message.id.clone()).collect();
    assert_eq!(given, ids);
    assert_ne!(ids[0], ids[1]);
    for received in &taken {
        assert!(!received.message.id.contains('.') && !received.message.id.is_empty());
        assert_eq!(received.message.receives, 1);
        assert_eq!(received.message.open, None);
        assert!(received.message.sent_at > std::time::UNIX_EPOCH);
    }
    assert_eq!(taken[0].message.group.as_deref(), Some("g"));
    assert_eq!(taken[1].message.group, None);
    assert_eq!(taken[0].message.sent_at, taken[1].message.sent_at);
}

pub fn a_leased_message_is_hidden_until_its_lease_ends(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["g:a"]);
        let first = take_one(&*queue);
        driver.pass(LEASE - seconds(1));
        assert!(take(&*queue, 10).is_empty());
        driver.pass(seconds(1));
        let second = take_one(&*queue);
        assert_eq!(second.message.id, first.message.id);
        assert_eq!((first.message.receives, second.message.receives), (1, 2));
        assert_ne!(first.receipt, second.receipt);
        assert_eq!(first.message.sent_at, second.message.sent_at);
    }
}

pub fn a_lapsed_message_keeps_its_place(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["a", "b", "c"]);
        take_one(&*queue);
        driver.pass(LEASE);
        assert_eq!(take_bodies(&*queue, 10), ["a", "b", "c"]);
    }
}

pub fn a_delayed_message_comes_after_its_delay(driver: &dyn Driver) {
    delayed(driver, false);
}

pub fn a_delayed_message_of_a_fifo_queue_too(driver: &dyn Driver) {
    delayed(driver, true);
}

fn delayed(driver: &dyn Driver, fifo: bool) {
    let queue = driver.queue(fifo);
    send_delayed(&*queue, "late", seconds(60));
    send(&*queue, &["now"]);
    assert_eq!(take_bodies(&*queue, 10), ["now"]);
    driver.pass(seconds(60));
    let taken = take(&*queue, 10);
    assert_eq!(bodies(&taken), ["late", "now"]);
    assert_eq!(taken[0].message.receives, 1);
}

pub fn every_state_is_counted(driver: &dyn Driver) {
    count_states(driver, false);
}

pub fn every_state_of_a_fifo_queue_is_counted(driver: &dyn Driver) {
    count_states(driver, true);
}

fn count_states(driver: &dyn Driver, fifo: bool) {
    let queue = driver.queue(fifo);
    let counted = |visible, hidden, delayed| {
        assert_eq!(queue.count().unwrap(), Count { visible, hidden, delayed });
    };
    send(&*queue, &["g:a", "g:b", "c", "d"]);
    send_delayed(&*queue, "g:e", seconds(60));
    send_delayed(&*queue, "f", seconds(600));
    counted(4, 0, 2);
    // The rest of a locked group waits for the message taken, but is visible all the same.
    let taken = take(&*queue, 1);
    counted(3, 1, 2);
    hide(&*queue, &taken, seconds(90));
    counted(3, 1, 2);
    // A time that has passed counts as passed, even if nothing was received since.
    driver.pass(seconds(60));
    counted(4, 1, 1);
    driver.pass(seconds(30));
    counted(5, 0, 1);
    let rest = take(&*queue, 10);
    assert_eq!(rest.len(), 5);
    counted(0, 5, 1);
    delete(&*queue, &rest);
    counted(0, 0, 1);
    driver.pass(Duration::from_secs(600));
    delete(&*queue, &take(&*queue, 1));
    assert!(queue.count().unwrap().is_empty());
}
