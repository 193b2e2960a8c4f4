//! Parking: deliveries that leave memory go to the disk, in order, and come back as the partner takes them.

use std::sync::Arc;
use std::time::Duration;

use super::rig::Rig;
use super::{message, rules};
use crate::dispatch::{Note, Operation, ParkingRules, Rules};
use crate::message::Item;
use crate::message::park::{START, ToPark};

/// Returns the rules of a room with twelve places: six may be taken before the room is short, and a
/// partner that is away may hold three.
pub(super) fn parking_rules(found: &[(&str, u64)]) -> Rules {
    let found = found.iter().map(|(account, rows)| ((*account).into(), *rows)).collect();
    let parking = ParkingRules { name: "q0.parking".into(), of: 0, entry_limit: 10, found };
    Rules { max_in_flight: 12, parkings: vec![parking], ..rules() }
}

/// Returns a rig in which partner x fails with `a`, and holds b to f and the given deliveries besides; those that it
/// gives up are on their way to the disk. The room has three more places before it is short again.
fn crowded_with(last: &str) -> Rig {
    let mut rig = Rig::new(parking_rules(&[]));
    rig.play(&[
        (0, "receive l m n a b c d e f", "handle l|m|n|a|b|c|d|e|f"),
        (1, "handled l->y m->y n->y", "flush y l m n"),
        (2, "handled a->x", "flush x a"),
        (3, &format!("handled b->x c->x d->x {last} f->x"), ""),
    ]);
    rig
}

pub(super) fn crowded() -> Rig {
    let mut rig = crowded_with("e->x");
    rig.play(&[(300, "answered x 503 10s", "park x:<f x:<e x:<d"), (301, "accepted y", "delete l m n"), (302, "settled", "")]);
    rig
}

#[test]
fn what_leaves_memory_is_acked_once_it_is_on_the_disk() {
    let mut rig = crowded();
    rig.play(&[(310, "parked", "delete f e d"), (320, "settled", "")]);
    let queues = rig.dispatcher.status().queues;
    let counts = &queues[0].counts;
    assert_eq!((counts.acked, counts.parked, counts.returned, rig.dispatcher.held()), (6, 3, 0, 3));
    assert_eq!((&*queues[1].name, queues[0].parked_now), ("q0.parking", 3));
    let calls: Vec<_> = queues[1].tally.calls().collect();
    assert_eq!((queues[1].counts.requests, calls), (1, vec![("park", "ok", 1)]));
    let said = |rig: &Rig| {
        rig.notes
            .iter()
            .filter_map(|note| if let Note::Parked { count, .. } = note { Some(*count) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&rig), [1]);
    rig.send(10_310, "tick");
    assert_eq!(said(&rig), [1, 2], "the first at once, the others in a sum");
}

#[test]
fn a_lost_message_that_is_in_line_for_the_disk_does_not_go_there() {
    let mut rig = crowded();
    rig.play(&[
        (305, "receive g", "handle g"),
        (306, "handled g->x", ""),
        (10_300, "tick", "flush x a"),
        (10_301, "answered x 503 100s", ""),
        (30_000, "tick", "hide a=60s b=60s c=60s d=60s e=60s f=60s"),
        (30_001, "settled", ""),
        (30_305, "tick", "hide g=60s"),
        (30_306, "settled gone", ""),
        (30_310, "parked", "delete f e d"),
        (30_320, "settled", ""),
    ]);
    assert_eq!((rig.dispatcher.held(), rig.dispatcher.status().queues[0].counts.leases_lost), (3, 1));
    assert_eq!(rig.disk.found(), [("x".into(), 3)]);
}

#[test]
fn a_call_to_the_disk_ends_with_the_delivery_that_makes_it_large() {
    let mut rig = Rig::new(parking_rules(&[]));
    rig.play(&[
        (0, "receive l m n a b c d e f", "handle l|m|n|a|b|c|d|e|f"),
        (1, "handled l->y m->y n->y", "flush y l m n"),
        (2, "handled a->x", "flush x a"),
        (3, "handled b->x c->x d->x e->x*3000000 f->x*3000000", ""),
        (300, "answered x 503 10s", "park x:<f x:<e"),
        (301, "parked", "park x:<d; delete f e"),
    ]);
}

#[test]
fn a_parking_that_was_asked_for_nothing_is_no_reason_not_to_be_ready() {
    let rig = Rig::new(parking_rules(&[]));
    let reached: Vec<bool> = rig.dispatcher.status().queues.iter().map(|queue| queue.reached).collect();
    assert_eq!(reached, [false, true]);
}

#[test]
fn a_place_that_is_taken_by_another_partners_delivery_is_not_called_full() {
    let mut rig = crowded();
    put_on_the_disk(&mut rig, "z", std::iter::once("e".to_owned()));
    let commands = rig.send(310, "parked");
    assert!(commands.contains("hide e"), "{commands}");
    let is_said = |note: &Note| matches!(note, Note::QueueFailing { doing: Operation::Park, fault, .. } if fault.reason.contains("parked for another partner"));
    assert!(rig.notes.iter().any(is_said), "{:?}", rig.notes);
}

#[test]
fn everything_new_goes_behind_it() {
    let mut rig = crowded();
    rig.play(&[
        // d, e and f are not on the disk yet, but g already goes behind them.
        (305, "receive g", "handle g"),
        (306, "handled g->x", ""),
        (310, "parked", "park x:g; delete f e d"),
        (320, "settled", ""),
        (330, "parked", "delete g"),
        (340, "settled", ""),
    ]);
    assert_eq!(rig.disk.found(), [("x".into(), 4)]);
}

#[test]
fn it_comes_back_in_order_as_the_partner_takes_and_is_deleted_once_that_is_done() {
    let mut rig = crowded();
    rig.play(&[
        (310, "parked", "delete f e d"),
        (320, "settled", ""),
        (330, "receive g", "handle g"),
        (340, "handled g->x", "park x:g"),
        (350, "parked", "delete g"),
        (360, "settled", ""),
        (10_300, "tick", "flush x a"),
        (10_310, "accepted x", "flush x b c; unpark x 1; delete a"),
        (10_320, "settled", ""),
        (10_330, "unparked", "unpark x 1"),
        (10_340, "accepted x", "flush x d; delete b c"),
        (10_350, "settled", ""),
        (10_360, "unparked", "unpark x 2"),
        (10_370, "unparked", ""),
        // All parked deliveries are in memory: a new one goes into the bucket behind them.
        (10_380, "receive h", "handle h"),
        (10_390, "handled h->x", ""),
        (10_400, "accepted x", "flush x e f g h; q1: delete d"),
        (10_410, "q1: settled", ""),
        (10_420, "accepted x", "delete h; q1: delete e f g"),
        (10_430, "settled", ""),
        (10_440, "q1: settled", ""),
    ]);
    assert!(rig.disk.is_empty());
    let rows = &rig.dispatcher.status().queues[1].counts;
    assert_eq!((rows.received, rows.delivered, rows.acked), (4, 4, 4));
    assert_eq!(rig.dispatcher.held(), 0);
}

/// Returns a rig that has restarted with the same disk, on which d, e and f are.
pub(super) fn restarted() -> Rig {
    let mut earlier = crowded();
    earlier.send(310, "parked");
    let mut rig = Rig::new(parking_rules(&[("x", 3), ("y", 0)]));
    std::mem::swap(&mut rig.disk, &mut earlier.disk);
    rig
}

#[test]
fn a_message_that_comes_back_while_it_is_parked_is_deleted() {
    let mut rig = crowded();
    rig.play(&[
        (310, "parked", "delete f e d"),
        (320, "settled ok ok gone", ""),
        (330, "receive d#2", "delete d'2"),
        (340, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.status().queues[0].counts.parked, 3);
    // After a restart nothing is known of a message but that its account has parked deliveries.
    let mut rig = restarted();
    rig.play(&[
        (0, "receive f#2", "handle f"),
        (10, "handled f->x", "park x:f"),
        (20, "unparked", "flush x d e f"),
        (30, "parked", "delete f"),
        (40, "settled", ""),
        // The same holds while its row is in memory.
        (50, "receive e#2", "handle e"),
        (60, "handled e->x", "delete e"),
        (70, "settled", ""),
        (80, "accepted x", "q1: delete d e f"),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.acked, counts.parked), (2, 0), "both were parked before");
}

#[test]
fn what_was_parked_before_the_start_comes_first() {
    restarted().play(&[
        (0, "receive g", "handle g"),
        (10, "handled g->x", "park x:g"),
        (20, "unparked", "flush x d e f"),
        (30, "parked", "delete g"),
        (40, "settled", "unpark x 1"),
        (50, "unparked", ""),
        (60, "accepted x", "flush x g; q1: delete d e f"),
    ]);
}

#[test]
fn what_the_disk_has_no_room_for_is_returned_instead() {
    let mut rig = crowded();
    let commands = rig.send(310, "parked full");
    assert!(commands.starts_with("hide f=") && commands.contains(" d="), "{commands}");
    rig.send(320, "settled");
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.parked, counts.returned, rig.dispatcher.held()), (0, 3, 3));
    let is_said = |note: &Note| matches!(note, Note::QueueFailing { queue: 1, doing: Operation::Park, .. });
    assert!(rig.notes.iter().any(is_said), "{:?}", rig.notes);
}

#[test]
fn what_neither_the_disk_takes_nor_may_be_returned_leaves_with_what_is_in_memory() {
    let mut rig = Rig::new(parking_rules(&[]));
    rig.send(0, "facts 2 43200s");
    rig.play(&[
        (0, "receive l m n a b c d e f", "handle l|m|n|a|b|c|d|e|f"),
        (1, "handled l->y m->y n->y", "flush y l m n"),
        (2, "handled a->x", "flush x a"),
        (3, "handled b->x c->x d->x e->x f->x", ""),
        (300, "answered x 503 10s", "park x:<f x:<e x:<d"),
        (301, "accepted y", "delete l m n"),
        (302, "settled", ""),
        (10_300, "tick", "flush x a"),
        (10_310, "accepted x", "flush x b c; delete a"),
        (10_320, "settled", ""),
        (10_330, "accepted x", "delete b c"),
        (10_340, "settled", ""),
        (10_350, "parked full", "flush x d e f"),
    ]);
}

#[test]
fn of_several_deliveries_only_those_of_the_absent_are_parked() {
    let mut rig = crowded_with("e->x,y");
    rig.play(&[
        (300, "answered x 503 10s", "park x:<f x:<e-0 x:<d"),
        (301, "accepted y", "flush y e-1; delete l m n"),
        (302, "settled", ""),
        (310, "parked", "delete f d"),
        (320, "settled", ""),
        (330, "accepted y", "delete e"),
    ]);
}

#[test]
fn a_parked_delivery_that_is_refused_becomes_a_dead_letter() {
    let mut rig = restarted();
    rig.play(&[
        (0, "unparked", "flush x d e f"),
        (10, "answered x 400", "flush x d e"),
        (20, "answered x 400", "flush x d"),
        (30, "answered x 400", "flush x e; q1: letter d:refused"),
        (40, "q1: settled", ""),
    ]);
    let status = rig.dispatcher.status();
    assert_eq!(status.queues[1].counts.dead, 1);
    let deliveries = [0, 1].map(|queue: usize| status.queues[queue].counts.deliveries_dead);
    assert_eq!(deliveries, [0, 1], "as the parking counts those that are accepted");
}

/// Parks deliveries of messages with these ids for the account.
pub(super) fn put_on_the_disk(rig: &mut Rig, account: &str, ids: impl Iterator<Item = String>) {
    let delivery = |id: String| ToPark {
        account: account.into(),
        item: Item { message: Arc::new(message(&id, None)), index: None, payload: "1".into() },
        waited: Duration::ZERO,
        after: START,
        older: false,
    };
    rig.disk.park(rig.start, &ids.map(delivery).collect::<Vec<_>>());
}

#[test]
fn a_parking_that_cannot_be_written_is_listed_among_what_fails_until_it_can() {
    let mut rig = restarted();
    let failing =
        |rig: &Rig| rig.dispatcher.status().queues[1].failing.iter().map(|failing| failing.doing.word()).collect::<Vec<_>>();
    rig.play(&[(0, "receive g", "handle g"), (1, "handled g->x", "park x:g")]);
    assert_eq!(failing(&rig), Vec::<&str>::new());
    rig.send(2, "parked fault");
    assert_eq!(failing(&rig), ["park"]);
    rig.play(&[
        (3, "settled", ""),
        (4_000, "tick", "hide g=0"),
        (4_001, "settled", ""),
        (5_000, "receive h", "handle h"),
        (5_001, "handled h->x", "park x:h"),
        (5_002, "parked", "delete h"),
    ]);
    assert_eq!(failing(&rig), Vec::<&str>::new());
}

#[test]
fn a_message_that_must_leave_in_time_leaves_although_the_parking_is_full() {
    const HOUR: u64 = 3_600_000;
    let mut rules = parking_rules(&[]);
    rules.queues[0].visibility_timeout = Duration::from_secs(12 * 3600);
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "facts 3 43200s", ""),
        // One more receive of b would be its third, which is the limit: it may not be returned.
        (0, "receive a b#2", "handle a|b"),
        (1, "handled a->x b->x", "flush x a b"),
        (2, "answered x 429 86400s", ""),
        (11 * HOUR + HOUR / 2, "tick", "park x:<b x:<a"),
        (11 * HOUR + HOUR / 2 + 1, "parked full", "letter b:partner_unavailable"),
        (11 * HOUR + HOUR / 2 + 2, "settled", "hide a=1739998ms"),
        (11 * HOUR + HOUR / 2 + 3, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.held(), 0);
}

#[test]
fn what_is_parked_in_time_takes_along_what_is_behind_it() {
    const HOUR: u64 = 3_600_000;
    let mut rules = parking_rules(&[]);
    rules.queues[0].visibility_timeout = Duration::from_secs(12 * 3600);
    Rig::new(rules).play(&[
        (0, "facts 1000 43200s", ""),
        (0, "receive a", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 43200s", ""),
        (11 * HOUR, "receive b", "handle b"),
        (11 * HOUR + 1, "handled b->x", ""),
        (11 * HOUR + HOUR / 2, "tick", "park x:<b x:<a"),
        (11 * HOUR + HOUR / 2 + 1, "parked", "delete b a"),
        (11 * HOUR + HOUR / 2 + 2, "settled", ""),
        // They would only wait in memory until x may be tried.
        (12 * HOUR + 10, "tick", "unpark x 3"),
        (12 * HOUR + 11, "unparked", "flush x a b"),
    ]);
}

#[test]
fn a_message_of_which_a_part_went_to_the_disk_leaves_in_time_all_the_same() {
    const HOUR: u64 = 3_600_000;
    let mut rules = parking_rules(&[]);
    rules.queues[0].visibility_timeout = Duration::from_secs(12 * 3600);
    Rig::new(rules).play(&[
        (0, "facts 1000 43200s", ""),
        (0, "receive d e", "handle d|e"),
        (1, "handled d->x e->x,y", "flush x d e-0; flush y e-1"),
        (2, "answered x 429 86400s", ""),
        (3, "answered y 429 86400s", ""),
        // A part of e goes along with d, before it is the turn of e itself.
        (11 * HOUR + HOUR / 2, "tick", "park x:<e-0 x:<d"),
        (11 * HOUR + HOUR / 2 + 1, "parked", "park y:<e-1; delete d"),
        (11 * HOUR + HOUR / 2 + 2, "parked", ""),
        (11 * HOUR + HOUR / 2 + 3, "settled", "delete e"),
    ]);
}

#[test]
fn several_deliveries_of_one_message_keep_their_order() {
    Rig::new(parking_rules(&[])).play(&[
        (0, "receive l m n a b c d e f", "handle l|m|n|a|b|c|d|e|f"),
        (1, "handled l->y m->y n->y", "flush y l m n"),
        (2, "handled a->x b->x c->x d->x e->x,x", "flush x a b c d e-0 e-1"),
        (300, "answered x 503 10s", "park x:<e-1 x:<e-0 x:<d"),
        (601, "accepted y", "delete l m n"),
        (602, "settled", ""),
        (610, "parked", "delete e d"),
        (620, "settled", ""),
        (10_700, "tick", "flush x a b c"),
        (10_701, "accepted x", "unpark x 2; delete a b c"),
        (10_702, "unparked", "flush x d e-0"),
    ]);
}
