//! Dead letters: whole messages and single deliveries, listed, redriven and purged.

use octoconf::message::{DeliveryName, Receipt};
use octoconf::queue::{Count, DeadFilter, DeadKind, DeadLetter, EntryError, NewMessage, SetAside};

use crate::bodies::attributes;
use crate::driver::Driver;
use crate::tools::*;

pub fn a_whole_message_is_set_aside(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        queue.send(&[NewMessage { attributes: attributes(), ..message("g:a") }]).unwrap();
        let taken = take_one(&*queue);
        driver.pass(seconds(5));
        set_aside(&*queue, &[whole(&taken)]);
        assert!(queue.count().unwrap().is_empty());
        let [letter]: [DeadLetter; 1] = letters(&*queue).try_into().unwrap();
        assert_eq!(letter.message_id, taken.message.id);
        let found = queue.dead_letters().unwrap().find(&letter.id).unwrap().unwrap();
        assert_eq!((found.id, found.message_id), (letter.id, letter.message_id));
        assert_eq!((letter.kind.as_str(), letter.reason.as_str()), ("rejected", "account is null"));
        assert_eq!((letter.account, letter.index, letter.payload), (None, None, None));
        assert_eq!((letter.body, by_name(&letter.attributes)), (taken.message.body.clone(), by_name(&attributes())));
        assert_eq!((letter.receives, letter.redrives), (1, 0));
        assert_eq!(letter.sent_at, taken.message.sent_at);
        assert_eq!(letter.dead_at, letter.sent_at + seconds(5));
    }
}

pub fn one_delivery_is_set_aside_and_its_message_stays(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take_one(&*queue);
    set_aside(&*queue, &[partial(&taken, 2, false)]);
    let [letter]: [DeadLetter; 1] = letters(&*queue).try_into().unwrap();
    assert_eq!((letter.account.as_deref(), letter.index), (Some("acme"), Some(2)));
    assert_eq!((letter.payload.unwrap(), letter.body), ("payload 2".into(), "a".into()));
    assert_eq!(queue.count().unwrap(), Count { hidden: 1, ..Count::default() });
    delete(&*queue, &[taken]);
}

/// The queue has deleted its message: the parking keeps the delivery.
pub fn a_letter_about_a_parked_delivery_is_written(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take_one(&*queue);
    delete(&*queue, std::slice::from_ref(&taken));
    set_aside(&*queue, &[SetAside { receipt: Receipt::Parked, ..partial(&taken, 2, false) }]);
    let [letter]: [DeadLetter; 1] = letters(&*queue).try_into().unwrap();
    assert_eq!((letter.account.as_deref(), letter.index, letter.message_id), (Some("acme"), Some(2), taken.message.id.clone()));
    assert!(queue.count().unwrap().is_empty());
}

pub fn the_last_letter_takes_the_message_along(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take_one(&*queue);
    set_aside(&*queue, &[partial(&taken, 0, false), partial(&taken, 1, true)]);
    assert!(queue.count().unwrap().is_empty());
    assert_eq!(letters(&*queue).iter().map(|letter| letter.index).collect::<Vec<_>>(), [Some(0), Some(1)]);
}

pub fn the_same_delivery_twice_is_one_letter(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a", "b"]);
    let first = take(&*queue, 2);
    set_aside(&*queue, &[partial(&first[0], 1, false), partial(&first[1], 1, false)]);
    driver.pass(LEASE);
    // The message is received again, since not all of it was settled, and the delivery becomes a dead letter again.
    let second = take(&*queue, 2);
    let again = SetAside { reason: reason(DeadKind::Expired, "older than 3 days"), ..partial(&second[0], 1, false) };
    set_aside(&*queue, &[again, partial(&second[0], 2, false)]);
    let letters = letters(&*queue);
    assert_eq!(letters.len(), 3);
    assert_eq!((letters[0].kind.as_str(), letters[0].receives), ("expired", 2));
    assert_eq!((letters[1].kind.as_str(), letters[1].receives), ("refused", 1));
}

/// A person may still have the number of the letter that was purged, and the id of a redriven message is made of it.
pub fn a_letter_written_after_a_purge_has_a_number_of_its_own(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take_one(&*queue);
    let mut seen = Vec::new();
    for _ in 0..3 {
        set_aside(&*queue, &[partial(&taken, 1, false)]);
        let id = ids(&letters(&*queue)).remove(0);
        assert!(!seen.contains(&id), "{id} after {seen:?}");
        assert_eq!(queue.dead_letters().unwrap().purge(std::slice::from_ref(&id)).unwrap(), 1);
        seen.push(id);
    }
}

/// Another handler made the deliveries of the message in another order when it came back.
pub fn the_same_place_for_two_accounts_is_two_letters(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take_one(&*queue);
    set_aside(&*queue, &[partial(&taken, 1, false)]);
    let mut other = partial(&taken, 1, true);
    other.delivery.as_mut().unwrap().account = "beta".into();
    set_aside(&*queue, &[other]);
    let accounts: Vec<_> = letters(&*queue).into_iter().map(|letter| letter.account.unwrap()).collect();
    assert_eq!(accounts, ["acme", "beta"]);
    assert_eq!(redrive_all(&*queue), 2);
    let open = |account: &str| Some([DeliveryName { index: 1, account: Some(account.into()) }].into());
    let redriven: Vec<_> = take(&*queue, 10).iter().map(|taken| taken.message.open.clone()).collect();
    assert_eq!(redriven, [open("acme"), open("beta")]);
}

/// A delivery of [`partial`].
fn name(index: u16) -> DeliveryName {
    DeliveryName { index, account: Some("acme".into()) }
}

pub fn an_old_receipt_writes_nothing(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let old = take_one(&*queue);
    driver.pass(LEASE);
    let new = take_one(&*queue);
    for letter in [whole(&old), partial(&old, 0, true), partial(&old, 0, false)] {
        assert_eq!(queue.set_aside(&[letter]).unwrap(), [Err(EntryError::Gone)]);
    }
    assert!(letters(&*queue).is_empty());
    delete(&*queue, &[new]);
}

pub fn a_whole_message_is_redriven(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        queue.send(&[NewMessage { attributes: attributes(), ..message("g:a") }]).unwrap();
        set_aside(&*queue, &[whole(&take_one(&*queue))]);
        send(&*queue, &["g:b"]);
        driver.pass(seconds(60));
        assert_eq!(redrive_all(&*queue), 1);
        assert!(letters(&*queue).is_empty());
        let taken = take(&*queue, 2);
        assert_eq!(bodies(&taken), ["g:b", "g:a"]);
        let message = &taken[1].message;
        assert_eq!((message.receives, &message.open), (1, &None));
        assert_eq!(by_name(&message.attributes), by_name(&attributes()));
        assert_eq!(message.sent_at, taken[0].message.sent_at + seconds(60));
        assert_eq!(message.group.as_deref(), fifo.then_some("g"));
    }
}

pub fn one_delivery_is_redriven_as_the_only_one_open(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    let taken = take_one(&*queue);
    set_aside(&*queue, &[partial(&taken, 1, false), partial(&taken, 3, true)]);
    assert_eq!(redrive_all(&*queue), 2);
    let redriven = take(&*queue, 10);
    assert_eq!(bodies(&redriven), ["a", "a"]);
    assert_ne!(redriven[0].message.id, redriven[1].message.id);
    assert_eq!(redriven[0].message.open.as_deref(), Some(&[name(1)][..]));
    assert_eq!(redriven[1].message.open.as_deref(), Some(&[name(3)][..]));
}

pub fn open_deliveries_survive_any_number_of_redrives(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a"]);
    set_aside(&*queue, &[partial(&take_one(&*queue), 3, true)]);
    // First the message is rejected as a whole, then the delivery again: only delivery 3 is open all along.
    for _ in 0..2 {
        redrive_all(&*queue);
        set_aside(&*queue, &[whole(&take_one(&*queue))]);
        redrive_all(&*queue);
        set_aside(&*queue, &[partial(&take_one(&*queue), 3, true)]);
    }
    redrive_all(&*queue);
    assert_eq!(take_one(&*queue).message.open.as_deref(), Some(&[name(3)][..]));
}

pub fn purged_letters_are_gone(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a", "b"]);
    let taken = take(&*queue, 2);
    set_aside(&*queue, &[whole(&taken[0]), whole(&taken[1])]);
    let first = letters(&*queue)[0].id.clone();
    let dead = queue.dead_letters().unwrap();
    assert!(dead.find("no such letter").unwrap().is_none());
    assert_eq!(dead.purge(&[first.clone(), first.clone(), "no such letter".into()]).unwrap(), 1);
    assert!(dead.find(&first).unwrap().is_none());
    assert_eq!(dead.redrive(&[first]).unwrap(), 0);
    assert_eq!(letters(&*queue).iter().map(|letter| letter.body.clone()).collect::<Vec<_>>(), ["b"]);
    assert!(queue.count().unwrap().is_empty());
}

pub fn letters_are_listed_by_partner_and_reason(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a", "b"]);
    let taken = take(&*queue, 2);
    let mut other = partial(&taken[1], 0, false);
    other.delivery.as_mut().unwrap().account = "Ünïted 100%".into();
    other.reason = reason(DeadKind::Expired, "status 503 for 3 days, rejected at last");
    set_aside(&*queue, &[whole(&taken[0]), partial(&taken[1], 1, false), other]);
    let found = |partner: Option<&str>, reason: Option<&str>| {
        let filter = DeadFilter { partner: partner.map(Into::into), reason: reason.map(Into::into) };
        filtered(&*queue, &filter).into_iter().map(|letter| letter.kind).collect::<Vec<_>>()
    };
    assert_eq!(found(None, None), ["rejected", "refused", "expired"]);
    assert_eq!(found(Some("acme"), None), ["refused"]);
    assert_eq!(found(Some("Ünïted 100%"), None), ["expired"]);
    assert!(found(Some("ac"), None).is_empty());
    assert_eq!(found(None, Some("rejected")), ["rejected", "expired"]);
    assert_eq!(found(None, Some("status")), ["refused", "expired"]);
    assert_eq!(found(None, Some("expired")), ["expired"]);
    assert!(found(None, Some("expire")).is_empty(), "a kind is matched whole");
    assert!(found(None, Some("%")).is_empty(), "nothing is a wild card");
    assert_eq!(found(Some("acme"), Some("422")), ["refused"]);
    assert!(found(Some("acme"), Some("503")).is_empty());
}

pub fn a_listing_ends_when_told(driver: &dyn Driver) {
    let queue = driver.queue(false);
    send(&*queue, &["a", "b", "c"]);
    let all: Vec<_> = take(&*queue, 3).iter().map(whole).collect();
    set_aside(&*queue, &all);
    let mut seen = Vec::new();
    let dead = queue.dead_letters().unwrap();
    let each = &mut |letter: DeadLetter| {
        // The queue can be used within the callback.
        assert_eq!(queue.count().unwrap(), Count::default());
        seen.push(letter.body);
        seen.len() < 2
    };
    dead.list(&DeadFilter::default(), each).unwrap();
    assert_eq!(seen, ["a", "b"]);
}

pub fn thousands_of_letters_are_redriven_and_purged(driver: &dyn Driver) {
    let queue = driver.queue(false);
    for _ in 0..5 {
        queue.send(&vec![message("a"); 1000]).unwrap();
    }
    loop {
        let taken = take(&*queue, 10 * queue.limits().receive);
        if taken.is_empty() {
            break;
        }
        set_aside(&*queue, &taken.iter().map(whole).collect::<Vec<_>>());
    }
    let all = ids(&letters(&*queue));
    assert_eq!(all.len(), 5000);
    let dead = queue.dead_letters().unwrap();
    assert_eq!(dead.redrive(&all[..3000]).unwrap(), 3000);
    assert_eq!(dead.purge(&all).unwrap(), 2000);
    assert_eq!(queue.count().unwrap(), Count { visible: 3000, ..Count::default() });
}
