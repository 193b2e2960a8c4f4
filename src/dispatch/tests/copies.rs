//! Copies: a message that arrives again while it is held, or after its delete failed, is not delivered again.

use std::time::Duration;

use super::rig::Rig;
use super::{message, queue_rules, rules};
use crate::dispatch::exits::known::{MOST_BYTES, Settled};
use crate::dispatch::{Event, NewQueue, QueueChanges};
use crate::message::settle::SettledPart;
use crate::message::{DeliveryName, Receipt, Received};

#[test]
fn a_copy_of_a_held_message_is_dropped_and_its_receipt_is_the_one_to_delete() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "receive a#2", ""),
        (2, "handled a->acme", "flush acme a"),
        (3, "accepted acme", "delete a'2"),
        (4, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.received, counts.acked, counts.duplicates_dropped), (2, 1, 1));
}

#[test]
fn what_waits_for_the_number_of_a_copy_that_is_dropped_waits_no_more() {
    let mut rig = Rig::new(rules());
    // Two pollers number what they receive, and either may report first.
    let received = |rig: &Rig, id: &str, sequence: u64, row: i64| Event::Received {
        queue: 0,
        poller: 0,
        messages: vec![Received {
            message: message(id, None).into(),
            receipt: Receipt::Row { row, receive: 2 },
            sequence,
            settled: None,
        }],
        leased_until: rig.start + Duration::from_secs(60),
        demand_used: 1,
    };
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a")]);
    let event = received(&rig, "b", 2, 1);
    assert_eq!(rig.handle(2, event), "handle b");
    rig.play(&[(3, "handled b->y", "")]);
    let event = received(&rig, "a", 1, 0);
    assert_eq!(rig.handle(4, event), "flush y b");
}

#[test]
fn a_copy_that_comes_while_the_delete_is_under_way_is_deleted_too() {
    Rig::new(rules()).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=discard", "delete a"),
        (2, "receive a#2", ""),
        (3, "settled", "delete a'2"),
        (4, "settled", ""),
    ]);
}

#[test]
fn a_copy_that_comes_while_it_is_returned_is_returned_too() {
    Rig::new(rules()).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=retry:5s", "hide a=5s"),
        (2, "receive a#2", ""),
        (3, "settled", "hide a'2=4998ms"),
        (4, "settled", ""),
    ]);
}

#[test]
fn what_was_delivered_but_not_deleted_is_deleted_when_it_comes_back() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme", "flush acme a"),
        (2, "accepted acme", "delete a"),
        (3, "settled gone", ""),
        (4, "receive a#2", "delete a'2"),
        (5, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.received, counts.acked, counts.leases_lost, counts.duplicates_dropped), (2, 0, 1, 1));
}

#[test]
fn a_delete_that_fails_is_tried_for_as_long_as_the_lease_lasts() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a=discard", "delete a"), (2, "settled fault", "")]);
    let retry = rig.next_deadline().expect("a retry");
    assert_eq!(rig.send(retry, "tick"), "delete a");
    assert_eq!(rig.send(61_000, "settled failed"), "");
    assert_eq!((rig.dispatcher.held(), rig.dispatcher.status().queues[0].counts.leases_lost), (0, 1));
}

#[test]
fn a_copy_that_comes_while_the_letter_is_under_way_is_deleted_too() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=reject", "letter a:rejected"),
        (2, "receive a#2", ""),
        (3, "settled", "delete a'2"),
        (4, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.status().queues[0].counts.dead, 1);
}

#[test]
fn a_call_that_knew_the_newest_receipt_is_believed() {
    let mut two = rules();
    two.queues[0].ackers = 2;
    let mut rig = Rig::new(two);
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        // An extension is under way when a copy comes; then a letter with the newer receipt.
        (30_000, "tick", "hide a=60s"),
        (30_001, "receive a#2", ""),
        (30_002, "answered acme 400", "letter a'2-0:refused+open"),
        // The extension was for the older receipt: its failure says nothing about the newer one.
        (30_003, "settled gone", ""),
        (30_004, "settled", ""),
        (30_005, "answered beta 503", ""),
    ]);
    assert_eq!(rig.dispatcher.held(), 1);
}

#[test]
fn what_was_redriven_is_delivered_although_its_message_once_was() {
    Rig::new(rules()).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "answered beta 400", "letter a-1:refused+open"),
        (3, "accepted acme", ""),
        (4, "settled", "delete a"),
        (5, "settled gone", ""),
        // An operator redrives the dead delivery under an id of its own; the other delivery stays settled.
        (60_000, "receive a-r1!1", "handle a-r1"),
        (60_001, "handled a-r1->acme,beta", "flush beta a-r1-1"),
        (60_002, "accepted beta", "delete a-r1"),
        // A copy of the redriven message that comes back is deleted too.
        (60_003, "settled gone", ""),
        (60_004, "receive a-r1!1#2", "delete a-r1'2"),
    ]);
}

#[test]
fn a_copy_of_which_another_process_settled_a_part_makes_way_for_the_newer_one() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x,y", "flush x a-0; flush y a-1"),
        (2, "answered x 503 100s", ""),
        (3, "answered y 503 100s", ""),
        (4_000, "receive a#3~0@x", "hide a'2=0"),
        (4_001, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.status().queues[0].tally.returns().collect::<Vec<_>>(), [("elsewhere", 1)]);
}

#[test]
fn a_copy_that_goes_back_already_keeps_its_reason_when_another_process_settled_a_part() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=retry:60s", "hide a=60s"),
        (2, "receive a#2~0@x", ""),
        (3, "settled", "hide a'2=59998ms"),
        (4, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.status().queues[0].tally.returns().collect::<Vec<_>>(), [("handler", 1)]);
}

#[test]
fn what_is_settled_of_each_hidden_message_is_remembered() {
    let mut rules = rules();
    rules.max_in_flight = 4;
    let mut rig = Rig::new(rules);
    rig.send(0, "pause y");
    let (mut at, mut returned) = (10, Vec::new());
    for n in 0..100 {
        let steps = [format!("receive m{n}"), format!("handled m{n}->x,y"), "accepted x".to_owned(), "tick".to_owned()];
        for (wait, step) in [1, 1, 1, 300].into_iter().zip(steps) {
            at += wait;
            let said = rig.send(at, &step);
            if let Some(hide) = said.split("; ").find_map(|command| command.strip_prefix("hide ")) {
                returned.extend(hide.split(' ').map(|entry| entry.split('=').next().unwrap().to_owned()));
                rig.send(at, "settled");
            }
        }
        if returned.len() >= 6 {
            break;
        }
    }
    // All of them are still hidden, more than there are places. The first shows again, while y is still away.
    rig.send(at, &format!("receive {}#2", returned[0]));
    assert_eq!(rig.send(at + 1, &format!("handled {}->x,y", returned[0])), "", "x accepted it before");
}

#[test]
fn what_is_known_of_a_message_is_forgotten_once_it_is_settled() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x,y", "flush x a-0; flush y a-1"),
        (2, "accepted x", ""),
        (3, "answered y 429 60s", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        (60_003, "receive a#2", "handle a"),
        (60_004, "handled a->x,y", "flush y a-1"),
        (60_005, "accepted y", "delete a'2"),
    ]);
    assert!(rig.dispatcher.queues[0].known.recall("a").is_some());
    rig.send(60_006, "settled");
    assert_eq!(rig.dispatcher.queues[0].known.recall("a"), None);
}

#[test]
fn what_is_known_of_the_messages_of_all_queues_is_bounded_and_the_newest_is_known_for_longest() {
    let mut rig = Rig::new(rules());
    let known = |rig: &Rig| rig.dispatcher.queues.iter().map(|queue| queue.known.bytes()).sum::<usize>();
    // Of each, x has accepted one delivery, and one with a name of 4 MiB another: fifteen of them are all that is remembered.
    let name = DeliveryName { index: 1, account: Some("n".repeat(4 << 20).into()) };
    for n in 0..18 {
        let deliveries = vec![DeliveryName { index: 0, account: Some("x".into()) }, name.clone()];
        let settled = Settled::Some(SettledPart { deliveries, accepted: true });
        rig.dispatcher.remember(0, format!("m{n}").into(), settled);
    }
    assert!((MOST_BYTES / 2..=MOST_BYTES).contains(&known(&rig)), "{}", known(&rig));
    rig.play(&[(0, "receive m2 m3", "handle m2|m3"), (1, "handled m2->x,y m3->x,y", "flush x m2-0; flush y m2-1 m3-1")]);
    // The queue that takes its name learns all that it knows.
    let added = vec![NewQueue { rules: queue_rules("q0"), parking: None }];
    rig.reload(2, QueueChanges { retired: vec![0], added, ..QueueChanges::default() });
    assert!((MOST_BYTES / 2..=MOST_BYTES).contains(&known(&rig)), "{}", known(&rig));
    rig.play(&[(3, "q1: receive m17", "q1: handle m17"), (4, "q1: handled m17->x,z", "flush z m17-1")]);
}
