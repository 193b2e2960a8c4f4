//! Queues that are added, changed and retired while messages are held.

use std::time::Duration;

use super::disk::Disk;
use super::rig::Rig;
use super::{queue_rules, rules};
use crate::dispatch::{Event, Fault, FlushId, NewQueue, Note, ParkingRules, QueueChanges, QueueRules, Status};
use crate::message::park::{Parked, ToPark};
use crate::message::service::{Count, Facts};
use crate::message::{Answer, Item, Message};

pub(super) fn added(name: &str) -> QueueChanges {
    QueueChanges { added: vec![NewQueue { rules: queue_rules(name), parking: None }], ..QueueChanges::default() }
}

pub(super) fn retired(queue: usize) -> QueueChanges {
    QueueChanges { retired: vec![queue], ..QueueChanges::default() }
}

fn changed(change: impl FnOnce(&mut QueueRules)) -> QueueChanges {
    let mut rules = queue_rules("q0");
    change(&mut rules);
    QueueChanges { changed: vec![(0, rules)], ..QueueChanges::default() }
}

pub(super) fn parking(of: usize, found: Vec<(crate::message::Account, u64)>) -> ParkingRules {
    ParkingRules { name: format!("q{of}.parking").into(), of, entry_limit: 10, found }
}

/// Returns the name and state of each queue.
pub(super) fn queues(status: &Status) -> Vec<(&str, &str)> {
    status.queues.iter().map(|queue| (queue.name.as_str(), queue.state.word())).collect()
}

#[test]
fn a_queue_that_comes_is_asked_at_once_and_delivers() {
    let mut rig = Rig::new(rules());
    rig.asks = true;
    assert_eq!(rig.reload(1, added("q1")), "q1: ask 10");
    rig.asks = false;
    rig.play(&[
        (2, "q1: receive a", "q1: handle a"),
        (3, "q1: handled a->x", "q1: flush x a"),
        (4, "q1: accepted x", "q1: delete a"),
        (5, "q1: settled", ""),
    ]);
    assert_eq!(rig.dispatcher.status().queues[1].counts.acked, 1);
}

#[test]
fn a_queue_that_goes_returns_what_no_handler_saw_and_delivers_the_rest() {
    let mut rules = rules();
    rules.queues[0].concurrency = 1;
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a b c", "handle a"),
        (1, "handled a->x", "flush x a; handle b"),
        // The long poll is still out, and would receive a returned message again.
        (2, "tick", ""),
    ]);
    assert_eq!(rig.reload(3, retired(0)), "interrupt");
    assert_eq!(queues(&rig.dispatcher.status()), [("q0", "retiring")]);
    rig.play(&[
        (4, "receive d", ""),
        (5, "receive", "hide c=0 d=0"),
        (6, "handled b->x", ""),
        (7, "settled", ""),
        (8, "answered x 503", ""),
    ]);
    // However long the partner takes, the lease is extended as before.
    let (at, commands) = rig.skip_to_commands();
    assert!(at < 1_100 && commands == "flush x a", "{at}: {commands}");
    rig.play(&[
        (2_000, "accepted x", "flush x b; delete a"),
        (2_001, "accepted x", ""),
        (2_002, "settled", "delete b"),
        (2_003, "settled", "close"),
    ]);
    let status = rig.dispatcher.status();
    assert_eq!(queues(&status), [("q0", "gone")], "a report tells of it");
    let counts = &status.queues[0].counts;
    assert_eq!((counts.received, counts.acked, counts.returned, status.in_flight), (4, 2, 2, 0));
    assert_eq!(status.queues[0].tally.returns().collect::<Vec<_>>(), [("retiring", 2)]);
    assert_eq!(counts.requests, 5, "the poller's last word was no request: two receives, a return and two deletes");
    assert_eq!(queues(&rig.dispatcher.surveyed(Default::default())), []);
}

#[test]
fn a_lease_of_one_that_goes_is_extended_as_ever() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a")]);
    assert_eq!(rig.reload(2, retired(0)), "interrupt");
    rig.play(&[(3, "receive", "")]);
    assert_eq!(rig.skip_to_commands(), (30_000, "hide a=60s".to_owned()));
    rig.play(&[(30_001, "settled", ""), (30_002, "accepted x", "delete a"), (30_003, "settled", "close")]);
}

#[test]
fn what_a_handler_left_when_its_queue_goes_is_returned() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive", ""),
        (1, "receive a", "handle a"),
        (2, "handled a=discard took:1ms", "delete a"),
        (3, "settled", ""),
    ]);
    rig.play(&[(4, "receive b c", "handle b c")]);
    assert_eq!(rig.reload(5, retired(0)), "interrupt");
    rig.play(&[
        (6, "receive", ""),
        (7, "handled b=discard left:c took:20ms", "hide c=0"),
        (8, "settled", "delete b"),
        (9, "settled", "close"),
    ]);
}

#[test]
fn a_queue_that_is_replaced_goes_on_under_its_name() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a")]);
    assert_eq!(rig.reload(2, QueueChanges { retired: vec![0], ..added("q0") }), "interrupt");
    rig.play(&[(3, "receive", "")]);
    let row = |status: &Status| {
        (status.queues.len(), status.queues[0].state.word(), status.queues[0].replaced, status.queues[0].counts.received)
    };
    assert_eq!(row(&rig.dispatcher.status()), (1, "serving", 1, 1));
    rig.play(&[(4, "q1: receive b", "q1: handle b"), (5, "accepted x", "delete a"), (6, "settled", "close")]);
    let status = rig.dispatcher.status();
    assert_eq!((row(&status), status.queues[0].counts.acked), ((1, "serving", 0, 2), 1));
    assert_eq!(rig.reload(7, retired(1)), "q1: interrupt");
    assert_eq!(row(&rig.dispatcher.status()).1, "retiring");
}

#[test]
fn what_queues_that_were_replaced_still_do_is_shown_under_their_name() {
    let mut rules = rules();
    rules.parkings = vec![parking(0, vec![("z".into(), 3)])];
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (0, "handled a->x", "flush x a"),
        (0, "answered x 503 60s", ""),
        (1, "handled b->y", "flush y b"),
    ]);
    rig.reload(1_000, QueueChanges { retired: vec![0], ..added("q0") });
    rig.reload(2_000, QueueChanges { retired: vec![2], ..added("q0") });
    let status = rig.dispatcher.status();
    let row = &status.queues[0];
    assert_eq!((row.index, row.replaced, row.handler_running, row.parked_now), (3, 2, 1, 3));
    assert_eq!((row.oldest_age_s, row.oldest_waiting_s), (Some(2.0), Some(2.0)));
    assert_eq!(row.tally.outcomes().next(), Some(("deliver", 2)));
    assert_eq!(queues(&status), [("q0", "serving"), ("q0.parking", "retiring")]);
}

#[test]
fn a_queue_that_takes_anothers_place_knows_what_was_delivered_and_not_deleted_and_no_other_does() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "accepted x", "delete a"),
        (3, "settled gone", ""),
    ]);
    assert_eq!(rig.reload(4, QueueChanges { retired: vec![0], ..added("q0") }), "interrupt");
    rig.reload(5, added("q2"));
    rig.play(&[(6, "receive", "close"), (7, "q1: receive a#2", "q1: delete a"), (8, "q2: receive a", "q2: handle a")]);
    assert_eq!(rig.dispatcher.queues[0].known.bytes(), 0, "what is gone keeps nothing of the bytes of all memories");
}

#[test]
fn what_a_queue_that_goes_could_not_delete_is_known_to_the_one_that_has_its_name() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a")]);
    rig.reload(2, QueueChanges { retired: vec![0], ..added("q0") });
    rig.reload(3, added("q2"));
    rig.play(&[
        (4, "receive", ""),
        (5, "accepted x", "delete a"),
        (6, "settled gone", "close"),
        (7, "q1: receive a", "q1: delete a"),
        (8, "q2: receive a", "q2: handle a"),
    ]);
}

#[test]
fn what_is_hidden_of_a_queue_that_goes_is_not_shown_again() {
    let mut rig = Rig::new(crate::dispatch::Rules { max_in_flight: 2, ..rules() });
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x", "flush x a"), (2, "handled b->x", "")]);
    assert!(rig.send(300, "pause x").contains("hide b="));
    rig.play(&[(301, "settled", ""), (302, "accepted x", "delete a"), (303, "settled", "")]);
    assert_eq!(rig.dispatcher.partner("x").unwrap().hidden, 1);
    rig.reload(304, retired(0));
    assert_eq!(rig.dispatcher.partner("x").unwrap().hidden, 0);
    rig.play(&[(400, "resume x", "reply healthy")]);
}

#[test]
fn a_new_queue_is_sure_of_its_part_and_never_more_is_held_than_there_may_be() {
    let mut rules = rules();
    (rules.max_in_flight, rules.queues[0].receive_limit) = (20, 20);
    let mut rig = Rig::new(rules);
    rig.asks = true;
    rig.send(0, "receive a b c d e f g h i j");
    let all: Vec<String> = (0..10).map(|number| format!("m{number}")).collect();
    rig.send(1, &format!("receive {}", all.join(" ")));
    assert_eq!(rig.dispatcher.held(), 20);
    assert_eq!(rig.reload(2, added("q1")), "", "it is full");
    let done = |ids: &str| ids.split(' ').map(|id| format!("{id}=discard")).collect::<Vec<_>>().join(" ");
    rig.send(3, &format!("handled {}", done("a b c d e")));
    assert_eq!(rig.send(4, "settled"), "q1: ask 5", "what is free goes to the one that has less than its part");
}

#[test]
fn concurrency_and_lease_change_for_what_is_held() {
    let mut rules = rules();
    rules.queues[0].concurrency = 1;
    let mut rig = Rig::new(rules);
    rig.play(&[(0, "receive a b c d", "handle a")]);
    assert_eq!(rig.reload(1, changed(|rules| rules.concurrency = 3)), "handle b|c");
    assert_eq!(rig.reload(2, changed(|rules| rules.concurrency = 1)), "");
    rig.play(&[(3, "handled a->x", "flush x a"), (4, "handled b->x", ""), (5, "handled c->x", "handle d")]);
    assert_eq!(
        rig.reload(6, changed(|rules| rules.visibility_timeout = Duration::from_secs(600))),
        "",
        "a lease is looked after when it was to be"
    );
    let (at, commands) = rig.skip_to_commands();
    assert_eq!((at, commands.as_str()), (30_000, "hide a=600s b=600s c=600s d=600s"));
    rig.send(30_001, "settled");
    let (at, _) = rig.skip_to_commands();
    assert_eq!(at, 330_000, "once half of the new lease is over");
}

#[test]
fn what_is_hidden_of_a_queue_that_comes_shows_once_its_partner_takes() {
    let mut rig = Rig::new(crate::dispatch::Rules { max_in_flight: 2, ..rules() });
    rig.reload(0, added("q1"));
    rig.play(&[(0, "q1: receive a b", "q1: handle a|b"), (1, "q1: handled a->x", "q1: flush x a"), (2, "q1: handled b->x", "")]);
    assert!(rig.send(300, "pause x").contains("q1: hide b="));
    rig.play(&[
        (301, "q1: settled", ""),
        (302, "q1: accepted x", "q1: delete a"),
        (303, "q1: settled", ""),
        (400, "resume x", "reply healthy; q1: hide b=0"),
    ]);
}

#[test]
fn the_leases_and_ages_of_a_queue_that_comes_are_looked_after() {
    let mut rig = Rig::new(rules());
    rig.reload(0, added("q1"));
    rig.play(&[(1, "q1: receive a", "q1: handle a"), (30_001, "tick", "q1: hide a=60s")]);
    assert_eq!(rig.dispatcher.status().queues[1].oldest_age_s, Some(30.0));
}

#[test]
fn order_wait_and_max_receives_change_for_what_is_held() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a", "handle a"), (0, "receive b", "handle b"), (1, "handled b->x", "")]);
    assert_eq!(rig.reload(2, changed(|rules| (rules.order_wait, rules.max_receives) = (Duration::from_secs(1), 2))), "");
    assert_eq!(rig.skip_to_commands(), (1_000, "flush x b".to_owned()));
    rig.play(&[(1_001, "receive c#3", "letter c:max_receives")]);
}

#[test]
fn a_poller_that_is_one_too_many_still_tells_what_came() {
    let mut rules = rules();
    (rules.queues[0].pollers, rules.max_in_flight) = (2, 100);
    let mut rig = Rig::new(rules);
    rig.send(0, "receive a b c d e f g h i j");
    assert_eq!(rig.reload(1, changed(|rules| rules.pollers = 1)), "");
    rig.send(2, "receive@1");
    // Nothing of it stays reserved.
    assert_eq!(rig.dispatcher.room.free(0), 90 - rig.dispatcher.queues[0].intake.asked_for());
}

#[test]
fn as_many_pollers_are_asked_as_the_new_rules_allow() {
    let ids = |from: u32, to: u32| (from..to).map(|n| format!(" m{n}")).collect::<String>();
    let asks = |commands: String| commands.split("; ").filter(|command| command.starts_with("ask")).count();
    let pollers = |pollers| changed(|rules| (rules.pollers, rules.concurrency) = (pollers, 100));
    let rig = |pollers| {
        let mut rules = rules();
        (rules.queues[0].pollers, rules.max_in_flight) = (pollers, 100);
        let mut rig = Rig::new(rules);
        rig.asks = true;
        assert_eq!(asks(rig.send(0, &format!("receive{}", ids(0, 10)))), pollers);
        rig
    };
    let mut fewer = rig(2);
    assert_eq!(fewer.reload(1, pollers(1)), "");
    assert_eq!(asks(fewer.send(2, &format!("receive@1{}", ids(10, 15)))), 0, "it is one too many");
    assert_eq!(asks(fewer.send(3, &format!("receive@1{}", ids(15, 20)))), 0);
    let mut more = rig(1);
    assert_eq!(more.reload(1, pollers(2)), "");
    assert_eq!(asks(more.send(2, &format!("receive{}", ids(10, 30)))), 2);
    assert_eq!(more.dispatcher.room.free(0), 100 - 30 - more.dispatcher.queues[0].intake.asked_for());
}

#[test]
fn a_poller_begins_with_ten_again_however_much_one_receive_may_bring_now() {
    let mut rig = Rig::new(rules());
    rig.asks = true;
    let ids = |from: u32, to: u32| (from..to).map(|n| format!(" m{n}")).collect::<String>();
    assert!(rig.send(0, &format!("receive{}", ids(0, 10))).ends_with("; ask 20"));
    assert_eq!(rig.reload(1, changed(|rules| (rules.receive_limit, rules.concurrency) = (500, 100))), "");
    assert!(rig.send(2, &format!("receive{}", ids(10, 30))).ends_with("; ask 20"));
}

#[test]
fn the_size_of_calls_and_what_deletes_wait_for_change_for_what_is_requested() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a b c", "handle a|b|c")]);
    let call = |rules: &mut QueueRules| (rules.entry_limit, rules.delete_linger) = (2, Duration::from_millis(100));
    assert_eq!(rig.reload(1, changed(call)), "");
    rig.play(&[(2, "handled a=discard", ""), (3, "handled b=discard", "delete a b")]);
}

#[test]
fn what_waits_for_a_message_that_a_queue_that_goes_returns_unhandled_waits_no_more() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a b c", "handle a|b|c")]);
    assert_eq!(rig.reload(1, changed(|rules| rules.concurrency = 1)), "");
    rig.play(&[(2, "receive", ""), (3, "handled left:a", ""), (4, "handled b->x", "")]);
    assert_eq!(rig.reload(5, retired(0)), "interrupt; flush x b");
}

#[test]
fn what_is_parked_of_a_queue_that_goes_is_delivered_before_it_is_gone() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive", "")]);
    let mut disk = Disk::default();
    let item = Item { message: Message::clone(&super::message("p", None)).into(), index: None, payload: "p".into() };
    let delivery = ToPark { account: "x".into(), item, waited: Duration::ZERO, after: crate::message::park::START, older: false };
    assert!(matches!(disk.park(rig.start, &[delivery]).as_slice(), [Parked::At(_)]));
    rig.disk = disk;
    let new = NewQueue { rules: queue_rules("q1"), parking: Some(parking(1, vec![("x".into(), 1)])) };
    let commands = rig.reload(1, QueueChanges { added: vec![new], ..QueueChanges::default() });
    assert_eq!(commands, "q1: unpark x 192", "as many of 1 MiB as have room");
    assert_eq!(rig.reload(2, retired(1)), "q1: interrupt");
    rig.play(&[
        (3, "q1: receive", ""),
        (4, "q1: unparked", "q1: flush x p"),
        (5, "q1: answered x 503", ""),
        (1_005, "tick", "q1: flush x p"),
        (1_006, "q1: accepted x", "q2: delete p"),
        (1_007, "q2: settled", "q1: close; q2: close"),
    ]);
}

#[test]
fn a_run_until_empty_counts_the_queues_that_came_and_not_those_that_went() {
    let mut rules = rules();
    rules.until_empty = true;
    let mut rig = Rig::new(rules);
    assert_eq!(rig.reload(1, QueueChanges { retired: vec![0], ..added("q1") }), "interrupt");
    // The queue was being counted when it was retired.
    rig.play(&[(2, "receive", ""), (3, "counted 5 0 0", "close")]);
    assert_eq!(rig.skip_to_commands().1, "q1: count");
    rig.play(&[(200, "q1: receive", ""), (201, "q1: counted 0 0 0", "q1: interrupt"), (202, "q1: receive", "finish")]);
}

#[test]
fn another_reload_or_the_end_finds_the_queues_as_they_are() {
    let mut rig = Rig::new(rules());
    assert_eq!(rig.reload(1, added("q1")), "");
    assert_eq!(rig.reload(3, retired(0)), "interrupt");
    rig.play(&[(4, "receive", "close")]);
    assert_eq!(rig.reload(5, retired(0)), "", "it is gone");
    assert_eq!(rig.reload(6, changed(|rules| rules.concurrency = 7)), "");
    rig.play(&[(7, "drain 30s", "q1: interrupt"), (8, "q1: receive", "finish")]);
}

#[test]
fn what_names_something_unknown_is_said_and_changes_nothing() {
    let mut rig = Rig::new(rules());
    let counted = Event::Counted { queue: 0, acker: 0, count: Ok(Count::default()) };
    let answer = Event::Answered { flush: FlushId(Default::default()), answer: Answer::Accepted };
    let fault = || Fault { reason: "no answer".into(), transient: true };
    let events = [
        answer,
        counted,
        Event::Facts { queue: 7, facts: Facts::default() },
        Event::Received { queue: 7, poller: 0, messages: Vec::new(), leased_until: rig.start, demand_used: 0 },
        Event::ReceiveFailed { queue: 7, poller: 0, demand_used: 0, fault: fault() },
        Event::NoPoller { queue: 7, poller: 0, demand: 0 },
        Event::QueueAnswered { queue: 7, acker: 0, results: Ok(Vec::new()) },
        Event::QueueAnswered { queue: 0, acker: 0, results: Ok(Vec::new()) },
        Event::Parked { queue: 0, results: Ok(Vec::new()) },
        Event::Unparked { queue: 0, answers: Err(fault()) },
    ];
    let count = events.len();
    for event in events {
        assert_eq!(rig.handle(0, event), "");
    }
    assert!(rig.notes.len() == count && rig.notes.iter().all(|note| matches!(note, Note::Stray { .. })), "{:?}", rig.notes);
}
