//! The end by emptiness: the queues are counted once nothing is held, and again until all counts are zero.

use super::rig::Rig;
use super::{queue_rules, rules};
use crate::dispatch::{Event, NewQueue, Note, Operation, QueueChanges};

fn rig() -> Rig {
    let mut rules = rules();
    rules.until_empty = true;
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    // Both counts of the start are under way.
    rig.send(0, "tick");
    rig
}

#[test]
fn ends_when_all_counts_are_zero() {
    rig().play(&[
        (1, "counted 0 0 0", ""),
        (2, "q1: counted 0 0 0", "interrupt; q1: interrupt"),
        (3, "receive", ""),
        (4, "q1: receive", "finish"),
    ]);
}

#[test]
fn a_run_may_be_told_later_to_end_when_all_is_empty() {
    let mut rig = Rig::new(rules());
    assert_eq!(rig.send(0, "receive"), "");
    assert_eq!(rig.handle(1, Event::FinishWhenEmpty), "count");
    rig.play(&[(2, "counted 0 0 0", "interrupt"), (3, "receive", "finish")]);
}

#[test]
fn hidden_and_delayed_messages_are_waited_for() {
    rig().play(&[
        (1, "counted 0 1 0", ""),
        (2, "q1: counted 0 0 0", ""),
        (101, "tick", ""),
        (102, "tick", "count; q1: count"),
        (103, "counted 0 0 0", ""),
        (104, "q1: counted 0 0 1", ""),
        (204, "tick", "count; q1: count"),
        (205, "counted 0 0 0", ""),
        (206, "q1: counted 0 0 0", "interrupt; q1: interrupt"),
    ]);
}

#[test]
fn a_message_that_comes_meanwhile_makes_the_counts_worthless() {
    rig().play(&[
        (1, "counted 0 0 0", ""),
        (2, "receive a", "handle a"),
        (3, "handled a=discard", "delete a"),
        (4, "settled", ""),
        (5, "q1: counted 0 0 0", ""),
        (105, "tick", "count; q1: count"),
    ]);
}

#[test]
fn a_queue_that_comes_meanwhile_makes_the_counts_worthless() {
    let mut rig = rig();
    let added = vec![NewQueue { rules: queue_rules("q2"), parking: None }];
    assert_eq!(rig.reload(1, QueueChanges { added, ..QueueChanges::default() }), "");
    rig.play(&[
        (2, "counted 0 0 0", ""),
        (3, "q1: counted 0 0 0", ""),
        (102, "tick", ""),
        (103, "tick", "count; q1: count; q2: count"),
    ]);
}

#[test]
fn nothing_is_counted_while_something_is_held() {
    rig().play(&[
        (1, "receive a", "handle a"),
        (2, "counted 0 0 0", ""),
        (3, "q1: counted 0 0 0", ""),
        (200, "tick", ""),
        (300, "handled a=discard", "delete a"),
        (301, "settled", "count; q1: count"),
    ]);
}

#[test]
fn a_count_that_fails_is_not_zero() {
    let mut rig = rig();
    rig.play(&[(1, "counted fault", ""), (2, "q1: counted 0 0 0", ""), (101, "tick", "")]);
    let mut commands = String::new();
    for at in 102..400 {
        commands += &rig.send(at, "tick");
    }
    assert!(commands.contains("count"), "{commands}");
    assert!(matches!(&rig.notes[..], [Note::QueueFailing { doing: Operation::Count, .. }]), "{:?}", rig.notes);
    assert!(!commands.contains("interrupt"), "{commands}");
}

#[test]
fn where_counts_are_estimates_three_of_them_and_an_empty_receive_say_so() {
    let mut rules = rules();
    rules.until_empty = true;
    rules.queues[0].zero_counts = 3;
    rules.queues[0].recount = std::time::Duration::from_secs(2);
    let mut rig = Rig::new(rules);
    rig.play(&[
        (1, "counted 0 0 0", ""),
        (2000, "tick", ""),
        (2001, "tick", "count"),
        (2002, "counted 0 0 0", ""),
        (4002, "tick", "count"),
        // The long poll is still out.
        (4003, "counted 0 0 0", ""),
        (5000, "receive failed", ""),
        (6003, "tick", "count"),
        // A receive that failed found nothing out.
        (6004, "counted 0 0 0", ""),
        (7000, "receive", ""),
        (8004, "tick", "count"),
        (8005, "counted 0 0 0", "interrupt"),
    ]);
}

#[test]
fn a_message_that_comes_begins_the_counting_anew() {
    let mut rules = rules();
    rules.until_empty = true;
    rules.queues[0].zero_counts = 3;
    rules.queues[0].recount = std::time::Duration::from_secs(2);
    let mut rig = Rig::new(rules);
    rig.play(&[
        (1, "counted 0 0 0", ""),
        (2001, "tick", "count"),
        (2002, "counted 0 0 0", ""),
        (2003, "receive a", "handle a"),
        (2004, "handled a=discard", "delete a"),
        (2005, "settled", ""),
        (2006, "receive", ""),
        (4002, "tick", "count"),
        (4003, "counted 0 0 0", ""),
        (6003, "tick", "count"),
        (6004, "counted 0 0 0", ""),
        (8004, "tick", "count"),
        (8005, "counted 0 0 0", "interrupt"),
    ]);
}

#[test]
fn a_queue_whose_counts_are_estimates_since_a_reload_is_counted_three_times() {
    let estimates = |name: &str| {
        let mut rules = queue_rules(name);
        (rules.zero_counts, rules.recount) = (3, std::time::Duration::from_secs(2));
        rules
    };
    let comes = vec![NewQueue { rules: estimates("q1"), parking: None }];
    let changes = [
        QueueChanges { changed: vec![(0, estimates("q0"))], ..QueueChanges::default() },
        QueueChanges { added: comes, retired: vec![0], ..QueueChanges::default() },
    ];
    for (queue, change) in changes.into_iter().enumerate() {
        let mut rules = rules();
        rules.until_empty = true;
        let mut rig = Rig::new(rules);
        rig.reload(1, change);
        let of = |text: &str| if queue == 0 { text.to_owned() } else { format!("q1: {text}") };
        rig.send(2, "receive");
        rig.send(2, &of("receive"));
        rig.send(3, "counted 0 0 0");
        let mut counts = usize::from(queue == 0);
        loop {
            let (at, commands) = rig.skip_to_commands();
            assert_eq!(commands, of("count"));
            counts += 1;
            let then = rig.send(at, &of("counted 0 0 0"));
            if !then.is_empty() {
                assert_eq!((counts, then), (3, of("interrupt")));
                break;
            }
        }
    }
}
