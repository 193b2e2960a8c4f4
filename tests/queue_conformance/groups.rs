//! FIFO groups: the group of a body is the text before its colon.

use std::time::Duration;

use crate::driver::Driver;
use crate::tools::*;

pub fn a_group_comes_in_order(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "g:2", "g:3"]);
    let taken = take(&*queue, 2);
    assert_eq!(bodies(&taken), ["g:1", "g:2"]);
    delete(&*queue, &taken);
    assert_eq!(take_bodies(&*queue, 2), ["g:3"]);
}

pub fn a_locked_group_gives_nothing(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "g:2"]);
    take_one(&*queue);
    assert!(take(&*queue, 10).is_empty());
    send(&*queue, &["g:3"]);
    assert!(take(&*queue, 10).is_empty());
}

pub fn a_group_is_free_once_the_last_lease_is_settled(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "g:2", "g:3"]);
    let taken = take(&*queue, 2);
    hide(&*queue, &taken[..1], Duration::ZERO);
    assert!(take(&*queue, 10).is_empty(), "the first is back, the second is still leased");
    delete(&*queue, &taken[1..]);
    assert_eq!(take_bodies(&*queue, 10), ["g:1", "g:3"]);
}

pub fn a_lapsed_group_starts_over_in_order(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "g:2", "g:3"]);
    let taken = take(&*queue, 2);
    driver.pass(seconds(20));
    hide(&*queue, &taken[1..], LEASE);
    driver.pass(seconds(10));
    assert!(take(&*queue, 10).is_empty(), "the first has lapsed, the second is still leased");
    driver.pass(seconds(20));
    let again = take(&*queue, 10);
    assert_eq!(bodies(&again), ["g:1", "g:2", "g:3"]);
    assert_eq!(again.iter().map(|received| received.message.receives).collect::<Vec<_>>(), [2, 2, 1]);
}

pub fn a_returned_message_locks_its_group(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "g:2", "h:1"]);
    let taken = take(&*queue, 1);
    hide(&*queue, &taken, seconds(60));
    assert_eq!(take_bodies(&*queue, 10), ["h:1"]);
    driver.pass(seconds(60));
    assert_eq!(take_bodies(&*queue, 2), ["g:1", "g:2"]);
}

pub fn groups_do_not_wait_for_each_other(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "g:2", "h:1", "h:2"]);
    let first = take(&*queue, 1);
    assert_eq!(take_bodies(&*queue, 10), ["h:1", "h:2"]);
    delete(&*queue, &first);
    assert_eq!(take_bodies(&*queue, 10), ["g:2"]);
}

pub fn a_message_without_group_waits_for_none(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "1", "g:2", "2", "3"]);
    assert_eq!(take_bodies(&*queue, 1), ["g:1"]);
    assert_eq!(take_bodies(&*queue, 1), ["1"]);
    assert_eq!(take_bodies(&*queue, 10), ["2", "3"]);
}

pub fn the_oldest_come_first_over_all_groups(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "h:1", "1", "g:2", "i:1", "h:2", "2", "g:3"]);
    assert_eq!(take_bodies(&*queue, 6), ["g:1", "h:1", "1", "g:2", "i:1", "h:2"]);
    // The rest of groups g and h waits for the messages taken.
    assert_eq!(take_bodies(&*queue, 10), ["2"]);
}

pub fn a_delayed_message_holds_back_those_behind_it(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1"]);
    send_delayed(&*queue, "g:2", seconds(60));
    send(&*queue, &["g:3"]);
    let first = take(&*queue, 10);
    assert_eq!(bodies(&first), ["g:1"]);
    delete(&*queue, &first);
    assert!(take(&*queue, 10).is_empty());
    driver.pass(seconds(60));
    assert_eq!(take_bodies(&*queue, 10), ["g:2", "g:3"]);
}

pub fn a_dead_letter_frees_its_group(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "g:2"]);
    let first = take_one(&*queue);
    set_aside(&*queue, &[partial(&first, 0, false)]);
    assert!(take(&*queue, 10).is_empty(), "the message is not settled yet");
    set_aside(&*queue, &[partial(&first, 1, true)]);
    assert_eq!(take_bodies(&*queue, 10), ["g:2"]);
}

pub fn a_redriven_message_joins_its_group_at_the_end(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:1", "g:2", "g:3"]);
    set_aside(&*queue, &[whole(&take_one(&*queue))]);
    let second = take(&*queue, 1);
    assert_eq!(redrive_all(&*queue), 1);
    assert!(take(&*queue, 10).is_empty());
    delete(&*queue, &second);
    assert_eq!(take_bodies(&*queue, 10), ["g:3", "g:1"]);
}

pub fn a_redriven_message_comes_although_nothing_else_is_in_its_group(driver: &dyn Driver) {
    let queue = driver.queue(true);
    send(&*queue, &["g:a"]);
    set_aside(&*queue, &[whole(&take_one(&*queue))]);
    assert_eq!(redrive_all(&*queue), 1);
    assert_eq!(take_bodies(&*queue, 1), ["g:a"]);
}
