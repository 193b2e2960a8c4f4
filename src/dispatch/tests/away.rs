//! Partners that are away: what they are tried with of that which is hidden or parked because of them, and who counts as
//! one that holds something.

use std::sync::Arc;
use std::time::Duration;

use super::parking::{parking_rules, put_on_the_disk};
use super::rig::Rig;
use super::share::{crowded, hidden, ids, narrow};
use super::{partner_rules, queue_rules, rules};
use crate::dispatch::{PartnerRules, Rules};

#[test]
fn what_could_not_be_shown_is_asked_for_again() {
    let mut rig = crowded("receive l m n a b c d e f");
    rig.send(300, "answered x 503 29s");
    rig.play(&[(310, "settled", ""), (320, "accepted y", "delete l m n"), (330, "settled", ""), (29_300, "tick", "flush x a")]);
    assert_eq!(rig.send(30_000, "accepted x"), "flush x b c; hide a=60s b=60s c=60s d=0 f=0");
    rig.play(&[(30_001, "settled ok ok ok failed ok", "delete a"), (30_002, "settled", "")]);
    assert_eq!(rig.skip_to_commands().1, "hide d=0");
}

#[test]
fn one_is_shown_to_try_an_endpoint_with_however_much_its_partner_takes_from_another_queue() {
    let mut rules = Rules { max_in_flight: 3, ..rules() };
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (0, "q1: receive p", "q1: handle p"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 404", ""),
        (3, "q1: handled p->x", "q1: flush x p"),
        (4, "q1: accepted x", "q1: delete p"),
        (5, "q1: settled", ""),
        (6, "handled b->x", ""),
    ]);
    let left = hidden(&rig.send(300, "tick"));
    assert_eq!(ids(&left), ["b", "a"], "its share is nothing");
    rig.play(&[(301, "settled", "")]);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!((at, commands.as_str()), (300_002, "hide a=0"));
    rig.play(&[
        (at, "settled", ""),
        (at + 1, "q1: receive q", "q1: handle q"),
        (at + 2, "q1: handled q->x", "q1: flush x q"),
        (at + 3, "q1: accepted x", "q1: delete q"),
    ]);
}

#[test]
fn one_of_which_nothing_is_left_takes_no_part_of_what_others_that_are_away_may_hold() {
    for (at, what, letter) in [(5001, "tick", "letter k:expired"), (4000, "skip z", "reply backing_off; letter k:skipped")] {
        let mut rules = narrow();
        let give_up_after = (what == "tick").then_some(Duration::from_secs(5));
        rules.partners.by_account = [("z".into(), Arc::new(PartnerRules { give_up_after, ..partner_rules() }))].into();
        let mut rig = Rig::new(rules);
        rig.play(&[
            (0, "receive k", "handle k"),
            (1, "handled k->z", "flush z k"),
            (2, "answered z 503 6000s", ""),
            (at, what, letter),
            (5002, "settled", ""),
            (6000, "receive l m n o p q", "handle l|m|n|o|p|q"),
            (6001, "handled l->y m->y n->y o->y p->y q->y", "flush y l m n o p q"),
            (6002, "receive a b c d e f", "handle a|b|c|d|e"),
            (6003, "handled a->x", "flush x a; handle f"),
            (6004, "handled b->x c->x d->x e->x f->x", ""),
        ]);
        assert_eq!(ids(&hidden(&rig.send(6300, "answered x 503 10s"))), ["f", "e", "d"], "after {letter}");
        rig.play(&[(6301, "settled", ""), (6302, "tick", "")]);
    }
}

#[test]
fn a_row_is_read_at_once_for_an_operator_who_has_its_partner_tried() {
    let mut rig = Rig::new(Rules { max_in_flight_bytes: 1 << 20, ..parking_rules(&[("b", 2)]) });
    put_on_the_disk(&mut rig, "b", (0..2).map(|n| format!("b{n}")));
    rig.play(&[
        (0, "unparked", "flush b b0"),
        (1, "answered b 503", ""),
        (2, "skip b", "reply backing_off; q1: letter b0:skipped"),
        (3, "q1: settled", ""),
        (4, "flush b", "reply backing_off; unpark b 1"),
    ]);
}

#[test]
fn a_row_that_is_to_prove_the_one_before_it_at_fault_makes_no_place_for_others() {
    let mut rules = Rules { max_in_flight: 4, ..parking_rules(&[("x", 3), ("b", 1)]) };
    rules.partners.default = PartnerRules { breaker_failures: 1, max_batch: 1, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "x", (0..3).map(|n| format!("p{n}")));
    put_on_the_disk(&mut rig, "b", ["b0".to_owned()].into_iter());
    rig.play(&[(0, "unparked", "flush x p0"), (1, "answered x 500", ""), (300, "tick", "")]);
    assert_eq!(rig.skip_to_commands().1, "flush x p1; unpark b 1");
}
