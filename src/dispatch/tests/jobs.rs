//! Jobs and outcomes: what goes to the handler, and what becomes of the handler's outcomes.

use std::sync::Arc;
use std::time::Duration;

use super::rig::Rig;
use super::{queue_rules, rules};
use crate::dispatch::QueueRules;

fn rig(change: impl FnOnce(&mut QueueRules)) -> Rig {
    let mut rules = rules();
    change(&mut rules.queues[0]);
    Rig::new(rules)
}

#[test]
fn a_message_is_handled_flushed_and_deleted() {
    rig(|_| {}).play(&[
        (0, "receive a", "handle a"),
        (5, "handled a->acme", "flush acme a"),
        (9, "accepted acme", "delete a"),
        (12, "settled", ""),
    ]);
}

#[test]
fn a_slow_handler_gets_one_message_a_job_and_no_more_jobs_than_its_concurrency() {
    rig(|queue| queue.concurrency = 2).play(&[
        (0, "receive a b c d", "handle a|b"),
        (5, "handled b=discard took:11ms", "handle c"),
        (6, "handled a=discard took:11ms", "handle d; delete a b"),
    ]);
}

#[test]
fn a_quick_handler_gets_many_a_job() {
    rig(|queue| queue.concurrency = 1)
        .play(&[(0, "receive a b c d", "handle a"), (5, "handled a=discard took:1ms", "handle b c d; delete a")]);
}

#[test]
fn what_a_job_leaves_comes_first_again_one_a_job() {
    rig(|queue| queue.concurrency = 2).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a=discard took:1ms", "delete a"),
        (2, "receive c d e f", "handle c d e f"),
        (3, "receive g", ""),
        (30, "handled c=discard left:d left:e left:f took:20ms", "handle d"),
        (31, "handled b=discard", "handle e"),
        (32, "handled e=discard", "handle f"),
        (33, "handled f=discard", "handle g"),
    ]);
}

#[test]
fn however_many_wait_there_are_as_many_jobs_as_threads_and_ahead_of_a_quick_handler_as_many_again() {
    let ids: String = (0..300).map(|n| format!(" m{n}")).collect();
    let sizes = |commands: &str| commands.split('|').map(|job| job.matches('m').count()).collect::<Vec<_>>();
    let slow = rig(|queue| queue.concurrency = 2).send(0, &format!("receive{ids}"));
    assert_eq!(sizes(&slow), [1, 1]);
    let mut quick = rig(|queue| queue.cores = 1);
    quick.play(&[(0, "receive a", "handle a"), (1, "handled a=discard took:0s", "delete a")]);
    assert_eq!(sizes(&quick.send(2, &format!("receive{ids}"))), [64, 64]);
}

#[test]
fn a_rejected_message_becomes_a_dead_letter() {
    rig(|_| {}).play(&[(0, "receive a", "handle a"), (5, "handled a=reject", "letter a:rejected"), (9, "settled", "")]);
}

#[test]
fn a_letter_on_another_queue_is_two_requests() {
    let mut rig = rig(|queue| queue.letter_requests = 2);
    rig.play(&[(0, "receive a", "handle a"), (5, "handled a=reject", "letter a:rejected"), (9, "settled", "")]);
    assert_eq!(rig.dispatcher.status().queues[0].counts.requests, 3, "a receive, a send and a delete");
}

#[test]
fn a_discarded_message_is_deleted() {
    let mut rig = rig(|_| {});
    rig.play(&[(0, "receive a", "handle a"), (5, "handled a=discard", "delete a"), (9, "settled", "")]);
    let status = rig.dispatcher.status();
    assert_eq!((status.queues[0].counts.discarded, status.queues[0].counts.acked, status.in_flight), (1, 1, 0));
}

#[test]
fn later_doubles_with_each_receive_from_a_second_up() {
    rig(|_| {}).play(&[
        (0, "receive a", "handle a"),
        (0, "handled a=retry:0", "hide a=1s"),
        (0, "settled", ""),
        (1000, "receive a#2", "handle a"),
        (1000, "handled a=retry:3s", "hide a'2=6s"),
        (1000, "settled", ""),
        (9000, "receive a#7", "handle a"),
        (9000, "handled a=retry:3s", "hide a'3=192s"),
        (9000, "settled", ""),
        (200_000_000, "receive a#40", "handle a"),
        (200_000_000, "handled a=retry:3s", "hide a'4=3600s"),
        (200_000_000, "settled", ""),
        (300_000_000, "receive a#41", "handle a"),
        (300_000_000, "handled a=retry:7200s", "hide a'5=7200s"),
    ]);
}

#[test]
fn later_ends_in_a_dead_letter_at_max_receives() {
    rig(|queue| queue.max_receives = 3).play(&[
        (0, "receive a#2", "handle a"),
        (0, "handled a=retry:1s", "hide a=2s"),
        (0, "settled", ""),
        (4000, "receive a#3", "handle a"),
        (4000, "handled a=retry:1s", "letter a'2:max_receives"),
    ]);
}

#[test]
fn what_was_received_too_often_is_not_handled_any_more() {
    rig(|queue| queue.max_receives = 3).play(&[(0, "receive a#4 b#3", "handle b; letter a:max_receives")]);
    let forever = [(0, "receive a#4000", "handle a"), (1, "handled a=retry:1s", "hide a=3600s")];
    rig(|queue| queue.max_receives = 0).play(&forever);
}

#[test]
fn a_handler_that_runs_for_too_long_is_overtaken() {
    rig(|_| {}).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (10, "handled b->acme", ""),
        (20, "handled c->acme", ""),
        (4999, "tick", ""),
        (5000, "tick", "flush acme b c"),
        (6000, "accepted acme", "delete b c"),
        (7000, "handled a->acme", "flush acme a"),
    ]);
}

#[test]
fn without_order_wait_outcomes_pass_as_they_come() {
    rig(|queue| queue.order_wait = Duration::ZERO).play(&[
        (0, "receive a b", "handle a|b"),
        (10, "handled b->acme", "flush acme b"),
        (11, "handled a->beta", "flush beta a"),
    ]);
}

#[test]
fn one_queues_messages_do_not_wait_for_anothers() {
    let mut rules = rules();
    rules.queues = vec![queue_rules("q0"), QueueRules { name: Arc::from("q1"), ..queue_rules("q1") }];
    Rig::new(rules).play(&[(0, "receive a b", "handle a|b"), (0, "q1: receive a b", "q1: handle a|b")]);
}

#[test]
fn a_message_that_its_job_left_is_not_running() {
    rig(|queue| {
        queue.concurrency = 2;
        queue.order_wait = Duration::from_secs(1);
    })
    .play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=discard took:1ms", "delete a"),
        (2, "receive b c d", "handle b c d"),
        (3, "receive e", "handle e"),
        (900, "handled b=discard left:c left:d took:20ms", "handle c"),
        // d has been in a job since 2 ms, but no handler has seen it: it is not overtaken.
        (1500, "handled c=discard", "handle d"),
        (1600, "handled e->acme", ""),
        (2499, "tick", ""),
        (2500, "tick", "flush acme e"),
    ]);
}

#[test]
fn what_stands_behind_a_message_that_takes_long_is_taken_back_and_handled_by_others() {
    rig(|queue| (queue.concurrency, queue.cores) = (4, 1)).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=discard took:0s", "delete a"),
        (2, "receive b c d e", "handle b c d e"),
        // The job may take 10 ms, and 0.2 ms for each of its messages.
        (12, "tick", ""),
        (13, "tick", "take back b c d e threads:2"),
        (13, "back b->acme left:d left:e", "flush acme b; handle d e"),
        (14, "accepted acme", ""),
        (15, "handled d->acme e->acme took:0s", ""),
        (5001, "tick", ""),
        (5002, "tick", "flush acme d e"),
        (5003, "accepted acme", ""),
        (9000, "handled c->acme took:0s", "flush acme c"),
        // The message that took long has ended, and none of the threads counts as blocked any more.
        (9001, "receive f g h i j", "handle f g h i j"),
        (9011, "tick", ""),
        (9012, "tick", "take back f g h i j threads:2"),
    ]);
}

#[test]
fn messages_that_take_long_have_places_of_their_own_until_there_is_none() {
    let mut rig = rig(|queue| {
        (queue.concurrency, queue.cores) = (3, 1);
        queue.order_wait = Duration::ZERO;
    });
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a=discard took:0s", "delete a"),
        (2, "receive b", "handle b"),
        (3, "receive c", ""),
        (13, "tick", "take back b threads:2; handle c"),
        (13, "back b waits", ""),
        (24, "tick", "take back b threads:2; take back c threads:3"),
        (24, "back b", ""),
        (24, "back c waits", ""),
        (25, "receive d", ""),
        (35, "tick", "take back c threads:3; handle d"),
        (35, "back c", ""),
        (36, "receive e", ""),
        (46, "tick", "take back d threads:3"),
        (46, "back d", ""),
        (50, "handled d=discard took:0s", "handle e"),
    ]);
    assert_eq!(rig.dispatcher.status().queues[0].handler_running, 3);
}

#[test]
fn handlers_that_block_for_each_message_are_left_alone() {
    rig(|queue| queue.concurrency = 2).play(&[(0, "receive a b c", "handle a|b"), (1000, "tick", "")]);
}
