//! What the holder of a copy can do under its lease, and can no longer do once the message was received again.

use std::time::Duration;

use octoconf::message::DeliveryName;
use octoconf::queue::{EntryError, Queue, SettledPart, VisibilityChange};

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
            assert_eq!(
                queue.change_visibility(&[VisibilityChange::new(old.receipt.clone(), hidden)]).unwrap(),
                [Err(EntryError::Gone)]
            );
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
    let changes = receipts.clone().map(|receipt| VisibilityChange::new(receipt, LEASE));
    assert_eq!(queue.change_visibility(&changes).unwrap(), expected);
    assert_eq!(queue.delete(&receipts).unwrap(), expected);
    assert!(queue.delete(&[]).unwrap().is_empty());
    driver.pass(LEASE);
    assert_eq!(take_bodies(&*queue, 10), ["a"]);
}

fn accepted(indices: &[u16]) -> SettledPart {
    let name = |index: &u16| DeliveryName { index: *index, account: Some("acme".into()) };
    SettledPart { deliveries: indices.iter().map(name).collect(), accepted: true }
}

/// Takes the only message, and returns it at once with word of what is settled.
fn say_settled(queue: &dyn Queue, settled: SettledPart) {
    let receipt = take_one(queue).receipt;
    let change = VisibilityChange { settled: Some(settled.into()), ..VisibilityChange::new(receipt, Duration::ZERO) };
    assert_eq!(queue.change_visibility(&[change]).unwrap(), [Ok(())]);
}

pub fn what_is_settled_is_said_with_every_later_copy(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["a"]);
        say_settled(&*queue, accepted(&[2]));
        say_settled(&*queue, accepted(&[2, 0]));
        // Two lists are one, and a return that says nothing takes nothing away.
        for _ in 0..2 {
            let taken = take_one(&*queue);
            let expected = driver.keeps_what_is_settled().then(|| accepted(&[2, 0]));
            assert_eq!(taken.settled.as_deref(), expected.as_ref());
            hide(&*queue, &[taken], Duration::ZERO);
        }
        // It is known of this message alone, and ends with it.
        let taken = take(&*queue, 1);
        send(&*queue, &["b"]);
        assert_eq!(take_one(&*queue).settled, None);
        delete(&*queue, &taken);
    }
}

pub fn a_letter_about_one_delivery_settles_it(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take_one(&*queue);
    set_aside(&*queue, &[partial(&taken, 1, false), partial(&taken, 0, false)]);
    // Nothing is returned, as if the process had died.
    driver.pass(LEASE);
    let taken = take_one(&*queue);
    let expected = driver.keeps_what_is_settled().then(|| SettledPart { accepted: false, ..accepted(&[1, 0]) });
    assert_eq!(taken.settled.as_deref(), expected.as_ref());
    set_aside(&*queue, &[partial(&taken, 2, true)]);
    // Each letter is redriven as a message of its own, of which nothing is settled.
    redrive_all(&*queue);
    assert_eq!(take(&*queue, 10).iter().map(|taken| taken.settled.clone()).collect::<Vec<_>>(), [None, None, None]);
}

pub fn what_is_settled_of_a_message_survives_its_letter_and_redrive(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    say_settled(&*queue, accepted(&[1]));
    for _ in 0..2 {
        set_aside(&*queue, &[whole(&take_one(&*queue))]);
        assert_eq!(redrive_all(&*queue), 1);
    }
    let expected = driver.keeps_what_is_settled().then(|| accepted(&[1]));
    assert_eq!(take_one(&*queue).settled.as_deref(), expected.as_ref());
}

pub fn an_old_receipt_settles_nothing(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let old = take_one(&*queue);
    driver.pass(LEASE);
    take_one(&*queue);
    let change = VisibilityChange { settled: Some(accepted(&[0]).into()), ..VisibilityChange::new(old.receipt.clone(), LEASE) };
    assert_eq!(queue.change_visibility(&[change]).unwrap(), [Err(EntryError::Gone)]);
    driver.pass(LEASE);
    assert_eq!(take_one(&*queue).settled, None);
}
