//! Queues that a reload took away: when they are gone, and what they leave behind.

use super::parking::put_on_the_disk;
use super::queues::{added, parking, queues, retired};
use super::rig::Rig;
use super::{queue_rules, rules};
use crate::dispatch::{NewQueue, Note, QueueChanges};

#[test]
fn what_a_queue_that_goes_has_settled_after_all_is_known_no_more_to_the_one_that_has_its_name() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x,y", "flush x a-0; flush y a-1"),
        (2, "accepted x", ""),
        (3, "answered y 429 40s", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        (30_002, "receive a#2", "handle a"),
    ]);
    assert_eq!(rig.reload(30_003, QueueChanges { retired: vec![0], ..added("q0") }), "interrupt");
    assert!(rig.dispatcher.queues[1].known.recall("a").is_some());
    rig.play(&[
        (30_004, "receive", ""),
        (30_005, "handled a->x,y", ""),
        (40_003, "tick", "flush y a-1"),
        (40_004, "accepted y", "delete a'2"),
        (40_005, "settled", "close"),
        // An operator redrives it under the same id: all of it is wanted.
        (40_006, "q1: receive a", "q1: handle a"),
        (40_007, "q1: handled a->x,y", "flush x a-0; flush y a-1"),
    ]);
}

#[test]
fn a_queue_that_goes_is_not_gone_while_something_of_it_is_parked() {
    let mut rig = Rig::new(rules());
    put_on_the_disk(&mut rig, "x", ["p".to_owned()].into_iter());
    let new = NewQueue { rules: queue_rules("q1"), parking: Some(parking(1, vec![("x".into(), 1)])) };
    rig.play(&[(0, "receive", ""), (0, "pause x", "reply paused")]);
    assert_eq!(rig.reload(1, QueueChanges { added: vec![new], ..QueueChanges::default() }), "");
    assert_eq!(rig.reload(2, retired(1)), "q1: interrupt");
    let status = rig.dispatcher.status();
    assert_eq!(queues(&status), [("q0", "serving"), ("q1", "retiring"), ("q1.parking", "retiring")]);
    // All that there is of it is on the disk until its partner may be tried.
    rig.play(&[(3, "q1: receive", ""), (30_000, "tick", ""), (60_000, "tick", "")]);
    let commands = rig.send(60_500, "resume x");
    assert!(commands.starts_with("reply healthy; q1: unpark x"), "{commands}");
    rig.play(&[
        (60_501, "q1: unparked", "q1: flush x p"),
        (60_502, "q1: accepted x", "q2: delete p"),
        (60_503, "q2: settled", ""),
    ]);
    assert_eq!(rig.skip_to_commands(), (61_000, "q1: close; q2: close".to_owned()), "a second after the last look");
}

#[test]
fn a_queue_that_is_gone_fails_no_more() {
    let mut rig = Rig::new(rules());
    let failing = |rig: &Rig| rig.dispatcher.status().queues[0].failing.len();
    rig.play(&[(0, "receive failed", "")]);
    assert_eq!(failing(&rig), 1);
    assert_eq!(rig.reload(1, retired(0)), "interrupt; close");
    assert_eq!(failing(&rig), 0);
}

#[test]
fn what_a_queue_that_goes_could_not_delete_is_known_to_one_that_comes_later_under_its_name() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a")]);
    assert_eq!(rig.reload(2, retired(0)), "interrupt");
    rig.play(&[(3, "accepted x", "delete a"), (4, "settled gone", "")]);
    rig.reload(5, added("q0"));
    rig.play(&[(6, "q1: receive a#2", "q1: delete a")]);
}

#[test]
fn what_is_not_said_yet_of_a_queue_is_said_when_it_is_gone() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a=reject", "letter a:rejected"),
        (2, "settled", ""),
        (3, "handled b=reject", "letter b:rejected"),
        (4, "settled", ""),
    ]);
    assert_eq!(rig.reload(5, retired(0)), "interrupt");
    rig.play(&[(6, "receive", "close")]);
    let said = rig.notes.iter().filter_map(|note| match note {
        Note::DeadLetters { example, .. } => Some(example.to_string()),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), ["a", "b"]);
}
