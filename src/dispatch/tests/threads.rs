//! Delivery threads are few: the longest-waiting bucket gets the next one, whatever its queue.
//! The disk has only a part of them, and standard output another.

use std::sync::Arc;

use super::rig::Rig;
use super::{partner_rules, queue_rules, rules};
use crate::dispatch::{Medium, Rules};

/// Returns a rig in which these partners are proven, so that none is held back for being new.
fn rig(rules: Rules, accounts: &[&str]) -> Rig {
    let mut rig = Rig::new(rules);
    rig.prove(accounts);
    rig
}

#[test]
fn no_more_flushes_than_threads_and_the_longest_waiting_next() {
    let mut rules = rules();
    rules.delivery_threads = 2;
    rig(rules, &["v", "w", "x", "y", "z"]).play(&[
        (0, "receive a b c d e f", "handle a|b|c|d|e|f"),
        (1, "handled a->v b->w", "flush v a; flush w b"),
        (2, "handled c->x", ""),
        (3, "handled d->y", ""),
        (4, "handled e->v", ""),
        // v is free again, but x and y waited longer.
        (5, "accepted v", "flush x c; delete a"),
        (6, "handled f->z", ""),
        (7, "accepted x", "flush y d"),
        (8, "accepted w", "flush v e"),
        (9, "accepted y", "flush z f"),
    ]);
}

#[test]
fn of_those_that_waited_equally_long_the_older_bucket_is_first() {
    let mut rules = rules();
    rules.delivery_threads = 1;
    rig(rules, &["v", "x", "w", "y"]).play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->v", "flush v a"),
        (2, "handled b->x c->w d->y", ""),
        (3, "accepted v", "flush x b; delete a"),
        (4, "accepted x", "flush w c"),
        (5, "accepted w", "flush y d"),
    ]);
}

#[test]
fn one_that_cannot_flush_any_more_gives_its_turn_away() {
    let mut rules = rules();
    rules.delivery_threads = 1;
    rules.queues.push(queue_rules("q1"));
    rig(rules, &["x", "y"]).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (0, "q1: receive d", "q1: handle d"),
        (1, "handled a->x", "flush x a"),
        (2, "q1: handled d->x", ""),
        (3, "handled b->y", ""),
        // x wants a pause: its other bucket waits for that, not for a thread.
        (4, "answered x 429 9s", "flush y b"),
    ]);
}

#[test]
fn the_disk_has_a_part_of_the_threads_and_leaves_the_rest_to_the_wire() {
    let mut rules = rules();
    (rules.delivery_threads, rules.disk_threads) = (3, 1);
    with_medium(&mut rules, &["f1", "f2"], Medium::Disk);
    rig(rules, &["f1", "f2", "web"]).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->f1", "flush f1 a"),
        (2, "handled b->f2", ""),
        (3, "handled c->web", "flush web c"),
        (4, "accepted f1", "flush f2 b; delete a"),
    ]);
}

#[test]
fn a_disk_that_hangs_leaves_half_of_all_threads_however_many_of_its_partners_were_well() {
    let mut rules = rules();
    (rules.delivery_threads, rules.disk_threads) = (8, 2);
    let files = ["f1", "f2", "f3", "f4", "f5", "f6"];
    with_medium(&mut rules, &files, Medium::Disk);
    let mut rig = rig(rules, &[&files[..], &["web"]].concat());
    rig.play(&[
        (0, "receive a b c d e f w", "handle a|b|c|d|e|f|w"),
        (1, "handled a->f1 b->f2 c->f3 d->f4 e->f5 f->f6", "flush f1 a; flush f2 b"),
        (1_001, "tick", "flush f3 c; flush f4 d"),
        (2_001, "tick", ""),
        (3_001, "handled w->web", "flush web w"),
    ]);
}

#[test]
fn standard_output_takes_two_threads_however_long_its_reader_does_not_read() {
    let mut rules = rules();
    rules.delivery_threads = 100;
    with_medium(&mut rules, &["o1", "o2", "o3"], Medium::Pipe);
    rig(rules, &["o1", "o2", "o3", "web"]).play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->o1 b->o2 c->o3", "flush o1 a; flush o2 b"),
        (3000, "tick", ""),
        (3001, "handled d->web", "flush web d"),
        (3002, "accepted o1", "flush o3 c; delete a"),
    ]);
}

#[test]
fn what_is_done_inline_needs_no_thread() {
    let mut rules = rules();
    rules.delivery_threads = 1;
    with_medium(&mut rules, &["void", "nil"], Medium::Inline);
    rig(rules, &["web", "x"]).play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->web", "flush web a"),
        (2, "handled b->void", "flush void b"),
        // Flushes of void and nil take no thread: x gets the only one once the flush of web has landed.
        (3, "handled c->x", ""),
        (4, "handled d->nil", "flush nil d"),
        (5, "accepted web", "flush x c; delete a"),
        (6, "accepted void", ""),
    ]);
}

fn with_medium(rules: &mut Rules, accounts: &[&str], medium: Medium) {
    let mut partner = partner_rules();
    partner.medium = medium;
    let partner = Arc::new(partner);
    rules.partners.by_account.extend(accounts.iter().map(|account| ((*account).into(), Arc::clone(&partner))));
}

#[test]
fn a_bucket_that_is_forgotten_stands_in_line_no_more() {
    let mut rules = rules();
    rules.delivery_threads = 1;
    let mut rig = rig(rules, &["x", "y"]);
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "handled b->y", ""),
        (30_000, "tick", "hide a=60s b=60s"),
        (30_001, "settled ok gone", ""),
    ]);
    for at in (60_000..700_000).step_by(30_000) {
        rig.play(&[(at, "tick", "hide a=60s"), (at, "settled", "")]);
    }
    assert_eq!(rig.dispatcher.status().buckets, 1, "y has been idle for ten minutes");
}

#[test]
fn flushes_to_the_wire_and_to_the_disk_share_all_threads_and_the_half_of_those_that_are_not_proven() {
    let mut rules = rules();
    (rules.delivery_threads, rules.disk_threads) = (4, 4);
    with_medium(&mut rules, &["f1", "f2", "f3"], Medium::Disk);
    let mut rig = rig(rules, &["f1", "f2", "w1", "w2", "w3"]);
    rig.play(&[
        (0, "receive a b c d e f g h", "handle a|b|c|d|e|f|g|h"),
        (1, "handled a->new", "flush new a"),
        (1, "handled b->f3", "flush f3 b"),
        (1, "handled c->newer", ""),
        (2, "handled d->f1 e->w1", "flush f1 d; flush w1 e"),
        (3, "handled f->w2", ""),
        (3, "handled g->f2", ""),
        (4, "accepted w1", "flush f2 g; delete e"),
    ]);
}
