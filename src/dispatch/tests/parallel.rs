//! `parallel`: several flushes of one partner on the wire, and what that means for failures and for order.

use std::time::Duration;

use super::rig::Rig;
use super::{partner_rules, rules};
use crate::dispatch::{Note, PartnerRules};

fn rig(change: impl FnOnce(&mut PartnerRules)) -> Rig {
    let (mut rules, mut partner) = (rules(), partner_rules());
    partner.parallel = 8;
    partner.max_batch = 1;
    change(&mut partner);
    rules.partners.default = partner.into();
    // Only what the table is about falls due.
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    Rig::new(rules)
}

fn all_on_the_wire(rig: &mut Rig) {
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->x b->x c->x d->x", "flush x a; flush x b; flush x c; flush x d"),
    ]);
}

#[test]
fn failures_side_by_side_are_one_failure_and_one_line() {
    let mut rig = rig(|partner| partner.breaker_failures = 2);
    all_on_the_wire(&mut rig);
    for at in 2..6 {
        assert_eq!(rig.send(at, "answered x 503"), "");
    }
    let status = rig.dispatcher.status();
    assert_eq!((status.waiting[0].failures, status.waiting[0].state.word()), (1, "backing_off"));
    assert_eq!(rig.notes.len(), 1, "{:?}", rig.notes);
    let (retry, commands) = rig.skip_to_commands();
    assert!(retry <= 1002, "the first back-off, not the fourth");
    // The probe fails as well: that is the second failure, and the breaker opens.
    assert_eq!(commands, "flush x a");
    assert_eq!(rig.send(retry + 1, "answered x 503"), "");
    assert_eq!(rig.dispatcher.status().waiting[0].state.word(), "open");
    assert!(matches!(rig.notes[1], Note::PartnerWaits { failures: 2, .. }), "{:?}", rig.notes);
}

#[test]
fn what_was_refused_leaves_again_in_its_order_however_it_landed() {
    let mut rig = rig(|partner| partner.max_backoff = Duration::from_secs(1));
    all_on_the_wire(&mut rig);
    rig.play(&[
        (2, "answered x+2 503", ""),
        (3, "answered x 503", ""),
        (4, "answered x+1 503", ""),
        (5, "answered x 503", ""),
        (1005, "tick", "flush x a"),
        (1006, "accepted x", "flush x b; flush x c; flush x d; delete a"),
    ]);
}

#[test]
fn the_oldest_is_known_however_they_landed() {
    let mut rig = rig(|_| {});
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1000, "handled a->x", "flush x a"),
        (3000, "handled b->x", "flush x b"),
        (4000, "answered x 429 60s", ""),
        (4001, "answered x 429 60s", ""),
    ]);
    assert_eq!(rig.dispatcher.status().waiting[0].oldest_age_s, 3.001);
}

#[test]
fn only_what_is_too_old_is_given_up_however_it_landed() {
    let mut rig = rig(|partner| partner.give_up_after = Some(Duration::from_secs(10)));
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1000, "handled a->x", "flush x a"),
        (5000, "handled b->x", "flush x b"),
        (6000, "answered x 429 60s", ""),
        (6001, "answered x 429 60s", ""),
        (10_999, "tick", ""),
        (11_000, "tick", "letter a:expired"),
        (11_001, "settled", ""),
        (15_000, "tick", "letter b:expired"),
    ]);
}

#[test]
fn the_older_of_two_that_land_the_wrong_way_round_is_given_up_in_time() {
    let mut rig = rig(|partner| partner.give_up_after = Some(Duration::from_secs(10)));
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1000, "handled a->x", "flush x a"),
        (5000, "handled b->x", "flush x b"),
        (6000, "answered x+1 429 60s", ""),
        (6001, "answered x 429 60s", ""),
        (11_000, "tick", "letter a:expired"),
    ]);
}

#[test]
fn the_halves_of_a_batch_keep_their_places_among_others() {
    let mut rig = rig(|partner| {
        partner.max_batch = 2;
        partner.parallel = 2;
    });
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->x b->x c->x d->x", "flush x a b; flush x c d"),
        // The later batch is halved first; its halves stay behind those of the earlier one.
        (2, "answered x+1 413", "flush x c"),
        (3, "answered x 413", "flush x a"),
        (4, "accepted x", "flush x b; delete c"),
        (5, "settled", ""),
        (6, "accepted x", "flush x d; delete a"),
    ]);
}
