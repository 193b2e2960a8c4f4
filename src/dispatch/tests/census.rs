//! Until all is empty: the queues are counted once nothing is held, and again until all counts say so.

use super::rig::Rig;
use super::{queue_rules, rules};

fn rig() -> Rig {
    let mut rules = rules();
    rules.until_empty = true;
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    // Both counts of the start are under way.
    rig.send(0, "tick");
    rig
}

#[test]
fn ends_when_all_counts_are_zero() {
    rig().play(&[
        (1, "counted 0 0 0", ""),
        (2, "q1: counted 0 0 0", "interrupt; q1: interrupt"),
        (3, "receive", ""),
        (4, "q1: receive", "finish"),
    ]);
}

#[test]
fn hidden_and_delayed_messages_are_waited_for() {
    rig().play(&[
        (1, "counted 0 1 0", ""),
        (2, "q1: counted 0 0 0", ""),
        (101, "tick", ""),
        (102, "tick", "count; q1: count"),
        (103, "counted 0 0 0", ""),
        (104, "q1: counted 0 0 1", ""),
        (204, "tick", "count; q1: count"),
        (205, "counted 0 0 0", ""),
        (206, "q1: counted 0 0 0", "interrupt; q1: interrupt"),
    ]);
}

#[test]
fn a_message_that_comes_meanwhile_makes_the_counts_worthless() {
    rig().play(&[
        (1, "counted 0 0 0", ""),
        (2, "receive a", "handle a"),
        (3, "handled a=discard", "delete a"),
        (4, "settled", ""),
        (5, "q1: counted 0 0 0", ""),
        (105, "tick", "count; q1: count"),
    ]);
}

#[test]
fn nothing_is_counted_while_something_is_held() {
    rig().play(&[
        (1, "receive a", "handle a"),
        (2, "counted 0 0 0", ""),
        (3, "q1: counted 0 0 0", ""),
        (200, "tick", ""),
        (300, "handled a=discard", "delete a"),
        (301, "settled", "count; q1: count"),
    ]);
}

#[test]
fn a_count_that_fails_is_not_zero() {
    let mut rig = rig();
    rig.play(&[(1, "counted fault", ""), (2, "q1: counted 0 0 0", ""), (101, "tick", "")]);
    let mut commands = String::new();
    for at in 102..400 {
        commands += &rig.send(at, "tick");
    }
    assert!(commands.contains("count"), "{commands}");
    assert!(!commands.contains("interrupt"), "{commands}");
}
