//! Gates: rate, back-off, Retry-After and breaker; which flushes they stop, and for how long.

use std::time::Duration;

use super::rig::Rig;
use super::{partner_rules, queue_rules, rules};
use crate::dispatch::{Note, PartnerRules};

const SECOND: Duration = Duration::from_secs(1);

/// Returns a rig with two queues that each have a bucket for the same partner.
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
fn retry_after_stops_all_buckets_of_the_partner_and_no_other_partner() {
    rig(|_| {}).play(&[
        (0, "receive a b", "handle a|b"),
        (0, "q1: receive c", "q1: handle c"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 10s", ""),
        (3, "q1: handled c->x", ""),
        (4, "handled b->y", "flush y b"),
        (10_001, "tick", ""),
        // The bucket that was not tried last comes first, and one probe at a time.
        (10_002, "tick", "q1: flush x c"),
        (10_003, "q1: accepted x", "flush x a; q1: delete c"),
    ]);
}

#[test]
fn a_bucket_whose_endpoint_refuses_has_its_partners_other_ones_go_in_the_same_turn() {
    rig(|_| {}).play(&[
        (0, "q1: receive e f", "q1: handle e|f"),
        (0, "receive a b", "handle a|b"),
        (1, "q1: handled e->x", "q1: flush x e"),
        (2, "handled a->x b->x", ""),
        (3, "q1: handled f->x", ""),
        (4, "q1: accepted x", "flush x a b; q1: delete e"),
        // The older delivery would go first, but may not.
        (5, "answered x 404", "q1: flush x f"),
    ]);
}

#[test]
fn a_partner_that_asks_for_no_wait_gets_the_back_off() {
    let mut rig = rig(|_| {});
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a"), (2, "answered x 503 0s", "")]);
    let (at, commands) = rig.skip_to_commands();
    assert!(at > 2 && commands == "flush x a", "{commands} at {at}");
}

#[test]
fn retry_after_holds_although_an_older_flush_succeeds() {
    rig(|partner| {
        partner.parallel = 2;
        partner.max_batch = 1;
    })
    .play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x b->x c->x", "flush x a; flush x b"),
        (2, "answered x 429 60s", ""),
        // b was on its way before the partner asked for a pause.
        (3, "accepted x", "delete b"),
        (4, "settled", ""),
        (59_999, "tick", ""),
        (60_002, "tick", "flush x a; flush x c"),
    ]);
}

#[test]
fn retry_after_holds_whatever_the_status_is() {
    for code in [301, 400, 401, 403, 404, 413, 422, 429, 451, 500, 503] {
        let mut rig = rig(|partner| partner.max_backoff = SECOND * 20);
        rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x b->x", "flush x a b")]);
        rig.send(2, &format!("answered x {code} 60s"));
        rig.play(&[(59_999, "tick", ""), (60_000, "flush x", "reply AskedToWait { left: 2ms }")]);
        let commands = rig.send(60_002, "tick");
        assert!(commands.starts_with("flush x a"), "{code}: {commands}");
    }
}

#[test]
fn a_wrong_set_up_of_one_queues_endpoint_stops_that_bucket_only() {
    rig(|partner| partner.max_backoff = SECOND * 20).play(&[
        (0, "receive a", "handle a"),
        (0, "q1: receive b", "q1: handle b"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 404", ""),
        (3, "q1: handled b->x", "q1: flush x b"),
        (4, "q1: accepted x", "q1: delete b"),
        (20_001, "tick", ""),
        (20_002, "tick", "flush x a"),
    ]);
}

#[test]
fn a_wrong_set_up_of_the_partner_stops_all_its_buckets_and_kills_nothing() {
    rig(|partner| partner.max_backoff = SECOND * 20).play(&[
        (0, "receive a", "handle a"),
        (0, "q1: receive b", "q1: handle b"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 401", ""),
        (3, "q1: handled b->x", ""),
        (20_001, "tick", ""),
        (20_002, "tick", "q1: flush x b"),
    ]);
}

#[test]
fn a_partner_that_fails_is_probed_with_each_of_its_queues_in_turn() {
    let mut rig = rig(|partner| (partner.min_backoff, partner.max_backoff) = (SECOND, SECOND));
    rig.play(&[
        (0, "receive a", "handle a"),
        (0, "q1: receive b c", "q1: handle b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 503", ""),
        (3, "q1: handled b->x c->x", ""),
        // The oldest delivery would be the first one's again, whose endpoint may be the one that fails.
        (1002, "tick", "q1: flush x b c"),
        (1003, "q1: accepted x", "flush x a; q1: delete b c"),
        (1004, "answered x 503", ""),
        (2004, "tick", "flush x a"),
    ]);
}

#[test]
fn a_partner_that_refuses_one_after_the_other_is_at_fault_itself() {
    let mut rig = rig(|partner| {
        partner.max_batch = 1;
        partner.breaker_failures = 2;
        partner.max_backoff = SECOND * 20;
    });
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x b->x c->x", "flush x a"),
        (2, "answered x 400", "flush x b; letter a:refused"),
        (3, "answered x 400", "flush x c"),
        (4, "settled", "letter b:refused"),
        (5, "answered x 400", ""),
        (6, "settled", ""),
        (20_004, "tick", ""),
        (20_005, "tick", "flush x c"),
        (20_006, "accepted x", "delete c"),
    ]);
}

#[test]
fn a_partner_that_refuses_one_of_each_queue_after_the_other_is_at_fault_itself() {
    rig(|partner| (partner.breaker_failures, partner.max_backoff) = (2, SECOND * 20)).play(&[
        (0, "receive a b", "handle a|b"),
        (0, "q1: receive p", "q1: handle p"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 400", "letter a:refused"),
        (3, "settled", ""),
        (4, "q1: handled p->x", "q1: flush x p"),
        (5, "q1: answered x 400", "q1: letter p:refused"),
        (6, "handled b->x", "flush x b"),
        (7, "answered x 400", ""),
        (20_007, "tick", "flush x b"),
    ]);
}

#[test]
fn an_endpoint_that_refuses_one_after_the_other_is_at_fault_itself_whatever_the_others_accept() {
    let mut rig = rig(|partner| {
        partner.breaker_failures = 2;
        partner.max_backoff = SECOND * 20;
    });
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (0, "q1: receive p q r", "q1: handle p|q|r"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 400", "letter a:refused"),
        (3, "settled", ""),
        (4, "q1: handled p->x", "q1: flush x p"),
        (5, "q1: accepted x", "q1: delete p"),
        (6, "q1: settled", ""),
        (7, "handled b->x", "flush x b"),
        (8, "answered x 400", "letter b:refused"),
        (9, "settled", ""),
        (10, "q1: handled q->x", "q1: flush x q"),
        (11, "q1: accepted x", "q1: delete q"),
        (12, "q1: settled", ""),
        (13, "handled c->x", "flush x c"),
        (14, "answered x 400", ""),
        (15, "handled d->x", ""),
        (16, "q1: handled r->x", "q1: flush x r"),
        (17, "q1: accepted x", "q1: delete r"),
    ]);
    let report = rig.dispatcher.partner("x").unwrap();
    let refused = report.reason.starts_with("it refused breaker_failures deliveries in a row, and then the one");
    assert_eq!((report.state.word(), refused, report.blocked_by.as_deref()), ("open", true, Some("c")), "{report:?}");
    rig.play(&[
        (18, "skip x", "reply open; letter c:skipped"),
        (19, "settled", ""),
        (20_014, "tick", "flush x d"),
        (20_015, "accepted x", "delete d"),
    ]);
}

#[test]
fn a_pause_outlives_the_buckets() {
    let mut rig = rig(|partner| {
        partner.give_up_after = Some(SECOND * 5);
        partner.idle_timeout = SECOND * 10;
    });
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 100s", ""),
        (5001, "tick", "letter a:expired"),
        (5002, "settled", ""),
        (15_002, "tick", ""),
    ]);
    assert_eq!(rig.dispatcher.partners.buckets().count(), 0, "the bucket is gone");
    rig.play(&[(97_000, "handled b->x", ""), (100_001, "tick", ""), (100_002, "tick", "flush x b")]);
}

#[test]
fn while_it_fails_a_partner_gets_one_probe_at_a_time() {
    let mut rig = rig(|partner| {
        partner.parallel = 4;
        partner.max_batch = 1;
    });
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 503", ""),
        (3, "handled b->x c->x", ""),
    ]);
    let (retry, commands) = rig.skip_to_commands();
    assert_eq!(commands, "flush x a");
    assert_eq!(rig.send(retry + 1, "accepted x"), "flush x b; flush x c; delete a");
}

#[test]
fn a_rate_counts_over_all_buckets_of_the_partner() {
    rig(|partner| {
        partner.rate = Some((2, SECOND));
        partner.burst = 2;
        partner.parallel = 10;
        partner.max_batch = 1;
    })
    .play(&[
        (0, "receive a b c", "handle a|b|c"),
        (0, "q1: receive d", "q1: handle d"),
        (1, "handled a->x b->x", "flush x a; flush x b"),
        (2, "q1: handled d->x", ""),
        (3, "handled c->x", ""),
        (500, "tick", ""),
        (501, "tick", "q1: flush x d"),
        (1000, "tick", ""),
        (1001, "tick", "flush x c"),
    ]);
}

#[test]
fn the_error_with_which_a_partner_asked_for_a_pause_is_shown_while_that_lasts() {
    let mut rig = rig(|_| {});
    rig.prove(&["x"]);
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 422 10s", "letter a:refused"),
        (3, "settled", ""),
    ]);
    let error = |rig: &Rig| rig.dispatcher.partner("x").expect("it is known").last_error;
    assert_eq!(error(&rig).as_deref(), Some("answered 422"));
    rig.play(&[(10_002, "tick", "")]);
    assert_eq!(error(&rig), None, "it waits for nothing");
    // Nor is it the reason of what an operator does later.
    rig.play(&[(10_003, "handled b->x", "flush x b"), (10_004, "answered x 503", "")]);
    assert_eq!(error(&rig).as_deref(), Some("answered 503"));
}

#[test]
fn a_rate_outlives_the_buckets() {
    let mut rig = rig(|partner| {
        partner.rate = Some((1, SECOND * 100));
        partner.idle_timeout = SECOND;
    });
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "accepted x", "delete a"),
        (3, "settled", ""),
        (5000, "tick", ""),
        (9000, "handled b->x", ""),
        (100_000, "tick", ""),
        (100_001, "tick", "flush x b"),
    ]);
}

#[test]
fn nothing_stays_of_what_was_idle_for_long_enough() {
    let mut rig = rig(|partner| {
        partner.give_up_after = Some(SECOND * 5);
        partner.idle_timeout = SECOND * 10;
    });
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x b->y", "flush x a; flush y b"),
        (2, "answered x 429 100s", ""),
        (3, "accepted y", "delete b"),
        (4, "settled", ""),
        (5001, "tick", "letter a:expired"),
        (5002, "settled", ""),
        (10_003, "tick", ""),
    ]);
    assert_eq!(rig.dispatcher.partners.len(), 1, "y is forgotten, x is not: it asked for a pause");
    let mut turns = 0;
    while let Some(at) = rig.next_deadline() {
        assert_eq!(rig.send(at, "tick"), "");
        turns += 1;
        assert!(turns < 20, "the timers never end");
    }
    assert_eq!(rig.dispatcher.partners.len(), 0, "x is forgotten an idle time after its pause");
}

#[test]
fn what_waited_for_longer_than_the_idle_time_goes_away_after_it_as_well() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 429 1000s", ""),
        (1_000_002, "tick", "flush x a"),
        (1_000_003, "accepted x", "delete a"),
        (1_000_004, "settled", ""),
    ]);
    while let Some(at) = rig.next_deadline() {
        rig.send(at, "tick");
    }
    assert_eq!((rig.dispatcher.status().buckets, rig.dispatcher.partners.len()), (0, 0));
}

#[test]
fn the_gate_of_a_bucket_outlives_its_idle_time() {
    let mut rig = rig(|partner| {
        partner.give_up_after = Some(SECOND);
        partner.idle_timeout = SECOND * 5;
        partner.max_backoff = SECOND * 20;
    });
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 404", ""),
        (1001, "tick", "letter a:expired"),
        (1002, "settled", ""),
        (10_000, "tick", ""),
        (19_500, "handled b->x", ""),
        (20_001, "tick", ""),
        (20_002, "tick", "flush x b"),
    ]);
}

#[test]
fn a_partner_without_idle_time_does_not_spin() {
    let mut rig = rig(|partner| partner.idle_timeout = Duration::ZERO);
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (0, "handled a->x b->x", "flush x a b"),
        (0, "tick", ""),
        (1, "tick", ""),
        (2, "accepted x", "delete a b"),
    ]);
}

#[test]
fn a_refused_endpoint_is_said_on_its_edges_and_counts_as_open() {
    let mut rig = rig(|partner| partner.max_backoff = SECOND * 20);
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 404", ""),
        (20_002, "tick", "flush x a"),
        (20_003, "answered x 410", ""),
    ]);
    let partners = rig.dispatcher.status().partners;
    assert_eq!((partners.open, partners.healthy), (1, 0));
    rig.play(&[(40_003, "tick", "flush x a"), (40_004, "accepted x", "delete a")]);
    let partners = rig.dispatcher.status().partners;
    assert_eq!((partners.open, partners.healthy), (0, 1));
    let [Note::PartnerWaits { state, reason, failures: 1, next_attempt_in, .. }, Note::PartnerWell { after_failures: 2, .. }] =
        &rig.notes[..]
    else {
        panic!("one line at each edge: {:?}", rig.notes);
    };
    assert_eq!((state.word(), reason.as_str(), *next_attempt_in), ("open", "answered 404", SECOND * 20));
}

#[test]
fn a_partner_that_fails_is_said_when_it_begins_when_its_breaker_opens_and_when_it_takes_again() {
    let mut rig = rig(|partner| partner.breaker_failures = 2);
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a"), (2, "answered x 503 5s", "")]);
    rig.play(&[(5_002, "tick", "flush x a"), (5_003, "answered x 502 5s", ""), (10_003, "tick", "flush x a")]);
    rig.play(&[(10_004, "answered x 503 5s", ""), (15_004, "tick", "flush x a"), (15_005, "accepted x", "delete a")]);
    let said = rig.notes.iter().map(|note| match note {
        Note::PartnerWaits { state, reason, failures, .. } => format!("{state} {reason} {failures}"),
        Note::PartnerWell { after_failures, .. } => format!("well {after_failures}"),
        other => format!("{other:?}"),
    });
    assert_eq!(said.collect::<Vec<_>>(), ["backing_off answered 503 1", "open answered 502 2", "well 3"]);
    assert_eq!(rig.dispatcher.partner("x").unwrap().last_error, None);
    let mut refused = self::rig(|_| {});
    refused.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a"), (2, "answered x 401", "")]);
    assert!(matches!(refused.notes[..], [Note::PartnerWaits { failures: 1, .. }]), "{:?}", refused.notes);
}

#[test]
fn a_refused_endpoint_gets_one_probe_whatever_its_parallel() {
    rig(|partner| {
        partner.parallel = 4;
        partner.max_batch = 1;
        partner.max_backoff = SECOND * 20;
    })
    .play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 404", ""),
        (3, "handled b->x", ""),
        (20_002, "tick", "flush x a"),
        (20_003, "accepted x", "flush x b; delete a"),
    ]);
}

#[test]
fn a_pause_that_a_partner_asks_for_with_what_it_refuses_is_said_and_so_is_its_end() {
    for code in [413, 422] {
        let mut rig = rig(|_| {});
        rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x b->x", "flush x a b")]);
        rig.play(&[(2, &format!("answered x {code} 60s"), "")]);
        let error = format!("answered {code}");
        let report = rig.dispatcher.partner("x").unwrap();
        assert_eq!(report.last_error.as_deref(), Some(error.as_str()));
        rig.play(&[(60_002, "tick", "flush x a")]);
        rig.send(60_003, "accepted x");
        let [Note::PartnerWaits { state, reason, next_attempt_in, .. }, Note::PartnerWell { after_failures: 0, .. }] =
            &rig.notes[..]
        else {
            panic!("one line at each edge: {:?}", rig.notes);
        };
        assert_eq!((state.word(), reason, *next_attempt_in), ("backing_off", &error, SECOND * 60));
    }
}

#[test]
fn a_pause_of_no_time_is_none() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x b->x", "flush x a b"),
        (2, "answered x 413 0s", "flush x a"),
        (3, "accepted x", "flush x b; delete a"),
    ]);
    assert!(rig.notes.is_empty(), "{:?}", rig.notes);
}

#[test]
fn what_is_accepted_while_a_pause_lasts_that_the_partner_asked_for_is_not_its_end() {
    let mut rig = rig(|rules| (rules.parallel, rules.max_batch) = (2, 1));
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x b->x", "flush x a; flush x b"),
        (2, "answered x 429 60s", ""),
        (3, "accepted x", "delete b"),
    ]);
    assert!(matches!(rig.notes[..], [Note::PartnerWaits { .. }]), "it takes nothing for a minute: {:?}", rig.notes);
    let error = |rig: &Rig| rig.dispatcher.partner("x").unwrap().last_error;
    assert_eq!(error(&rig).as_deref(), Some("answered 429"), "that is why it waits");
    rig.play(&[(60_002, "tick", "flush x a"), (60_003, "settled", ""), (60_004, "accepted x", "delete a")]);
    assert!(matches!(rig.notes[1..], [Note::PartnerWell { .. }]), "{:?}", rig.notes);
    assert_eq!(error(&rig), None);
}
