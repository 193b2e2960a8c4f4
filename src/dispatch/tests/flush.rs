//! Batches: flushed in the turn in which they may be, when full, after a linger, in order, and one at a time.

use std::time::Duration;

use super::rig::Rig;
use super::{partner_rules, rules};
use crate::dispatch::PartnerRules;

fn rig(change: impl FnOnce(&mut PartnerRules)) -> Rig {
    let (mut rules, mut partner) = (rules(), partner_rules());
    change(&mut partner);
    rules.partners.default = partner.into();
    // Only what the table is about falls due.
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    Rig::new(rules)
}

/// Handles these messages in one job, each for the partner `x`.
fn all_to_x(rig: &mut Rig, at: u64, ids: &[&str]) -> String {
    rig.send(at, &format!("receive {}", ids.join(" ")));
    let done: Vec<_> = ids.iter().map(|id| format!("{id}->x")).collect();
    rig.send(at, &format!("handled {}", done.join(" ")))
}

#[test]
fn leaves_in_the_turn_in_which_it_enters_and_what_comes_meanwhile_is_the_next() {
    rig(|_| {}).play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->x", "flush x a"),
        (2, "handled b->x", ""),
        (3, "handled c->x", ""),
        (4, "accepted x", "flush x b c; delete a"),
        (5, "handled d->x", ""),
        (6, "settled", ""),
        (7, "accepted x", "flush x d; delete b c"),
    ]);
}

#[test]
fn lingers_for_company_and_not_for_longer() {
    rig(|partner| partner.linger = Duration::from_secs(1)).play(&[
        (0, "receive a b", "handle a|b"),
        (10, "handled a->x", ""),
        (500, "handled b->x", ""),
        (1009, "tick", ""),
        (1010, "tick", "flush x a b"),
    ]);
}

#[test]
fn a_full_batch_does_not_linger() {
    let lingering = |partner: &mut PartnerRules| {
        partner.linger = Duration::from_secs(1);
        partner.max_batch = 2;
    };
    assert_eq!(all_to_x(&mut rig(lingering), 0, &["a", "b", "c"]), "flush x a b");
    assert_eq!(all_to_x(&mut rig(lingering), 0, &["a", "b"]), "flush x a b");
}

#[test]
fn a_batch_that_is_full_by_bytes_does_not_linger() {
    let mut rig = rig(|partner| {
        partner.linger = Duration::from_secs(1);
        partner.max_batch_bytes = 100;
    });
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x*60", ""),
        (2, "handled b->x*50", "flush x a"),
        (3, "handled c->x*500", ""),
        (4, "accepted x", "flush x b; delete a"),
        // A payload larger than a batch may be goes alone.
        (5, "accepted x", "flush x c"),
        (6, "settled", "delete b"),
        (7, "accepted x", ""),
        (8, "receive d e", "handle d|e"),
        (9, "handled d->x*60 e->x*40", "flush x d e"),
    ]);
}

#[test]
fn what_is_left_of_a_full_batch_lingers_from_its_own_start() {
    let mut rig = rig(|partner| {
        partner.linger = Duration::from_secs(1);
        partner.max_batch = 2;
    });
    assert_eq!(all_to_x(&mut rig, 0, &["a", "b", "c"]), "flush x a b");
    rig.play(&[(300, "accepted x", "delete a b"), (301, "settled", ""), (999, "tick", ""), (1000, "tick", "flush x c")]);
}

#[test]
fn a_batch_keeps_its_composition_over_retries() {
    let mut rig = rig(|_| {});
    assert_eq!(all_to_x(&mut rig, 0, &["a", "b"]), "flush x a b");
    rig.send(1, "receive c");
    rig.send(1, "handled c->x");
    let mut now = 1;
    for _ in 0..3 {
        assert_eq!(rig.send(now, "answered x 503"), "");
        let commands;
        (now, commands) = rig.skip_to_commands();
        assert_eq!(commands, "flush x a b");
    }
    assert_eq!(rig.send(now, "accepted x"), "flush x c; delete a b");
}

#[test]
fn a_culprit_is_found_by_halving_and_order_is_kept() {
    let mut rig = rig(|_| {});
    assert_eq!(all_to_x(&mut rig, 0, &["a", "b", "c", "d", "e"]), "flush x a b c d e");
    rig.play(&[
        (1, "answered x 422", "flush x a b c"),
        (2, "accepted x", "flush x d e; delete a b c"),
        (3, "settled", ""),
        (4, "answered x 422", "flush x d"),
        (5, "answered x 422", "flush x e; letter d:refused"),
        (6, "settled", ""),
        (7, "accepted x", "delete e"),
        (8, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.held(), 0);
}

#[test]
fn the_size_that_a_partner_takes_is_remembered() {
    let mut rig = rig(|_| {});
    assert_eq!(all_to_x(&mut rig, 0, &["a", "b", "c", "d", "e"]), "flush x a b c d e");
    rig.play(&[
        (1, "answered x 413", "flush x a b"),
        (2, "accepted x", "flush x c; delete a b"),
        (3, "settled", ""),
        (4, "accepted x", "flush x d e; delete c"),
        (5, "settled", ""),
        (6, "accepted x", "delete d e"),
        (7, "settled", ""),
    ]);
    assert_eq!(all_to_x(&mut rig, 8, &["f", "g", "h"]), "flush x f g");
}

#[test]
fn a_larger_size_is_tried_once_the_remembered_one_was_taken_often() {
    let mut rig = rig(|_| {});
    rig.play(&[(0, "receive a b c d", "handle a|b|c|d"), (0, "handled a->x b->x c->x d->x took:1ms", "flush x a b c d")]);
    rig.play(&[(1, "answered x 413", "flush x a b"), (2, "accepted x", "flush x c d; delete a b"), (3, "settled", "")]);
    rig.play(&[(4, "accepted x", "delete c d"), (5, "settled", "")]);
    for n in 2..16 {
        rig.send(10 * n, &format!("receive e{n} f{n}"));
        let flush = rig.send(10 * n, &format!("handled e{n}->x f{n}->x took:1ms"));
        assert_eq!(flush, format!("flush x e{n} f{n}"));
        rig.send(10 * n + 1, "accepted x");
        rig.send(10 * n + 2, "settled");
    }
    rig.play(&[
        (200, "receive g h i j", "handle g h i j"),
        // Between what is taken and what was refused.
        (200, "handled g->x h->x i->x j->x", "flush x g h i"),
    ]);
}

#[test]
fn how_long_each_flush_took_is_counted() {
    let mut rig = rig(|_| {});
    all_to_x(&mut rig, 0, &["a"]);
    rig.play(&[(500, "accepted x", "delete a"), (501, "settled", "")]);
    all_to_x(&mut rig, 1000, &["b"]);
    rig.send(1250, "answered x 503");
    let took = rig.dispatcher.status().times.delivery;
    assert_eq!((took.count(), took.sum()), (2, 0.75), "refused or not");
}

#[test]
fn a_single_one_that_is_too_large_is_dead() {
    let mut rig = rig(|_| {});
    all_to_x(&mut rig, 0, &["a"]);
    assert_eq!(rig.send(1, "answered x 413"), "letter a:too_large");
}

#[test]
fn several_flushes_at_once_where_the_partner_takes_them() {
    let mut rig = rig(|partner| {
        partner.parallel = 2;
        partner.max_batch = 1;
    });
    assert_eq!(all_to_x(&mut rig, 0, &["a", "b", "c"]), "flush x a; flush x b");
    assert_eq!(rig.send(1, "accepted x"), "flush x c; delete a");
}

#[test]
fn what_is_older_than_give_up_after_is_dead() {
    let mut rig = rig(|partner| {
        partner.give_up_after = Some(Duration::from_secs(10));
        partner.max_backoff = Duration::from_secs(3600);
    });
    all_to_x(&mut rig, 0, &["a", "b"]);
    rig.play(&[
        (5, "receive c", "handle c"),
        (9000, "answered x 429 1000s", ""),
        (9500, "handled c->x", ""),
        (9999, "tick", ""),
        (10_000, "tick", "letter a:expired b:expired"),
        (10_001, "settled", ""),
        (19_499, "tick", ""),
        (19_500, "tick", "letter c:expired"),
    ]);
}

#[test]
fn of_a_batch_only_what_is_too_old_is_dead() {
    let mut rig = rig(|partner| {
        partner.give_up_after = Some(Duration::from_secs(10));
        partner.linger = Duration::from_secs(1);
    });
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (0, "handled a->x", ""),
        (500, "handled b->x", ""),
        (1000, "tick", "flush x a b"),
        (1001, "answered x 429 1000s", ""),
        (10_000, "tick", "letter a:expired"),
    ]);
    assert_eq!(rig.dispatcher.status().waiting[0].waiting, 1);
    rig.play(&[(10_001, "settled", ""), (10_499, "tick", ""), (10_500, "tick", "letter b:expired")]);
}

#[test]
fn the_buckets_of_one_partner_take_turns_the_longest_waiting_first() {
    let mut rules = rules();
    rules.queues.push(super::queue_rules("q1"));
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (0, "q1: receive e", "q1: handle e"),
        (1, "handled a->x", "flush x a"),
        (2, "q1: handled e->x", ""),
        (3, "handled b->x", ""),
        // Both buckets wait. The first queue's bucket is older, but the second queue's delivery has waited for longer.
        (4, "accepted x", "q1: flush x e; delete a"),
        (5, "handled c->x", ""),
        (6, "q1: accepted x", "flush x b c; q1: delete e"),
    ]);
}

#[test]
fn a_larger_batch_that_was_refused_late_does_not_widen_what_is_remembered() {
    let mut rig = rig(|partner| {
        partner.parallel = 2;
        partner.max_batch = 4;
    });
    let first = all_to_x(&mut rig, 0, &["a", "b", "c", "d", "e", "f", "g", "h"]);
    assert_eq!(first, "flush x a b c d; flush x e f g h");
    rig.play(&[
        (1, "answered x 413", "flush x a b"),
        // From now on one delivery at a time; that e f g h is refused as well changes nothing.
        (2, "answered x+1 413", "flush x a"),
        (3, "answered x 413", "flush x b"),
    ]);
}

#[test]
fn what_is_not_held_any_more_is_not_given_up() {
    let mut rig = rig(|partner| {
        partner.give_up_after = Some(Duration::from_secs(4000));
        partner.max_backoff = Duration::from_secs(3600);
    });
    all_to_x(&mut rig, 0, &["a"]);
    rig.play(&[
        (1, "answered x 429 1000000s", ""),
        (3_600_000, "tick", "hide a=7200s"),
        (3_600_001, "settled gone", ""),
        (4_000_000, "tick", ""),
    ]);
    assert_eq!(rig.dispatcher.queues[0].counts.deliveries_dead, 0);
}

#[test]
fn of_a_batch_that_is_accepted_in_part_only_the_rest_is_sent_again() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->x b->x c->x d->x", "flush x a b c d"),
        // One of two deliveries is at fault: they are halved, and accepted deliveries are not sent again.
        (2, "partly x 0,2 400", "flush x b; delete a c"),
        (3, "settled", ""),
        (4, "answered x 400", "flush x d; letter b:refused"),
        (5, "settled", ""),
        (6, "accepted x", "delete d"),
        (7, "settled", ""),
        // Nor is a delivery whose message is still held for another one in the same batch.
        (8, "receive e f", "handle e|f"),
        (9, "handled e->x,x f->x", "flush x e-0 e-1 f"),
        (10, "partly x 0 400", "flush x e-1"),
        (11, "accepted x", "flush x f; delete e"),
    ]);
    assert_eq!(rig.dispatcher.status().queues[0].counts.delivered, 5);
}

#[test]
fn a_partner_that_takes_a_part_waits_for_the_rest_and_is_no_nearer_to_its_breaker() {
    let mut rig = rig(|partner| partner.breaker_failures = 2);
    all_to_x(&mut rig, 0, &["a", "b", "c"]);
    assert_eq!(rig.send(1, "partly x 0 503"), "delete a");
    rig.send(1, "settled");
    let (again, commands) = rig.skip_to_commands();
    assert_eq!(commands, "flush x b c");
    assert_eq!(rig.send(again + 1, "partly x 0 503"), "delete b");
    assert_eq!(rig.dispatcher.status().waiting[0].failures, 1);
}

#[test]
fn places_that_no_batch_has_accept_nothing() {
    let mut rig = rig(|_| {});
    assert_eq!(all_to_x(&mut rig, 0, &["a", "b"]), "flush x a b");
    assert_eq!(rig.send(1, "partly x 7 503"), "");
    assert_eq!(rig.skip_to_commands().1, "flush x a b");
}

#[test]
fn a_delivery_that_is_too_large_alone_does_not_make_the_batches_of_others_smaller() {
    let mut rig = rig(|_| {});
    assert_eq!(all_to_x(&mut rig, 0, &["a", "b", "c", "d"]), "flush x a b c d");
    rig.play(&[
        (1, "answered x 413", "flush x a b"),
        (2, "answered x 413", "flush x a"),
        (3, "answered x 413", "flush x b; letter a:too_large"),
        (4, "settled", ""),
        (5, "accepted x", "flush x c d; delete b"),
        (6, "settled", ""),
        (7, "accepted x", "delete c d"),
        (8, "settled", ""),
    ]);
    assert_eq!(all_to_x(&mut rig, 10, &["e", "f", "g", "h"]), "flush x e f g h");
}

#[test]
fn the_halves_of_a_batch_wait_for_as_long_as_the_partner_asks() {
    let mut rig = rig(|_| {});
    assert_eq!(all_to_x(&mut rig, 0, &["a", "b"]), "flush x a b");
    rig.play(&[(1, "answered x 422 30s", ""), (30_000, "tick", ""), (30_001, "tick", "flush x a")]);
}
