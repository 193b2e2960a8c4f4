//! What is counted and said: each receive, call, exit and lost lease under its own name.

use std::time::{Duration, SystemTime};

use super::rig::Rig;
use super::rules;
use crate::dispatch::Note;

/// Returns the calls to q0 by operation and result.
fn calls(rig: &Rig) -> Vec<(&'static str, &'static str, u64)> {
    rig.dispatcher.status().queues[0].tally.calls().collect()
}

#[test]
fn a_receive_is_counted_by_what_came_of_it() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a", "handle a"), (1, "receive", ""), (2, "receive failed", "")]);
    assert_eq!(calls(&rig), [("receive", "ok", 1), ("receive", "empty", 1), ("receive", "failed", 1)]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.requests, counts.received, counts.empty_receives), (3, 1, 1));
}

#[test]
fn a_call_is_counted_by_how_it_ended() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a=discard", "delete a"),
        (2, "settled", ""),
        (3, "handled b=discard", "delete b"),
        (4, "settled fault", ""),
    ]);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "delete b");
    rig.send(at, "settled");
    assert_eq!(calls(&rig), [("receive", "ok", 1), ("delete", "ok", 2), ("delete", "failed", 1)]);
}

#[test]
fn a_return_is_counted_under_its_reason() {
    let mut rules = rules();
    rules.queues[0].fifo = true;
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a/g b/g c", "handle a|b|c"),
        (1, "handled a=retry:2s", "hide a=2s"),
        (2, "handled b=discard", ""),
        (3, "settled", "hide b=1998ms"),
        (4, "settled", ""),
        (5, "stop", "interrupt; hide c=0"),
        (6, "settled", "finish"),
    ]);
    let tally = &rig.dispatcher.status().queues[0].tally;
    assert_eq!(tally.returns().collect::<Vec<_>>(), [("handler", 1), ("group", 1), ("stopping", 1)]);
}

#[test]
fn the_age_of_a_message_runs_from_when_it_was_sent_until_its_delete_is_confirmed() {
    let mut rig = Rig::new(rules());
    // The message was sent at the beginning of the wall clock's time.
    rig.dispatcher.set_wall_clock(rig.start, SystemTime::UNIX_EPOCH + Duration::from_secs(100));
    rig.play(&[(0, "receive a", "handle a"), (1000, "handled a=discard", "delete a"), (20_000, "settled", "")]);
    let age = rig.dispatcher.status().times.age;
    assert_eq!((age.count(), age.sum()), (1, 120.0));
}

#[test]
fn the_first_lost_lease_is_said_at_once_and_the_others_in_a_sum() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (30_000, "tick", "hide a=60s b=60s c=60s"),
        (30_001, "settled gone gone gone", ""),
    ]);
    let lost = |rig: &Rig| -> Vec<(u64, String)> {
        let said = rig.notes.iter().filter_map(|note| match note {
            Note::LeasesLost { count, example, .. } => Some((*count, example.to_string())),
            _ => None,
        });
        said.collect()
    };
    assert_eq!(lost(&rig), [(1, "a".to_owned())]);
    let at = rig.next_deadline().expect("the sum is due");
    rig.send(at, "tick");
    assert_eq!(lost(&rig), [(1, "a".to_owned()), (2, "c".to_owned())]);
}

#[test]
fn a_queue_whose_service_tells_what_it_does_is_reached() {
    let mut rig = Rig::new(rules());
    assert!(!rig.dispatcher.status().queues[0].reached);
    rig.play(&[(0, "facts 3 43200s", "")]);
    assert!(rig.dispatcher.status().queues[0].reached);
}

#[test]
fn the_sum_of_one_kind_is_said_although_that_of_another_was_due_before_it() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (25_000, "handled a=reject", "letter a:rejected"),
        (25_001, "settled", ""),
        (30_000, "tick", "hide b=60s c=60s d=60s"),
        (30_001, "settled ok gone gone", ""),
        (30_002, "handled b=reject", "letter b:rejected"),
        (30_003, "settled", ""),
        // The sum of the dead letters is due.
        (35_001, "tick", ""),
        (40_001, "tick", ""),
    ]);
    let said = rig.notes.iter().filter_map(|note| match note {
        Note::DeadLetters { example, .. } | Note::LeasesLost { example, .. } => Some(example.to_string()),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), ["a", "c", "b", "d"]);
}
