//! Leases: extended for as long as a message is held. A lost lease drops the message's waiting
//! deliveries, not those on the wire.

use std::time::{Duration, SystemTime};

use super::rig::Rig;
use super::rules;
use crate::dispatch::WorkKind;

const HOUR: u64 = 3_600_000;

#[test]
fn a_lease_is_extended_when_half_of_it_is_over_wherever_its_message_is() {
    let mut one = rules();
    one.queues[0].concurrency = 1;
    Rig::new(one).play(&[
        // a is handled, b waits for its handler.
        (0, "receive a b", "handle a"),
        (29_999, "tick", ""),
        (30_000, "tick", "hide a=60s b=60s"),
        (30_100, "settled", ""),
        (59_999, "tick", ""),
        (60_000, "tick", "hide a=60s b=60s"),
        (60_001, "settled", ""),
        (60_002, "handled a->acme", "flush acme a; handle b"),
        (90_000, "tick", "hide a=60s b=60s"),
    ]);
}

#[test]
fn a_lease_is_extended_from_the_moment_of_the_call_not_of_its_answer() {
    Rig::new(rules()).play(&[
        (0, "receive a", "handle a"),
        (30_000, "tick", "hide a=60s"),
        (45_000, "settled", ""),
        (60_000, "tick", "hide a=60s"),
    ]);
}

#[test]
fn a_lease_is_extended_in_time_although_the_call_about_another_takes_long() {
    let mut rules = rules();
    rules.queues[0].ackers = 2;
    Rig::new(rules).play(&[
        (0, "receive a", "handle a"),
        (10_000, "receive b", "handle b"),
        (30_000, "tick", "hide a=60s"),
        (40_000, "tick", "hide b=60s"),
    ]);
}

#[test]
fn an_extension_that_fails_is_tried_again_once_however_long_it_fails() {
    let mut rig = Rig::new(rules());
    rig.send(0, "receive a");
    assert_eq!(rig.send(30_000, "tick"), "hide a=60s");
    rig.send(30_001, "settled fault");
    for _ in 0..100 {
        let retry = rig.next_deadline().expect("a retry");
        assert_eq!(rig.send(retry, "tick"), "hide a=60s");
        rig.send(retry, "settled fault");
    }
    let retry = rig.next_deadline().expect("a retry");
    assert_eq!(rig.send(retry, "tick"), "hide a=60s");
    assert_eq!(rig.send(retry, "settled"), "", "no further call is in store");
    assert_eq!(rig.next_deadline(), Some(retry + 30_000));
}

#[test]
fn a_lost_lease_takes_what_waits_with_it() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->acme", "flush acme a"),
        (2, "handled b->acme", ""),
        (30_000, "tick", "hide a=60s b=60s"),
        (30_001, "settled ok gone", ""),
    ]);
    let waiting: usize = rig.dispatcher.status().waiting.iter().map(|row| row.waiting).sum();
    assert_eq!(waiting, 0, "it does not stay in its bucket until that is flushed");
    rig.play(&[
        // Another consumer has b: it is not sent.
        (30_002, "accepted acme", "delete a"),
        (30_003, "settled", ""),
    ]);
    assert_eq!((rig.dispatcher.held(), rig.dispatcher.status().queues[0].counts.leases_lost), (0, 1));
}

#[test]
fn a_lost_lease_waits_for_what_is_on_the_wire() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme", "flush acme a"),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        // a is delivered after all: its delete is tried, and a copy that comes back is deleted.
        (30_002, "accepted acme", "delete a"),
        (30_003, "settled gone", ""),
        (30_004, "receive a#2", "delete a'2"),
    ]);
}

#[test]
fn a_lost_lease_is_not_sent_again_when_its_flush_fails() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme", "flush acme a"),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        (30_002, "answered acme 503", ""),
        (32_000, "tick", ""),
    ]);
    assert_eq!((rig.dispatcher.held(), rig.dispatcher.status().queues[0].counts.leases_lost), (0, 1));
}

#[test]
fn the_outcome_of_a_lost_message_is_ignored_and_nobody_waits_for_it() {
    let mut patient = rules();
    patient.queues[0].order_wait = std::time::Duration::from_secs(3600);
    let mut rig = Rig::new(patient);
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled b->acme", ""),
        (30_000, "tick", "hide a=60s b=60s"),
        (30_001, "settled gone ok", "flush acme b"),
        (40_000, "handled a->acme", ""),
        (40_001, "accepted acme", "delete b"),
    ]);
    assert_eq!(rig.dispatcher.status().queues[0].counts.leases_lost, 1);
}

#[test]
fn a_message_that_was_given_back_does_not() {
    let mut rules = rules();
    rules.queues[0].ackers = 2;
    Rig::new(rules).play(&[(0, "receive a", "handle a"), (1, "handled a=retry:1s", "hide a=1s"), (30_000, "tick", "")]);
}

#[test]
fn calls_that_take_long_leave_an_acker_to_those_that_extend() {
    let mut rules = rules();
    (rules.queues[0].ackers, rules.queues[0].entry_limit) = (3, 3);
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a b c d e", "handle a|b|c|d|e"),
        (1, "handled a=reject", "letter a:rejected"),
        (2, "handled b=reject", "letter b:rejected"),
        // The dead letter queue hangs: none of the calls ends.
        (3, "handled c=reject", ""),
    ]);
    let due = |rig: &Rig| rig.dispatcher.progress().iter().find(|work| work.kind == WorkKind::Call).map(|work| work.due);
    assert_eq!(due(&rig), Some(1), "the watchdog sees it wait");
    rig.play(&[(30_000, "tick", "hide a=60s b=60s c=60s"), (30_001, "settled", "letter c:rejected")]);
}

#[test]
fn a_copy_starts_the_twelve_hours_anew() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "facts 1000 43200s", ""), (0, "receive a", "handle a")]);
    rig.play(&[(11 * HOUR, "receive a#2", "hide a'2=60s"), (11 * HOUR + 1, "settled", ""), (12 * HOUR, "tick", "hide a'2=60s")]);
}

#[test]
fn a_copy_brings_a_lease_and_a_count_of_receives_of_its_own() {
    let mut rules = rules();
    rules.queues[0].max_receives = 3;
    Rig::new(rules).play(&[
        (0, "receive a", "handle a"),
        (20_000, "receive a#3", ""),
        (30_000, "tick", ""),
        (49_999, "tick", ""),
        (50_000, "tick", "hide a'2=60s"),
        (50_001, "settled", ""),
        // Copies need not come in the order in which the service counted them.
        (50_002, "receive a#2", ""),
        (50_003, "handled a=retry:1s", "letter a'3:max_receives"),
    ]);
}

#[test]
fn the_leases_of_those_received_together_are_extended_whoever_of_them_has_left() {
    Rig::new(rules()).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a=discard", "delete a"),
        (2, "settled", ""),
        (30_000, "tick", "hide b=60s c=60s"),
    ]);
}

#[test]
fn a_message_that_waits_to_be_deleted_keeps_its_lease() {
    Rig::new(rules()).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=discard", "delete a"),
        (29_999, "settled fault", ""),
        (30_000, "tick", "hide a=60s"),
    ]);
}

#[test]
fn after_eleven_and_a_half_hours_a_message_is_returned() {
    let mut rules = rules();
    rules.queues[0].visibility_timeout = std::time::Duration::from_secs(12 * 3600);
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "facts 1000 43200s", ""),
        (0, "receive a b", "handle a|b"),
        (1, "handled a->acme", "flush acme a"),
        // No visibility timeout may end later than 12 hours after the receive (SQS): there is nothing to extend.
        (6 * HOUR, "tick", ""),
        (11 * HOUR + HOUR / 2 - 1, "tick", ""),
        // b is still in its handler; a is on the wire.
        (11 * HOUR + HOUR / 2, "tick", "hide b=0"),
        (11 * HOUR + HOUR / 2 + 1, "settled", ""),
        (11 * HOUR + HOUR / 2 + 2, "answered acme 503", "hide a=0"),
        (11 * HOUR + HOUR / 2 + 3, "settled", ""),
        (11 * HOUR + HOUR / 2 + 4, "handled b->acme", ""),
    ]);
    assert_eq!((rig.dispatcher.held(), rig.dispatcher.status().queues[0].counts.returned), (0, 2));
    assert_eq!(rig.dispatcher.status().queues[0].tally.returns().collect::<Vec<_>>(), [("held_too_long", 2)]);
}

#[test]
fn what_waits_for_a_message_that_is_returned_then_waits_no_more() {
    let mut rules = rules();
    rules.queues[0].visibility_timeout = Duration::from_secs(12 * 3600);
    rules.queues[0].order_wait = Duration::from_secs(24 * 3600);
    Rig::new(rules).play(&[
        (0, "facts 1000 43200s", ""),
        (0, "receive a", "handle a"),
        (HOUR, "receive b", "handle b"),
        (HOUR + 1, "handled b->x", ""),
        (11 * HOUR + HOUR / 2, "tick", "flush x b; hide a=0"),
    ]);
}

#[test]
fn the_last_extension_ends_with_the_twelve_hours() {
    let mut rules = rules();
    rules.queues[0].visibility_timeout = std::time::Duration::from_secs(8 * 3600);
    Rig::new(rules).play(&[
        (0, "facts 1000 43200s", ""),
        (0, "receive a", "handle a"),
        (4 * HOUR, "tick", "hide a=28740s"),
        (4 * HOUR + 1, "settled", ""),
        (8 * HOUR, "tick", ""),
        (11 * HOUR + HOUR / 2, "tick", "hide a=0"),
    ]);
}

#[test]
fn a_message_is_returned_then_wherever_its_lease_stands() {
    let mut rules = rules();
    rules.queues[0].visibility_timeout = Duration::from_secs(28 * 60);
    let mut rig = Rig::new(rules);
    rig.play(&[(0, "facts 1000 43200s", ""), (0, "receive a", "handle a")]);
    let (mut at, mut commands) = rig.skip_to_commands();
    while commands == "hide a=1680s" {
        rig.send(at, "settled");
        (at, commands) = rig.skip_to_commands();
    }
    assert_eq!((at, commands.as_str()), (11 * HOUR + HOUR / 2, "hide a=0"), "half of the lease is over 10 minutes later");
}

#[test]
fn without_such_a_limit_a_message_is_held_for_as_long_as_it_takes() {
    let mut rules = rules();
    rules.queues[0].visibility_timeout = std::time::Duration::from_secs(8 * 3600);
    Rig::new(rules).play(&[
        (0, "receive a", "handle a"),
        (4 * HOUR, "tick", "hide a=28800s"),
        (4 * HOUR, "settled", ""),
        (8 * HOUR, "tick", "hide a=28800s"),
        (8 * HOUR, "settled", ""),
        (12 * HOUR, "tick", "hide a=28800s"),
    ]);
}

#[test]
fn a_count_of_receives_may_be_as_large_as_it_can_be() {
    let mut rules = rules();
    rules.queues[0].max_receives = 0;
    rules.queues[0].visibility_timeout = std::time::Duration::from_secs(12 * 3600);
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "facts 3 43200s", ""),
        (0, &format!("receive a#{}", u32::MAX), "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 86400s", ""),
    ]);
    assert_eq!(rig.skip_to_commands(), (11 * HOUR + HOUR / 2, "letter a:partner_unavailable".to_owned()));
}

#[test]
fn what_may_not_be_received_again_is_a_dead_letter_instead() {
    let mut rules = rules();
    rules.queues[0].visibility_timeout = std::time::Duration::from_secs(12 * 3600);
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "facts 3 43200s", ""),
        // One more receive of b would be its third, which is the limit.
        (0, "receive a b#2 c#2 d#2", "handle a|b|c|d"),
        (1, "handled a->acme", "flush acme a"),
        (2, "answered acme 429 86400s", ""),
        (3, "handled b->acme", ""),
        (4, "handled c->beta,acme,beta", "flush beta c-0 c-2"),
        (11 * HOUR + HOUR / 2, "tick", "letter b:partner_unavailable c-1:partner_unavailable+open d:partner_unavailable"),
        (11 * HOUR + HOUR / 2 + 1, "settled", "hide a=0"),
        // All open deliveries of c are on the wire.
        (11 * HOUR + HOUR / 2 + 2, "accepted beta", ""),
        (11 * HOUR + HOUR / 2 + 3, "settled", "delete c"),
        (11 * HOUR + HOUR / 2 + 4, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((rig.dispatcher.held(), counts.returned, counts.dead, counts.acked), (0, 1, 2, 1));
}

#[test]
fn a_composed_batch_gives_up_its_own_too() {
    let mut rules = rules();
    rules.queues[0].visibility_timeout = std::time::Duration::from_secs(12 * 3600);
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "facts 3 43200s", ""),
        (0, "receive a b#2 c#2", "handle a|b|c"),
        (1, "handled a->acme b->acme c->acme", "flush acme a b c"),
        (2, "answered acme 429 86400s", ""),
        (11 * HOUR + HOUR / 2, "tick", "letter b:partner_unavailable c:partner_unavailable"),
        (11 * HOUR + HOUR / 2 + 1, "settled", "hide a=0"),
        (11 * HOUR + HOUR / 2 + 2, "settled", ""),
    ]);
    assert_eq!((rig.dispatcher.held(), rig.dispatcher.status().waiting.len()), (0, 0));
}

#[test]
fn the_service_s_own_count_ends_what_a_handler_wants_later() {
    Rig::new(rules()).play(&[
        (0, "facts 2 43200s", ""),
        (0, "receive a b#2", "handle a|b"),
        (1, "handled a=retry:1s", "hide a=1s"),
        (2, "handled b=retry:1s", ""),
        (3, "settled", "letter b:max_receives"),
    ]);
}

#[test]
fn of_two_calls_about_one_lease_the_second_waits_for_the_first() {
    let mut two = rules();
    two.queues[0].ackers = 2;
    Rig::new(two).play(&[
        (0, "receive a", "handle a"),
        (30_000, "tick", "hide a=60s"),
        // If the return overtook the extension, the message would stay hidden for a minute.
        (30_001, "handled a=retry:1s", ""),
        (30_002, "settled", "hide a=999ms"),
    ]);
}

#[test]
fn a_lost_lease_that_comes_back_with_a_new_copy_leaves_no_delivery_behind() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x,y", "flush x a-0; flush y a-1"),
        (2, "answered y 429 40s", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        // The turn of y's delivery comes, and it is not sent: another instance may have the message.
        (40_002, "tick", ""),
        (40_003, "receive a#2", ""),
        // So the message has to come back for that delivery.
        (40_004, "accepted x", "hide a'2=0~0@x"),
        (40_005, "settled", ""),
        (40_006, "receive a#3", "handle a"),
        (40_007, "handled a->x,y", "flush y a-1"),
        (40_008, "accepted y", "delete a'3"),
    ]);
    assert_eq!(rig.dispatcher.status().queues[0].tally.returns().collect::<Vec<_>>(), [("elsewhere", 1)]);
}

#[test]
fn the_time_that_the_machine_slept_counts_among_the_twelve_hours() {
    let mut rules = rules();
    rules.queues[0].visibility_timeout = Duration::from_secs(8 * 3600);
    let mut rig = Rig::new(rules);
    let turn = |rig: &mut Rig, hour: u64, by_the_wall: u64| {
        let now = rig.start + Duration::from_millis(hour * HOUR);
        rig.dispatcher.set_wall_clock(now, SystemTime::UNIX_EPOCH + Duration::from_millis(by_the_wall * HOUR));
    };
    turn(&mut rig, 0, 0);
    rig.play(&[
        (0, "facts 1000 43200s", ""),
        (0, "receive a", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 86400s", ""),
    ]);
    // It sleeps for an hour twice.
    turn(&mut rig, 1, 2);
    turn(&mut rig, 2, 4);
    rig.play(&[
        // No visibility timeout may end later than 12 hours after the receive, 2 of which have passed unseen.
        (2 * HOUR, "tick", "hide a=28740s"),
        (2 * HOUR, "settled", ""),
        (9 * HOUR + HOUR / 2 - 1, "tick", ""),
        (9 * HOUR + HOUR / 2, "tick", "hide a=0"),
    ]);
}

#[test]
fn a_lease_that_ended_while_the_machine_slept_is_lost_or_extended_whatever_the_twelve_hours() {
    let mut rig = Rig::new(rules());
    let turn = |rig: &mut Rig, second: u64, by_the_wall: u64| {
        let now = rig.start + Duration::from_secs(second);
        rig.dispatcher.set_wall_clock(now, SystemTime::UNIX_EPOCH + Duration::from_secs(by_the_wall));
    };
    turn(&mut rig, 0, 0);
    rig.play(&[
        (0, "facts 3 43200s", ""),
        (0, "receive a#2 b", "handle a|b"),
        (1, "handled a->x b->x", "flush x a b"),
        (2, "answered x 429 86400s", ""),
    ]);
    // It slept for 13 hours, or its wall clock was set: who holds the messages now, only the queue knows.
    turn(&mut rig, 5, 5 + 13 * 3600);
    rig.play(&[(5_000, "tick", "hide a=60s b=60s"), (5_001, "settled ok gone", "")]);
    assert_eq!(rig.dispatcher.status().queues[0].counts.leases_lost, 1);
    rig.play(&[(35_001, "tick", "hide a=60s")]);
}

#[test]
fn letters_that_take_long_leave_ackers_to_deletes() {
    let mut rules = rules();
    (rules.queues[0].ackers, rules.queues[0].entry_limit) = (4, 1);
    let mut rig = Rig::new(rules);
    rig.prove(&["x"]);
    rig.play(&[
        (0, "receive a b c d e", "handle a|b|c|d|e"),
        (1, "handled a=reject", "letter a:rejected"),
        (2, "handled b=reject", "letter b:rejected"),
        // The dead letter queue hangs: none of the calls ends.
        (3, "handled c=reject", ""),
        (4, "handled d->x", "flush x d"),
        (5, "accepted x", "delete d"),
        (6, "handled e->x", "flush x e"),
        (7, "accepted x", "delete e"),
    ]);
}
