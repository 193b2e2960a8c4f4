//! FIFO queues: within a group the order survives handlers, bucket, retries, returns and lost leases.

use super::rig::Rig;
use super::{queue_rules, rules};

fn rig() -> Rig {
    let mut rules = rules();
    rules.queues[0].fifo = true;
    rules.queues[0].max_receives = 5;
    Rig::new(rules)
}

#[test]
fn each_group_waits_for_its_own_for_as_long_as_it_takes() {
    rig().play(&[
        (0, "receive a/g b/g c/h d", "handle a|b|c|d"),
        (1, "handled b->x", ""),
        (2, "handled c->x", "flush x c"),
        (3, "handled d->y", "flush y d"),
        (29_000, "tick", ""),
        (29_001, "handled a->z", "flush z a"),
        (29_002, "accepted x", "flush x b; delete c"),
    ]);
}

#[test]
fn what_is_wanted_later_takes_those_behind_it_along_last_first() {
    rig().play(&[
        (0, "receive a/g b/g c/g d/h", "handle a|b|c|d"),
        (1, "handled b->x", ""),
        (2, "handled a=retry:2s", "hide b=2s a=2s"),
        (3, "handled d->x", "flush x d"),
        (4, "settled", ""),
        (5, "handled c->x", "hide c=1997ms"),
    ]);
}

#[test]
fn what_came_before_it_is_not_taken_along() {
    rig().play(&[
        (0, "receive a/g b/g", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "handled b=retry:2s", "hide b=2s"),
        (3, "accepted x", ""),
        (4, "settled", "delete a"),
    ]);
}

#[test]
fn a_copy_keeps_the_place_of_the_first() {
    rig().play(&[
        (0, "receive a/g b/g", "handle a|b"),
        (1, "receive a/g#2", ""),
        (2, "handled b->x", ""),
        (3, "handled a->x", "flush x a b"),
        (4, "accepted x", "delete a'2 b"),
    ]);
}

#[test]
fn groups_of_different_queues_are_different() {
    let mut rules = rules();
    rules.queues[0].fifo = true;
    rules.queues.push(queue_rules("q1"));
    rules.queues[1].fifo = true;
    Rig::new(rules).play(&[
        (0, "receive a/g", "handle a"),
        (0, "q1: receive b/g", "q1: handle b"),
        (1, "q1: handled b->x", "q1: flush x b"),
    ]);
}
