//! A head that blocks: one delivery at which a partner fails does not stop the others, and a partner
//! that is down costs no delivery.

use std::time::Duration;

use super::rig::Rig;
use super::{partner_rules, queue_rules, rules};
use crate::dispatch::{ParkingRules, PartnerRules, Rules};

const SECOND: Duration = Duration::from_secs(1);

/// Returns a rig with two queues; the breaker opens after two failures, and a batch holds one delivery.
fn rig(change: impl FnOnce(&mut Rules, &mut PartnerRules)) -> Rig {
    let (mut rules, mut partner) = (rules(), partner_rules());
    rules.queues.push(queue_rules("q1"));
    // Only what the table is about falls due.
    rules.queues.iter_mut().for_each(|queue| queue.visibility_timeout = Duration::from_secs(7200));
    partner.max_batch = 1;
    partner.breaker_failures = 2;
    partner.max_backoff = SECOND * 20;
    change(&mut rules, &mut partner);
    rules.partners.default = partner.into();
    Rig::new(rules)
}

/// Handles these messages in one job, each for the partner `x`.
fn all_to_x(rig: &mut Rig, ids: &[&str]) -> String {
    rig.send(0, &format!("receive {}", ids.join(" ")));
    let done: Vec<_> = ids.iter().map(|id| format!("{}->x", &id[..1])).collect();
    rig.send(0, &format!("handled {}", done.join(" ")))
}

/// Answers flushes of `x` in this way, each answer followed by a wait. Returns what was flushed after each,
/// and when the last flush began.
fn after_each(rig: &mut Rig, mut at: u64, answers: &[&str]) -> (u64, Vec<String>) {
    let mut sent = Vec::new();
    for answer in answers {
        assert_eq!(rig.send(at, answer), "", "{answer} after {sent:?}");
        let commands;
        (at, commands) = rig.skip_to_commands();
        sent.push(commands);
    }
    (at, sent)
}

#[test]
fn where_others_are_on_the_wire_what_they_draw_is_the_proof() {
    let mut rig = rig(|_, partner| partner.parallel = 2);
    assert_eq!(all_to_x(&mut rig, &["a", "b", "c", "d", "e"]), "flush x a; flush x b");
    for (at, next) in [(10, "c"), (20, "d")] {
        assert_eq!(rig.send(at, "answered x 500"), "", "the partner waits");
        let commands = rig.send(at + 1, "accepted x");
        assert!(commands.starts_with(&format!("flush x a; flush x {next}; delete")), "{commands}");
        rig.send(at + 2, "settled");
    }
    assert_eq!(rig.send(30, "answered x 500"), "flush x e; letter a:refused");
}

#[test]
fn a_delivery_at_which_the_partner_breaks_is_a_culprit_once_another_is_accepted() {
    let mut rig = rig(|_, _| {});
    assert_eq!(all_to_x(&mut rig, &["a", "b", "c"]), "flush x a");
    let (now, sent) = after_each(&mut rig, 1, &["answered x 500", "answered x 500"]);
    assert_eq!(sent, ["flush x a", "flush x b"]);
    rig.play(&[
        (now, "accepted x", "flush x a; delete b"),
        (now, "settled", ""),
        (now, "answered x 500", "flush x c; letter a:refused"),
        (now, "settled", ""),
        (now, "accepted x", "delete c"),
        (now, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.held(), 0);
}

#[test]
fn a_head_that_is_accepted_on_trial_is_delivered() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a", "b", "c"]);
    let (now, _) = after_each(&mut rig, 1, &["answered x 500", "answered x 500"]);
    rig.play(&[(now, "accepted x", "flush x a; delete b"), (now, "settled", ""), (now, "accepted x", "flush x c; delete a")]);
}

#[test]
fn a_partner_that_is_broken_costs_nothing_and_the_head_keeps_its_turn() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a", "b", "c", "d"]);
    let (now, sent) = after_each(&mut rig, 1, &["answered x 500"; 9]);
    // Every third probe is a delivery behind the head: in turn from as many places as the breaker
    // allows failures, which is two.
    let expected = ["a", "b", "a", "a", "c", "a", "a", "b", "a"].map(|id| format!("flush x {id}"));
    assert_eq!(sent, expected);
    rig.play(&[
        (now, "accepted x", "flush x b; delete a"),
        (now, "settled", ""),
        (now, "accepted x", "flush x c; delete b"),
        (now, "settled", ""),
        (now, "accepted x", "flush x d; delete c"),
    ]);
}

#[test]
fn several_in_a_row_at_which_it_breaks_are_all_found() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a", "b", "c"]);
    let (now, sent) = after_each(&mut rig, 1, &["answered x 500"; 5]);
    assert_eq!(sent, ["flush x a", "flush x b", "flush x a", "flush x a", "flush x c"]);
    rig.play(&[
        (now, "accepted x", "flush x a; delete c"),
        (now, "settled", ""),
        (now, "answered x 500", "flush x b; letter a:refused"),
        (now, "settled", ""),
    ]);
    // Nothing is behind b: it gets all attempts until something is.
    let (now, sent) = after_each(&mut rig, now, &["answered x 500"; 3]);
    assert_eq!(sent, ["flush x b"; 3]);
    rig.play(&[(now, "receive d", "handle d"), (now, "handled d->x", "")]);
    let (now, sent) = after_each(&mut rig, now, &["answered x 500"]);
    assert_eq!(sent, ["flush x d"]);
    rig.play(&[(now, "accepted x", "flush x b; delete d"), (now, "settled", ""), (now, "answered x 500", "letter b:refused")]);
}

#[test]
fn a_batch_is_halved_until_the_one_is_alone() {
    let mut rig = rig(|_, partner| partner.max_batch = 4);
    assert_eq!(all_to_x(&mut rig, &["a", "b", "c", "d"]), "flush x a b c d");
    let (now, sent) = after_each(&mut rig, 1, &["answered x 500", "answered x 500"]);
    assert_eq!(sent, ["flush x a b c d", "flush x a b"]);
    rig.play(&[(now, "accepted x", "flush x c d; delete a b"), (now, "settled", "")]);
    let (now, sent) = after_each(&mut rig, now, &["answered x 500"; 4]);
    assert_eq!(sent, ["flush x c d", "flush x c", "flush x c", "flush x d"], "it is in doubt only for what it draws alone");
    rig.play(&[(now, "accepted x", "flush x c; delete d"), (now, "settled", ""), (now, "answered x 500", "letter c:refused")]);
}

#[test]
fn a_probe_is_one_delivery_of_the_batch_behind() {
    let mut rig = rig(|_, partner| partner.max_batch = 4);
    all_to_x(&mut rig, &["a", "b", "c", "d"]);
    let (now, sent) = after_each(&mut rig, 1, &["answered x 500"; 8]);
    let expected = ["a b c d", "a b", "a", "a", "b", "a", "a", "c"].map(|ids| format!("flush x {ids}"));
    assert_eq!(sent, expected);
    rig.play(&[
        (now, "accepted x", "flush x a; delete c"),
        (now, "settled", ""),
        (now, "accepted x", "flush x b; delete a"),
        (now, "settled", ""),
        // What was behind the probe in its batch has kept its place.
        (now, "accepted x", "flush x d; delete b"),
    ]);
}

#[test]
fn a_server_that_is_away_or_a_wrong_set_up_is_never_the_heads_fault() {
    for answer in ["answered x 502", "answered x 503", "answered x 504", "answered x 429", "answered x 401", "unreachable x"] {
        let mut rig = rig(|_, _| {});
        all_to_x(&mut rig, &["a", "b"]);
        assert_eq!(after_each(&mut rig, 1, &[answer; 12]).1, ["flush x a"; 12], "{answer}");
    }
}

#[test]
fn an_open_breaker_is_needed_for_doubt() {
    let mut rig = rig(|_, partner| partner.breaker_failures = 3);
    all_to_x(&mut rig, &["a", "b"]);
    let (now, sent) = after_each(&mut rig, 1, &["answered x 500", "answered x 500"]);
    assert_eq!(sent, ["flush x a", "flush x a"]);
    // Two answers of the server and one that it is away: the breaker is open, but a has drawn
    // only two that may be its fault.
    let (_, sent) = after_each(&mut rig, now, &["answered x 503", "answered x 500"]);
    assert_eq!(sent, ["flush x a", "flush x b"]);
}

#[test]
fn a_trial_ends_with_an_answer_that_says_nothing_about_it() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a", "b", "c"]);
    let (now, _) = after_each(&mut rig, 1, &["answered x 500", "answered x 500"]);
    rig.play(&[(now, "accepted x", "flush x a; delete b"), (now, "settled", "")]);
    let (now, sent) = after_each(&mut rig, now, &["answered x 503", "answered x 500"]);
    assert_eq!(sent, ["flush x a", "flush x c"], "the next proof is asked for, with the breaker open again");
    rig.play(&[(now, "accepted x", "flush x a; delete c"), (now, "settled", ""), (now, "answered x 500", "letter a:refused")]);
}

#[test]
fn what_a_culprits_answer_asks_for_is_obeyed() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a", "b", "c"]);
    let (now, _) = after_each(&mut rig, 1, &["answered x 500", "answered x 500"]);
    rig.play(&[
        (now, "accepted x", "flush x a; delete b"),
        (now, "settled", ""),
        (now, "answered x 500 60s", "letter a:refused"),
        (now, "settled", ""),
        (now + 59_999, "tick", ""),
        (now + 60_000, "tick", "flush x c"),
    ]);
}

#[test]
fn a_partner_that_refuses_everything_costs_no_more_than_the_breaker_takes_and_gets_the_rest_in_order() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a", "b", "c", "d", "e"]);
    rig.play(&[
        (1, "answered x 400", "flush x b; letter a:refused"),
        (1, "settled", ""),
        (1, "answered x 400", "flush x c; letter b:refused"),
        (1, "settled", ""),
    ]);
    let (now, sent) = after_each(&mut rig, 1, &["answered x 400"; 6]);
    assert_eq!(sent, ["flush x c"; 6]);
    assert_eq!(now, 1 + 6 * 20_000, "each at the longest back-off");
    rig.play(&[
        (now, "accepted x", "flush x d; delete c"),
        (now, "settled", ""),
        (now, "accepted x", "flush x e; delete d"),
        (now, "settled", ""),
        (now, "accepted x", "delete e"),
    ]);
}

#[test]
fn what_is_refused_after_too_many_others_is_named_and_skipped_by_hand() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a", "b", "c", "d"]);
    rig.play(&[
        (1, "answered x 400", "flush x b; letter a:refused"),
        (1, "settled", ""),
        (1, "answered x 400", "flush x c; letter b:refused"),
        (1, "settled", ""),
        (1, "answered x 400", ""),
    ]);
    let report = rig.dispatcher.partner("x").unwrap();
    assert!(report.reason.contains("in a row") && report.reason.contains("skip"), "{}", report.reason);
    assert_eq!(report.blocked_by.as_deref(), Some("c"));
    assert_eq!(rig.send(2, "skip x"), "reply open; letter c:skipped");
    rig.send(2, "settled");
    assert_eq!(rig.skip_to_commands(), (20_001, "flush x d".to_owned()));
}

#[test]
fn on_a_fifo_queue_the_head_blocks_and_why_says_so() {
    let mut rig = rig(|rules, _| rules.queues[0].fifo = true);
    assert_eq!(all_to_x(&mut rig, &["a/g", "b/h"]), "flush x a");
    let (now, sent) = after_each(&mut rig, 1, &["answered x 500"; 6]);
    assert_eq!(sent, ["flush x a"; 6]);
    assert_eq!(rig.send(now, "answered x 500"), "");
    let report = rig.dispatcher.partner("x").unwrap();
    assert!(report.reason.contains("blocks") && report.reason.contains("skip"), "{}", report.reason);
    assert_eq!(report.blocked_by.as_deref(), Some("a"));
    assert_eq!(rig.send(now, "skip x"), "reply open; letter a:skipped");
    assert_eq!(rig.dispatcher.partner("x").unwrap().blocked_by, None);
    rig.send(now, "settled");
    assert_eq!(rig.skip_to_commands().1, "flush x b");
}

#[test]
fn on_a_fifo_queue_what_is_before_the_one_at_fault_is_delivered_and_why_names_that_one() {
    let mut rig = rig(|rules, partner| {
        rules.queues[0].fifo = true;
        partner.max_batch = 4;
    });
    assert_eq!(all_to_x(&mut rig, &["a/g", "b/g", "c/g", "d/g"]), "flush x a b c d");
    let (now, sent) = after_each(&mut rig, 1, &["answered x 500", "answered x 500"]);
    assert_eq!(sent, ["flush x a b c d", "flush x a b"]);
    rig.play(&[(now, "accepted x", "flush x c d; delete a b"), (now, "settled", "")]);
    let (now, sent) = after_each(&mut rig, now, &["answered x 500"; 4]);
    assert_eq!(sent, ["flush x c d", "flush x c", "flush x c", "flush x c"], "nothing passes it");
    rig.send(now, "answered x 500");
    assert_eq!(rig.dispatcher.partner("x").unwrap().blocked_by.as_deref(), Some("c"));
}

#[test]
fn of_a_batch_that_draws_a_conflict_for_long_the_one_is_found() {
    let mut rig = rig(|_, partner| partner.max_batch = 2);
    assert_eq!(all_to_x(&mut rig, &["a", "b"]), "flush x a b");
    let (now, sent) = after_each(&mut rig, 1, &["answered x 409"]);
    assert_eq!(sent, ["flush x a b"]);
    rig.play(&[(now, "answered x 409", "flush x a"), (now, "accepted x", "flush x b; delete a"), (now, "settled", "")]);
    let (now, sent) = after_each(&mut rig, now, &["answered x 409"]);
    assert_eq!(sent, ["flush x b"]);
    rig.play(&[(now, "answered x 409", "letter b:refused")]);
}

#[test]
fn why_tells_which_delivery_may_be_at_fault_and_what_is_done_about_it() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a", "b"]);
    let (now, _) = after_each(&mut rig, 1, &["answered x 500"]);
    assert_eq!(rig.dispatcher.partner("x").unwrap().blocked_by, None, "one failure says nothing");
    rig.send(now, "answered x 500");
    let report = rig.dispatcher.partner("x").unwrap();
    assert!(report.reason.contains("behind it"), "{}", report.reason);
    assert_eq!(report.blocked_by.as_deref(), Some("a"));
}

#[test]
fn a_head_with_nothing_behind_it_leaves_the_turn_to_the_partners_other_queues() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a"]);
    let (now, _) = after_each(&mut rig, 1, &["answered x 500"]);
    rig.play(&[(now, "q1: receive e f", "q1: handle e|f"), (now, "q1: handled e->x", ""), (now, "answered x 500", "")]);
    let (now, sent) = rig.skip_to_commands();
    assert_eq!(sent, "q1: flush x e");
    // A delivery accepted by one queue's endpoint proves nothing about the other queue's.
    rig.play(&[
        (now, "q1: accepted x", "flush x a; q1: delete e"),
        (now, "q1: settled", ""),
        (now, "answered x 500", ""),
        (now, "q1: handled f->x", ""),
    ]);
    let (now, sent) = rig.skip_to_commands();
    assert_eq!(sent, "q1: flush x f");
    // It has failed for the third time, and its own rest outlasts that of the partner.
    rig.play(&[(now, "q1: accepted x", "q1: delete f"), (now, "q1: settled", "")]);
    let (now, sent) = rig.skip_to_commands();
    assert_eq!(sent, "flush x a");
    rig.play(&[(now, "accepted x", "delete a")]);
}

#[test]
fn a_head_with_nothing_behind_it_has_its_turn_now_and_then_however_much_the_others_have() {
    let mut rig = rig(|_, partner| partner.rate = Some((1, SECOND * 5)));
    all_to_x(&mut rig, &["a"]);
    let (now, _) = after_each(&mut rig, 1, &["answered x 500"]);
    rig.play(&[(now, "q1: receive e f g h i j", "q1: handle e|f|g|h|i|j")]);
    rig.play(&[(now, "q1: handled e->x f->x g->x h->x i->x j->x", ""), (now, "answered x 500", "")]);
    let mut sent = Vec::new();
    for _ in 0..5 {
        let (now, commands) = rig.skip_to_commands();
        let own = commands == "flush x a";
        sent.push(commands);
        rig.send(now, if own { "accepted x" } else { "q1: accepted x" });
        rig.send(now, if own { "settled" } else { "q1: settled" });
    }
    assert!(sent[0] == "q1: flush x e" && sent.contains(&"flush x a".to_owned()), "{sent:?}");
}

#[test]
fn two_such_heads_do_not_wait_for_each_other() {
    let mut rig = rig(|_, _| {});
    all_to_x(&mut rig, &["a"]);
    let (now, _) = after_each(&mut rig, 1, &["answered x 500"]);
    rig.play(&[(now, "q1: receive e", "q1: handle e"), (now, "q1: handled e->x", ""), (now, "answered x 500", "")]);
    let (now, sent) = rig.skip_to_commands();
    assert_eq!(sent, "q1: flush x e");
    let (now, sent) = after_each(&mut rig, now, &["q1: answered x 500"]);
    assert_eq!(sent, ["q1: flush x e"], "one answer says nothing about it");
    let (now, sent) = after_each(&mut rig, now, &["q1: answered x 500"; 1]);
    assert_eq!(sent, ["flush x a"], "the oldest of two that are alike");
    rig.play(&[(now, "accepted x", "q1: flush x e; delete a"), (now, "q1: accepted x", "q1: delete e")]);
}

#[test]
fn what_another_queue_of_the_partner_has_accepted_is_no_proof_against_a_delivery() {
    let mut rig = rig(|_, partner| partner.parallel = 2);
    rig.play(&[(0, "q1: receive e", "q1: handle e"), (0, "q1: handled e->x", "q1: flush x e")]);
    assert_eq!(all_to_x(&mut rig, &["a", "b", "c"]), "flush x a");
    // The flushes of each queue on the wire, and those that were answered.
    let (mut on_wire, mut answered) = ([1, 1], [0, 0]);
    for at in (10..10_000).step_by(10) {
        let mut lines = vec!["answered x 500".to_owned(); on_wire[0]];
        lines.extend([format!("q1: receive m{at}"), format!("q1: handled m{at}->x")]);
        lines.extend(["q1: accepted x", "q1: settled"].repeat(on_wire[1]).into_iter().map(str::to_owned));
        answered = [answered[0] + on_wire[0], answered[1] + on_wire[1]];
        on_wire = [0, 0];
        for line in lines {
            let commands = rig.send(at, &line);
            assert!(!commands.contains("letter"), "{line} at {at} ms: {commands}");
            for command in commands.split("; ") {
                on_wire[0] += usize::from(command.starts_with("flush x"));
                on_wire[1] += usize::from(command.starts_with("q1: flush x"));
            }
        }
    }
    assert!(answered[0] < 80 && answered[1] > 50, "q1's successes end no wait of q0: {answered:?}");
}

/// Each of q1's successes ends the failures in a row, so that the breaker never opens.
#[test]
fn a_head_steps_aside_although_another_queue_of_the_partner_keeps_its_breaker_closed() {
    for several_at_once in [1, 2] {
        let mut rig = rig(|_, partner| (partner.breaker_failures, partner.max_batch) = (3, several_at_once));
        let mut commands = vec![all_to_x(&mut rig, &["a", "b", "c", "d"])];
        let mut done = Vec::new();
        for at in (10..60_000).step_by(10) {
            commands.push(rig.send(at, &format!("q1: receive m{at}")));
            commands.push(rig.send(at, &format!("q1: handled m{at}->x")));
            // Everything is answered at once: whatever holds `a` draws 500, and the rest is accepted.
            while let Some(all) = commands.pop() {
                for command in all.split("; ") {
                    let (queue, call) = command.split_once(": ").map_or(("", command), |(_, call)| ("q1: ", call));
                    if let Some(sent) = call.strip_prefix("flush x ") {
                        let answer = if queue.is_empty() && sent.contains('a') { "answered x 500" } else { "accepted x" };
                        commands.push(rig.send(at, &format!("{queue}{answer}")));
                    } else if call.starts_with("delete") || call.starts_with("letter") {
                        done.extend(Some(call.to_owned()).filter(|_| queue.is_empty()));
                        commands.push(rig.send(at, &format!("{queue}settled")));
                    }
                }
            }
        }
        assert!(done.contains(&"letter a:refused".to_owned()), "{done:?}");
        let others: String = done.iter().filter_map(|call| call.strip_prefix("delete ")).collect();
        assert!(["b", "c", "d"].iter().all(|id| others.contains(id)), "{done:?}");
    }
}

#[test]
fn an_endpoint_that_fails_has_the_partners_other_queues_wait_ever_more_seldom() {
    let mut rig = rig(|_, _| {});
    let mut commands = vec![all_to_x(&mut rig, &["a"])];
    let (mut failed, mut accepted) = (0, 0);
    for at in (10..60_000).step_by(10) {
        commands.push(rig.send(at, &format!("q1: receive m{at}")));
        commands.push(rig.send(at, &format!("q1: handled m{at}->x")));
        while let Some(all) = commands.pop() {
            for command in all.split("; ") {
                if command.starts_with("flush x") {
                    failed += 1;
                    commands.push(rig.send(at, "answered x 503"));
                } else if command.starts_with("q1: flush x") {
                    accepted += 1;
                    commands.push(rig.send(at, "q1: accepted x"));
                } else if command.starts_with("q1: delete") {
                    commands.push(rig.send(at, "q1: settled"));
                }
            }
        }
    }
    assert!(failed < 20 && accepted > 5_000, "{failed} attempts at the one, {accepted} accepted by the other");
}

/// Returns a rig in which three partners are away, so that each may hold one: x with `a`, at which it breaks, and with `b`
/// and `c`, which have left memory. Also returns what the last answer to `a` led to.
fn alone(parks: bool) -> (Rig, String) {
    let mut rig = rig(|rules, partner| {
        rules.queues.truncate(1);
        rules.max_in_flight = 16;
        partner.max_backoff = SECOND * 10;
        if parks {
            rules.parkings = vec![ParkingRules { name: "q0.parking".into(), of: 0, entry_limit: 10, found: Vec::new() }];
        }
    });
    rig.send(0, "receive k v a b c l m n o p");
    rig.send(1, "handled k->z v->w a->x b->x c->x l->y m->y n->y o->y p->y");
    let failed = ["answered z 503 6000s", "answered w 503 6000s", "answered x 500"];
    for (at, line) in (300..).zip(failed.into_iter().chain(["accepted y"; 5])) {
        let mut commands = vec![rig.send(at, line)];
        // Whatever leaves arrives at once.
        while let Some(commanded) = commands.pop() {
            if commanded.contains("park x:") {
                commands.push(rig.send(at, "parked"));
            }
            if commanded.contains("delete") || commanded.contains("hide") {
                commands.push(rig.send(at, "settled"));
            }
        }
    }
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "flush x a");
    let then = rig.send(at, "answered x 500");
    (rig, then)
}

#[test]
fn a_head_that_blocks_gets_something_behind_it_however_small_the_share() {
    let (mut rig, then) = alone(true);
    assert_eq!(then, "unpark x 1");
    let at = rig.next_deadline().unwrap() - 1;
    rig.play(&[(at, "unparked", "")]);
    let (at, sent) = rig.skip_to_commands();
    assert_eq!(sent, "flush x b", "and nothing more was read before");
    let commands = rig.send(at, "accepted x");
    assert!(commands.contains("flush x a"), "{commands}");
    let commands = rig.send(at + 1, "answered x 500");
    assert!(commands.contains("letter a:refused"), "{commands}");

    let (_, then) = alone(false);
    assert_eq!(then, "hide b=0");
}
