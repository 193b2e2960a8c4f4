//! What the holder of a copy can do under its lease, and can no longer do once the message was received again.

use std::time::Duration;

use octoconf::queue::EntryError;

use crate::driver::Driver;
use crate::tools::*;

pub fn a_deleted_message_never_comes_back(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["g:a", "b"]);
        delete(&*queue, &take(&*queue, 2));
        driver.pass(LEASE);
        assert!(take(&*queue, 10).is_empty());
        assert!(queue.count().unwrap().is_empty());
    }
}

pub fn an_extended_lease_ends_later(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take(&*queue, 1);
    driver.pass(seconds(20));
    hide(&*queue, &taken, seconds(30));
    driver.pass(seconds(29));
    assert!(take(&*queue, 1).is_empty());
    // The lease can be extended for as long as it lasts, and then the copy can still be deleted.
    hide(&*queue, &taken, seconds(30));
    driver.pass(seconds(29));
    delete(&*queue, &taken);
}

pub fn a_shortened_lease_ends_earlier(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    hide(&*queue, &take(&*queue, 1), seconds(5));
    driver.pass(seconds(5));
    assert_eq!(take_one(&*queue).message.receives, 2);
}

pub fn a_message_returned_with_zero_comes_back_at_once(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["a", "b"]);
        hide(&*queue, &take(&*queue, 1), Duration::ZERO);
        let taken = take(&*queue, 2);
        assert_eq!(bodies(&taken), ["a", "b"]);
        assert_eq!((taken[0].message.receives, taken[1].message.receives), (2, 1));
    }
}

pub fn a_message_returned_with_a_delay_comes_back_after_it(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["a"]);
        hide(&*queue, &take(&*queue, 1), seconds(120));
        driver.pass(seconds(119));
        assert!(take(&*queue, 1).is_empty());
        driver.pass(seconds(1));
        assert_eq!(take_one(&*queue).message.receives, 2);
    }
}

pub fn a_returned_message_can_be_shown_early(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take(&*queue, 1);
    hide(&*queue, &taken, seconds(600));
    driver.pass(seconds(100));
    hide(&*queue, &taken, Duration::ZERO);
    assert_eq!(take_bodies(&*queue, 1), ["a"]);
}

pub fn an_old_receipt_is_gone_and_touches_nothing(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["g:a"]);
        let old = take_one(&*queue);
        driver.pass(LEASE);
        let new = take_one(&*queue);
        assert_eq!(queue.delete(std::slice::from_ref(&old.receipt)).unwrap(), [Err(EntryError::Gone)]);
        for hidden in [Duration::ZERO, seconds(600)] {
            assert_eq!(queue.change_visibility(&[(old.receipt.clone(), hidden)]).unwrap(), [Err(EntryError::Gone)]);
        }
        // The message is neither made visible, nor hidden for longer, nor deleted.
        assert!(take(&*queue, 1).is_empty());
        driver.pass(LEASE - seconds(1));
        hide(&*queue, std::slice::from_ref(&new), LEASE);
        delete(&*queue, &[new]);
    }
}

pub fn each_entry_has_its_own_result(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a", "b", "c"]);
    let old = take(&*queue, 1);
    driver.pass(LEASE);
    let new = take(&*queue, 3);
    let receipts = [new[1].receipt.clone(), old[0].receipt.clone(), new[2].receipt.clone()];
    let expected = [Ok(()), Err(EntryError::Gone), Ok(())];
    let changes = receipts.clone().map(|receipt| (receipt, LEASE));
    assert_eq!(queue.change_visibility(&changes).unwrap(), expected);
    assert_eq!(queue.delete(&receipts).unwrap(), expected);
    assert!(queue.delete(&[]).unwrap().is_empty());
    driver.pass(LEASE);
    assert_eq!(take_bodies(&*queue, 10), ["a"]);
}
