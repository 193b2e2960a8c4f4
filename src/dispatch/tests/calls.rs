//! Calls that settle copies: one at a time per acker, in batches, tried again after faults,
//! and no kind starves the others.

use std::time::Duration;

use super::rig::Rig;
use super::rules;
use crate::dispatch::{Event, Note, Operation, QueueRules};
use crate::message::service::Facts;

fn rig(change: impl FnOnce(&mut QueueRules)) -> Rig {
    let mut rules = rules();
    change(&mut rules.queues[0]);
    Rig::new(rules)
}

#[test]
fn deletes_collect_while_a_call_is_under_way() {
    rig(|queue| queue.entry_limit = 2).play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a=discard", "delete a"),
        (2, "handled b=discard", ""),
        (3, "handled c=discard", ""),
        (4, "handled d=discard", ""),
        (5, "settled", "delete b c"),
        (6, "settled", "delete d"),
    ]);
}

#[test]
fn several_ackers_have_a_call_each() {
    rig(|queue| queue.ackers = 2).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a=discard", "delete a"),
        (2, "handled b=discard", "delete b"),
        (3, "handled c=discard", ""),
        (4, "settled", "delete c"),
    ]);
}

#[test]
fn deletes_wait_for_company_where_a_call_has_its_price() {
    rig(|queue| {
        queue.delete_linger = Duration::from_millis(100);
        queue.entry_limit = 2;
    })
    .play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a=discard", ""),
        (50, "handled b=discard", "delete a b"),
        (60, "handled c=discard", ""),
        (70, "settled", ""),
        (159, "tick", ""),
        (160, "tick", "delete c"),
    ]);
}

#[test]
fn company_is_waited_for_after_a_fault_as_well() {
    let mut rig = rig(|queue| queue.delete_linger = Duration::from_millis(500));
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a=discard", ""),
        (501, "tick", "delete a"),
        (502, "settled gone", ""),
        (503, "receive c d", "handle c|d"),
        (504, "handled b=discard c=discard", ""),
        (1004, "tick", "delete b c"),
        (1005, "settled fault", ""),
    ]);
    let mut at = 1005;
    while rig.send(at, "tick").is_empty() {
        at = rig.next_deadline().expect("a retry");
    }
    rig.send(at, "settled gone gone");
    // The fault is long over: it must not delay the delete.
    assert_eq!(rig.send(at + 1, "handled d=discard"), "");
    assert_eq!(rig.next_deadline(), Some(at + 501));
    assert_eq!(rig.send(at + 501, "tick"), "delete d");
}

#[test]
fn kinds_of_calls_take_turns() {
    rig(|queue| queue.entry_limit = 1).play(&[
        (0, "receive a b c d e f g", "handle a|b|c|d|e|f|g"),
        (1, "handled a=discard b=discard c=discard", "delete a"),
        (2, "handled d=reject e=reject", ""),
        (3, "handled f=retry:1s g=retry:1s", ""),
        (4, "settled", "hide f=999ms"),
        (5, "settled", "letter d:rejected"),
        (6, "settled", "delete b"),
        (7, "settled", "hide g=996ms"),
        (8, "settled", "letter e:rejected"),
        (9, "settled", "delete c"),
    ]);
}

#[test]
fn what_was_kept_back_and_what_came_meanwhile_leave_together() {
    rig(|queue| queue.concurrency = 2).play(&[
        (0, "receive b a c", "handle b|a"),
        // The poller still has demand, and would receive c again.
        (1, "drain 100s", "interrupt"),
        (2, "handled b=discard", "delete b"),
        (30_000, "tick", ""),
        (30_001, "receive", ""),
        (30_002, "settled", "hide c=0 a=60s"),
    ]);
}

#[test]
fn entries_that_failed_are_tried_again_alone() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a=discard b=discard c=discard", "delete a b c"),
        (2, "settled ok failed ok", ""),
    ]);
    let retry = rig.next_deadline().expect("a retry");
    assert!((3..=102).contains(&retry), "{retry}");
    assert_eq!(rig.send(retry, "tick"), "delete b");
    assert_eq!(rig.send(retry + 1, "settled"), "");
    assert_eq!(rig.dispatcher.held(), 0);
}

#[test]
fn faults_are_said_once_and_so_is_their_end() {
    let mut rig = rig(|_| {});
    rig.send(0, "receive a");
    rig.send(1, "handled a=discard");
    rig.send(2, "settled fault");
    for _ in 0..5 {
        let retry = rig.next_deadline().expect("a retry");
        rig.send(retry, "tick");
        rig.send(retry, "settled fault");
    }
    assert_eq!(rig.notes.len(), 1, "{:?}", rig.notes);
    let retry = rig.next_deadline().expect("a retry");
    rig.send(retry, "tick");
    rig.send(retry, "settled");
    assert_eq!(rig.notes.len(), 2, "{:?}", rig.notes);
}

#[test]
fn calls_that_fail_while_others_go_well_are_one_trouble_until_none_has_failed_for_a_while() {
    let mut rig = rig(|queue| (queue.ackers, queue.entry_limit, queue.concurrency) = (2, 1, 40));
    let ids: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    rig.send(0, &format!("receive {}", ids.join(" ")));
    rig.send(0, &format!("handled {}", ids.iter().map(|id| format!("{id}=discard")).collect::<Vec<_>>().join(" ")));
    // Two calls are under way all the time: of each pair the first fails, and the second goes well.
    for at in 1..=30 {
        rig.send(at, "settled fault");
        if at > 1 {
            assert_eq!(rig.dispatcher.status().queues[0].failing.len(), 1, "at {at}");
        }
        rig.send(at, "settled");
    }
    assert_eq!(rig.notes.len(), 3, "it fails, goes well, and fails again: {:?}", rig.notes);
    for at in 31..100 {
        rig.send(at, "settled");
        if rig.dispatcher.held() == 0 {
            break;
        }
    }
    let mut at = 0;
    while rig.notes.len() == 3 {
        assert_eq!(rig.dispatcher.status().queues[0].failing.len(), 1, "at {at}");
        at = rig.next_deadline().expect("its end");
        rig.send(at, "tick");
    }
    assert!((10_000..10_100).contains(&at), "{at}");
    assert!(rig.dispatcher.status().queues[0].failing.is_empty());
}

#[test]
fn an_old_fault_does_not_hide_when_the_next_delete_is_due() {
    let mut rig = rig(|queue| {
        queue.delete_linger = Duration::from_millis(500);
        queue.ackers = 2;
    });
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a=retry:1s", "hide a=1s"), (2, "settled fault", "")]);
    let retry = rig.next_deadline().expect("a retry");
    rig.send(retry, "tick");
    // The return is under way again when a delete comes up.
    assert_eq!(rig.send(1000, "handled b=discard"), "");
    rig.send(1001, "settled failed");
    let mut at = 1001;
    let mut commands = String::new();
    while at < 1600 {
        at = rig.next_deadline().expect("the delete is due");
        commands += &rig.send(at, "tick");
    }
    assert!(commands.contains("delete b"), "{commands}");
}

#[test]
fn one_kind_that_fails_does_not_hold_up_the_others() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a=reject", "letter a:rejected"),
        // The dead-letter queue cannot be reached.
        (2, "settled failed", ""),
        (3, "handled b=discard", "delete b"),
        (4, "settled", ""),
        (5, "handled c=discard", "delete c"),
    ]);
}

#[test]
fn a_call_takes_so_many_bytes_of_letters_and_at_least_one() {
    rig(|_| {}).play(&[
        (0, "receive a*3000000 b*3000000 c*5000000 d", "handle a|b|c|d"),
        (1, "handled a=reject", "letter a:rejected"),
        (2, "handled b=reject", ""),
        (3, "handled c=reject", ""),
        (4, "handled d=reject", ""),
        (5, "settled", "letter b:rejected c:rejected"),
        (6, "settled", "letter d:rejected"),
    ]);
}

/// A letter holds all attributes of its message.
#[test]
fn the_bytes_of_letters_are_of_attributes_too() {
    rig(|queue| queue.concurrency = 4).play(&[
        (0, "receive a b$3000000 c$3000000 d", "handle a|b|c|d"),
        (1, "handled a=reject", "letter a:rejected"),
        (2, "handled b=reject", ""),
        (3, "handled c=reject", ""),
        (4, "handled d=reject", ""),
        (5, "settled", "letter b:rejected c:rejected"),
        (6, "settled", "letter d:rejected"),
    ]);
}

#[test]
fn a_letter_that_is_written_is_not_written_again_when_its_message_stays() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a=reject b=reject", "letter a:rejected b:rejected"),
        (2, "settled ok undeleted", ""),
        // Letters are still written while deletes wait.
        (3, "receive c", "handle c"),
        (4, "handled c=reject", "letter c:rejected"),
        (5, "settled", ""),
    ]);
    let said = |note: &Note| matches!(note, Note::QueueFailing { doing: Operation::Delete, fault, .. } if fault.reason.contains("is written"));
    assert!(rig.notes.iter().any(said), "{:?}", rig.notes);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "delete b");
    assert_eq!(rig.send(at, "settled failed"), "");
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "delete b");
    assert_eq!(rig.send(at, "settled"), "");
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.dead, counts.acked, rig.dispatcher.held()), (3, 0, 0));
}

#[test]
fn a_message_whose_letter_is_written_is_deleted_when_it_comes_back() {
    let mut rig = rig(|_| {});
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a=reject", "letter a:rejected"), (2, "settled undeleted", "")]);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "delete a");
    rig.send(at, "settled gone");
    assert_eq!(rig.send(at + 1, "receive a#2"), "delete a'2");
}

#[test]
fn without_dead_letters_what_is_rejected_comes_back_later_each_time() {
    let mut rig = Rig::new(rules());
    let facts = Facts { circulates: true, ..Facts::default() };
    rig.handle(0, Event::Facts { queue: 0, facts });
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=reject", "hide a=30s"),
        (2, "settled", ""),
        (30_001, "receive a#2", "handle a"),
        (30_002, "handled a=reject", "hide a'2=60s"),
        (30_003, "settled", ""),
        (40_000, "receive b", "handle b"),
        (40_001, "handled b->acme,beta", "flush acme b-0; flush beta b-1"),
        (40_002, "answered acme 400", ""),
        (40_003, "accepted beta", "hide b=29999ms~1@beta"),
        (40_004, "settled", ""),
        // The one that was accepted is not delivered again.
        (80_000, "receive b#2", "handle b"),
        (80_001, "handled b->acme,beta", "flush acme b-0"),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.returned, counts.dead, counts.leases_lost), (3, 0, 0));
    assert_eq!(rig.dispatcher.status().queues[0].tally.returns().collect::<Vec<_>>(), [("circulates", 3)]);
    let said = |note: &Note| matches!(note, Note::DeadLetters { reason, .. } if reason.contains("it is returned"));
    assert!(rig.notes.iter().any(said), "{:?}", rig.notes);
}

#[test]
fn what_happens_often_is_said_at_once_and_then_in_sums_the_last_at_the_end() {
    let mut rig = Rig::new(rules());
    let said = |rig: &Rig| {
        let counts = rig.notes.iter().filter_map(|note| match note {
            Note::DeadLetters { count, .. } => Some(("dead", *count)),
            Note::LeasesLost { count, .. } => Some(("lost", *count)),
            _ => None,
        });
        counts.collect::<Vec<_>>()
    };
    rig.play(&[
        (0, "receive a b c d e f g", "handle a|b|c|d|e|f|g"),
        (1, "handled a=reject b=reject c=reject", "letter a:rejected b:rejected c:rejected"),
        (2, "settled", ""),
    ]);
    assert_eq!(said(&rig), [("dead", 1)]);
    rig.send(10_002, "tick");
    assert_eq!(said(&rig), [("dead", 1), ("dead", 2)]);
    rig.play(&[(30_000, "tick", "hide d=60s e=60s f=60s g=60s"), (30_001, "settled gone gone ok ok", "")]);
    rig.send(40_001, "tick");
    assert_eq!(said(&rig)[2..], [("lost", 1), ("lost", 1)]);
    rig.play(&[(40_002, "handled f=reject g=reject", "letter f:rejected g:rejected"), (40_003, "settled", "")]);
    assert_eq!(said(&rig)[4..], [("dead", 1)]);
    rig.play(&[(40_004, "drain 1s", "interrupt"), (40_005, "receive", "")]);
    rig.send(50_000, "tick");
    assert_eq!(said(&rig)[5..], [("dead", 1)]);
    let letters: Vec<_> = rig.dispatcher.status().queues[0].tally.letters().collect();
    assert_eq!(letters, [("rejected", 5)]);
}
