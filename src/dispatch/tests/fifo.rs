//! FIFO queues: within a group the order survives handlers, bucket, retries, returns and lost leases.

use std::time::{Duration, SystemTime};

use super::rig::Rig;
use super::{queue_rules, rules};
use crate::dispatch::Event;
use crate::dispatch::order::Order;
use crate::message::service::Facts;

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
fn a_group_of_which_nothing_is_held_is_forgotten() {
    let mut rig = rig();
    rig.play(&[
        (0, "receive a/g b/h", "handle a|b"),
        (1, "handled a=discard b=retry:1s", "delete a"),
        (2, "settled", "hide b=999ms"),
        (3, "settled", ""),
    ]);
    let Order::Groups(groups) = &rig.dispatcher.queues[0].order else { unreachable!("its queue is FIFO") };
    assert!(groups.is_empty());
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
fn what_is_wanted_later_costs_those_behind_it_no_receive() {
    let mut rig = rig();
    rig.counts = true;
    rig.play(&[
        (0, "receive a/g b/g c/g", "handle a|b|c"),
        (1, "handled b->x", ""),
        (2, "handled a=retry:2s", "hide b=2s^ a=2s"),
        (3, "settled", ""),
        (5, "handled c->x", "hide c=1997ms^"),
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

#[test]
fn a_bucket_given_back_by_a_drain_takes_the_rest_of_the_group_along() {
    rig().play(&[
        (0, "receive a/g b/g c/g", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 60s", ""),
        (3, "handled b->y", "flush y b"),
        (4, "drain 30s", "interrupt"),
        (5, "receive", "hide a=0"),
        (6, "settled", ""),
        // c is in the group of a, which is back on its queue.
        (7, "handled c->y", "hide c=0"),
        (8, "accepted y", ""),
        (9, "settled", "delete b"),
        (10, "settled", "finish"),
    ]);
}

#[test]
fn a_group_that_waits_for_a_handler_is_returned_whole_by_a_drain() {
    let mut rules = rules();
    rules.queues[0].fifo = true;
    rules.queues[0].concurrency = 2;
    Rig::new(rules).play(&[
        (0, "receive z", "handle z"),
        (1, "handled z=discard took:1ms", "delete z"),
        (2, "receive a/g b/g", "handle a b"),
        (3, "receive c/g d", "handle c d"),
        (4, "settled", ""),
        (5, "handled c->x d->x", "flush x d"),
        (6, "drain 30s", "interrupt"),
        (7, "receive", ""),
        // b was left by its job and is returned unhandled. c is handled, but may not go before it.
        (8, "handled a->y left:b", "flush y a; hide c=0 b=0"),
        (9, "accepted x", ""),
        (10, "settled", "delete d"),
    ]);
}

#[test]
fn what_is_returned_at_once_takes_those_of_the_same_receive_along() {
    let mut rig = rig();
    let facts = Facts { circulates: true, ..Facts::default() };
    rig.handle(0, Event::Facts { queue: 0, facts });
    rig.play(&[
        // There is no place for dead letters.
        (0, "receive z/g a/g#6 b/g#6 c/g d/h", "handle z|d; hide c=960s b=960s a=960s"),
        (1, "handled z->x", "flush x z"),
        (2, "settled", ""),
        (3, "accepted x", "delete z"),
        (4, "settled", ""),
    ]);
    rig.play(&[
        (10, "receive e/i", "handle e"),
        // Another process has settled a part of it meanwhile, and may have more of its group.
        (5_000, "receive e/i#2~0@acme f/i", "hide f=0 e'2=0"),
    ]);
}

#[test]
fn dead_letters_are_in_the_order_of_receive() {
    rig().play(&[(0, "receive a/g#6 b/g#6 c/g", "handle c; letter a:max_receives b:max_receives")]);
}

#[test]
fn a_lost_message_takes_the_unsent_rest_of_its_group_with_it() {
    let mut rules = rules();
    rules.queues[0].fifo = true;
    rules.queues[0].concurrency = 5;
    Rig::new(rules).play(&[
        (0, "receive a/g b/g c/g d/g e/h f/g", "handle a|b|c|d|e"),
        (1, "handled a->x", "flush x a; handle f"),
        (2, "answered x 429 50s", ""),
        (3, "handled b->y", "flush y b"),
        (4, "handled c->x e->x", ""),
        (30_000, "tick", "hide a=60s b=60s c=60s d=60s e=60s f=60s"),
        // The next receiver of a must get it before the rest of its group: c goes back at once, d and f once their
        // handlers are done. b is on the wire.
        (30_001, "settled gone ok ok ok ok ok", "hide c=0"),
        (30_002, "handled d->x", ""),
        (30_003, "settled", "hide d=0"),
        (30_004, "accepted y", ""),
        (30_005, "settled", "delete b"),
        (30_006, "handled f->x", ""),
        (30_007, "settled", "hide f=0"),
        (30_008, "settled", ""),
        (50_002, "tick", "flush x e"),
    ]);
}

#[test]
fn what_is_dead_after_too_many_tries_lets_those_behind_it_pass() {
    rig().play(&[
        (0, "receive a/g#5 b/g", "handle b"),
        (1, "handled b->x", "handle a"),
        (2, "handled a=retry:2s", "flush x b; letter a:max_receives"),
    ]);
}

#[test]
fn what_arrives_during_a_drain_goes_back_last_first() {
    let mut rig = rig();
    rig.asks = true;
    rig.play(&[(0, "drain 30s", "interrupt"), (1, "receive a/g b/g c/g", ""), (2, "receive", "hide c=0 b=0 a=0")]);
}

#[test]
fn one_flush_of_a_bucket_is_on_the_wire_whatever_parallel_says() {
    let mut rules = rules();
    rules.queues[0].fifo = true;
    let partner = std::sync::Arc::make_mut(&mut rules.partners.default);
    (partner.parallel, partner.max_batch) = (4, 1);
    let mut rig = Rig::new(rules);
    rig.play(&[(0, "receive a/g b/g c/h", "handle a|b|c"), (1, "handled a->x b->x c->y", "flush x a; flush y c")]);
    let reason = rig.dispatcher.partner("x").unwrap().reason;
    assert_eq!(reason, "a flush is on the wire, and of a FIFO queue one at a time is");
    rig.play(&[
        (2, "answered x 503", ""),
        (3, "accepted y", "delete c"),
        (4, "settled", ""),
        (2_000, "tick", "flush x a"),
        (2_001, "accepted x", "flush x b; delete a"),
    ]);
}

#[test]
fn nothing_is_sent_whose_lease_has_ended_until_it_is_extended() {
    let mut rig = rig();
    rig.play(&[
        (0, "receive a/g", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 503 70s", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled failed", ""),
    ]);
    // The queue does not answer, and by now another instance may have the message.
    let failing = |rig: &mut Rig| {
        let retry = rig.skip_to_commands();
        assert_eq!(retry.1, "hide a=60s");
        assert_eq!(rig.send(retry.0 + 1, "settled failed"), "");
        retry.0
    };
    while failing(&mut rig) < 80_000 {}
    let retry = rig.skip_to_commands();
    assert_eq!(retry.1, "hide a=60s");
    assert_eq!(rig.send(retry.0 + 1, "settled"), "");
    let (at, flush) = rig.skip_to_commands();
    assert_eq!(flush, "flush x a");
    assert!(at > 80_000 && at <= retry.0 + 1_001, "{at}");
}

#[test]
fn nothing_is_sent_whose_lease_ended_while_the_machine_slept() {
    let mut rig = rig();
    let both_clocks = |rig: &mut Rig, at: u64, wall: u64| {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(wall);
        rig.dispatcher.set_wall_clock(rig.start + Duration::from_millis(at), wall);
    };
    both_clocks(&mut rig, 0, 0);
    rig.play(&[(0, "receive a/g", "handle a"), (1, "handled a->x", "flush x a"), (2, "answered x 503 40s", "")]);
    both_clocks(&mut rig, 20_000, 20_900);
    rig.play(&[(20_000, "tick", "")]);
    // An hour passes of which the clock that never steps shows nothing.
    both_clocks(&mut rig, 20_001, 3_620_901);
    rig.play(&[(20_002, "tick", "hide a=60s"), (40_003, "tick", "")]);
    // The same again, while the extension is under way.
    both_clocks(&mut rig, 40_003, 7_240_903);
    rig.play(&[(40_004, "settled", ""), (40_005, "tick", "hide a=60s"), (41_500, "tick", ""), (41_501, "settled", "")]);
    assert_eq!(rig.skip_to_commands().1, "flush x a");
}

#[test]
fn nothing_is_sent_whose_lease_ended_while_the_machine_slept_and_its_extension_was_under_way() {
    let mut rig = rig();
    let both_clocks = |rig: &mut Rig, at: u64, wall: u64| {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(wall);
        rig.dispatcher.set_wall_clock(rig.start + Duration::from_millis(at), wall);
    };
    both_clocks(&mut rig, 0, 0);
    rig.play(&[
        (0, "receive a/g", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 503 40s", ""),
        (30_000, "tick", "hide a=60s"),
    ]);
    both_clocks(&mut rig, 30_001, 3_630_001);
    rig.play(&[(40_003, "tick", ""), (40_004, "settled", ""), (40_005, "tick", "hide a=60s"), (40_006, "settled", "")]);
    assert_eq!(rig.skip_to_commands().1, "flush x a");
}

#[test]
fn a_bucket_waits_for_the_lease_of_each_group_that_it_would_send() {
    let mut rig = rig();
    rig.play(&[
        (0, "pause x", "reply paused"),
        (0, "receive a/g b/h", "handle a|b"),
        (1, "handled a->x", ""),
        (1, "handled b->x", ""),
        (30_000, "tick", "hide a=60s b=60s"),
        (30_001, "settled ok failed", ""),
    ]);
    // That lease of b is never extended, while that of a is.
    let mut at = 30_001;
    while at < 61_000 {
        let (next, hide) = rig.skip_to_commands();
        let results: Vec<&str> =
            hide.split(' ').skip(1).map(|entry| if entry.starts_with('b') { "failed" } else { "ok" }).collect();
        rig.send(next + 1, &format!("settled {}", results.join(" ")));
        at = next;
    }
    assert_eq!(rig.send(at + 2, "resume x"), "reply healthy");
}

#[test]
fn a_copy_that_was_renewed_on_the_wire_takes_its_group_along() {
    Rig::new({
        let mut rules = rules();
        rules.queues[0].fifo = true;
        rules
    })
    .play(&[
        (0, "receive a/g b/g", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "handled b->x", ""),
        (30_000, "tick", "hide a=60s b=60s"),
        (61_000, "settled gone gone", ""),
        (61_001, "receive a/g#2 b/g#2", "handle b"),
        (61_002, "handled b->x", ""),
        // The newest first, so that the group stays locked until its first message is returned.
        (61_003, "answered x 503", "hide b'2=0 a'2=0"),
        (61_004, "settled", ""),
    ]);
}

#[test]
fn what_was_accepted_is_not_returned_with_a_message_before_it_in_the_same_batch() {
    rig().play(&[
        (0, "pause y", "reply paused"),
        (0, "receive a/g b/g c/g", "handle a|b|c"),
        (1, "handled a->y", ""),
        (1, "handled b->x,y", "flush x b-0"),
        (1, "handled c->y", ""),
        (2, "answered x 429 60s", ""),
        (3, "resume y", "reply healthy; flush y a b-1 c"),
        (4, "drain 30s", "interrupt"),
        (5, "receive", ""),
        (6, "accepted y", "delete a c"),
        (7, "settled", "hide b=0~1@y"),
    ]);
}

#[test]
fn new_copies_do_not_overtake_one_that_is_still_being_returned() {
    rig().play(&[
        (0, "receive a/g b/g c/g", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 50s", ""),
        (3, "handled b->x c->x", ""),
        (30_000, "tick", "hide a=60s b=60s c=60s"),
        (30_001, "settled gone ok ok", "hide c=0 b=0"),
        // c is gone, but b is still held, since the queue did not answer.
        (30_002, "settled gone failed", ""),
        (30_003, "receive a/g#2 b/g#2 c/g#2 d/g e/h", "handle a|e"),
    ]);
}

#[test]
fn new_copies_do_not_overtake_one_that_has_to_follow_once_its_handler_ends() {
    rig().play(&[
        (0, "receive a/g b/g", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 50s", ""),
        (30_000, "tick", "hide a=60s b=60s"),
        (30_001, "settled gone ok", ""),
        (30_002, "receive a/g#2 b/g#2 c/g", "handle a; hide c=0"),
        (30_003, "settled", ""),
        (30_004, "handled b->x", "hide b'2=0"),
    ]);
}

#[test]
fn a_lost_message_takes_its_group_along_although_a_part_of_it_is_on_the_wire() {
    rig().play(&[
        (0, "receive a/g b/g", "handle a|b"),
        (1, "handled a->x,y", "flush x a-0; flush y a-1"),
        (2, "answered y 429 40s", ""),
        (3, "handled b->y", ""),
        (30_000, "tick", "hide a=60s b=60s"),
        // a-0 is on the wire; a-1 waits and may not be sent any more.
        (30_001, "settled gone ok", "hide b=0"),
        (30_002, "settled", ""),
        (40_003, "tick", ""),
        (40_004, "answered x 503", ""),
    ]);
}

#[test]
fn a_lost_message_that_is_refused_in_one_bucket_is_not_overtaken_there_while_another_flush_of_it_is_out() {
    // Whether it stays lost, or a copy brings a new lease: what waits of it is not sent.
    for (copy, hidden) in [("tick", "hide b=0"), ("receive a/g#2", "hide b=0")] {
        rig().play(&[
            (0, "receive a/g b/g", "handle a|b"),
            (1, "handled a->x,y", "flush x a-0; flush y a-1"),
            (2, "handled b->x", ""),
            (30_000, "tick", "hide a=60s b=60s"),
            (30_001, "settled gone ok", ""),
            (30_002, copy, ""),
            (30_003, "answered x 503", hidden),
            (30_004, "settled", ""),
            (32_000, "tick", ""),
        ]);
    }
}

#[test]
fn a_message_held_too_long_is_not_overtaken_while_a_letter_about_it_is_written() {
    let mut rules = rules();
    rules.queues[0].fifo = true;
    rules.queues[0].ackers = 2;
    rules.queues[0].visibility_timeout = std::time::Duration::from_secs(12 * 3600);
    const LONG: u64 = 11 * 3_600_000 + 1_800_000;
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "facts 3 43200s", ""),
        (0, "receive a/g#2", "handle a"),
        (1, "handled a->x,y", "flush x a-0; flush y a-1"),
        (2, "answered y 429 86400s", ""),
        (3_000, "receive b/g", "handle b"),
        (3_001, "handled b->x", ""),
        (LONG, "tick", "letter a-1:partner_unavailable+open"),
        // a-0 waits, and is not sent any more.
        (LONG + 1, "answered x 503", "hide b=0"),
        (LONG + 2, "settled", "hide a=0~dead:1@y"),
        (LONG + 3, "settled", ""),
        (LONG + 4, "settled", ""),
    ]);
    let tally = &rig.dispatcher.status().queues[0].tally;
    assert_eq!(tally.returns().collect::<Vec<_>>(), [("held_too_long", 1), ("group", 1)]);
}
