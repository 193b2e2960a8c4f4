//! The actions of an operator: pause, resume, flush, skip; and what `why` reports about them.

use std::time::Duration;

use super::rig::Rig;
use super::{partner_rules, queue_rules, rules};
use crate::dispatch::{Action, Event, Note, PartnerReport, PartnerRules, PartnerState};

const SECOND: Duration = Duration::from_secs(1);

fn rig(change: impl FnOnce(&mut PartnerRules)) -> Rig {
    let (mut rules, mut partner) = (rules(), partner_rules());
    change(&mut partner);
    rules.partners.default = partner.into();
    // Only what the table is about falls due.
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    rules.queues.push(queue_rules("q1"));
    Rig::new(rules)
}

#[test]
fn a_paused_partner_gets_nothing_until_it_is_resumed() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "pause x", "reply paused"),
        // The flush on the wire lands.
        (3, "accepted x", "delete a"),
        (4, "settled", ""),
        (5, "handled b->x", ""),
        (6, "handled c->y", "flush y c"),
        (1_000_000, "tick", ""),
    ]);
    let status = rig.dispatcher.status();
    // The delivery to y has been on the wire for a thousand seconds.
    assert_eq!((status.partners.paused, status.partners.healthy, status.partners.waiting), (1, 1, 2));
    assert_eq!((status.waiting[0].state.word(), &*status.waiting[0].reason), ("paused", "an operator paused it"));
    assert_eq!((&*status.waiting[1].account, &*status.waiting[1].reason), ("y", "a flush is on the wire"));
    assert_eq!(status.waiting[0].next_attempt_in_s, None);
    assert_eq!(rig.send(1_000_001, "resume x"), "reply healthy; flush x b");
}

#[test]
fn a_pause_outlives_the_idle_time_and_may_come_before_any_message() {
    let mut rig = rig(|partner| partner.idle_timeout = SECOND);
    rig.play(&[(0, "pause x", "reply paused"), (0, "receive a", "handle a"), (50_000, "tick", ""), (50_001, "handled a->x", "")]);
    assert_eq!(rig.send(50_002, "resume x"), "reply healthy; flush x a");
    rig.play(&[(50_003, "accepted x", "delete a"), (50_004, "settled", ""), (60_000, "tick", "")]);
    assert_eq!(rig.dispatcher.partners.len(), 0, "nothing stays of it then");
}

#[test]
fn resuming_a_partner_of_whom_nothing_is_left_forgets_it() {
    let mut rig = rig(|_| {});
    rig.play(&[(0, "pause x", "reply paused"), (1, "resume x", "reply healthy"), (2, "resume x", "reply Unknown")]);
    assert_eq!(rig.dispatcher.partners.len(), 0);
}

#[test]
fn a_drain_returns_what_waits_for_a_paused_partner_unless_its_longest_back_off_ends_before() {
    let play = |max_backoff| {
        let mut rig = rig(|partner| partner.max_backoff = max_backoff);
        rig.play(&[
            (0, "pause x", "reply paused"),
            (0, "receive a", "handle a"),
            (1, "handled a->x", ""),
            (2, "drain 30s", "interrupt; q1: interrupt"),
            (3, "q1: receive", ""),
        ]);
        rig.send(4, "receive")
    };
    assert_eq!(play(SECOND * 300), "hide a=0");
    assert_eq!(play(SECOND * 20), "");
}

#[test]
fn a_pause_during_a_drain_gives_back_what_waits() {
    rig(|partner| partner.linger = SECOND).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x b->x", ""),
        (2, "drain 30s", "interrupt; q1: interrupt; flush x a b"),
        (3, "receive", ""),
        (3, "q1: receive", ""),
        (4, "answered x 422", "flush x a"),
        (5, "pause x", "reply paused; hide b=0"),
    ]);
}

#[test]
fn a_flush_waits_for_no_company_and_what_comes_after_it_does() {
    rig(|partner| partner.linger = SECOND * 10).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", ""),
        (2, "flush x", "reply healthy; flush x a"),
        (3, "handled b->x", ""),
        (4, "accepted x", "delete a"),
        (10_002, "tick", ""),
        (10_003, "tick", "flush x b"),
    ]);
}

#[test]
fn a_flush_is_for_what_entered_in_the_same_moment_too() {
    rig(|partner| partner.linger = SECOND * 10).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x", ""),
        (1, "flush x", "reply healthy; flush x a"),
    ]);
}

#[test]
fn a_flush_ends_the_waits_of_each_bucket_at_once() {
    let mut refused = rig(|_| {});
    refused.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 404", ""),
        (3, "flush x", "reply open; flush x a"),
    ]);
    // After a failure a bucket rests if its partner has others.
    let mut failed = rig(|_| {});
    failed.play(&[
        (0, "q1: receive e", "q1: handle e"),
        (1, "q1: handled e->x", "q1: flush x e"),
        (2, "q1: accepted x", "q1: delete e"),
        (3, "receive a", "handle a"),
        (4, "handled a->x", "flush x a"),
        (5, "answered x 503", ""),
        (6, "flush x", "reply backing_off; flush x a"),
    ]);
}

#[test]
fn the_answer_to_a_flush_says_what_becomes_of_it() {
    let mut rules = rules();
    rules.queues.push(queue_rules("q1"));
    let mut partner = partner_rules();
    partner.linger = SECOND * 60;
    rules.partners.default = partner.into();
    let mut rig = Rig::new(rules);
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "")]);
    let goes = "it may go now, and goes once a delivery thread is free";
    let report = answer(&mut rig, 2);
    assert_eq!((report.reason, report.next_attempt_in_s), (goes, None));
    rig.play(&[(3, "accepted x", "delete a"), (4, "settled", "")]);
    // Now another queue's delivery waits behind it.
    rig.play(&[
        (5, "receive b", "handle b"),
        (5, "handled b->x", ""),
        (6, "q1: receive c", "q1: handle c"),
        (6, "q1: handled c->x", ""),
    ]);
    let report = answer(&mut rig, 7);
    let reasons: Vec<_> = report.queues.iter().map(|queue| (&*queue.queue, queue.reason)).collect();
    assert_eq!(report.reason, goes);
    assert_eq!(reasons, [("q0", goes), ("q1", "another of its queues goes first")]);
}

/// Sends an operator's flush of the partner x and returns the reply.
fn answer(rig: &mut Rig, at: u64) -> PartnerReport {
    rig.handle(at, Event::Operate { request: 1, account: "x".into(), action: Action::Flush });
    rig.replies.pop().unwrap().unwrap()
}

#[test]
fn a_flush_ends_a_back_off_with_one_probe() {
    let mut rig = rig(|partner| {
        partner.parallel = 4;
        partner.max_batch = 1;
    });
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 401", ""),
        (3, "handled b->x", ""),
        (4, "flush x", "reply open; flush x a"),
        (5, "answered x 401", ""),
    ]);
    let report = rig.dispatcher.partner("x").unwrap();
    assert_eq!((report.state, report.failures, report.next_attempt_in_s), (PartnerState::Open, 2, Some(300.0)));
}

#[test]
fn a_flush_opens_the_gate_of_a_bucket_for_one_probe() {
    rig(|partner| {
        partner.parallel = 4;
        partner.max_batch = 1;
    })
    .play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 404", ""),
        (3, "handled b->x", ""),
        (4, "flush x", "reply open; flush x a"),
        (5, "accepted x", "flush x b; delete a"),
    ]);
}

#[test]
fn a_flush_overrides_neither_a_retry_after_nor_a_pause_nor_a_rate() {
    rig(|_| {}).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 60s", ""),
        (3, "flush x", "reply AskedToWait { left: 59.999s }"),
        (4, "pause x", "reply paused"),
        (5, "flush x", "reply Paused"),
        (6, "flush nobody", "reply Unknown"),
    ]);
    rig(|partner| partner.rate = Some((1, SECOND * 10))).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "accepted x", "delete a"),
        (3, "handled b->x", ""),
        (4, "flush x", "reply limited"),
        (10_000, "tick", ""),
        (10_001, "tick", "flush x b"),
    ]);
}

#[test]
fn a_skip_sets_aside_what_is_first_in_order_and_changes_nothing_else() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x b->x", "flush x a b"),
        (2, "answered x 429 60s", ""),
        (3, "handled c->x", ""),
        // Of a batch that is to be sent again, skip takes the first delivery; the rest is another batch.
        (4, "skip x", "reply backing_off; letter a:skipped"),
        (5, "settled", ""),
        (60_001, "tick", ""),
        (60_002, "tick", "flush x b"),
        (60_003, "answered x 429 60s", ""),
        (60_004, "skip x", "reply backing_off; letter b:skipped"),
        (60_005, "settled", ""),
        (60_006, "skip x", "reply backing_off; letter c:skipped"),
        (60_007, "settled", ""),
        (60_008, "skip x", "reply NothingWaits"),
    ]);
    assert_eq!(rig.dispatcher.held(), 0);
}

#[test]
fn a_skip_takes_the_bucket_that_is_in_trouble() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (0, "q1: receive e f", "q1: handle e|f"),
        (1, "q1: handled e->x", "q1: flush x e"),
        (2, "q1: handled f->x", ""),
        (3, "handled a->x", ""),
        (4, "q1: accepted x", "q1: flush x f; q1: delete e"),
        (5, "q1: settled", ""),
        (6, "q1: accepted x", "flush x a; q1: delete f"),
        (7, "answered x 404", ""),
        (8, "q1: settled", ""),
        (9, "skip x", "reply open; letter a:skipped"),
    ]);
}

#[test]
fn a_skip_is_refused_where_it_would_set_aside_what_blocks_nothing() {
    rig(|partner| partner.rate = Some((1, SECOND * 10))).play(&[
        (0, "skip x", "reply Unknown"),
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "skip x", "reply OnTheWire"),
        (3, "accepted x", "delete a"),
        (4, "settled", ""),
        (5, "handled b->x", ""),
        (6, "skip x", "reply NotBlocked"),
        // An operator who wants to set it aside all the same pauses the partner first.
        (7, "pause x", "reply paused"),
        (8, "skip x", "reply paused; letter b:skipped"),
        (9, "settled", ""),
        (10, "skip x", "reply NothingWaits"),
        (11, "resume x", "reply limited"),
        (12, "handled c->x", ""),
        (10_001, "tick", "flush x c"),
        (10_002, "answered x 503", ""),
    ]);
}

#[test]
fn a_skip_does_not_take_what_is_behind_a_delivery_on_the_wire() {
    let mut rig = rig(|partner| partner.max_batch = 1);
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x b->x", "flush x a"), (2, "answered x 503", "")]);
    let (now, commands) = rig.skip_to_commands();
    assert_eq!(commands, "flush x a");
    rig.play(&[
        (now, "skip x", "reply OnTheWire"),
        (now, "answered x 503", ""),
        (now, "skip x", "reply backing_off; letter a:skipped"),
    ]);
}

#[test]
fn why_tells_what_it_waits_for_in_each_queue() {
    let mut rig = rig(|partner| {
        partner.rate = Some((5, SECOND));
        partner.burst = 10;
    });
    rig.play(&[
        (0, "receive a b c d e", "handle a|b|c|d|e"),
        (0, "q1: receive f", "q1: handle f"),
        (1, "handled a->x b->x c->x", "flush x a b c"),
        (2, "answered x 413", "flush x a"),
        (1002, "answered x 404", ""),
        (2002, "q1: handled f->x", "q1: flush x f"),
    ]);
    let report = rig.dispatcher.partner("x").unwrap();
    assert_eq!((report.state, report.reason), (PartnerState::Open, "the endpoint for this queue is set up wrongly"));
    assert_eq!((report.waiting, report.in_flight, report.learned_batch), (3, 1, Some(1)));
    assert_eq!((report.next_attempt_in_s, report.oldest_age_s), (Some(299.0), Some(2.001)));
    assert_eq!(report.last_error.as_deref(), Some("answered 404"));
    assert_eq!(report.rate.as_ref().map(|rate| (rate.requests, rate.per_s, rate.burst)), Some((5, 1.0, 10)));
    let queues: Vec<_> =
        report.queues.iter().map(|queue| (&*queue.queue, queue.waiting, queue.in_flight, queue.reason)).collect();
    assert_eq!(queues, [("q0", 3, 0, "the endpoint for this queue is set up wrongly"), ("q1", 0, 1, "a flush is on the wire")]);
    assert_eq!(rig.dispatcher.partner("nobody"), None);
    rig.play(&[(2003, "q1: accepted x", "q1: delete f")]);
    let error = rig.dispatcher.partner("x").unwrap().last_error;
    assert_eq!(error.as_deref(), Some("answered 404"), "that of the endpoint that is still set up wrongly");
    assert_eq!(rig.dispatcher.status().waiting[0].last_error, error);
}

#[test]
fn why_tells_how_long_a_flush_hangs_and_until_when_a_batch_lingers() {
    let mut rig = rig(|partner| partner.linger = SECOND * 60);
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x", "")]);
    let report = rig.dispatcher.partner("x").unwrap();
    assert_eq!((report.reason, report.next_attempt_in_s), ("it lingers for a fuller batch", Some(60.0)));
    rig.play(&[(60_001, "tick", "flush x a"), (65_001, "handled b->x", "")]);
    let report = rig.dispatcher.partner("x").unwrap();
    assert_eq!((report.reason, report.on_wire_s, report.waiting), ("a flush is on the wire", Some(5.0), 1));
}

#[test]
fn why_tells_a_probe_from_any_other_flush() {
    let mut rig = rig(|_| {});
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x", "flush x a"), (2, "handled b->x", "")]);
    assert_eq!(rig.dispatcher.partner("x").unwrap().reason, "a flush is on the wire");
    rig.play(&[(3, "answered x 401", ""), (4, "flush x", "reply open; flush x a")]);
    let report = rig.dispatcher.partner("x").unwrap();
    assert_eq!((report.reason, report.failures), ("its probe is on the wire, and all else waits for the answer", 1));
}

#[test]
fn why_tells_of_order() {
    for group in ["", "/g"] {
        let mut rules = rules();
        rules.queues[0].fifo = !group.is_empty();
        let mut rig = Rig::new(rules);
        let receive = format!("receive a{group} b{group} c{group}");
        rig.play(&[(0, &receive, "handle a|b|c"), (1, "handled b->x c->x", "")]);
        let report = rig.dispatcher.partner("x").unwrap();
        assert_eq!((report.held_back, report.waiting, report.state), (2, 0, PartnerState::Healthy));
        assert!(report.reason.contains("still with its handler"), "{}", report.reason);
        assert_eq!(rig.dispatcher.partner("y"), None);
        rig.play(&[(2, "handled a->x", "flush x a b c")]);
        let report = rig.dispatcher.partner("x").unwrap();
        assert_eq!((report.held_back, report.waiting, report.in_flight), (0, 0, 1));
    }
}

#[test]
fn why_tells_who_waits_for_a_thread_and_of_which_half() {
    let mut rules = rules();
    rules.delivery_threads = 2;
    let mut rig = Rig::new(rules);
    rig.prove(&["x", "y", "z"]);
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->x b->y", "flush x a; flush y b"),
        (2, "handled c->z d->new", ""),
    ]);
    let reason = |account| rig.dispatcher.partner(account).unwrap().reason;
    assert_eq!(reason("z"), "no delivery thread is free");
    assert_eq!(reason("new"), "no delivery thread is free of the half that slow, failing and new partners share");
}

#[test]
fn the_letter_of_what_a_refused_endpoint_kept_names_that_refusal_whatever_other_queues_delivered() {
    let reason_after = |change: fn(&mut PartnerRules), table: &[(u64, &str, &str)]| {
        let mut rig = rig(change);
        rig.play(&[
            (0, "receive a", "handle a"),
            (0, "q1: receive b", "q1: handle b"),
            (1, "handled a->x", "flush x a"),
            (2, "answered x 404", ""),
            (3, "q1: handled b->x", "q1: flush x b"),
            (4, "q1: accepted x", "q1: delete b"),
            (5, "q1: settled", ""),
        ]);
        rig.play(table);
        let mut reasons = rig.notes.iter().filter_map(|note| match note {
            Note::DeadLetters { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        reasons.next().expect("a dead letter is said")
    };
    let skipped = reason_after(|_| {}, &[(6, "skip x", "reply open; letter a:skipped"), (7, "settled", "")]);
    assert_eq!(skipped, "set aside by an operator (skip); last error: answered 404");
    let give_up = |partner: &mut PartnerRules| partner.give_up_after = Some(SECOND * 5);
    let expired = reason_after(give_up, &[(5001, "tick", "letter a:expired"), (5002, "settled", "")]);
    assert_eq!(expired, "not delivered within give_up_after = 5s; last error: answered 404");
}

#[test]
fn why_tells_whether_anything_waits_that_could_prove_the_head_at_fault() {
    let mut rig = rig(|partner| (partner.max_batch, partner.breaker_failures) = (1, 1));
    let reason = |rig: &Rig| rig.dispatcher.partner("x").unwrap().reason;
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x", "flush x a"), (2, "answered x 500", "")]);
    assert!(reason(&rig).ends_with("nothing waits behind it whose fate could tell"), "{}", reason(&rig));
    rig.play(&[(3, "handled b->x", "")]);
    assert!(reason(&rig).ends_with("one behind it is tried, now and then, to tell"), "{}", reason(&rig));
}
