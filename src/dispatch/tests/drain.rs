//! The end of the service: a drain finishes what can be finished and returns the rest; a forced stop returns
//! everything that is not on the wire.

use std::time::Duration;

use super::rig::Rig;
use super::{partner_rules, rules};
use crate::dispatch::PartnerRules;

fn rig(change: impl FnOnce(&mut PartnerRules)) -> Rig {
    let (mut rules, mut partner) = (rules(), partner_rules());
    change(&mut partner);
    rules.partners.default = partner.into();
    rules.queues[0].concurrency = 3;
    Rig::new(rules)
}

#[test]
fn finishes_at_once_where_nothing_is_held() {
    rig(|_| {}).play(&[(0, "drain 30s", "interrupt"), (1, "receive", "finish"), (2, "tick", "")]);
}

#[test]
fn delivers_what_it_can_and_returns_what_no_handler_saw() {
    rig(|_| {}).play(&[
        (0, "receive a b c d e", "handle a|b|c"),
        (1, "handled a->x", "flush x a; handle d"),
        (2, "drain 30s", "interrupt"),
        // A poller that is still out would receive a returned message again.
        (3, "receive f", ""),
        (4, "receive", "hide e=0 f=0"),
        (5, "settled", ""),
        (6, "handled b->x", ""),
        (7, "accepted x", "flush x b; delete a"),
        (8, "handled c=discard", ""),
        (9, "handled d=discard", ""),
        (10, "settled", "delete c d"),
        (11, "accepted x", ""),
        (12, "settled", "delete b"),
        (13, "settled", "finish"),
    ]);
}

#[test]
fn a_receive_counts_only_where_a_handler_did_not_end_or_asked_for_the_return() {
    let mut rig = rig(|_| {});
    rig.counts = true;
    rig.play(&[
        (0, "receive a b c d e", "handle a|b|c"),
        (1, "handled a=retry:2s", "handle d; hide a=2s"),
        (2, "settled", ""),
        (3, "handled b->x", "flush x b; handle e"),
        (4, "handled c->x", ""),
        (5, "receive f g", "handle f"),
        (6, "stop", "interrupt; hide g=0^ f=0 e=0 d=0 c=0^"),
    ]);
}

#[test]
fn does_not_linger() {
    rig(|partner| partner.linger = Duration::from_secs(10)).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", ""),
        (2, "drain 30s", "interrupt; flush x a"),
        (3, "receive", ""),
        (4, "handled b->x", ""),
        (5, "accepted x", "flush x b; delete a"),
    ]);
}

#[test]
fn what_its_partner_will_not_take_in_time_is_returned_now() {
    rig(|_| {}).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 60s", ""),
        (3, "drain 30s", "interrupt"),
        (4, "receive", "hide a=0"),
        (5, "settled", ""),
        // A message that comes for x later is returned as well.
        (6, "handled b->x", "hide b=0"),
        (7, "settled", ""),
        (8, "handled c=discard", "delete c"),
        (9, "settled", "finish"),
    ]);
}

#[test]
fn what_will_be_taken_in_time_waits() {
    rig(|_| {}).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 20s", ""),
        (3, "drain 30s", "interrupt"),
        (4, "receive", ""),
        (20_002, "tick", "flush x a"),
        (20_003, "accepted x", "delete a"),
        (20_004, "settled", "finish"),
    ]);
}

#[test]
fn a_partner_that_fails_during_the_drain_gives_back_all_its_buckets() {
    let mut rules = rules();
    rules.queues.push(super::queue_rules("q1"));
    Rig::new(rules).play(&[
        (0, "receive a", "handle a"),
        (0, "q1: receive b", "q1: handle b"),
        (1, "handled a->x", "flush x a"),
        (2, "q1: handled b->x", ""),
        (3, "drain 30s", "interrupt; q1: interrupt"),
        (4, "receive", ""),
        (5, "q1: receive", ""),
        (6, "answered x 429 60s", "hide a=0; q1: hide b=0"),
    ]);
}

#[test]
fn the_deadline_returns_all_that_is_not_on_the_wire() {
    rig(|_| {}).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "handled b->x", ""),
        (3, "drain 10s", "interrupt"),
        (4, "receive", ""),
        // c is still in its handler.
        (10_003, "tick", "hide c=0 b=0"),
        (10_004, "settled", "finish"),
    ]);
}

#[test]
fn a_second_stop_ends_at_once() {
    rig(|_| {}).play(&[(0, "receive a", "handle a"), (1, "stop", "interrupt; hide a=0"), (2, "stop", "finish"), (3, "stop", "")]);
}

#[test]
fn a_stop_does_not_wait_for_the_wire_but_hears_what_lands() {
    rig(|_| {}).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "stop", "interrupt; hide b=0"),
        // An answer that lands while the returns are under way counts.
        (3, "accepted x", ""),
        (4, "settled", "delete a"),
        (5, "settled", "finish"),
    ]);
}

#[test]
fn a_stop_returns_at_once_and_waits_until_the_queue_has_confirmed_it() {
    rig(|_| {}).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "stop", "interrupt; hide b=0 a=0"),
        (2, "tick", ""),
        (3, "settled", "finish"),
    ]);
}

#[test]
fn a_stop_shortly_before_the_deadline_of_the_drain_has_its_while_all_the_same() {
    rig(|_| {}).play(&[
        (0, "receive a", "handle a"),
        (1, "drain 10s", "interrupt"),
        (9000, "stop", "hide a=0"),
        (10_001, "tick", ""),
        (13_999, "tick", ""),
        (14_000, "tick", "finish"),
    ]);
}

#[test]
fn a_stop_that_the_queue_does_not_answer_ends_after_a_while() {
    rig(|_| {}).play(&[
        (0, "receive a", "handle a"),
        (1, "stop", "interrupt; hide a=0"),
        (5000, "tick", ""),
        (5001, "tick", "finish"),
    ]);
}

#[test]
fn what_lands_refused_after_a_stop_is_returned() {
    rig(|_| {}).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "stop", "interrupt; hide b=0"),
        (3, "answered x 503", ""),
        (4, "settled", "hide a=0"),
        (5, "settled", "finish"),
    ]);
    // Of a batch the last goes first, so that a FIFO group stays locked until its first message is returned.
    rig(|_| {}).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x b->x", "flush x a b"),
        (2, "stop", "interrupt; hide c=0"),
        (3, "answered x 503", ""),
        (4, "settled", "hide b=0 a=0"),
        (5, "settled", "finish"),
    ]);
}

#[test]
fn a_stop_returns_what_came_last_first_wherever_it_lies() {
    rig(|_| {}).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a=discard b=discard took:1ms", "delete a b"),
        (2, "settled", ""),
        (3, "receive c d", "handle c d"),
        (4, "stop", "interrupt; hide d=0 c=0"),
    ]);
}

#[test]
fn a_message_of_which_part_is_on_the_wire_is_returned_once_that_landed() {
    rig(|_| {}).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 60s", ""),
        (3, "handled b->x,y", "flush y b-1"),
        (4, "handled c=discard", "delete c"),
        (5, "settled", ""),
        (6, "drain 30s", "interrupt"),
        (7, "receive", "hide a=0"),
        (8, "settled", ""),
        // x takes nothing, so that b cannot be finished: there is no reason to wait.
        (9, "answered y 503", "hide b=0"),
        (10, "settled", "finish"),
    ]);
}

#[test]
fn a_batch_with_several_deliveries_of_one_message_that_lands_after_a_stop_settles_it_whole() {
    rig(|_| {}).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->acme,acme", "flush acme a-0 a-1"),
        (2, "stop", "interrupt; hide b=0"),
        (3, "accepted acme", ""),
        (4, "settled", "delete a"),
    ]);
}

#[test]
fn a_letter_that_cannot_be_written_is_given_up_for_its_message() {
    rig(|_| {}).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a=reject", "letter a:rejected"),
        (2, "settled fault", ""),
        (3, "handled b->x,y", "flush x b-0; flush y b-1"),
        (4, "accepted x", ""),
        (5, "answered y 400", ""),
        (6, "drain 1s", "interrupt"),
        (7, "receive", ""),
        (400, "tick", "letter a:rejected b-1:refused+open"),
        (401, "settled fault", ""),
        (1006, "tick", "hide b=0~0@x a=0"),
        (1007, "settled", "finish"),
    ]);
    // A letter that fails during the stop is given up as well.
    rig(|_| {}).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=reject", "letter a:rejected"),
        (2, "stop", "interrupt"),
        (3, "receive", ""),
        (4, "settled fault", "hide a=0"),
        (5, "settled", "finish"),
    ]);
}
