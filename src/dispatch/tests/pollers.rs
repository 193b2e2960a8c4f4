//! Pollers: which of them are asked, and for how much at once.

use std::time::Duration;

use super::demand::{priced, rig};
use super::rules;
use crate::dispatch::Event;

#[test]
fn while_much_comes_a_poller_has_as_much_as_256_or_one_receive_whichever_is_more() {
    for (receive_limit, came, widest) in [(10, 10, 256), (500, usize::MAX, 500)] {
        let mut rules = rules();
        (rules.max_in_flight, rules.queues[0].concurrency, rules.queues[0].receive_limit) = (100_000, 1000, receive_limit);
        let (mut rig, mut number) = (rig(rules), 0);
        let mut most = 0;
        for at in 0..30 {
            let ids: String =
                (0..came.min(rig.dispatcher.queues[0].intake.asked_for())).map(|n| format!(" m{}", number + n)).collect();
            number += 1000;
            rig.send(at, &format!("receive{ids}"));
            most = most.max(rig.dispatcher.queues[0].intake.asked_for());
        }
        assert_eq!(most, widest, "one receive brings {receive_limit}");
    }
}

#[test]
fn a_poller_that_waits_has_ten_however_much_one_receive_may_bring() {
    let mut rules = rules();
    (rules.queues[0].receive_limit, rules.queues[0].concurrency) = (500, 100);
    let ids = |from: u32, to: u32| (from..to).map(|n| format!(" m{n}")).collect::<String>();
    let handles = |from: u32, to: u32| format!("handle {}", ids(from, to).trim_start().replace(' ', "|"));
    rig(rules).play(&[
        (0, &format!("receive{}", ids(0, 10)), &format!("{}; ask 20", handles(0, 10))),
        (1, &format!("receive{}", ids(10, 30)), &format!("{}; ask 40", handles(10, 30))),
        // Half of what was asked for is much.
        (2, &format!("receive{} used:40", ids(30, 50)), &format!("{}; ask 40", handles(30, 50))),
        (3, &format!("receive{} used:40", ids(50, 69)), &format!("{}; ask 10", handles(50, 69))),
        (4, "receive", "ask 10"),
        (5, &format!("receive{}", ids(70, 80)), &format!("{}; ask 20", handles(70, 80))),
    ]);
}

#[test]
fn a_queue_whose_receives_bring_few_is_not_asked_for_more_at_once() {
    let mut rig = priced(|rules| rules.queues[0].receive_limit = 5);
    rig.play(&[(0, "receive", "ask 5"), (1, "receive", "ask 5")]);
}

#[test]
fn a_queue_of_which_little_comes_waits_with_one_poller() {
    let mut rules = rules();
    rules.queues[0].pollers = 2;
    let mut rig = rig(rules);
    rig.play(&[
        (0, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j; ask 20; ask 10"),
        // The first poller has found nothing; the second is still waiting.
        (5, "receive", ""),
    ]);
}

#[test]
fn a_receive_that_finds_nothing_leaves_one_poller_asking() {
    let mut rules = rules();
    rules.queues[0].pollers = 3;
    let mut rig = rig(rules);
    // There is no thread for the third.
    rig.handle(0, Event::NoPoller { queue: 0, poller: 2, demand: 0 });
    rig.play(&[
        (0, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j; ask 20; ask 10"),
        (1, "receive", ""),
        // What the other brings now and then does not put both to work.
        (2, "receive@1 k", "ask 10"),
        (3, "receive@1 l m n o", ""),
    ]);
}

#[test]
fn a_receive_that_found_nothing_is_no_reason_to_ask_for_more_at_once() {
    let mut small = rules();
    small.max_in_flight = 4;
    rig(small).play(&[(0, "receive used:1", ""), (1, "receive used:3", "ask 4")]);
}

#[test]
fn what_one_poller_found_ends_the_interval_of_another_that_found_nothing() {
    let mut rig = priced(|rules| {
        (rules.queues[0].pollers, rules.queues[0].concurrency) = (2, 20);
        rules.queues[0].ask_interval = Duration::from_secs(1);
    });
    rig.play(&[
        (0, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j; ask 10; ask 10"),
        (1, "receive", ""),
        (2, "receive@1 k l m n o p q r s t", "handle k|l|m|n|o|p|q|r|s|t; ask 10; ask 10"),
    ]);
}

#[test]
fn a_poller_without_a_thread_gives_its_demand_back_and_is_left_alone_for_a_while() {
    let mut rules = rules();
    (rules.queues[0].pollers, rules.max_in_flight) = (2, 100);
    let mut rig = rig(rules);
    let ten = "receive a b c d e f g h i j";
    rig.play(&[(0, ten, "handle a|b|c|d|e|f|g|h|i|j; ask 20; ask 10")]);
    assert_eq!(rig.handle(0, Event::NoPoller { queue: 0, poller: 1, demand: 10 }), "");
    assert_eq!(rig.dispatcher.room.free(0), 100 - 10 - 20, "the first poller's demand is all that is reserved");
    rig.play(&[
        (1, "handled a=discard b=discard c=discard d=discard e=discard", "delete a b c d e"),
        (2, "settled", ""),
        (3, "receive", "ask 10"),
        // From here on the second poller gets demand again. Whether there is a thread for it by now shows later.
        (9_999, "receive k l m n o p q r s t", "handle k; ask 20"),
        (10_000, "tick", "ask 1"),
    ]);
    assert!(rig.notes.is_empty(), "{:?}", rig.notes);
}
