//! Partners that get other rules while messages wait for them, and while some are on the wire.

use std::sync::Arc;
use std::time::Duration;

use super::rig::Rig;
use super::{partner_rules, rules};
use crate::dispatch::{Event, Medium, PartnerRules, PartnerTable, QueueChanges};

fn rig(threads: usize, change: impl FnOnce(&mut PartnerRules)) -> Rig {
    let (mut rules, mut partner) = (rules(), partner_rules());
    change(&mut partner);
    rules.partners.default = partner.into();
    rules.delivery_threads = threads;
    Rig::new(rules)
}

/// Returns a reload that gives one account rules of its own; the others stay as in [`partner_rules`].
fn now(account: &str, change: impl FnOnce(&mut PartnerRules)) -> Event {
    let mut partner = partner_rules();
    change(&mut partner);
    let by_account = [(account.into(), Arc::new(partner))].into();
    let partners = PartnerTable { default: Arc::new(partner_rules()), by_account };
    Event::Reloaded { partners, queues: QueueChanges::default() }
}

#[test]
fn what_waits_leaves_by_the_new_rules() {
    let mut rig = rig(100, |partner| partner.rate = Some((1, Duration::from_secs(60))));
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x b->y", "flush x a; flush y b"),
        (2, "accepted x", "delete a"),
        (3, "handled c->x", ""),
    ]);
    assert_eq!(rig.handle(4, now("y", |partner| partner.max_batch = 1)), "flush x c");
}

#[test]
fn a_higher_rate_counts_at_once() {
    let mut rig = rig(100, |partner| partner.rate = Some((1, Duration::from_secs(60))));
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x", "flush x a"),
        (2, "accepted x", "delete a"),
        (3, "handled b->x", ""),
    ]);
    assert_eq!(rig.handle(4, now("x", |partner| partner.rate = Some((1, Duration::from_secs(1))))), "");
    assert_eq!(rig.skip_to_commands(), (1_004, "flush x b".to_owned()));
}

#[test]
fn a_wait_that_a_partner_asked_for_outlives_a_reload() {
    let mut rig = rig(100, |_| {});
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a"), (2, "answered x 429 10s", "")]);
    assert_eq!(rig.handle(3, now("x", |partner| partner.max_batch = 1)), "");
    assert_eq!(rig.skip_to_commands(), (10_002, "flush x a".to_owned()));
}

#[test]
fn a_thread_is_given_back_where_it_was_taken() {
    let mut rig = rig(2, |_| {});
    rig.prove(&["x"]);
    rig.play(&[(0, "receive a b c", "handle a|b|c"), (1, "handled a->x", "flush x a")]);
    // The flush is on the wire and becomes slow while its partner's rules name the disk.
    assert_eq!(rig.handle(2, now("x", |partner| partner.medium = Medium::Disk)), "");
    rig.play(&[
        (5_000, "tick", ""),
        (5_001, "handled b->new", ""),
        (5_002, "accepted x", "flush new b; delete a"),
        // Unproven partners may use one of two threads. A thread that is still counted for the slow
        // flush, or missing, would show here.
        (5_003, "handled c->newer", ""),
        (5_004, "accepted new", "flush newer c"),
    ]);
}

#[test]
fn a_bucket_that_stood_in_line_for_a_thread_may_need_none_any_more() {
    let mut rig = rig(1, |_| {});
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x b->y", "flush x a")]);
    assert_eq!(rig.handle(2, now("y", |partner| partner.medium = Medium::Inline)), "flush y b");
    rig.play(&[(3, "accepted y", "delete b"), (4, "accepted x", "")]);
}

#[test]
fn an_idle_time_that_became_shorter_counts_at_once() {
    let mut rig = rig(100, |_| {});
    rig.prove(&["x"]);
    assert_eq!(rig.dispatcher.status().partners.total, 1);
    rig.handle(5_000, now("x", |partner| partner.idle_timeout = Duration::from_secs(1)));
    rig.send(5_001, "tick");
    assert_eq!(rig.dispatcher.status().partners.total, 0);
}
