//! What only the embedded queues promise, and where SQS differs.

use std::time::Duration;

use octoconf::message::{Receipt, Received};
use octoconf::queue::{Ask, EntryError, NewMessage, QueueError, VisibilityChange};

use crate::driver::Driver;
use crate::tools::*;

/// SQS still deletes with the receipt of an expired lease. On an embedded queue, an expired lease is over.
pub fn a_receipt_ends_with_its_lease(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["g:a", "g:b"]);
        let taken = take(&*queue, 2);
        driver.pass(LEASE - seconds(1));
        hide(&*queue, &taken[1..], Duration::ZERO);
        driver.pass(seconds(1));
        for received in &taken {
            let receipt = received.receipt.clone();
            assert_eq!(
                queue.change_visibility(&[VisibilityChange::new(receipt.clone(), LEASE)]).unwrap(),
                [Err(EntryError::Gone)]
            );
            assert_eq!(queue.set_aside(&[whole(received)]).unwrap(), [Err(EntryError::Gone)]);
            assert_eq!(queue.delete(&[receipt]).unwrap(), [Err(EntryError::Gone)]);
        }
        assert!(letters(&*queue).is_empty());
        assert_eq!(take_bodies(&*queue, 10), ["g:a", "g:b"]);
    }
}

pub fn the_same_receipt_twice_is_gone_the_second_time(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a", "b"]);
    let receipts = receipts(&take(&*queue, 2));
    let twice = [receipts[0].clone(), receipts[0].clone()];
    assert_eq!(queue.delete(&twice).unwrap(), [Ok(()), Err(EntryError::Gone)]);
    let shown_twice = [(); 2].map(|()| VisibilityChange::new(receipts[1].clone(), Duration::ZERO));
    assert_eq!(queue.change_visibility(&shown_twice).unwrap(), [Ok(()), Err(EntryError::Gone)]);
    let last = take_one(&*queue);
    assert_eq!(queue.set_aside(&[whole(&last), whole(&last)]).unwrap(), [Ok(()), Err(EntryError::Gone)]);
}

pub fn receipts_of_others_are_gone(driver: &dyn Driver) {
    let (ours, theirs) = (driver.queue(false), driver.queue(false));
    send(&*ours, &["a"]);
    let taken = take_one(&*ours);
    let Receipt::Row { row, receive } = taken.receipt else { unreachable!("an embedded queue gives rows") };
    let strange = [
        Receipt::Handle("AQEB".into()),
        Receipt::Row { row: -1, receive },
        Receipt::Row { row: i64::MAX, receive },
        Receipt::Row { row, receive: 0 },
        Receipt::Row { row, receive: i64::MIN },
    ];
    for receipt in strange {
        assert_eq!(ours.delete(std::slice::from_ref(&receipt)).unwrap(), [Err(EntryError::Gone)]);
        assert_eq!(ours.change_visibility(&[VisibilityChange::new(receipt, LEASE)]).unwrap(), [Err(EntryError::Gone)]);
    }
    assert_eq!(theirs.delete(std::slice::from_ref(&taken.receipt)).unwrap(), [Err(EntryError::Gone)]);
    set_aside(&*ours, &[whole(&taken)]);
    assert!(letters(&*theirs).is_empty());
    assert_eq!(theirs.dead_letters().unwrap().purge(&ids(&letters(&*ours))).unwrap(), 0);
}

pub fn too_much_in_one_call_is_refused_whole(driver: &dyn Driver) {
    let queue = driver.queue(false);
    let entries = queue.limits().entries;
    send(&*queue, &["a"]);
    let taken = take_one(&*queue);
    let refused = [
        queue.send(&vec![message("b"); entries + 1]).map(drop),
        queue.send(&[message("b"), NewMessage { delay: seconds(901), ..message("c") }]).map(drop),
        queue.delete(&vec![taken.receipt.clone(); entries + 1]).map(drop),
        queue.change_visibility(&vec![VisibilityChange::new(taken.receipt.clone(), LEASE); entries + 1]).map(drop),
        queue.set_aside(&vec![whole(&taken); entries + 1]).map(drop),
    ];
    for result in refused {
        assert!(matches!(result, Err(QueueError::Refused { .. } | QueueError::Unsendable { at: 1, .. })), "{result:?}");
    }
    let count = queue.count().unwrap();
    assert_eq!((count.visible, count.hidden), (0, 1));
    assert!(letters(&*queue).is_empty());
}

pub fn an_interrupt_ends_waits_for_good(driver: &dyn Driver) {
    let queue = driver.queue(false);
    let long = Ask { wait: LONG, ..ask(1) };
    std::thread::scope(|scope| {
        let waiters = [(); 2].map(|()| scope.spawn(|| queue.receive(&long).unwrap().len()));
        queue.interrupt();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 0);
        }
    });
    assert!(queue.receive(&long).unwrap().is_empty());
    // Messages that are there are still returned.
    send(&*queue, &["a"]);
    assert_eq!(queue.receive(&long).unwrap().len(), 1);
}

/// The service recognises messages by their id: one with an id that it holds or remembers
/// would be dropped as a duplicate.
pub fn a_redriven_message_has_an_id_of_its_own(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let first = take_one(&*queue);
    set_aside(&*queue, &[partial(&first, 0, false)]);
    let mut seen = vec![first.message.id.clone()];
    for _ in 0..3 {
        redrive_all(&*queue);
        let redriven = take_one(&*queue);
        let id = redriven.message.id.clone();
        assert!(id.starts_with(&format!("{}-r", first.message.id)) && !seen.contains(&id), "{id} after {seen:?}");
        seen.push(id);
        set_aside(&*queue, &[partial(&redriven, 0, true)]);
    }
}

pub fn a_letter_says_how_often_it_was_redriven(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    for redrives in 0..3 {
        set_aside(&*queue, &[whole(&take_one(&*queue))]);
        assert_eq!(letters(&*queue)[0].redrives, redrives);
        redrive_all(&*queue);
    }
}

pub fn five_hundred_come_at_once(driver: &dyn Driver) {
    let queue = driver.queue(true);
    for group in ["a:", "b:", ""] {
        queue.send(&(0..300).map(|n| message(format!("{group}{n}"))).collect::<Vec<_>>()).unwrap();
    }
    let taken = take(&*queue, 10_000);
    assert_eq!(taken.len(), queue.limits().receive);
    delete(&*queue, &taken);
    assert_eq!(take(&*queue, 10_000).len(), 400);
}

pub fn a_locked_group_with_a_long_tail_is_not_in_the_way(driver: &dyn Driver) {
    let queue = driver.queue(true);
    for _ in 0..20 {
        queue.send(&(0..1000).map(|n| message(format!("dead:{n}"))).collect::<Vec<_>>()).unwrap();
    }
    take_one(&*queue);
    send(&*queue, &["g:1", "1"]);
    assert_eq!(take_bodies(&*queue, 10), ["g:1", "1"]);
    assert_eq!(queue.count().unwrap().visible, 19_999);
}

pub fn a_receive_that_does_not_count_is_not_reported_and_ends_its_receipt(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        send(&*queue, &["g:a"]);
        let give_back = |taken: &Received, uncounted| {
            let change = VisibilityChange { uncounted, ..VisibilityChange::new(taken.receipt.clone(), Duration::ZERO) };
            queue.change_visibility(&[change]).unwrap()
        };
        let first = take_one(&*queue);
        assert_eq!(give_back(&first, true), [Ok(())]);
        let second = take_one(&*queue);
        assert_eq!((first.message.receives, second.message.receives), (1, 1));
        // However few receives are reported, a receipt fits one of them only.
        assert_eq!(queue.delete(std::slice::from_ref(&first.receipt)).unwrap(), [Err(EntryError::Gone)]);
        assert_eq!(give_back(&first, true), [Err(EntryError::Gone)]);
        assert_eq!(give_back(&second, false), [Ok(())]);
        let third = take_one(&*queue);
        assert_eq!(third.message.receives, 2);
        set_aside(&*queue, &[whole(&third)]);
        assert_eq!(letters(&*queue)[0].receives, 2);
    }
}
