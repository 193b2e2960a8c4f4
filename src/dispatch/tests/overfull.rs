//! Who holds more than its share, since it is away or takes too little, and what of it leaves memory.

use std::time::Duration;

use super::rig::Rig;
use super::share::{crowded, hidden, ids, narrow};
use super::{partner_rules, queue_rules, rules};
use crate::dispatch::{PartnerRules, QueueRules, Rules};

#[test]
fn what_waits_for_a_partner_that_hangs_leaves_before_its_flush_ends() {
    let mut rig = crowded("receive l m n a b c d e f");
    let (at, commands) = rig.skip_to_commands();
    assert_eq!((at, ids(&hidden(&commands))), (1_002, vec!["f", "e", "d"]), "it is slow after a second");
}

#[test]
fn a_partner_that_is_away_holds_ten_at_most_of_a_large_room() {
    let mut rules = Rules { max_in_flight: 100, ..rules() };
    (rules.queues[0].concurrency, rules.queues[0].receive_limit) = (100, 100);
    let mut rig = Rig::new(rules);
    let all = |account: &str, most| (0..most).map(|n| format!("{account}{n}")).collect::<Vec<_>>();
    let (others, own) = (all("y", 45), all("x", 20));
    let handled = |ids: &[String]| ids.iter().map(|id| format!("{id}->{}", &id[..1])).collect::<Vec<_>>().join(" ");
    rig.send(0, &format!("receive {} {}", others.join(" "), own.join(" ")));
    rig.send(1, &format!("handled {}", handled(&others)));
    rig.play(&[(2, "handled x0->x", "flush x x0")]);
    rig.send(3, &format!("handled {}", handled(&own[1..])));
    let left = hidden(&rig.send(300, "answered x 503 10s"));
    assert_eq!((left.len(), left[0].0.as_str()), (10, "x19"), "{left:?}");
}

#[test]
fn the_time_for_which_a_partner_was_away_says_nothing_about_how_fast_it_takes() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (0, "handled a->x", "flush x a"),
        (1, "handled b->x", ""),
        (500, "accepted x", "flush x b; delete a"),
        (501, "settled", ""),
        (600, "answered x 503 20s", ""),
        (20_600, "tick", "flush x b"),
        (21_100, "accepted x", "delete b"),
    ]);
    let partner = rig.dispatcher.partners.find("x").and_then(|key| rig.dispatcher.partners.partner(key)).unwrap();
    assert_eq!(partner.drain.per_second(), Some(2.0));
}

#[test]
fn what_came_last_for_one_that_takes_too_little_leaves_while_others_need_the_room() {
    let mut rules = Rules { max_in_flight: 100, ..rules() };
    (rules.queues[0].concurrency, rules.queues[0].receive_limit) = (100, 100);
    rules.partners.default = PartnerRules { max_batch: 1, hold_for: Duration::from_secs(10), ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    let all: Vec<_> = (0..60).map(|n| format!("m{n}")).collect();
    rig.send(0, &format!("receive {}", all.join(" ")));
    rig.send(0, &format!("handled {}", all.iter().map(|id| format!("{id}->x")).collect::<Vec<_>>().join(" ")));
    // One delivery in nearly a second: it may hold eleven.
    rig.play(&[(900, "accepted x", "flush x m1; delete m0")]);
    let left = hidden(&rig.send(901, "settled"));
    assert_eq!(ids(&left), (51..60).rev().map(|n| format!("m{n}")).collect::<Vec<_>>(), "until half of the room is free");
    assert!(left.iter().all(|(_, millis)| *millis > 45_000), "until what is ahead of it is taken: {left:?}");
}

#[test]
fn what_came_last_goes_back_whichever_queue_it_is_of() {
    let mut rig = Rig::new(Rules { queues: vec![queue_rules("q0"), queue_rules("q1")], ..narrow() });
    rig.play(&[
        (0, "receive a b c d e", "handle a|b|c|d|e"),
        (0, "q1: receive p q r", "q1: handle p|q|r"),
        (1, "handled a->x", "flush x a"),
        (2, "handled b->x c->x d->x e->x", ""),
        (3, "q1: handled p->x q->x r->x", ""),
    ]);
    let left = hidden(rig.send(300, "answered x 503 10s").strip_prefix("q1: ").expect("of the queue of the newest"));
    assert_eq!(ids(&left), ["r", "q"]);
}

#[test]
fn a_message_stays_whose_group_would_take_along_what_waits_for_another_that_takes() {
    let fifo = Rules { queues: vec![QueueRules { fifo: true, ..queue_rules("q0") }], ..narrow() };
    let mut rig = Rig::new(fifo);
    rig.play(&[
        (0, "receive l/1 a/2 b/3 c/4 d/5 e/6 f/6", "handle l|a|b|c|d|e|f"),
        (1, "handled l->y", "flush y l"),
        (2, "handled a->x", "flush x a"),
        (3, "handled b->x c->x d->x e->x f->x,y", ""),
    ]);
    assert_eq!(ids(&hidden(&rig.send(300, "answered x 503 10s"))), ["d"]);
}

#[test]
fn the_one_that_has_most_beyond_its_share_sheds_first_whether_it_takes_or_not() {
    let mut rules = Rules { max_in_flight: 100, ..rules() };
    (rules.queues[0].concurrency, rules.queues[0].receive_limit) = (100, 100);
    rules.partners.default = PartnerRules { max_batch: 1, hold_for: Duration::from_secs(10), ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive x", "handle x"),
        (0, "handled x->x", "flush x x"),
        (900, "accepted x", "delete x"),
        (900, "settled", ""),
    ]);
    // It may hold eleven by that; one that is away may hold ten.
    let all = |account: &str, most| (0..most).map(|n| format!("{account}{n}")).collect::<Vec<_>>();
    let (takes, away) = (all("x", 45), all("z", 12));
    let handled = |ids: &[String]| ids.iter().map(|id| format!("{id}->{}", &id[..1])).collect::<Vec<_>>().join(" ");
    rig.send(901, &format!("receive {} {}", takes.join(" "), away.join(" ")));
    rig.send(901, &format!("handled {} {}", handled(&takes), handled(&away)));
    rig.send(901, "answered z 503 600s");
    let left = hidden(&rig.skip_to_commands().1);
    assert_eq!(ids(&left), (38..45).rev().map(|n| format!("x{n}")).collect::<Vec<_>>(), "until half of the room is free");
}

#[test]
fn what_is_buried_is_the_oldest_whichever_queue_it_is_of() {
    let mut rig = Rig::new(Rules { queues: vec![queue_rules("q0"), queue_rules("q1")], ..narrow() });
    rig.play(&[
        // None of them may be received once more.
        (0, "facts 2 43200s", ""),
        (0, "q1: facts 2 43200s", ""),
        (0, "receive a", "handle a"),
        (0, "handled a->x", "flush x a"),
        (1, "q1: receive b g h i j k", "q1: handle b|g|h|i|j|k"),
        (1, "q1: handled b->x g->x h->x i->x j->x k->x", ""),
        (2, "receive c d e f", "handle c|d|e|f"),
        (2, "handled c->x d->x e->x f->x", ""),
        (3, "accepted x", "q1: flush x b g h i j k; delete a"),
        (4, "settled", ""),
        (300, "q1: answered x 503 10s", "q1: letter b:partner_unavailable"),
    ]);
}

#[test]
fn what_left_with_the_deliveries_of_another_counts_no_more() {
    let mut rules = Rules { max_in_flight: 20, ..rules() };
    (rules.queues[0].concurrency, rules.queues[0].receive_limit) = (100, 100);
    let mut rig = Rig::new(rules);
    let others: Vec<_> = (0..9).map(|n| format!("z{n}")).collect();
    rig.send(0, &format!("receive a b {} c d e f", others.join(" ")));
    rig.play(&[(1, "handled a->x b->y", "flush x a; flush y b")]);
    rig.send(2, &format!("handled {}", others.iter().map(|id| format!("{id}->z")).collect::<Vec<_>>().join(" ")));
    rig.play(&[
        (3, "handled c->x,y d->x,y e->x,y f->x,y", ""),
        (300, "answered x 503 600s", ""),
        (300, "answered y 503 600s", ""),
    ]);
    // Each of the two has five and may hold two; more than half of the room is taken whatever leaves of them.
    assert_eq!(ids(&hidden(&rig.send(301, "tick"))), ["f", "e", "d"]);
}

#[test]
fn what_a_partner_takes_by_its_rate_is_what_it_may_hold() {
    let mut rules = rules();
    rules.partners.default = PartnerRules { rate: Some((1, Duration::from_secs(1))), max_batch: 1, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (0, "handled a->x b->x c->x", "flush x a"),
        (10, "accepted x", "delete a"),
        (20, "settled", ""),
        (1_000, "tick", "flush x b"),
        (1_010, "accepted x", "delete b"),
        (1_020, "settled", ""),
    ]);
    let partner = rig.dispatcher.partners.find("x").and_then(|key| rig.dispatcher.partners.partner(key)).unwrap();
    assert!(partner.drain.per_second().unwrap() < 2.0, "however quickly it answers: {:?}", partner.drain);
}

#[test]
fn a_backlog_of_one_that_takes_stays_while_nothing_comes_for_others() {
    let mut rules = Rules { max_in_flight: 100, ..rules() };
    (rules.queues[0].concurrency, rules.queues[0].receive_limit) = (100, 100);
    rules.partners.default = PartnerRules { max_batch: 1, max_waiting: 10, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    let all: Vec<_> = (0..60).map(|n| format!("m{n}")).collect();
    rig.send(0, &format!("receive {}", all.join(" ")));
    rig.send(0, &format!("handled {}", all.iter().map(|id| format!("{id}->x")).collect::<Vec<_>>().join(" ")));
    rig.play(&[(900, "accepted x", "flush x m1; delete m0"), (901, "settled", "")]);
}

const HOUR: u64 = 3_600_000;

/// Returns a rig with two queues, whose partners have what is older than an hour given up.
fn gives_up_after_an_hour(change: impl FnOnce(&mut PartnerRules)) -> Rig {
    let mut rules = Rules { queues: vec![queue_rules("q0"), queue_rules("q1")], ..rules() };
    rules.queues.iter_mut().for_each(|queue| queue.visibility_timeout = Duration::from_secs(12 * 3600));
    let mut partner = PartnerRules { give_up_after: Some(Duration::from_secs(3600)), ..partner_rules() };
    change(&mut partner);
    rules.partners.default = partner.into();
    Rig::new(rules)
}

/// All that it has is given up, and it has been idle for long enough by then.
#[test]
fn one_that_is_forgotten_with_the_last_that_it_has_holds_nothing_any_more() {
    let mut rig = gives_up_after_an_hour(|partner| (partner.linger, partner.max_waiting) = (Duration::from_secs(7200), 1));
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (0, "handled a->x b->x", ""),
        (HOUR, "tick", "letter a:expired b:expired"),
        (HOUR, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.status().partners.total, 0);
}

#[test]
fn an_endpoint_that_is_forgotten_with_the_last_that_it_has_holds_nothing_any_more() {
    let mut rig = gives_up_after_an_hour(|partner| (partner.max_backoff, partner.parallel) = (Duration::from_secs(7200), 2));
    rig.play(&[
        (0, "q1: receive p", "q1: handle p"),
        (0, "q1: handled p->x", "q1: flush x p"),
        (0, "receive a", "handle a"),
        (0, "handled a->x", "flush x a"),
        (1, "answered x 401", ""),
        (2, "q1: accepted x", "q1: delete p"),
        (3, "q1: settled", ""),
        (HOUR, "tick", "letter a:expired"),
        (HOUR, "settled", ""),
    ]);
    assert_eq!(rig.dispatcher.status().buckets, 0);
}
