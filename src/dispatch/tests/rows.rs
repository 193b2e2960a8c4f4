//! Parked rows and the room: how many are read, when, and for whom.

use std::sync::Arc;
use std::time::Duration;

use super::parking::{crowded, parking_rules, put_on_the_disk, restarted};
use super::rig::Rig;
use super::{message, partner_rules, queue_rules, rules};
use crate::dispatch::{Event, Note, Operation, ParkingRules, PartnerRules, PartnerTable, QueueChanges, Rules};
use crate::message::park::{START, ToPark, Want};
use crate::message::{Attribute, AttributeValue, Item};

#[test]
fn the_attributes_of_a_row_fill_the_room() {
    let mut rig = Rig::new(parking_rules(&[("x", 1)]));
    let mut message = message("d", None);
    message.attributes.push(Attribute::new("x".into(), AttributeValue::String("y".repeat(900))));
    let item = Item { message: Arc::new(message), index: None, payload: "1".into() };
    rig.disk.park(rig.start, &[ToPark { account: "x".into(), item, waited: Duration::ZERO, after: START, older: false }]);
    rig.play(&[(0, "unparked", "flush x d")]);
    assert_eq!(rig.dispatcher.status().in_flight_bytes, 904);
    rig.play(&[(1, "accepted x", "q1: delete d"), (2, "q1: settled", "")]);
    assert_eq!(rig.dispatcher.status().in_flight_bytes, 0);
}

#[test]
fn a_row_that_has_to_leave_again_stays_on_the_disk() {
    let mut rig = restarted();
    rig.play(&[
        (0, "unparked", "flush x d e f"),
        (10, "answered x 503 60s", ""),
        (600, "receive g h i j k", "handle g|h|i|j|k"),
        (610, "handled g->y", "flush y g"),
        (620, "answered y 503 60s", ""),
        // The room is short, and two partners are away, with one place each. Of what x gives up,
        // the disk has all but the newest.
        (630, "handled h->x", "park x:<h"),
    ]);
    let status = rig.dispatcher.status();
    let (rows, tally) = (&status.queues[1].counts, &status.queues[1].tally);
    assert_eq!((rows.received, rows.returned, rows.requests), (3, 1, 2));
    assert_eq!(tally.returns().collect::<Vec<_>>(), [("parked", 1)]);
    assert_eq!(tally.calls().collect::<Vec<_>>(), [("unpark", "ok", 1)]);
    assert_eq!(rig.disk.found(), [("x".into(), 3)]);
}

/// Returns a rig with twelve deliveries of x on the disk.
fn much_parked() -> Rig {
    let mut rig = Rig::new(parking_rules(&[("x", 12)]));
    put_on_the_disk(&mut rig, "x", (1..=12).map(|n| format!("p{n}")));
    rig
}

#[test]
fn rows_have_half_of_the_places_at_most_while_their_partner_takes_its_time() {
    much_parked().play(&[
        (0, "unparked", "flush x p1 p2 p3 p4 p5 p6"),
        (10, "receive l m n o p q", "handle l|m|n|o|p|q"),
        (20, "handled l->y m->y n->y o->y p->y q->y", "flush y l m n o p q"),
        (30, "accepted y", "delete l m n o p q"),
        (40, "settled", ""),
        (50, "accepted x", "q1: delete p1 p2 p3 p4 p5 p6"),
        (60, "q1: settled", "unpark x 6"),
        (70, "unparked", "flush x p7 p8 p9 p10 p11 p12"),
    ]);
}

#[test]
fn rows_whose_deletes_fail_are_not_joined_by_others() {
    let mut rig = much_parked();
    rig.play(&[
        (0, "unparked", "flush x p1 p2 p3 p4 p5 p6"),
        (10, "accepted x", "q1: delete p1 p2 p3 p4 p5 p6"),
        (20, "q1: settled ok ok ok ok ok failed", ""),
        (21, "receive l m", "handle l|m"),
        (22, "handled l->y m->y", "flush y l m"),
        (23, "accepted y", "delete l m"),
    ]);
    let (at, commands) = rig.skip_to_commands();
    // The parking of the tests has deleted the row already.
    assert_eq!(commands, "q1: delete gone");
    assert_eq!(rig.send(at + 10, "settled"), "", "a call that is out is no success yet");
    let commands = rig.send(at + 20, "q1: settled");
    assert!(commands.contains("unpark x"), "{commands}");
}

#[test]
fn a_row_that_can_never_be_deleted_holds_up_no_others() {
    let mut rig = much_parked();
    rig.play(&[
        (0, "unparked", "flush x p1 p2 p3 p4 p5 p6"),
        (10, "accepted x", "q1: delete p1 p2 p3 p4 p5 p6"),
        (20, "q1: settled undeleted ok ok ok ok ok", "unpark x 6"),
        (30, "unparked", "flush x p7 p8 p9 p10 p11 p12"),
    ]);
    assert_eq!(rig.dispatcher.status().queues[1].counts.acked, 6, "it is delivered");
    let is_said = |note: &Note| matches!(note, Note::QueueFailing { queue: 1, doing: Operation::Delete, .. });
    assert!(rig.notes.iter().any(is_said), "{:?}", rig.notes);
}

/// Returns a rig with twelve deliveries of x on the disk, which are given up once they have waited for 5 s.
fn much_to_give_up() -> Rig {
    let partner = PartnerRules { give_up_after: Some(Duration::from_secs(5)), ..partner_rules() };
    let partners = PartnerTable { default: Arc::new(partner), by_account: Default::default() };
    let mut rig = Rig::new(Rules { partners, ..parking_rules(&[("x", 12)]) });
    put_on_the_disk(&mut rig, "x", (1..=12).map(|n| format!("p{n}")));
    rig
}

#[test]
fn rows_that_are_too_old_are_given_up_although_their_partner_may_not_be_tried() {
    much_to_give_up().play(&[
        (0, "unparked", "flush x p1 p2 p3 p4 p5 p6"),
        (10, "answered x 503 60s", ""),
        (5_000, "tick", "q1: letter p1:expired p2:expired p3:expired p4:expired p5:expired p6:expired"),
        (5_010, "q1: settled", "unpark x 3"),
        (5_020, "unparked", "unpark x 3; q1: letter p7:expired p8:expired p9:expired"),
        (5_030, "unparked", ""),
        (5_040, "q1: settled", "q1: letter p10:expired p11:expired p12:expired"),
    ]);
}

#[test]
fn rows_that_are_too_old_do_not_take_the_places_of_others_while_their_letters_cannot_be_written() {
    let mut rig = much_to_give_up();
    rig.play(&[
        (0, "unparked", "flush x p1 p2 p3 p4 p5 p6"),
        (10, "answered x 503 60s", ""),
        (5_000, "tick", "q1: letter p1:expired p2:expired p3:expired p4:expired p5:expired p6:expired"),
        (5_010, "q1: settled ok ok ok failed failed failed", ""),
    ]);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "q1: letter p4:expired p5:expired p6:expired");
    assert_eq!(rig.send(at + 10, "q1: settled"), "unpark x 3");
}

#[test]
fn rows_that_left_memory_again_are_given_up_in_time() {
    let partner = PartnerRules { give_up_after: Some(Duration::from_secs(60)), ..partner_rules() };
    let partners = PartnerTable { default: Arc::new(partner), by_account: Default::default() };
    let mut rules = Rules { partners, max_in_flight: 40, ..parking_rules(&[("a", 15), ("c", 3)]) };
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    // All but the last of them have waited for 20 s.
    for (ids, waited) in [(10..24, Duration::from_secs(20)), (24..25, Duration::ZERO)] {
        let item = |n: i32| Item { message: Arc::new(message(&n.to_string(), None)), index: None, payload: "1".into() };
        let row = |n| ToPark { account: "a".into(), item: item(n), waited, after: START, older: false };
        rig.disk.park(rig.start, &ids.map(row).collect::<Vec<_>>());
    }
    put_on_the_disk(&mut rig, "c", ["c", "d", "e"].map(str::to_owned).into_iter());
    rig.play(&[
        (0, "unparked", "flush a 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24"),
        (10, "answered a 503 300s", ""),
        (400, "tick", "unpark c 5"),
        (420, "unparked", "flush c c d e"),
        (421, "accepted c", "q2: delete c d e"),
        (422, "q2: settled", ""),
    ]);
    let commands = rig.send(40_000, "tick");
    assert!(commands.contains("letter 10:expired 11:expired") && commands.contains("unpark a"), "{commands}");
    rig.send(40_010, "unparked");
    let letters = rig.send(40_020, "q2: settled");
    assert!(letters.contains("letter 20:expired 21:expired 22:expired 23:expired"), "{letters}");
}

#[test]
fn who_got_no_rows_since_those_of_others_filled_an_answer_is_the_first_to_get_some() {
    let partner = PartnerRules { max_waiting: 8, ..partner_rules() };
    let partners = PartnerTable { default: Arc::new(partner), by_account: Default::default() };
    let mut rig = Rig::new(Rules { partners, max_in_flight: 40, ..parking_rules(&[("x", 12), ("y", 12)]) });
    for account in ["x", "y"] {
        put_on_the_disk(&mut rig, account, (1..=12).map(|n| format!("{account}{n}")));
    }
    let want = |account: &str, rows| Want { account: account.into(), after: START, rows };
    let answers = rig.disk.unpark(rig.start, &[want("x", 2), want("y", 0)]);
    assert_eq!(rig.handle(0, Event::Unparked { queue: 0, answers: Ok(answers) }), "flush x x1 x2; unpark y 8 x 6");
}

#[test]
fn rows_that_cannot_be_read_are_tried_again() {
    let mut rig = restarted();
    assert_eq!(rig.send(0, "unparked fault"), "");
    let is_said = |note: &Note| matches!(note, Note::QueueFailing { queue: 1, doing: Operation::Unpark, .. });
    assert!(rig.notes.iter().any(is_said), "{:?}", rig.notes);
    let (at, commands) = rig.skip_to_commands();
    assert!(at <= 1_000 && commands == "unpark x 6", "{commands} at {at}");
    assert_eq!(rig.send(at, "unparked fault"), "");
    let (at, commands) = rig.skip_to_commands();
    assert!(at <= 3_000 && commands == "unpark x 6", "{commands} at {at}");
    rig.send(at, "unparked");
    assert!(matches!(rig.notes.last(), Some(Note::QueueWell { queue: 1, doing: Operation::Unpark })), "{:?}", rig.notes);
}

#[test]
fn rows_that_make_place_for_others_do_not_leave_what_is_newer_in_memory() {
    let mut rules = Rules { max_in_flight: 40, ..parking_rules(&[("a", 15), ("c", 3)]) };
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "a", (10..25).map(|n| n.to_string()));
    put_on_the_disk(&mut rig, "c", ["c", "d", "e"].map(str::to_owned).into_iter());
    rig.play(&[
        (0, "unparked", "flush a 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24"),
        (10, "answered a 503 5s", ""),
        (20, "receive n", "handle n"),
        (30, "handled n->a", ""),
        (400, "tick", "park a:<n; unpark c 5"),
        (410, "parked", "delete n"),
        (420, "unparked", "flush c c d e"),
        (430, "settled", ""),
        (5_011, "tick", "flush a 10 11 12 13 14 15 16 17 18 19"),
        (5_020, "accepted a", "unpark a 2; q2: delete 10 11 12 13 14 15 16 17 18 19"),
        (5_030, "q2: settled", ""),
        (5_040, "unparked", "flush a 20 21; unpark a 10"),
        (5_050, "unparked", ""),
        (5_060, "accepted a", "flush a 22 23 24 n; q2: delete 20 21"),
    ]);
}

#[test]
fn a_row_that_cannot_be_read_holds_up_no_other_and_is_said() {
    let mut rig = restarted();
    rig.disk.damaged = vec!["e".into()];
    rig.play(&[(20, "unparked", "flush x d f"), (30, "accepted x", "q1: delete d f"), (40, "q1: settled", "")]);
    let failing = rig.dispatcher.status().queues[1].failing.clone();
    assert_eq!(failing.iter().map(|failing| failing.doing.word()).collect::<Vec<_>>(), ["unpark"]);
    assert!(failing[0].reason.contains("damaged"), "{failing:?}");
    assert_eq!(rig.disk.found(), [("x".into(), 1)]);
}

#[test]
fn rows_of_a_partner_that_is_well_are_fetched_although_others_wait_for_threads() {
    let mut earlier = crowded();
    earlier.send(310, "parked");
    for row in 0..9 {
        let at = 320 + row * 10;
        earlier.send(at, &format!("receive r{row}"));
        earlier.send(at + 1, &format!("handled r{row}->x"));
        earlier.send(at + 2, "parked");
    }
    let rules = Rules { delivery_threads: 1, ..parking_rules(&[("x", 12)]) };
    let mut rig = Rig::new(rules);
    std::mem::swap(&mut rig.disk, &mut earlier.disk);
    rig.play(&[
        (0, "receive v w", "handle v|w"),
        (1, "handled v->y", "flush y v"),
        (2, "unparked", ""),
        (3, "handled w->y", ""),
        (4, "accepted y", "flush x d e f r0 r1 r2; delete v"),
        (5, "answered x 503 10s", "flush y w"),
        (6, "settled", ""),
        (7, "accepted y", "delete w"),
        (8, "settled", ""),
        (10_005, "tick", "flush x d e f r0 r1 r2"),
        (10_006, "receive u", "handle u"),
        (10_007, "handled u->y", ""),
        // While x was away it held more than its share; from now on it may have the rest of its rows.
        (10_008, "accepted x", "flush y u; q1: delete d e f r0 r1 r2"),
        (10_009, "q1: settled", "unpark x 6"),
    ]);
}

#[test]
fn rows_of_partners_that_are_away_leave_memory_for_those_of_others() {
    let mut rules = Rules { max_in_flight: 40, ..parking_rules(&[("a", 20), ("c", 3)]) };
    // With a second queue, all places that rows may take are less than half of the room.
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "a", (0..20).map(|n| format!("a{n}")));
    put_on_the_disk(&mut rig, "c", (0..3).map(|n| format!("c{n}")));
    rig.play(&[
        (0, "unparked", "flush a a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 a10 a11 a12 a13 a14"),
        (10, "unreachable a", ""),
        (400, "tick", "unpark c 5"),
        (401, "unparked", "flush c c0 c1 c2"),
        (402, "accepted c", "q2: delete c0 c1 c2"),
    ]);
}

#[test]
fn rows_come_one_at_a_time_while_long_polls_of_idle_queues_reserve_all_bytes() {
    let mut rules = Rules { max_in_flight_bytes: 1 << 20, ..parking_rules(&[("x", 3)]) };
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "x", (0..3).map(|n| format!("p{n}")));
    rig.play(&[
        (0, "unparked", "flush x p0"),
        (1, "accepted x", "q2: delete p0"),
        (2, "q2: settled", "unpark x 1"),
        (3, "unparked", "flush x p1"),
    ]);
}

#[test]
fn rows_of_one_that_accepts_are_no_reason_to_shed_messages_of_another_queue() {
    let mut rules = Rules { max_in_flight: 400, ..parking_rules(&[("a", 160)]) };
    rules.queues.push(queue_rules("q1"));
    (rules.queues[1].concurrency, rules.queues[1].receive_limit) = (100, 40);
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "a", (0..160).map(|n| format!("a{n}")));
    let ids: Vec<String> = (0..40).map(|n| format!("z{n}")).collect();
    rig.send(0, &format!("q1: receive {}", ids.join(" ")));
    rig.send(0, &format!("q1: handled {}", ids.iter().map(|id| format!("{id}->z")).collect::<Vec<_>>().join(" ")));
    rig.send(0, "unparked");
    rig.send(1, "q1: answered z 503 60s");
    for at in [100, 200, 300, 400, 600, 800] {
        let commands = rig.send(at, "tick");
        assert!(!commands.contains("hide"), "at {at} ms: {commands}");
    }
}

#[test]
fn a_row_of_one_that_is_away_does_not_hold_up_those_of_others() {
    let mut rules = Rules { max_in_flight_bytes: 1 << 20, ..parking_rules(&[("a", 1), ("c", 2)]) };
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "a", ["a0".to_owned()].into_iter());
    put_on_the_disk(&mut rig, "c", (0..2).map(|n| format!("c{n}")));
    rig.play(&[(0, "unparked", "flush a a0"), (1, "answered a 503 600s", "unpark c 1"), (2, "unparked", "flush c c0")]);
}

#[test]
fn a_row_proves_the_one_before_it_at_fault_while_long_polls_reserve_all_bytes() {
    let mut rules = Rules { max_in_flight_bytes: 1 << 20, ..parking_rules(&[("x", 3)]) };
    rules.partners.default = PartnerRules { breaker_failures: 1, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "x", (0..3).map(|n| format!("p{n}")));
    rig.play(&[(0, "unparked", "flush x p0"), (1, "answered x 500", "unpark x 1"), (2, "unparked", "")]);
    assert_eq!(rig.skip_to_commands().1, "flush x p1");
}

#[test]
fn a_row_of_one_that_is_away_does_not_keep_another_from_being_tried() {
    let mut rules = Rules { max_in_flight_bytes: 1 << 20, ..parking_rules(&[("a", 1), ("b", 2)]) };
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "a", ["a0".to_owned()].into_iter());
    put_on_the_disk(&mut rig, "b", (0..2).map(|n| format!("b{n}")));
    rig.play(&[
        (0, "unparked", "flush a a0"),
        (1, "answered a 503 600s", "unpark b 1"),
        (2, "unparked", "flush b b0"),
        (3, "answered b 503 5s", ""),
        (4, "skip b", "reply backing_off; q2: letter b0:skipped"),
        (5, "q2: settled", ""),
        (5_003, "tick", "unpark b 1"),
        (5_004, "unparked", "flush b b1"),
    ]);
}

/// Five rows of x in memory, none of which may leave: what is newer can go neither to the disk nor to its queue. At 302 ms x
/// gives this answer.
pub fn with_rows_that_may_not_leave(answer: &str) -> Rig {
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
    ];
    for (at, event) in events {
        rig.send(at, event);
    }
    rig.send(302, &format!("answered x {answer}"));
    rig
}

#[test]
fn rows_that_may_not_leave_before_what_is_newer_are_no_reason_to_look_again_at_once() {
    let mut rig = with_rows_that_may_not_leave("503 600s");
    for _ in 0..2 {
        rig.send(302, "tick");
    }
    assert!(rig.next_deadline() > Some(302), "{:?}", rig.next_deadline());
}

#[test]
fn messages_for_partners_that_had_something_parked_count_among_those_that_need_room() {
    let mut rules = Rules { max_in_flight: 40, ..parking_rules(&[("y", 1)]) };
    rules.queues[0].concurrency = 100;
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "y", ["p".to_owned()].into_iter());
    rig.play(&[
        (0, "unparked", "flush y p"),
        (1, "accepted y", "q1: delete p"),
        (2, "q1: settled", ""),
        (3, "receive s0", "handle s0"),
        (4, "handled s0->s", "flush s s0"),
        (3_004, "accepted s", "delete s0"),
        (3_005, "settled", ""),
    ]);
    // A backlog of one that takes, slowly; then some for one that had something parked once.
    for n in 1..=25 {
        rig.send(3_006, &format!("receive s{n}"));
        rig.send(3_006, &format!("handled s{n}->s"));
    }
    let parks = |n: u64| {
        let lines = [format!("receive y{n}"), format!("handled y{n}->y"), "accepted y".to_owned(), "settled".to_owned()];
        lines.iter().any(|line| rig.send(3_300 + n * 10, line).contains("park s:"))
    };
    assert!((0..30).any(parks), "thirty messages for y, and nothing of s has left");
}

#[test]
fn rows_of_a_queue_that_retires_have_their_turn_beside_a_backlog() {
    let mut rules = Rules { max_in_flight: 12, ..rules() };
    rules.queues.push(queue_rules("q1"));
    rules.queues.iter_mut().for_each(|queue| queue.concurrency = 100);
    let found = vec![("x".into(), 9)];
    rules.parkings = vec![ParkingRules { name: "q1.parking".into(), of: 1, entry_limit: 10, found }];
    let mut rig = Rig::new(rules);
    rig.asks = true;
    put_on_the_disk(&mut rig, "x", (0..9).map(|n| format!("p{n}")));
    // Sends the line, and has q0 receive all that it asks for.
    let mut received = 0;
    let mut send = |rig: &mut Rig, at: u64, line: &str| {
        let mut all = vec![match line {
            "retire" => rig.reload(at, QueueChanges { retired: vec![1], ..QueueChanges::default() }),
            line => rig.send(at, line),
        }];
        let mut place = 0;
        while let Some(commands) = all.get(place).cloned() {
            for _ in 0..commands.split("; ").filter_map(|command| command.strip_prefix("ask ")?.parse::<usize>().ok()).sum() {
                all.push(rig.send(at, &format!("receive m{received}")));
                all.push(rig.send(at, &format!("handled m{received}->y")));
                received += 1;
            }
            place += 1;
        }
        all.join("; ")
    };
    send(&mut rig, 0, "q1: unparked");
    send(&mut rig, 1, "retire");
    send(&mut rig, 2, "receive first");
    send(&mut rig, 2, "handled first->y");
    let mut sent = send(&mut rig, 10, "q1: accepted x") + &send(&mut rig, 11, "q2: settled");
    for at in [20, 30, 40] {
        sent += &send(&mut rig, at, "accepted y");
        sent += &send(&mut rig, at + 1, "settled");
    }
    assert!(sent.contains("q1: unpark x"), "{sent}");
}

#[test]
fn the_rows_of_each_of_many_that_may_not_be_tried_are_given_up_in_time() {
    let names: Vec<String> = (0..200).map(|n| format!("x{n}")).collect();
    let found: Vec<_> = names.iter().map(|name| (name.as_str(), 2)).collect();
    let partner = PartnerRules { give_up_after: Some(Duration::from_secs(60)), max_waiting: 1, ..partner_rules() };
    let partners = PartnerTable { default: Arc::new(partner), by_account: Default::default() };
    for oldest in ["x0", "x50", "x100", "x150", "x199"] {
        let partners = partners.clone();
        let mut rules = Rules { partners, max_in_flight: 1000, delivery_threads: 1000, ..parking_rules(&found) };
        rules.parkings[0].entry_limit = 1000;
        let mut rig = Rig::new(rules);
        // The rows of one have waited for 40 s, all others for no time.
        for (name, n) in names.iter().flat_map(|name| [(name, 1), (name, 2)]) {
            let item = Item { message: Arc::new(message(&format!("{name}-{n}"), None)), index: None, payload: "1".into() };
            let waited = Duration::from_secs(if name == oldest { 40 } else { 0 });
            rig.disk.park(rig.start, &[ToPark { account: name.as_str().into(), item, waited, after: START, older: false }]);
        }
        while rig.send(0, "unparked").contains("unpark") {}
        // Each asks for a pause, so that it may not be tried, and holds nothing.
        names.iter().for_each(|name| _ = rig.send(1, &format!("answered {name} 413 300s")));
        while rig.send(2, "q1: settled").contains("letter") {}
        assert_eq!(rig.skip_to_commands(), (20_000, format!("unpark {oldest} 1")));
    }
}

#[test]
fn those_that_may_not_be_tried_stand_before_no_other_while_rows_have_no_place() {
    let names: Vec<String> = (0..200).map(|n| format!("x{n}")).collect();
    let others = names.iter().map(|name| (name.as_str(), 1));
    let found: Vec<_> = std::iter::once(("z", 600)).chain(others).chain([("w", 1)]).collect();
    let mut rig = Rig::new(Rules { max_in_flight: 200, ..parking_rules(&found) });
    put_on_the_disk(&mut rig, "z", (0..600).map(|n| format!("z-{n}")));
    put_on_the_disk(&mut rig, "w", std::iter::once("w-1".to_owned()));
    names.iter().for_each(|name| _ = rig.send(0, &format!("pause {name}")));
    assert!(rig.send(0, "unparked").starts_with("flush z"), "its rows have all the places");
    let commands = rig.send(1, "answered z 503 60s");
    assert!(commands.contains("unpark w"), "z gives its places up, and w is looked at in this turn: {commands:?}");
}

/// However long the backlog of others fills the room: nothing else would tell that the partner is well again.
#[test]
fn one_that_is_away_and_holds_nothing_is_tried_with_a_row_although_others_fill_half_of_the_room() {
    let mut rules = parking_rules(&[("x", 12)]);
    // So that a poller leaves places free.
    rules.queues[0].receive_limit = 1;
    let mut rig = Rig::new(rules);
    put_on_the_disk(&mut rig, "x", (1..=12).map(|n| format!("p{n}")));
    rig.play(&[(0, "unparked", "flush x p1 p2 p3 p4 p5 p6"), (1, "answered x 503 20s", "")]);
    for at in 1..=6 {
        rig.play(&[(1 + at, "skip x", &format!("reply backing_off; q1: letter p{at}:skipped")), (1 + at, "q1: settled", "")]);
    }
    rig.play(&[
        (20_000, "receive l m n o p q r", "handle l|m|n|o|p|q|r"),
        (20_000, "handled l->y m->y n->y o->y p->y q->y r->y", "flush y l m n o p q r"),
        (20_002, "tick", "unpark x 1"),
        (20_003, "unparked", "flush x p7"),
        (20_004, "accepted x", "unpark x 2; q1: delete p7"),
    ]);
}
