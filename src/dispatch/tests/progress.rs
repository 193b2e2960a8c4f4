//! Progress: what counts as due and not started, and what is a stated wait.

use super::super::{Medium, WorkKind};
use super::rig::Rig;
use super::rules;

/// Returns how much of this kind of work is due, and how much was done so far.
fn progress(rig: &Rig, kind: WorkKind) -> (usize, u64) {
    let all = rig.dispatcher.progress();
    all.iter().find(|progress| progress.kind == kind).map(|progress| (progress.due, progress.done)).expect("it is reported")
}

#[test]
fn messages_behind_a_handler_that_does_not_come_back_are_due() {
    let mut rules = rules();
    rules.queues[0].concurrency = 1;
    let mut rig = Rig::new(rules);
    rig.play(&[(0, "receive a b c", "handle a")]);
    assert_eq!(progress(&rig, WorkKind::Handle), (2, 0));
    rig.play(&[(20_000, "tick", "")]);
    assert_eq!(progress(&rig, WorkKind::Handle), (2, 0));
    rig.play(&[(20_000, "handled a=discard took:20ms", "handle b; delete a")]);
    assert_eq!(progress(&rig, WorkKind::Handle), (1, 1));
}

#[test]
fn what_waits_for_a_partner_that_is_away_is_not_due() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (0, "handled a->acme", "flush acme a"),
        (0, "answered acme 503 3600s", ""),
        (10, "receive b", "handle b"),
        (10, "handled b->acme", ""),
    ]);
    let due: Vec<_> = rig.dispatcher.progress().into_iter().filter(|progress| progress.due > 0).map(|p| p.kind).collect();
    assert_eq!(due, [WorkKind::Receive], "the poller has demand: it has to come back from each receive");
}

#[test]
fn those_that_are_well_and_wait_for_a_thread_are_due() {
    let mut rules = rules();
    rules.delivery_threads = 1;
    let mut rig = Rig::new(rules);
    rig.prove(&["acme", "initech"]);
    let landed = progress(&rig, WorkKind::Deliver(Medium::Wire)).1;
    rig.play(&[(10, "receive a b", "handle a|b"), (10, "handled a->acme b->initech", "flush acme a")]);
    assert_eq!(progress(&rig, WorkKind::Deliver(Medium::Wire)), (1, landed));
    rig.play(&[(20, "accepted acme", "flush initech b; delete a")]);
    assert_eq!(progress(&rig, WorkKind::Deliver(Medium::Wire)), (0, landed + 1));
}

#[test]
fn what_waits_behind_a_call_to_the_queue_is_due() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a b", "handle a|b"), (0, "handled a=discard", "delete a"), (0, "handled b=discard", "")]);
    assert_eq!(progress(&rig, WorkKind::Call), (1, 0));
    rig.play(&[(10, "settled", "delete b")]);
    assert_eq!(progress(&rig, WorkKind::Call), (0, 1));
    rig.play(&[(20, "receive c", "handle c"), (20, "handled c=reject", "")]);
    assert_eq!(progress(&rig, WorkKind::Call), (1, 1), "letters wait for an acker too");
    rig.play(&[(30, "settled", "letter c:rejected"), (40, "settled fault", "")]);
    assert_eq!(progress(&rig, WorkKind::Call), (0, 3), "what failed waits for its time, not for an acker");
}

#[test]
fn each_receive_and_each_count_that_ends_is_progress() {
    let mut rules = rules();
    rules.until_empty = true;
    let mut rig = Rig::new(rules);
    assert_eq!((progress(&rig, WorkKind::Receive), progress(&rig, WorkKind::Call)), ((1, 0), (0, 0)));
    rig.play(&[(1, "counted 1 0 0", ""), (2, "receive", "")]);
    assert_eq!((progress(&rig, WorkKind::Receive), progress(&rig, WorkKind::Call)), ((1, 1), (0, 1)));
}

#[test]
fn what_waits_for_room_is_not_due() {
    let mut rules = rules();
    (rules.max_in_flight_bytes, rules.queues[0].concurrency, rules.queues[0].receive_limit) = (1000, 1, 3);
    let mut rig = Rig::new(rules);
    rig.play(&[(0, "receive a*10 b*10", "handle a"), (1, "handled a->acme*5000", "flush acme a")]);
    assert_eq!(progress(&rig, WorkKind::Handle), (0, 1), "what is on the wire makes room for b");
}
