//! The bulkhead: partners that are slow, failing or not proven share half of the delivery threads; healthy
//! partners always find a free one.

use super::rig::Rig;
use super::{partner_rules, queue_rules, rules};
use crate::dispatch::{Medium, PartnerRules};

/// Returns a rig with this many delivery threads, in which these partners are proven.
fn rig(threads: usize, proven: &[&str], change: impl FnOnce(&mut PartnerRules)) -> Rig {
    let (mut rules, mut partner) = (rules(), partner_rules());
    change(&mut partner);
    rules.partners.default = partner.into();
    rules.queues.push(queue_rules("q1"));
    rules.delivery_threads = threads;
    let mut rig = Rig::new(rules);
    rig.prove(proven);
    rig
}

#[test]
fn partners_of_whom_nothing_is_known_share_half_of_the_threads() {
    rig(4, &["old"], |_| {}).play(&[
        (0, "receive a b c d e", "handle a|b|c|d|e"),
        (1, "handled a->n1 b->n2 c->n3", "flush n1 a; flush n2 b"),
        (2, "handled d->old", "flush old d"),
        // n1 is proven by its first success: its thread goes to the next unproven partner, and n1 may
        // use the other half from now on.
        (3, "handled e->n1", ""),
        (4, "accepted n1", "flush n3 c; flush n1 e; delete a"),
    ]);
}

#[test]
fn of_an_odd_number_less_than_half_is_occupied_when_one_starts() {
    rig(3, &[], |_| {}).play(&[(0, "receive a b c", "handle a|b|c"), (1, "handled a->n1 b->n2 c->n3", "flush n1 a; flush n2 b")]);
}

#[test]
fn with_a_single_thread_there_is_no_half_to_keep_free() {
    rig(1, &[], |_| {}).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->n1 b->n2", "flush n1 a"),
        (2, "accepted n1", "flush n2 b; delete a"),
    ]);
}

#[test]
fn a_partner_is_slow_after_a_second_by_time_alone() {
    let mut rig = rig(4, &["s1", "s2", "s3", "w"], |_| {});
    rig.play(&[
        (0, "receive a b c d e f", "handle a|b|c|d|e|f"),
        (1, "handled a->s1 b->s2 c->s3", "flush s1 a; flush s2 b; flush s3 c"),
        // The flushes on three of four threads hang, which is not known yet: `new` gets the
        // fourth thread, and w has to wait.
        (1000, "handled d->new", "flush new d"),
        (1001, "handled e->w", ""),
        (1002, "accepted new", "flush w e; delete d"),
        (1003, "accepted w", ""),
        // Now the three are slow and occupy more than half: unproven partners have to wait, healthy ones do not.
        (1004, "handled f->newer", ""),
    ]);
    rig.play(&[(1005, "receive g", "handle g"), (1006, "handled g->w", "flush w g")]);
}

#[test]
fn the_moment_in_which_it_becomes_slow_is_known_beforehand() {
    let mut rig = rig(4, &["s"], |_| {});
    rig.play(&[(0, "receive a", "handle a"), (2000, "handled a->s", "flush s a")]);
    assert_eq!(rig.next_deadline(), Some(3000));
}

#[test]
fn each_flush_is_watched_whatever_became_of_those_that_began_before_it() {
    let mut rig = rig(8, &["a", "b", "c"], |_| {});
    rig.play(&[
        (0, "receive k l m", "handle k|l|m"),
        (0, "handled k->a", "flush a k"),
        (300, "handled l->b", "flush b l"),
        (600, "handled m->c", "flush c m"),
        (700, "accepted b", "delete l"),
        (701, "settled", ""),
        (1000, "tick", ""),
    ]);
    assert_eq!(rig.next_deadline(), Some(1600), "c's turns slow");
}

#[test]
fn a_partner_that_is_always_slow_has_twice_its_own_time() {
    let mut rig = rig(2, &[], |_| {});
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->s", "flush s a"),
        (3001, "accepted s", "delete a"),
        (3002, "settled", ""),
        (4000, "handled b->s", "flush s b"),
        // s usually takes three seconds, so it is well for six.
        (9998, "handled c->n1", "flush n1 c"),
        (9999, "accepted n1", "delete c"),
        (10_000, "handled d->n2", ""),
        (10_001, "accepted s", "flush n2 d"),
    ]);
}

#[test]
fn a_failure_takes_threads_away_and_a_success_gives_them_back() {
    let mut rig = rig(2, &["x", "y"], |_| {});
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->x b->y", "flush x a; flush y b"),
        (2, "answered x 429 1s", ""),
        (3, "answered y 429 1s", ""),
        // Both flushes are due, and there is a thread for only one.
        (1004, "tick", "flush x a"),
        (1005, "accepted x", "flush y b; delete a"),
        (1006, "handled c->x", "flush x c"),
    ]);
}

#[test]
fn the_not_proven_come_before_the_failing() {
    let mut rig = rig(2, &["f"], |_| {});
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->f", "flush f a"),
        (2, "answered f 429 1s", ""),
        (3, "handled b->n1", "flush n1 b"),
        (900, "handled c->n2", ""),
        (1004, "tick", ""),
        // n2 has waited for a shorter time than f, but the unproven come before the failing.
        (1004, "accepted n1", "flush n2 c; delete b"),
        (1005, "accepted n2", "flush f a"),
    ]);
}

#[test]
fn what_waits_for_a_thread_moves_when_its_partner_changes() {
    let mut rig = rig(4, &["x", "h1", "h2", "h3"], |partner| partner.parallel = 2);
    rig.play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (0, "q1: receive e", "q1: handle e"),
        (1, "handled a->x b->h1 c->h2 d->h3", "flush x a; flush h1 b; flush h2 c; flush h3 d"),
        (2, "q1: handled e->x", ""),
        // All four partners are slow, x with a waiting delivery. The thread that h1 frees does not help:
        // three are still more than half.
        (1001, "tick", ""),
        (1002, "accepted h1", "delete b"),
        // Two are still too many, but x takes again.
        (1003, "accepted x", "q1: flush x e"),
    ]);
}

#[test]
fn flushes_in_flight_count_with_their_partner() {
    let mut rig = rig(4, &["x"], |partner| {
        partner.parallel = 3;
        partner.max_batch = 1;
    });
    rig.play(&[
        (0, "receive a b c d e", "handle a|b|c|d|e"),
        (1, "handled a->x b->x c->x", "flush x a; flush x b; flush x c"),
        // x fails, so that its two flushes that are still on the wire count as well: half is occupied.
        (2, "answered x 503", ""),
        (3, "handled d->n1", ""),
        // The success of one of them ends that: x is well, and its other flush no longer counts.
        (4, "accepted x", "flush x a; flush n1 d; delete b"),
        (5, "handled e->n2", "flush n2 e"),
    ]);
}

#[test]
fn the_disk_keeps_half_of_its_part_free_as_well() {
    let mut rules = rules();
    (rules.delivery_threads, rules.disk_threads) = (100, 2);
    let mut file = partner_rules();
    file.medium = Medium::Disk;
    rules.partners.default = file.into();
    let mut rig = Rig::new(rules);
    rig.prove(&["old"]);
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->new b->newer", "flush new a"),
        (2, "handled c->old", "flush old c"),
        (3, "accepted new", "flush newer b; delete a"),
    ]);
}

#[test]
fn a_refused_message_says_nothing_about_its_partner() {
    rig(2, &["x"], |_| {}).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 422", "letter a:refused"),
        (3, "handled b->new", "flush new b"),
        (4, "handled c->x", "flush x c"),
    ]);
}

#[test]
fn one_that_breaks_at_a_message_which_is_at_fault_is_a_suspect_until_it_accepts_another() {
    let mut rig = rig(2, &[], |partner| (partner.max_batch, partner.parallel, partner.breaker_failures) = (1, 2, 1));
    rig.play(&[(0, "receive a b c d", "handle a|b|c|d"), (1, "handled a->x b->x", "flush x a"), (2, "answered x 500", "")]);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "flush x b", "it tells whether a is at fault");
    rig.play(&[
        (at, "accepted x", "flush x a; delete b"),
        (at, "settled", ""),
        (at, "answered x 500", "letter a:refused"),
        (at, "settled", ""),
        (at, "handled c->x d->x", "flush x c"),
        (at, "accepted x", "flush x d; delete c"),
    ]);
}

/// Returns a rig with a hundred delivery threads, two of them for the disk, to which all partners deliver.
fn on_disk(proven: &[&str]) -> Rig {
    let mut rules = rules();
    (rules.delivery_threads, rules.disk_threads) = (100, 2);
    let mut file = partner_rules();
    file.medium = Medium::Disk;
    rules.partners.default = file.into();
    let mut rig = Rig::new(rules);
    rig.prove(proven);
    rig
}

#[test]
fn files_on_a_disk_that_hangs_do_not_hold_up_those_on_another() {
    on_disk(&["h1", "h2", "h3", "g1", "g2"]).play(&[
        (0, "receive a b c d e f", "handle a|b|c|d|e|f"),
        (1, "handled a->h1 b->h2", "flush h1 a; flush h2 b"),
        (2, "handled c->h3 d->g1", ""),
        // The first two are slow by now, and leave their threads to others.
        (1001, "tick", "flush h3 c; flush g1 d"),
        (1002, "handled e->g2", ""),
        (1003, "accepted g1", "flush g2 e; delete d"),
        (1004, "accepted g2", ""),
        (1005, "handled f->g1", "flush g1 f"),
    ]);
}

#[test]
fn after_a_start_files_on_a_disk_that_hangs_do_not_hold_up_those_on_another() {
    on_disk(&[]).play(&[
        (0, "receive a b c d", "handle a|b|c|d"),
        (1, "handled a->h1 b->h2 c->g1 d->g2", "flush h1 a"),
        (1001, "tick", "flush h2 b"),
        (2001, "tick", "flush g1 c"),
        (2002, "accepted g1", "flush g2 d; delete c"),
    ]);
}

#[test]
fn flushes_on_a_disk_that_hangs_take_at_most_half_of_all_threads() {
    let mut rules = rules();
    (rules.delivery_threads, rules.disk_threads) = (4, 1);
    let mut file = partner_rules();
    file.medium = Medium::Disk;
    rules.partners.default = file.into();
    Rig::new(rules).play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->h1 b->h2 c->h3", "flush h1 a"),
        (1001, "tick", "flush h2 b"),
        (2001, "tick", ""),
        (2002, "accepted h1", "flush h3 c; delete a"),
    ]);
}
