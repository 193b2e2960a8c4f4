//! What was returned because its partner takes nothing or too little: how much may be hidden, and when it shows again.

use std::time::Duration;

use super::parking::{parking_rules, put_on_the_disk, restarted};
use super::rig::Rig;
use super::share::{hidden, ids, narrow};
use super::{partner_rules, queue_rules, rules};
use crate::dispatch::{Event, PartnerRules, Rules};
use crate::message::service::Facts;

/// Returns a rig in which x has given up what came last of `a` to `j`; five more would have to leave than it may hold.
fn crowded_at_a_service_that_hides(most: u64) -> (Rig, Vec<String>) {
    let mut rig = Rig::new(narrow());
    let facts = Facts { hidden_limit: Some(most), ..Facts::default() };
    rig.handle(0, Event::Facts { queue: 0, facts });
    rig.play(&[
        (0, "receive l a b c d e f g h i j", "handle l|a|b|c|d|e|f|g|h|i"),
        (1, "handled l->y", "flush y l; handle j"),
        (2, "handled a->x", "flush x a"),
        (3, "handled b->x c->x d->x e->x f->x g->x h->x i->x j->x", ""),
    ]);
    let left = hidden(&rig.send(300, "answered x 503 10s"));
    (rig, left.into_iter().map(|(id, _)| id).collect())
}

#[test]
fn no_more_are_hidden_than_the_service_allows_those_on_their_way_included() {
    let (_, left) = crowded_at_a_service_that_hides(4);
    assert_eq!(left, ["j", "i", "h"], "three quarters of the limit");
}

#[test]
fn what_is_hidden_counts_against_what_the_service_lets_a_queue_hold() {
    let (mut rig, left) = crowded_at_a_service_that_hides(16);
    let may_hold = |rig: &Rig| {
        let (held, _, reserved, _) = rig.dispatcher.room.taken_by(0);
        held + reserved + rig.dispatcher.room.free(0)
    };
    assert_eq!(left, ["j", "i", "h", "g", "f"]);
    rig.send(301, "settled");
    assert_eq!((may_hold(&rig), rig.dispatcher.hidden.count(0)), (10, 5), "fifteen of sixteen are left to it in all");
    // Each shows by itself at a time of its own.
    (11..50).for_each(|second| _ = rig.send(1000 * second, "tick"));
    assert_eq!((may_hold(&rig), rig.dispatcher.hidden.count(0)), (12, 0), "three quarters, and all of the room");
}

#[test]
fn of_a_queue_whose_endpoint_refuses_one_is_shown_to_try_it_with() {
    let mut rules = Rules { queues: vec![queue_rules("q0"), queue_rules("q1")], max_in_flight: 3, ..rules() };
    rules.partners.default = PartnerRules { max_backoff: Duration::from_secs(20), ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (0, "q1: receive p", "q1: handle p"),
        (1, "q1: handled p->x", "q1: flush x p"),
        (2, "q1: accepted x", "q1: delete p"),
        (3, "q1: settled", ""),
        (4, "handled a->x", "flush x a"),
        (5, "answered x 404", ""),
        (6, "handled b->x", ""),
    ]);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(ids(&hidden(&commands)), ["b", "a"]);
    rig.send(at, "settled");
    assert_eq!(rig.skip_to_commands(), (20_005, "hide a=0".to_owned()), "once it may be tried");
    rig.play(&[
        (20_006, "settled", ""),
        (20_007, "receive a#2", "handle a"),
        (20_008, "handled a->x", "flush x a"),
        (20_009, "accepted x", "delete a'2"),
        (20_010, "settled", "hide b=0"),
    ]);
}

#[test]
fn what_is_hidden_shows_no_faster_than_the_partner_takes() {
    let mut rules = narrow();
    rules.queues[0].concurrency = 20;
    rules.partners.default = PartnerRules { max_waiting: 4, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    rig.send(0, "receive a b c d e f g h i j k l");
    rig.play(&[(1, "handled a->x", "flush x a")]);
    rig.send(2, "handled b->x c->x d->x e->x f->x g->x h->x i->x j->x k->x l->x");
    assert_eq!(ids(&hidden(&rig.send(300, "answered x 503 9s"))), ["l", "k", "j", "i", "h", "g", "f", "e", "d"]);
    rig.play(&[(310, "settled", ""), (9_300, "tick", "flush x a")]);
    // One delivery in two seconds, then two.
    rig.play(&[(11_300, "accepted x", "flush x b c; delete a"), (11_301, "settled", "")]);
    rig.play(&[(12_300, "tick", ""), (13_250, "accepted x", "delete b c"), (13_251, "settled", "")]);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "hide d=0 e=0", "half of its share");
    rig.play(&[
        (at, "settled", ""),
        (at, "receive d#2 e#2", "handle d|e"),
        (at, "handled d->x e->x", "flush x d e"),
        (at + 1, "accepted x", "delete d'2 e'2"),
        (at + 2, "settled", ""),
    ]);
    let (next, commands) = rig.skip_to_commands();
    assert!(next > at + 2_000 && commands == "hide f=0 g=0", "{commands} at {next}, after {at}");
}

#[test]
fn what_waits_for_a_paused_partner_leaves_for_others_and_shows_once_it_is_resumed() {
    let mut rig = Rig::new(Rules { max_in_flight: 2, ..rules() });
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x", "flush x a"), (2, "handled b->x", "")]);
    assert_eq!(ids(&hidden(&rig.send(300, "pause x"))), ["b"]);
    rig.play(&[
        (301, "settled", ""),
        (302, "accepted x", "delete a"),
        (303, "settled", ""),
        (400, "resume x", "reply healthy; hide b=0"),
    ]);
}

#[test]
fn what_would_find_no_place_on_the_disk_does_not_show_before_its_time() {
    let mut rig = restarted();
    rig.play(&[(0, "receive g", "handle g"), (1, "handled g->x", "park x:g")]);
    assert_eq!(ids(&hidden(&rig.send(2, "parked full"))), ["g"]);
    assert_eq!(rig.send(3, "settled"), "");
    let (at, commands) = rig.skip_to_commands();
    assert!(at > 50 && commands == "hide g=0", "once the disk is tried again: {commands} at {at}");
}

#[test]
fn what_would_find_no_place_on_the_disk_holds_up_nothing_of_another_queue() {
    let mut rules = parking_rules(&[("x", 8)]);
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "x", (0..8).map(|n| format!("p{n}")));
    rig.play(&[(0, "unparked", "flush x p0 p1 p2 p3 p4"), (1, "receive g", "handle g"), (2, "handled g->x", "park x:g")]);
    assert_eq!(ids(&hidden(&rig.send(3, "parked full"))), ["g"]);
    rig.play(&[
        (4, "settled", ""),
        (5, "q1: receive a b c d e", "q1: handle a|b|c|d|e"),
        (6, "q1: handled a->x b->x c->x d->x e->x", ""),
    ]);
    let left = rig.send(300, "answered x 503 10s").replace("q1: ", "");
    assert_eq!(ids(&hidden(&left)), ["e", "d", "c", "b", "a"]);
    rig.play(&[
        (301, "q1: settled", ""),
        (10_300, "tick", "flush x p0 p1 p2"),
        (10_301, "receive h", "handle h"),
        (10_302, "handled h->x", "park x:h"),
    ]);
    assert_eq!(ids(&hidden(&rig.send(10_303, "parked full"))), ["h"]);
    let commands = rig.send(10_304, "accepted x");
    assert!(commands.contains("q1: hide a=0 b=0"), "{commands}");
}

#[test]
fn one_that_is_hidden_is_shown_at_once_for_an_operator_who_has_its_partner_tried() {
    for (answer, then) in [("answered x 401", "reply open; hide a=0"), ("answered x 404", "reply open; hide a=0")] {
        let mut rig = Rig::new(Rules { max_in_flight: 2, ..rules() });
        rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x", "flush x a"), (2, "handled b->x", "")]);
        assert_eq!(ids(&hidden(&rig.send(300, answer))), ["b", "a"]);
        rig.play(&[(301, "settled", ""), (400, "flush x", then)]);
    }
}

/// Returns a rig in which `a` and `b` are hidden for x, `b` for long, and the moment at which `a` is shown to try x with.
fn one_is_shown(answer: &str, change: impl FnOnce(&mut PartnerRules)) -> (Rig, u64) {
    let mut partner = PartnerRules { max_backoff: Duration::from_secs(20), ..partner_rules() };
    change(&mut partner);
    let mut rules = Rules { max_in_flight: 2, ..rules() };
    rules.partners.default = partner.into();
    let mut rig = Rig::new(rules);
    rig.play(&[(0, "receive a b#5", "handle a|b"), (1, "handled a->x", "flush x a"), (2, "handled b->x", "")]);
    assert_eq!(ids(&hidden(&rig.send(300, answer))), ["b", "a"], "its share is nothing");
    rig.send(301, "settled");
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "hide a=0");
    rig.send(at, "settled");
    (rig, at)
}

#[test]
fn another_is_shown_where_the_one_that_was_shown_does_not_come_back() {
    let (mut rig, at) = one_is_shown("answered x 503 5s", |_| {});
    assert_eq!(rig.skip_to_commands(), (at + 20_000, "hide b=0".to_owned()), "after the longest back-off");
}

#[test]
fn another_is_shown_once_the_wait_of_its_partner_is_over_however_long_ago_one_was_shown() {
    let (mut rig, at) = one_is_shown("answered x 503 5s", |_| {});
    rig.play(&[
        (at + 1, "receive a#2", "handle a"),
        (at + 2, "handled a->x", "flush x a"),
        (at + 3, "answered x 503 60s", ""),
        (at + 4, "skip x", "reply backing_off; letter a'2:skipped"),
        (at + 5, "settled", ""),
    ]);
    let (next, commands) = rig.skip_to_commands();
    assert!((at + 60_003..at + 62_000).contains(&next) && commands == "hide b=0", "{commands} at {next}, after {at}");
}

#[test]
fn what_shows_by_itself_is_known_to_show_although_another_was_to_show_before_it() {
    let (mut rig, _) = one_is_shown("answered x 503 20s", |partner| partner.max_backoff = Duration::from_secs(7200));
    assert_eq!(rig.dispatcher.hidden.count(0), 1);
    // By itself a would show within 45 seconds, and b within 12 minutes.
    rig.play(&[(60_000, "tick", ""), (800_000, "tick", "")]);
    assert_eq!(rig.dispatcher.hidden.count(0), 0);
}

#[test]
fn of_two_partners_of_which_nothing_is_left_one_is_tried_in_a_moment_while_others_fill_half_of_the_room() {
    let mut rules = narrow();
    rules.queues[0].order_wait = Duration::ZERO;
    rules.partners.default = PartnerRules { max_batch: 1, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive l m n o a b c d", "handle l|m|n|o|a|b|c|d"),
        (2, "handled a->x b->x c->z d->z", "flush x a; flush z c"),
        (300, "answered x 503 5s", ""),
        (300, "answered z 503 5s", ""),
    ]);
    // Each may hold one now.
    assert_eq!(ids(&hidden(&rig.send(301, "tick"))), ["d", "b"]);
    rig.play(&[
        (303, "settled", ""),
        (304, "skip x", "reply backing_off; letter a:skipped"),
        (305, "settled", ""),
        (306, "skip z", "reply backing_off; letter c:skipped"),
        (307, "settled", ""),
        (308, "handled l=discard m=discard n=discard o=discard", "delete l m n o"),
        (309, "settled", ""),
        (5_000, "receive p q r s t u v", "handle p|q|r|s"),
    ]);
    assert_eq!(hidden(&rig.send(5_310, "tick")).len(), 1);
    assert_eq!(rig.send(5_311, "settled"), "");
}

#[test]
fn a_partner_of_which_something_is_hidden_is_remembered_however_short_its_idle_time() {
    let (mut rig, at) = one_is_shown("answered x 503 5s", |partner| partner.idle_timeout = Duration::ZERO);
    rig.send(at + 10_000, "tick");
    assert_eq!(rig.dispatcher.partner("x").map(|report| report.hidden), Some(1));
}
