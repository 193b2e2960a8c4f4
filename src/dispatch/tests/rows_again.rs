//! Parked rows that leave memory and are read again, and rows that come when nothing is to be sent any more.

use std::sync::Arc;
use std::time::Duration;

use super::parking::{parking_rules, put_on_the_disk, restarted};
use super::rig::Rig;
use super::rows::with_rows_that_may_not_leave;
use super::{message, partner_rules};
use crate::dispatch::PartnerRules;
use crate::message::Item;
use crate::message::park::{START, ToPark};

#[test]
fn a_row_that_is_on_the_wire_while_the_one_before_it_is_read_again_is_not_sent_twice() {
    let mut rules = parking_rules(&[("x", 3)]);
    // So that a poller leaves places free.
    rules.queues[0].receive_limit = 1;
    rules.partners.default = PartnerRules { max_batch: 1, parallel: 3, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "x", ["d", "e", "f"].map(str::to_owned).into_iter());
    rig.play(&[
        (0, "unparked", "flush x d; flush x e; flush x f"),
        (1, "receive g h i j", "handle g|h|i|j"),
        (2, "handled g->y h->y", "flush y g; flush y h"),
        (3, "answered y 503 60s", ""),
        (300, "answered x 503", ""),
        // Two partners are away, with one place each: d leaves memory.
        (301, "tick", ""),
    ]);
    let commands = rig.send(302, "accepted x+1");
    assert!(commands.starts_with("unpark x") && commands.ends_with("q1: delete f"), "{commands}");
    rig.play(&[
        (303, "unparked", "flush x d"),
        (304, "q1: settled", ""),
        (305, "accepted x", "q1: delete e"),
        (306, "q1: settled", ""),
        (307, "accepted x", "q1: delete d"),
        (308, "q1: settled", ""),
    ]);
    let rows = &rig.dispatcher.status().queues[1].counts;
    assert_eq!((rows.received, rows.acked, rows.returned, rows.duplicates_dropped), (5, 3, 1, 1));
    assert!(rig.disk.is_empty());
}

#[test]
fn rows_do_not_leave_while_what_is_newer_can_go_nowhere() {
    let mut rig = with_rows_that_may_not_leave("503");
    let mut sent = rig.send(303, "flush x");
    for at in 304..309 {
        sent += &format!("; {}", rig.send(at, "accepted x"));
    }
    let to_x: Vec<_> = sent.split("; ").filter_map(|command| command.strip_prefix("flush x ")).collect();
    assert_eq!(to_x, ["p1", "p2", "p3", "p4", "p5", "h"]);
}

#[test]
fn rows_that_come_after_the_stop_began_stay_on_the_disk() {
    for (stop, then, last) in [("drain 30s", "", "finish"), ("stop", "finish", "")] {
        let mut rig = restarted();
        rig.play(&[(0, stop, "interrupt; q1: interrupt"), (1, "unparked", then), (2, "receive", last)]);
        assert_eq!((rig.dispatcher.held(), rig.disk.found()), (0, vec![("x".into(), 3)]));
    }
}

#[test]
fn an_older_row_behind_a_younger_one_is_given_up_in_time() {
    let mut rules = parking_rules(&[("x", 2)]);
    let partner = PartnerRules { max_batch: 1, give_up_after: Some(Duration::from_secs(60)), ..partner_rules() };
    rules.partners.default = partner.into();
    let mut rig = Rig::new(rules);
    for (id, waited) in [("young", 0), ("old", 59_500)] {
        let item = Item { message: Arc::new(message(id, None)), index: None, payload: "1".into() };
        let waited = Duration::from_millis(waited);
        rig.disk.park(rig.start, &[ToPark { account: "x".into(), item, waited, after: START, older: false }]);
    }
    rig.play(&[(0, "unparked", "flush x young"), (500, "tick", "q1: letter old:expired")]);
}

#[test]
fn one_that_is_away_and_holds_nothing_is_tried_with_a_row_however_many_others_share_what_those_may_hold() {
    let mut rules = parking_rules(&[("x", 12)]);
    rules.queues[0].receive_limit = 1;
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "x", (1..=12).map(|n| format!("p{n}")));
    rig.play(&[(0, "unparked", "flush x p1 p2 p3 p4 p5 p6"), (1, "answered x 503 20s", "")]);
    for n in 1..=6 {
        rig.play(&[(1 + n, "skip x", &format!("reply backing_off; q1: letter p{n}:skipped")), (1 + n, "q1: settled", "")]);
    }
    rig.play(&[
        (100, "receive a b c d", "handle a|b|c|d"),
        (101, "handled a->y1 b->y2 c->y3 d->y4", "flush y1 a; flush y2 b; flush y3 c; flush y4 d"),
    ]);
    // Three places are for those that are away, of which there are four.
    (1..=4).for_each(|n| _ = rig.send(102, &format!("answered y{n} 503 600s")));
    rig.play(&[(103, "tick", ""), (20_002, "tick", "unpark x 1")]);
}

#[test]
fn at_a_stop_what_waits_behind_rows_goes_to_the_disk_although_its_partner_takes() {
    let mut rig = restarted();
    rig.play(&[
        (0, "unparked", "flush x d e f"),
        (1, "receive g", "handle g"),
        (2, "handled g->x", ""),
        (3, "drain 30s", "interrupt; q1: interrupt; park x:<g"),
        (4, "parked", "delete g"),
        (5, "accepted x", "q1: delete d e f"),
    ]);
}
