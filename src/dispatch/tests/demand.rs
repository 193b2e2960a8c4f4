//! Demand: a queue is never asked for more than there is room for, and is asked again when there is room.

use std::time::Duration;

use super::rig::Rig;
use super::{queue_rules, rules};
use crate::dispatch::{Event, QueueRules, Rules};
use crate::message::service::Facts;

/// Returns a rig with a queue whose requests cost money.
pub(super) fn priced(change: impl FnOnce(&mut Rules)) -> Rig {
    let mut rules = rules();
    rules.queues[0].ask_at_least = 10;
    change(&mut rules);
    rig(rules)
}

/// Returns a rig that has asked for as much as it may and has received nothing yet.
pub(super) fn rig(rules: Rules) -> Rig {
    let mut rig = Rig::new(rules);
    rig.asks = true;
    rig
}

#[test]
fn asks_again_for_what_came_and_for_more_while_much_comes() {
    let mut rig = rig(rules());
    rig.play(&[
        // Ten came of the ten that were asked for at the start: the window doubles.
        (0, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j; ask 20"),
        // A receive that found none takes the window back to one receive.
        (5, "receive", "ask 10"),
    ]);
}

#[test]
fn no_more_is_asked_for_than_the_queues_service_lets_all_consumers_have_in_flight() {
    let mut rig = rig(rules());
    rig.handle(0, Event::Facts { queue: 0, facts: Facts { hidden_limit: Some(16), ..Facts::default() } });
    // A quarter is left to others.
    rig.play(&[(0, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j; ask 2")]);
}

#[test]
fn a_quick_handler_is_given_what_its_payloads_have_bytes_for() {
    let mut rules = rules();
    rules.max_in_flight_bytes = 1000;
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x*300 took:0s", "flush x a"),
        (2, "accepted x", "delete a"),
        (3, "settled", ""),
        (4, "receive b c d e f", "handle b c d e"),
    ]);
}

#[test]
fn no_more_is_asked_for_than_there_is_room_for() {
    let mut small = rules();
    small.max_in_flight = 4;
    let mut rig = rig(small);
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (5, "handled a->acme", "flush acme a"),
        (6, "handled b=discard", "delete b"),
        (7, "accepted acme", ""),
        // Each of the two places is free only once the queue has confirmed the delete of its message.
        (8, "settled", "delete a; ask 1"),
        (9, "settled", "ask 1"),
    ]);
}

#[test]
fn a_queue_whose_requests_have_a_price_is_asked_once_ten_places_are_free_or_after_a_second() {
    let mut rig = priced(|rules| rules.max_in_flight = 12);
    rig.play(&[
        (0, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j"),
        (999, "tick", ""),
        (1000, "tick", "ask 2"),
        (1100, "receive", ""),
        (1200, "handled a=discard", "delete a"),
        (1201, "handled b=discard", ""),
        (1202, "settled", "delete b"),
        (2099, "tick", ""),
        (2100, "tick", "ask 3"),
        // The second begins anew with what it found.
        (2200, "receive", ""),
        (3199, "tick", ""),
        (3200, "tick", "ask 3"),
    ]);
}

#[test]
fn a_queue_that_does_not_wait_for_messages_is_asked_once_in_an_interval_while_it_is_empty() {
    let mut rig = priced(|rules| {
        rules.queues[0].wait_time = Duration::ZERO;
        rules.queues[0].ask_interval = Duration::from_secs(1);
    });
    // It was asked at the start.
    let mut asked = 0;
    let mut ask_again = |rig: &mut Rig| {
        assert_eq!(rig.send(asked + 1, "receive"), "");
        let (at, commands) = rig.skip_to_commands();
        assert_eq!(commands, "ask 10");
        at - std::mem::replace(&mut asked, at)
    };
    let intervals: Vec<u64> = (0..8).map(|_| ask_again(&mut rig)).collect();
    assert_eq!(intervals, [20, 40, 80, 160, 320, 640, 1000, 1000]);
    rig.play(&[
        // What came shows that there may be more.
        (4000, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j; ask 10"),
        // A long poll has taken its time already.
        (7000, "receive", "ask 10"),
    ]);
}

#[test]
fn in_a_room_with_fewer_places_than_queues_each_queue_has_its_turn() {
    let mut small = rules();
    small.max_in_flight = 1;
    small.queues.push(queue_rules("q1"));
    rig(small).play(&[
        // The poll of the first queue has the only place, and finds nothing.
        (1000, "receive", "q1: ask 1"),
        (1001, "q1: receive a", "q1: handle a"),
        (1002, "q1: handled a=discard", "q1: delete a"),
        (1003, "q1: settled", "ask 1"),
        (2000, "receive", "q1: ask 1"),
    ]);
}

#[test]
fn places_that_come_and_go_start_the_second_anew() {
    let mut rig = priced(|rules| {
        rules.max_in_flight = 11;
        rules.queues[0].concurrency = 11;
    });
    rig.play(&[
        (0, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j"),
        (1000, "tick", "ask 1"),
        (1001, "receive k", "handle k"),
        (9000, "handled a=discard", "delete a"),
        // The room was full for eight seconds: the place that is free now starts a new second of waiting.
        (9001, "settled", ""),
        (10_000, "tick", ""),
        (10_001, "tick", "ask 1"),
    ]);
}

#[test]
fn places_that_go_unasked_start_the_second_anew() {
    let mut rig = priced(|rules| rules.max_in_flight = 12);
    let limit = |rig: &mut Rig, at, hidden_limit| {
        let facts = Facts { hidden_limit, ..Facts::default() };
        assert_eq!(rig.handle(at, Event::Facts { queue: 0, facts }), "");
    };
    rig.play(&[(0, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j")]);
    limit(&mut rig, 500, Some(10));
    limit(&mut rig, 900, None);
    rig.play(&[(1000, "tick", ""), (1899, "tick", ""), (1900, "tick", "ask 2")]);
}

#[test]
fn a_handlers_backlog_bounds_demand() {
    let mut blocking = rules();
    blocking.queues[0].concurrency = 1;
    blocking.queues[0].receive_limit = 12;
    let mut rig = rig(blocking);
    // Twelve places are the backlog (2 × concurrency + 10); one of the twelve messages is in the handler.
    let ids = "receive a b c d e f g h i j k l";
    rig.play(&[(0, ids, "handle a; ask 1"), (1, "handled a=discard", "handle b; delete a; ask 1")]);
}

#[test]
fn each_queue_is_sure_of_its_part() {
    let mut two = rules();
    two.max_in_flight = 8;
    two.queues = vec![queue_rules("q0"), queue_rules("q1")];
    let mut rig = rig(two);
    // Each queue has two places of its own. Its poll also takes half of what is left of the four shared ones: the first
    // queue two of them, the second one.
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d; ask 1"),
        (1, "receive e", "handle e"),
        (2, "q1: receive x y z", "q1: handle x|y|z"),
        (3, "handled a=discard", "delete a"),
        (4, "settled", "ask 1"),
    ]);
}

#[test]
fn a_queue_that_fails_is_asked_again_after_a_back_off_that_grows() {
    let mut rig = rig(rules());
    let mut at = 0;
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(rig.send(at, "receive failed"), "");
        let next = rig.next_deadline().expect("a wait");
        waits.push(next - at);
        assert_eq!(rig.send(next - 1, "tick"), "", "not before");
        assert_eq!(rig.send(next + 1, "tick"), "ask 10");
        at = next + 1;
    }
    assert!(waits.iter().zip(0..).all(|(wait, failures)| *wait <= 500 << failures), "{waits:?}");
    assert_eq!(rig.notes.len(), 1, "said once: {:?}", rig.notes);
    // An answer ends the failure, which is logged.
    rig.send(at, "receive a");
    assert_eq!(rig.notes.len(), 2, "{:?}", rig.notes);
}

#[test]
fn what_a_failure_delayed_is_asked_for_after_it() {
    let mut rig = priced(|rules| {
        rules.max_in_flight = 12;
        rules.queues[0].pollers = 1;
    });
    rig.send(0, "receive failed");
    let ready = rig.next_deadline().expect("a wait");
    rig.asks = false;
    rig.send(ready, "tick");
    rig.send(ready + 1, "receive a b c d e f g h i j");
    rig.send(ready + 1, "receive");
    rig.asks = true;
    // Two places are free: too few until they have been free for a second.
    assert_eq!(rig.next_deadline().map(|at| at <= ready + 1001), Some(true));
    assert_eq!(rig.send(ready + 1001, "tick"), "ask 2");
}

#[test]
fn a_queue_that_only_a_person_can_mend_is_asked_rarely() {
    let mut rig = rig(rules());
    rig.send(0, "receive refused");
    // The wait is half a second doubled five times, with full jitter: at least a twentieth of it.
    assert!(rig.next_deadline().expect("a wait") >= 16_000 / 20);
}

#[test]
fn a_message_that_others_wait_for_is_handled_even_when_the_bytes_are_full() {
    let mut heavy = rules();
    heavy.max_in_flight_bytes = 1000;
    heavy.queues[0].concurrency = 2;
    let mut rig = rig(heavy);
    rig.asks = false;
    rig.play(&[
        (0, "receive a b c*10", "handle a|b"),
        (1, "handled a=discard took:1ms", "handle c; delete a"),
        (2, "settled", ""),
        // c fills the bytes, but its turn comes after that of b, which b's job left undone.
        (3, "handled left:b took:20ms", "handle b"),
        (4, "handled c->acme*5000", ""),
        (5, "handled left:b", "handle b"),
    ]);
}

/// Two queues that share 1,000 bytes. A message of q0 leads to as much as 400 of them.
fn with_a_busy_queue(change: impl FnOnce(&mut QueueRules)) -> Rig {
    let mut rules = rules();
    rules.max_in_flight_bytes = 1000;
    rules.queues = vec![queue_rules("q0"), queue_rules("q1")];
    rules.queues.iter_mut().for_each(|queue| queue.concurrency = 2);
    change(&mut rules.queues[1]);
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive m0", "handle m0"),
        (1, "handled m0->beta*400", "flush beta m0"),
        (2, "accepted beta", "delete m0"),
        (3, "settled", ""),
    ]);
    rig
}

/// Has q0 handle one message after the other until q1 has its turn.
fn keep_busy_until(rig: &mut Rig, mut said: String, wanted: &str) {
    let extend = |rig: &mut Rig, at: u64| {
        let calls = rig.send(at, "tick");
        ["q1: ", ""].iter().filter(|queue| calls.split("; ").any(|call| call.starts_with(&format!("{queue}hide")))).for_each(
            |queue| {
                rig.send(at + 1, &format!("{queue}settled"));
            },
        );
    };
    for n in 1..100 {
        if said.contains(wanted) {
            return;
        }
        let at = n * 1000;
        rig.send(at, &format!("receive m{}", n + 3));
        said = rig.send(at + 10, &format!("handled m{n}->beta"));
        said += &rig.send(at + 20, "accepted beta");
        said += &rig.send(at + 30, "settled");
        extend(rig, at + 40);
    }
    panic!("there is no {wanted:?}");
}

#[test]
fn a_message_that_outcomes_wait_for_is_handled_however_busy_another_queue_is() {
    let mut rig = with_a_busy_queue(|_| {});
    rig.play(&[
        (4, "q1: receive z", "q1: handle z"),
        (5, "q1: handled z=discard took:1ms", "q1: delete z"),
        (6, "q1: settled", ""),
        (7, "q1: receive a b", "q1: handle a b"),
        (8, "q1: receive c*10", "q1: handle c"),
        // The outcome of c fills what q1 is sure of, and waits for a and b.
        (9, "q1: handled c->acme*300 took:1ms", ""),
    ]);
    let mut said = rig.send(10, "receive m1 m2 m3");
    said += &rig.send(11, "q1: handled a=discard left:b took:20ms");
    said += &rig.send(12, "q1: settled");
    keep_busy_until(&mut rig, said, "q1: handle b");
}

#[test]
fn a_suspect_that_its_group_waits_for_is_handled_however_busy_another_queue_is() {
    let mut rig = with_a_busy_queue(|queue| (queue.fifo, queue.max_receives) = (true, 4));
    rig.play(&[(4, "q1: receive b/g#3 c/g d/g", "q1: handle c|d")]);
    let mut said = rig.send(10, "receive m1 m2 m3");
    said += &rig.send(11, "q1: handled c->acme*300");
    said += &rig.send(12, "q1: handled d->acme*300");
    keep_busy_until(&mut rig, said, "q1: handle b");
}

#[test]
fn a_handler_that_makes_much_of_little_starts_no_more_once_the_bytes_are_full() {
    // One job has one message of a slow handler, and many of any other.
    for took in ["took:20ms", "took:1ms"] {
        let mut heavy = rules();
        heavy.max_in_flight_bytes = 1000;
        heavy.queues[0].concurrency = 1;
        heavy.queues[0].receive_limit = 3;
        let mut rig = rig(heavy);
        rig.asks = false;
        rig.play(&[
            (0, "receive a*10 b*10 c*10", "handle a"),
            (1, &format!("handled a->acme*5000 {took}"), "flush acme a"),
            // b waits, since a is on its way out and will make room.
            (2, "tick", ""),
            (3, "accepted acme", "handle b; delete a"),
            (4, &format!("handled b->acme*5000 {took}"), "flush acme b"),
            (5, "settled", ""),
            // Now nothing is about to make room, and the partner may be away for days, so others may use the room too.
            (6, "answered acme 503", "handle c"),
            (7, "handled c->beta", "flush beta c"),
        ]);
    }
}

#[test]
fn a_delivery_that_waits_for_its_partner_keeps_no_handler_from_starting() {
    let mut heavy = rules();
    heavy.max_in_flight_bytes = 1000;
    heavy.queues = vec![queue_rules("q0"), queue_rules("q1")];
    let mut rig = rig(heavy);
    rig.asks = false;
    rig.play(&[
        (0, "pause away", "reply paused"),
        (1, "receive a", "handle a"),
        (2, "handled a->away*5000", ""),
        (3, "receive b", "handle b"),
        (4, "q1: receive c", ""),
        (5, "handled b->acme", "flush acme b"),
        (6, "accepted acme", "delete b"),
        (7, "settled", "q1: handle c"),
    ]);
    let stands: Vec<_> = rig.dispatcher.progress().into_iter().filter(|progress| progress.due > 0).collect();
    assert!(stands.is_empty(), "{stands:?}");
}

#[test]
fn bodies_that_fill_the_room_are_handled_one_by_one() {
    let mut heavy = rules();
    heavy.max_in_flight_bytes = 1000;
    heavy.queues = vec![queue_rules("q0"), queue_rules("q1")];
    let mut rig = rig(heavy);
    rig.asks = false;
    rig.play(&[
        (0, "receive a*900 b*900", "handle a"),
        (1, "q1: receive c*900", ""),
        (2, "handled a=discard", "delete a"),
        (3, "settled", "handle b"),
        (4, "handled b=discard", "delete b"),
        (5, "settled", "q1: handle c"),
    ]);
}

#[test]
fn attributes_fill_the_room_as_bodies_do() {
    let mut heavy = rules();
    heavy.max_in_flight_bytes = 1000;
    let mut rig = rig(heavy);
    rig.asks = false;
    rig.play(&[(0, "receive a$900 b$900", "handle a")]);
    assert_eq!(rig.dispatcher.status().in_flight_bytes, 2 * 903);
    rig.play(&[(1, "handled a=discard", "delete a"), (2, "settled", "handle b")]);
    assert_eq!(rig.dispatcher.status().in_flight_bytes, 903);
}

#[test]
fn bytes_bound_demand_as_well() {
    let mut heavy = rules();
    heavy.max_in_flight_bytes = 3 * 1024 * 1024;
    let mut rig = rig(heavy);
    // Three messages were asked for at the start, each assumed to have 1 MiB.
    rig.play(&[
        (0, "receive a*1048576 b*1048576 c*1048576", "handle a"),
        (1, "handled a=discard", "delete a"),
        (2, "settled", "handle b|c; ask 1"),
    ]);
}

#[test]
fn what_fills_the_room_for_days_leaves_the_queue_one_message_at_a_time() {
    let mut heavy = rules();
    heavy.max_in_flight_bytes = 1_500_000;
    rig(heavy).play(&[
        (0, "pause away", "reply paused"),
        (1, "receive a*1000000", "handle a"),
        // No queue is known to have small messages only, and less than the largest one is free.
        (2, "handled a->away", "ask 1"),
        (3, "receive b", "handle b"),
        (4, "handled b->acme", "flush acme b; ask 1"),
        (5, "accepted acme", "delete b"),
    ]);
}

#[test]
fn a_queue_of_which_as_much_is_held_as_its_service_allows_is_asked_for_no_one_more() {
    let mut rules = rules();
    rules.queues[0].concurrency = 20;
    let mut rig = rig(rules);
    rig.handle(0, Event::Facts { queue: 0, facts: Facts { hidden_limit: Some(16), ..Facts::default() } });
    rig.send(0, "pause x");
    let ids: Vec<_> = (0..12).map(|n| format!("m{n}")).collect();
    rig.send(1, &format!("receive {}", ids.join(" ")));
    rig.send(2, "receive");
    ids.iter().for_each(|id| assert_eq!(rig.send(3, &format!("handled {id}->x")), ""));
    assert_eq!(rig.send(20_000, "tick"), "");
}
