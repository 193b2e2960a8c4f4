//! A stop with a parking: what goes to the disk before the end, and what stays there.

use super::parking::{crowded, parking_rules, restarted};
use super::rig::Rig;
use crate::dispatch::Event;
use crate::message::service::Facts;

#[test]
fn a_stop_waits_for_what_is_on_its_way_and_leaves_rows_where_they_are() {
    let mut rig = crowded();
    let commands = rig.send(310, "stop");
    assert!(commands.contains("hide") && !commands.contains("finish"), "{commands}");
    rig.send(320, "settled");
    // All open deliveries of d, e and f are on the disk now, so that their messages are acked;
    // the stop waits for these deletes.
    let commands = rig.send(330, "parked");
    assert!(commands.contains("delete") && !commands.contains("finish"), "{commands}");
    let mut rig = restarted();
    rig.play(&[(0, "unparked", "flush x d e f"), (10, "answered x 503 60s", "")]);
    let commands = rig.send(20, "stop");
    assert!(!commands.contains("hide"), "{commands}");
    assert_eq!(rig.disk.found(), [("x".into(), 3)]);
}

#[test]
fn at_a_stop_what_is_read_stays_on_the_disk_and_nothing_older_goes_there_meanwhile() {
    let mut rig = crowded();
    rig.play(&[
        (310, "parked", "delete f e d"),
        (320, "settled", ""),
        (10_300, "tick", "flush x a"),
        (10_310, "accepted x", "flush x b c; unpark x 3; delete a"),
        (10_320, "settled", ""),
        (10_330, "answered x 503 60s", ""),
        (10_340, "drain 2s", "interrupt; q1: interrupt"),
        (10_345, "receive", "hide c=0 b=0"),
        (10_350, "settled", ""),
        (10_360, "unparked", ""),
    ]);
    assert_eq!((rig.dispatcher.held(), rig.disk.found()), (0, vec![("x".into(), 3)]));
}

#[test]
fn at_a_stop_what_is_older_than_the_parked_goes_to_the_disk_before_them() {
    let mut rig = crowded();
    rig.play(&[
        (310, "parked", "delete f e d"),
        (320, "settled", ""),
        (330, "drain 2s", "interrupt; q1: interrupt; park x:<c x:<b x:<a"),
        (340, "parked", "delete c b a"),
        (350, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.held(), 0);
    let mut next = Rig::new(parking_rules(&[("x", 6)]));
    std::mem::swap(&mut next.disk, &mut rig.disk);
    next.play(&[(0, "unparked", "flush x a b c d e f")]);
}

#[test]
fn at_a_stop_what_is_older_than_the_parked_goes_to_the_disk_although_its_partner_may_take_it() {
    crowded().play(&[
        (310, "parked", "delete f e d"),
        (320, "settled", ""),
        (10_300, "tick", "flush x a"),
        (10_310, "drain 30s", "interrupt; q1: interrupt; park x:<c x:<b"),
        (10_320, "parked", "delete c b"),
        (10_330, "settled", ""),
        // It takes nothing more in time.
        (10_340, "answered x 503 60s", "park x:<a"),
        (10_350, "parked", "delete a"),
    ]);
}

#[test]
fn at_a_stop_what_is_older_than_rows_in_memory_goes_to_the_disk_before_them() {
    let mut rig = crowded();
    rig.play(&[
        (310, "parked", "delete f e d"),
        (320, "settled", ""),
        (10_300, "tick", "flush x a"),
        (10_310, "accepted x", "flush x b c; unpark x 3; delete a"),
        (10_320, "settled", ""),
        (10_330, "unparked", ""),
        (10_360, "answered x 503 60s", ""),
        (10_370, "drain 2s", "interrupt; q1: interrupt; park x:<c x:<b"),
        (10_380, "parked", "delete c b"),
        (10_390, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.held(), 0);
    let mut next = Rig::new(parking_rules(&[("x", 5)]));
    std::mem::swap(&mut next.disk, &mut rig.disk);
    next.play(&[(0, "unparked", "flush x b c d e f")]);
}

#[test]
fn what_comes_back_from_the_wire_during_a_stop_goes_to_the_disk_before_the_parked() {
    let mut rig = crowded();
    rig.play(&[
        (310, "parked", "delete f e d"),
        (320, "settled", ""),
        (10_300, "tick", "flush x a"),
        (10_310, "drain 30s", "interrupt; q1: interrupt; park x:<c x:<b"),
        (10_320, "parked", "delete c b"),
        (10_330, "settled", ""),
        // There is time for many more attempts, but the partner is away.
        (10_340, "answered x 503 1s", "park x:<a"),
        (10_350, "parked", "delete a"),
    ]);
    let mut next = Rig::new(parking_rules(&[("x", 6)]));
    std::mem::swap(&mut next.disk, &mut rig.disk);
    next.play(&[(0, "unparked", "flush x a b c d e f")]);
}

#[test]
fn at_a_stop_messages_that_others_were_sent_a_part_of_go_to_the_disk() {
    let facts = Facts { forgets_parts: true, ..Facts::default() };
    let away = |facts: Facts, answer: &'static str, then: &'static str| {
        let mut rig = Rig::new(parking_rules(&[]));
        rig.handle(0, Event::Facts { queue: 0, facts });
        rig.play(&[
            (0, "receive a b c", "handle a|b|c"),
            (1, "handled a->y b->x,y c->y", "flush y a b-1 c; flush x b-0"),
            (2, "accepted x", ""),
            (3, answer, ""),
            (4, "drain 30s", then),
        ]);
        rig
    };
    // All of the bucket goes, since what went back to its queue would come behind the parked, although it is older.
    for answer in ["answered y 503 10s", "answered y 503 60s"] {
        let mut rig = away(facts, answer, "interrupt; q1: interrupt; park y:<c y:<b-1 y:<a");
        rig.play(&[(10, "parked", "delete c b a"), (20, "settled", "")]);
        assert_eq!(rig.dispatcher.held(), 0);
    }
    // A queue that keeps what is settled needs no disk for it.
    let mut rig = away(Facts::default(), "answered y 503 60s", "interrupt; q1: interrupt");
    rig.play(&[(5, "receive", "hide c=0 b=0~0@x a=0")]);
    // One that is on the wire when the stop comes, and fails then.
    let mut rig = Rig::new(parking_rules(&[]));
    rig.handle(0, Event::Facts { queue: 0, facts });
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x,y", "flush x a-0; flush y a-1"),
        (2, "drain 30s", "interrupt; q1: interrupt"),
        (3, "answered y 503 10s", "park y:<a-1"),
        (4, "parked", ""),
        (5, "accepted x", "delete a"),
    ]);
}

#[test]
fn what_waits_for_a_partner_that_turns_out_slow_during_a_stop_goes_to_the_disk() {
    let mut rig = Rig::new(parking_rules(&[]));
    rig.handle(0, Event::Facts { queue: 0, facts: Facts { forgets_parts: true, ..Facts::default() } });
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->y", "flush y a"),
        (2, "handled b->x,y", "flush x b-0"),
        (3, "accepted x", ""),
        (4, "drain 30s", "interrupt; q1: interrupt"),
        // Its flush may be on the wire for longer than the stop lasts.
        (1_001, "tick", "park y:<b-1"),
        (1_010, "parked", "delete b"),
    ]);
}
