//! The survey of all partners: counted in parts or at once, the result is the same and true.

use super::super::{ParkingRules, Rules, Search, Survey};
use super::rig::Rig;
use super::{message, partner_rules, rules};
use crate::message::Item;
use crate::message::park::{START, ToPark};
use std::sync::Arc;
use std::time::Duration;

/// Returns a rig with ten partners: one on the wire, one backing off, one paused, one limited, one
/// open, five that wait for a thread.
fn rig() -> Rig {
    let mut rules = rules();
    rules.delivery_threads = 1;
    let limited = super::PartnerRules { rate: Some((1, Duration::from_secs(60))), ..partner_rules() };
    rules.partners.by_account.insert("limited".into(), Arc::new(limited));
    let mut rig = Rig::new(rules);
    rig.prove(&["limited", "busy"]);
    rig.send(0, "receive b");
    rig.send(0, "handled b->backing");
    rig.send(0, "answered backing 503");
    rig.send(0, "receive o");
    rig.send(0, "handled o->open");
    rig.send(0, "answered open 401");
    rig.send(0, "pause paused");
    rig.send(0, "receive w");
    rig.send(0, "handled w->busy");
    for n in 0..5 {
        rig.send(10 + n, &format!("receive m{n}"));
        rig.send(10 + n, &format!("handled m{n}->waits-{n}"));
    }
    rig.send(20, "tick");
    rig
}

#[test]
fn the_states_of_all_are_counted() {
    let status = rig().dispatcher.status();
    let partners = &status.partners;
    let states = [partners.healthy, partners.backing_off, partners.open, partners.limited, partners.paused];
    assert_eq!((partners.total, states), (10, [6, 1, 1, 1, 1]), "{partners:?}");
    assert_eq!((partners.waiting, status.buckets), (7, 9), "the paused one has no bucket");
    assert_eq!(status.queues[0].oldest_waiting_s, Some(0.02));
}

#[test]
fn in_parts_it_is_the_same_as_at_once() {
    let rig = rig();
    let whole = serde_json::to_value(rig.dispatcher.status()).unwrap();
    for part in [1, 3, 10, 11] {
        let (mut survey, mut turns) = (Survey::default(), 1);
        while !rig.dispatcher.survey(&mut survey, part) {
            turns += 1;
        }
        assert_eq!(serde_json::to_value(rig.dispatcher.surveyed(survey)).unwrap(), whole, "in parts of {part}");
        assert!(turns > 9 / part, "{turns} turns in parts of {part}");
    }
}

#[test]
fn the_longest_waiting_come_first_and_only_so_many() {
    let mut rules = rules();
    rules.delivery_threads = 1;
    let mut rig = Rig::new(rules);
    for n in 0..60 {
        rig.send(n, &format!("receive m{n}"));
        rig.send(n, &format!("handled m{n}->a{n}"));
    }
    let waiting = rig.dispatcher.status().waiting;
    let accounts: Vec<&str> = waiting.iter().map(|row| row.account.as_str()).collect();
    let expected: Vec<String> = (1..=50).map(|n| format!("a{n}")).collect();
    assert_eq!(accounts, expected, "a0 is on the wire");
}

#[test]
fn the_longest_waiting_are_found_in_whatever_order_their_partners_came() {
    let mut rig = Rig::new(rules());
    (0..60).rev().for_each(|n| _ = rig.send(0, &format!("pause a{n}")));
    for n in 0..60 {
        rig.send(n, &format!("receive m{n}"));
        rig.send(n, &format!("handled m{n}->a{n}"));
    }
    let status = rig.dispatcher.status();
    let accounts: Vec<_> = status.waiting.iter().map(|row| row.account.clone()).collect();
    assert_eq!(accounts, (0..50).map(|n| format!("a{n}")).collect::<Vec<_>>());
    assert_eq!(status.queues[0].oldest_waiting_s, Some(0.059));
    let mut search = Search::new("a", 60);
    rig.dispatcher.search(&mut search, 60);
    let found: Vec<_> = search.found().into_iter().map(|partner| partner.account).collect();
    assert!(found.len() == 60 && found.is_sorted(), "{found:?}");
}

#[test]
fn those_that_wait_are_in_order_whatever_left_since_they_were_looked_at() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a b c", "handle a|b|c"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 401", ""),
        (3, "handled b->y", "flush y b"),
        (4, "answered y 401", ""),
        (5, "handled c->x", ""),
    ]);
    let mut survey = Survey::default();
    assert!(!rig.dispatcher.survey(&mut survey, 2));
    rig.play(&[(6, "skip x", "reply open; letter a:skipped")]);
    let waiting = rig.dispatcher.surveyed(survey).waiting;
    assert_eq!(waiting.iter().map(|row| row.account.as_str()).collect::<Vec<_>>(), ["y", "x"]);
}

/// The partner's only delivery is on the wire, for one timeout after another.
#[test]
fn what_is_on_the_wire_waits_where_its_partner_is_away() {
    let mut rig = Rig::new(rules());
    rig.send(0, "receive a");
    rig.send(0, "handled a->hangs");
    let told = |rig: &Rig| {
        let status = rig.dispatcher.status();
        let rows: Vec<_> =
            status.waiting.iter().map(|row| (row.account.clone(), row.waiting, row.in_flight, row.oldest_age_s)).collect();
        let mut search = Search::new("hangs", 1);
        rig.dispatcher.search(&mut search, 9);
        let report = rig.dispatcher.partner("hangs").unwrap();
        assert_eq!(report.oldest_age_s, status.queues[0].oldest_waiting_s);
        assert_eq!(report.oldest_age_s, search.found()[0].oldest_age_s);
        assert_eq!(report.oldest_age_s.is_some(), report.lease_ends_in_s.is_some());
        (status.partners.waiting, rows, report.queues[0].oldest_age_s)
    };
    rig.send(900, "tick");
    assert_eq!(told(&rig), (0, vec![], None), "it may be quick");
    rig.send(1000, "tick");
    assert_eq!(told(&rig), (1, vec![("hangs".to_owned(), 0, 1, 1.0)], Some(1.0)));
    rig.send(2000, "unreachable hangs");
    assert_eq!(told(&rig), (1, vec![("hangs".to_owned(), 1, 0, 2.0)], Some(2.0)), "between two attempts");
    rig.send(9000, "tick");
    assert_eq!(told(&rig), (1, vec![("hangs".to_owned(), 0, 1, 9.0)], Some(9.0)), "at its next attempt from the start");
}

/// Of two partners with deliveries on the disk, one gets all the places that there are for these.
#[test]
fn what_is_on_the_disk_waits_too() {
    let found = vec![("x".into(), 6), ("y".into(), 6)];
    let parking = ParkingRules { name: "q0.parking".into(), of: 0, entry_limit: 10, found };
    let mut rig = Rig::new(Rules { max_in_flight: 12, parkings: vec![parking], ..rules() });
    let delivery = |account: &str, n: u32| ToPark {
        account: account.into(),
        item: Item { message: Arc::new(message(&format!("{account}{n}"), None)), index: None, payload: "1".into() },
        waited: Duration::ZERO,
        after: START,
        older: false,
    };
    let deliveries: Vec<ToPark> = ["x", "y"].into_iter().flat_map(|account| (0..6).map(move |n| delivery(account, n))).collect();
    rig.disk.park(rig.start, &deliveries);
    assert_eq!(rig.send(0, "unparked"), "flush x x0 x1 x2 x3 x4 x5");
    rig.send(5000, "tick");
    let report = rig.dispatcher.partner("y").unwrap();
    assert_eq!(
        (report.reason, report.parked, report.waiting),
        ("what is parked waits for room, or to be read from the disk", 6, 0)
    );
    assert_eq!((report.reason, report.oldest_age_s), (report.queues[0].reason, Some(5.0)));
    let status = rig.dispatcher.status();
    let rows: Vec<_> =
        status.waiting.iter().map(|row| (row.account.as_str(), row.waiting, row.parked, row.oldest_age_s)).collect();
    assert_eq!((status.partners.waiting, rows), (2, vec![("x", 0, 0, 5.0), ("y", 0, 6, 5.0)]));
    let queue = &status.queues[0];
    assert_eq!((queue.parked_now, queue.oldest_waiting_s), (6, Some(5.0)));
    let mut search = Search::new("y", 1);
    rig.dispatcher.search(&mut search, 9);
    assert_eq!(search.found()[0].oldest_age_s, Some(5.0));
}

#[test]
fn a_partner_that_was_forgotten_leaves_no_gap() {
    let mut rig = rig();
    rig.send(30, "resume paused");
    let status = rig.dispatcher.status();
    assert_eq!((status.partners.total, status.partners.paused), (9, 0));
    let mut search = Search::new("", 50);
    assert!(rig.dispatcher.search(&mut search, 100));
    assert_eq!(search.found().len(), 9);
}

#[test]
fn a_search_finds_a_part_of_the_account_whatever_its_case() {
    let rig = rig();
    let find = |text: &str, at_most: usize, part: usize| {
        let mut search = Search::new(text, at_most);
        while !rig.dispatcher.search(&mut search, part) {}
        search.found().into_iter().map(|partner| partner.account).collect::<Vec<_>>()
    };
    assert_eq!(find("WAITS-", 50, 2), ["waits-0", "waits-1", "waits-2", "waits-3", "waits-4"]);
    assert_eq!(find("waits-", 3, 100).len(), 3);
    assert!(find("WAITSÉ", 50, 100).is_empty());
}

#[test]
fn what_became_of_messages_is_told_in_words() {
    let mut rules = rules();
    rules.partners.default = Arc::new(partner_rules());
    let mut rig = Rig::new(rules);
    rig.send(0, "receive a b c d");
    rig.send(1, "handled a=discard b=reject c=retry:3s d->x");
    rig.send(2, "settled");
    rig.send(3, "settled");
    rig.send(4, "settled");
    rig.send(5, "answered x 413");
    rig.send(6, "settled");
    let queue = &rig.dispatcher.status().queues[0];
    let tally = &queue.tally;
    assert_eq!(tally.outcomes().collect::<Vec<_>>(), [("deliver", 1), ("discard", 1), ("retry", 1), ("reject", 1)]);
    assert_eq!(tally.returns().collect::<Vec<_>>(), [("handler", 1)]);
    let (dead, returned): (u64, u64) =
        (tally.deaths().map(|(_, count)| count).sum(), tally.returns().map(|(_, count)| count).sum());
    assert_eq!((dead, returned), (queue.counts.dead, queue.counts.returned), "each has its reason");
    assert_eq!(tally.deaths().next(), Some(("rejected", 1)));
    let ended: u64 = tally.calls().map(|(.., count)| count).sum();
    assert_eq!(ended, queue.counts.requests, "nothing is under way");
}

#[test]
fn a_queue_that_fails_says_so_until_it_is_well() {
    let mut rig = Rig::new(rules());
    let failing =
        |rig: &Rig| rig.dispatcher.status().queues[0].failing.iter().map(|failing| failing.doing.word()).collect::<Vec<_>>();
    assert!(!rig.dispatcher.status().queues[0].reached);
    rig.send(0, "receive failed");
    assert_eq!((failing(&rig), rig.dispatcher.status().queues[0].reached), (vec!["receive"], false));
    rig.send(2000, "receive a");
    assert_eq!((failing(&rig), rig.dispatcher.status().queues[0].reached), (vec![], true));
    rig.send(2001, "handled a=discard");
    rig.send(2002, "settled fault");
    assert_eq!(failing(&rig), ["delete"]);
}
