//! Messages that were received so often that one of them may be what ends the process.

use std::time::Duration;

use super::rig::Rig;
use super::rules;

fn rig() -> Rig {
    let mut rules = rules();
    rules.queues[0].max_receives = 4;
    Rig::new(rules)
}

#[test]
fn they_are_handled_after_all_others_and_one_at_a_time() {
    rig().play(&[
        (0, "receive a#3 b#3 c d#2", "handle c|d"),
        // Nothing waits for the outcome of a suspect.
        (1, "handled c->x", "flush x c"),
        (1, "handled d->x", "handle a"),
        (2, "handled a->y", "flush y a"),
        (3, "accepted y", "delete a"),
        // a is off its queue: whatever the next message does to the process, a does not come again.
        (4, "settled", "handle b"),
        (5, "handled b->x", ""),
        (6, "accepted x", "flush x d b; delete c"),
    ]);
}

#[test]
fn a_partner_that_takes_long_holds_the_next_up_for_a_moment_only() {
    let mut rig = rig();
    rig.play(&[(0, "receive a#3 b#3", "handle a"), (1, "handled a->y", "flush y a")]);
    assert_eq!(rig.skip_to_commands(), (201, "handle b".to_owned()));
}

#[test]
fn on_their_last_receive_the_last_has_its_turn_first_and_is_not_kept_for_those_before_it() {
    rig().play(&[
        (0, "receive a#4 b#4 c#5", "handle b; letter c:max_receives"),
        (1, "handled b->x", "flush x b"),
        (2, "settled", ""),
        (3, "accepted x", "delete b"),
        (4, "settled", "handle a"),
    ]);
}

#[test]
fn one_that_leaves_before_its_turn_does_not_hold_up_the_next() {
    let mut rig = rig();
    rig.play(&[
        (0, "receive a#3 b#3 c#3", "handle a"),
        (1, "handled a=retry:10s", "hide a=40s"),
        (2, "settled gone", "handle b"),
        (3, "handled b=discard", "delete b"),
        (4, "settled", "handle c"),
    ]);
}

#[test]
fn however_many_wait_the_queue_is_asked_for_others_which_pass_them() {
    let mut rig = rig();
    rig.asks = true;
    // Far more suspects than the handler's backlog of other messages may have.
    let ids = |from: u32, to: u32| (from..to).map(|n| format!(" s{n}#3")).collect::<String>();
    rig.play(&[
        (0, &format!("receive{}", ids(0, 10)), "handle s0; ask 20"),
        (1, &format!("receive{}", ids(10, 30)), "ask 30"),
        (2, &format!("receive{}", ids(30, 60)), "ask 30"),
        (3, "receive a", "handle a; ask 1"),
    ]);
}

#[test]
fn one_whose_handler_does_not_end_holds_the_next_up_for_seconds_only() {
    let mut rig = rig();
    rig.play(&[(0, "receive a#3 b#3 c#3", "handle a")]);
    assert_eq!(rig.skip_to_commands(), (3000, "handle b".to_owned()));
    // It ends at last, and is not what c waits for.
    rig.play(&[(3500, "handled a=discard", "delete a"), (3501, "settled", "")]);
    assert_eq!(rig.skip_to_commands(), (6000, "handle c".to_owned()));
}

#[test]
fn one_that_its_job_left_does_not_wait_for_itself() {
    rig().play(&[(0, "receive a#3", "handle a"), (1, "handled left:a", "handle a")]);
}

#[test]
fn so_many_others_that_they_never_end_hold_them_up_for_64_jobs_only() {
    let mut rules = rules();
    (rules.queues[0].max_receives, rules.queues[0].concurrency) = (4, 1);
    let mut rig = Rig::new(rules);
    let others: String = (0..100).map(|n| format!(" m{n}")).collect();
    let mut commands = rig.send(0, &format!("receive s#3{others}"));
    for n in 0..64 {
        assert!(commands.starts_with(&format!("handle m{n}")), "{commands}");
        commands = rig.send(n, &format!("handled m{n}=retry:0"));
    }
    assert!(commands.starts_with("handle s"), "{commands}");
}

#[test]
fn other_handlers_that_do_not_end_hold_them_up_for_seconds_only() {
    let mut rig = rig();
    rig.play(&[(0, "receive h", "handle h"), (1, "receive a#3 b#3", "")]);
    assert_eq!(rig.skip_to_commands(), (3001, "handle a".to_owned()));
    // The outcome of a waits for h, as order demands, but b waits for h no more.
    rig.play(&[(3100, "handled a=discard", "")]);
    assert_eq!(rig.skip_to_commands(), (3300, "handle b".to_owned()));
}

#[test]
fn one_whose_lease_is_lost_before_its_turn_does_not_hold_up_the_next() {
    let mut rules = rules();
    (rules.queues[0].max_receives, rules.queues[0].visibility_timeout) = (4, Duration::from_secs(2));
    Rig::new(rules).play(&[
        (0, "receive a#3 b#3 c#3", "handle a"),
        (1_000, "tick", "hide a=2s b=2s c=2s"),
        (1_001, "settled ok gone ok", ""),
        (1_002, "handled a=discard", "delete a"),
        (1_003, "settled", "handle c"),
    ]);
}
