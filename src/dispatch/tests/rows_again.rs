//! Parked rows that leave memory and are read again, and rows that come when nothing is to be sent any more.

use std::time::Duration;

use super::parking::{parking_rules, put_on_the_disk, restarted};
use super::partner_rules;
use super::rig::Rig;
use crate::dispatch::PartnerRules;

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
    let mut rules = parking_rules(&[("x", 5)]);
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    rules.partners.default = PartnerRules { max_batch: 1, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "x", (1..=5).map(|n| format!("p{n}")));
    let events = [
        // No message may be returned.
        (0, "facts 2 43200s"),
        (0, "unparked"),
        (1, "receive h k l v"),
        (2, "handled h->x k->z l->z v->w"),
        (300, "answered z 503 600s"),
        (300, "answered w 503 600s"),
        (301, "tick"),
        (302, "parked fault"),
        (302, "answered x 503"),
    ];
    events.into_iter().for_each(|(at, event)| _ = rig.send(at, event));
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
