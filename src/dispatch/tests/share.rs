//! Shares of the room: what leaves memory because its partner is away, what may not, and how it comes back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::rig::Rig;
use super::{partner_rules, queue_rules, rules};
use crate::dispatch::{Note, PartnerRules, PartnerTable, Rules};

/// Returns the rules of a room with twelve places: six may be taken before the room is short, and a
/// partner that is away may hold three.
pub(super) fn narrow() -> Rules {
    Rules { max_in_flight: 12, ..rules() }
}

/// Returns a rig in which partner x has `a` to `f`, its first flush with `a` on the wire, and y has three more.
pub(super) fn crowded(receive: &str) -> Rig {
    let mut rig = Rig::new(narrow());
    rig.play(&[
        (0, receive, "handle l|m|n|a|b|c|d|e|f"),
        (1, "handled l->y m->y n->y", "flush y l m n"),
        (2, "handled a->x", "flush x a"),
    ]);
    rig.play(&[(3, "handled b->x c->x d->x e->x f->x", "")]);
    rig
}

/// Returns the messages that the commands hide, and for how many milliseconds.
pub(super) fn hidden(commands: &str) -> Vec<(String, u64)> {
    let call = commands.split("; ").find_map(|call| call.strip_prefix("hide ")).unwrap_or_default();
    let entries = call.split_whitespace().map(|entry| {
        let (id, time) = entry.split_once('=').expect("an id and a time");
        let millis = match (time.strip_suffix("ms"), time.strip_suffix('s')) {
            (Some(millis), _) => millis.parse().expect("milliseconds"),
            (None, Some(seconds)) => seconds.parse::<u64>().expect("seconds") * 1000,
            (None, None) => 0,
        };
        (id.to_owned(), millis)
    });
    entries.collect()
}

pub(super) fn ids(hidden: &[(String, u64)]) -> Vec<&str> {
    hidden.iter().map(|(id, _)| id.as_str()).collect()
}

#[test]
fn what_came_last_goes_back_for_half_a_minute_or_a_little_more() {
    let mut rig = crowded("receive l m n a b c d e f");
    let hidden = hidden(&rig.send(300, "answered x 503 10s"));
    assert_eq!(ids(&hidden), ["f", "e", "d"], "down to its share");
    assert!(hidden.iter().all(|(_, millis)| (30_000..=45_000).contains(millis)), "{hidden:?}");
    rig.send(301, "settled");
    let tally = &rig.dispatcher.status().queues[0].tally;
    assert_eq!(tally.returns().collect::<Vec<_>>(), [("partner_unavailable", 3)]);
    // The first is said at once, the others in a sum.
    let said = |rig: &Rig| {
        rig.notes
            .iter()
            .filter_map(|note| if let Note::GivenBack { count, .. } = note { Some(*count) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&rig), [1]);
    rig.send(10_300, "tick");
    assert_eq!(said(&rig), [1, 2]);
    let says_why = |note: &Note| matches!(note, Note::GivenBack { reason, .. } if reason.contains("takes nothing"));
    assert!(rig.notes.iter().any(says_why), "{:?}", rig.notes);
}

#[test]
fn what_came_back_before_stays_away_for_longer() {
    let hidden = hidden(&crowded("receive l m n a b c d e#3 f#5").send(300, "answered x 503 10s"));
    let times: Vec<u64> = hidden.iter().map(|(_, millis)| millis / 30_000).collect();
    assert_eq!(ids(&hidden), ["f", "e", "d"]);
    assert!((16..=24).contains(&times[0]) && (4..=6).contains(&times[1]) && times[2] == 1, "{hidden:?}");
}

#[test]
fn it_is_hidden_until_the_next_attempt_where_that_is_later() {
    let hidden = hidden(&crowded("receive l m n a b c d e f").send(300, "answered x 503 600s"));
    assert!(hidden.iter().all(|(_, millis)| (600_000..=900_000).contains(millis)), "{hidden:?}");
}

#[test]
fn nothing_leaves_while_half_of_the_room_is_free_or_before_it_waited_for_a_while() {
    let mut rig = Rig::new(narrow());
    rig.play(&[
        (0, "receive a b c d e f", "handle a|b|c|d|e|f"),
        (1, "handled a->x", "flush x a"),
        (2, "handled b->x c->x d->x e->x f->x", ""),
        (300, "answered x 503 10s", ""),
    ]);
    let mut young = crowded("receive l m n a b c d e f");
    young.play(&[(240, "answered x 503 10s", "")]);
    assert_eq!(young.skip_to_commands().0, 252, "the oldest came at 2 ms");
}

/// Its deliveries are too young at first, and its next attempt comes before they are old enough.
#[test]
fn who_was_passed_over_is_asked_again_although_its_alarm_rang_for_its_next_attempt() {
    let mut rules = narrow();
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    rules.partners.default = PartnerRules { max_batch: 1, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    rig.play(&[(0, "receive a", "handle a"), (1, "handled a->x", "flush x a"), (2, "answered x 503 200ms", "")]);
    rig.send(20, "receive b c d e f g h");
    rig.play(&[(30, "handled b->x c->x d->x e->x f->x g->x h->x", ""), (202, "tick", "flush x a")]);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!((ids(&hidden(&commands)), at < 500), (vec!["h", "g"], true), "{commands} at {at}");
}

#[test]
fn one_receive_before_the_redrive_policy_sets_it_aside_it_stays() {
    let mut rig = Rig::new(narrow());
    rig.play(&[
        (0, "facts 5 43200s", ""),
        (0, "receive l m n a b c d e#4 f", "handle l|m|n|a|b|c|d|e|f"),
        (1, "handled l->y m->y n->y", "flush y l m n"),
        (2, "handled a->x", "flush x a"),
        (3, "handled b->x c->x d->x e->x f->x", ""),
    ]);
    let hidden = hidden(&rig.send(300, "answered x 503 10s"));
    assert_eq!(ids(&hidden), ["f", "d"], "e would be received for the fifth time");
}

#[test]
fn what_waits_for_another_that_takes_stays() {
    let mut rig = Rig::new(narrow());
    rig.play(&[
        (0, "receive l a b c d e f", "handle l|a|b|c|d|e|f"),
        (1, "handled l->y", "flush y l"),
        (2, "handled a->x", "flush x a"),
        (3, "handled b->x c->x d->x e->x f->x,y", ""),
    ]);
    let first = hidden(&rig.send(300, "answered x 503 10s"));
    assert_eq!(ids(&first), ["e"], "one is enough");
}

#[test]
fn a_group_goes_back_whole_and_until_the_same_time() {
    let fifo = Rules { queues: vec![crate::dispatch::QueueRules { fifo: true, ..queue_rules("q0") }], ..narrow() };
    let mut rig = Rig::new(fifo);
    rig.play(&[
        (0, "receive l/1 m/2 n/3 a/4 b/5 c/5 d/6 e/6 f/6", "handle l|m|n|a|b|c|d|e|f"),
        (1, "handled l->y m->y n->y", "flush y l m n"),
        (2, "handled a->x", "flush x a"),
        (3, "handled b->x c->x d->x e->x f->x", ""),
    ]);
    let hidden = hidden(&rig.send(300, "answered x 503 10s"));
    let [(first, at), (second, also), (third, too), ..] = &hidden[..] else { panic!("{hidden:?}") };
    assert_eq!([first.as_str(), second, third], ["f", "e", "d"]);
    assert!(at == also && also == too, "{hidden:?}");
}

#[test]
fn once_the_partner_takes_the_first_sent_shows_first() {
    let mut rig = crowded("receive l m n a b c d e f");
    rig.send(300, "answered x 503 10s");
    rig.play(&[(310, "settled", ""), (320, "accepted y", "delete l m n"), (330, "settled", ""), (10_300, "tick", "flush x a")]);
    // x holds two more, so that half of its share is free.
    let shown = hidden(&rig.send(10_310, "accepted x"));
    assert_eq!(shown.first().map(|(id, millis)| (id.as_str(), *millis)), Some(("d", 0)), "{shown:?}");
    assert!(shown.len() <= 3);
}

#[test]
fn a_queue_that_does_not_answer_keeps_no_messages_of_another_hidden() {
    let mut rules = narrow();
    rules.queues.push(queue_rules("q1"));
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    rules.queues[1].entry_limit = 1;
    let mut rig = Rig::new(rules);
    rig.send(0, "receive a b c d e f");
    rig.send(0, "q1: receive u v w");
    rig.send(1, "q1: handled u->t v->t w->t");
    rig.send(2, "handled a->x b->x c->x d->x e->x f->x");
    let left = hidden(&rig.send(300, "answered x 503 600s"));
    rig.send(301, "settled");
    // The leases of q1 have to be extended, one by one, and the first call never ends.
    assert_eq!(rig.send(30_001, "tick"), "q1: hide u=60s");
    assert_eq!(rig.send(600_301, "tick"), "flush x a b c");
    assert_eq!(rig.send(600_310, "accepted x"), "delete a b c");
    let shown = hidden(&rig.send(600_311, "settled"));
    assert_eq!(shown.first(), left.last().map(|(id, _)| (id.clone(), 0)).as_ref(), "{shown:?}");
}

/// Of `a` and `b`, which were hidden for `x`, `a` is shown for a try and accepted; then `b` shows, too.
fn the_other_shows_once_the_one_is_accepted(rig: &mut Rig) {
    rig.play(&[
        (402_000, "settled", ""),
        (402_001, "receive a#2", "handle a"),
        (402_002, "handled a->x", "flush x a"),
        (402_010, "accepted x", "delete a'2"),
        (402_020, "settled", "hide b=0"),
    ]);
}

#[test]
fn of_a_partner_of_which_nothing_is_left_one_is_shown_to_try_it_with() {
    let mut rig = Rig::new(Rules { max_in_flight: 2, ..rules() });
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x", "flush x a"), (2, "handled b->x", "")]);
    let left = hidden(&rig.send(300, "answered x 503 400s"));
    assert_eq!(ids(&left), ["b", "a"], "its share is nothing");
    rig.play(&[(310, "settled", "")]);
    assert_eq!(rig.dispatcher.held(), 0);
    let (at, commands) = rig.skip_to_commands();
    assert!((400_300..402_000).contains(&at), "{at}");
    assert_eq!(commands, "hide a=0", "and not the other");
    the_other_shows_once_the_one_is_accepted(&mut rig);
}

/// However long the backlog of others fills the room: else it would be tried only when a message shows by itself, after hours.
#[test]
fn of_a_partner_of_which_nothing_is_left_one_is_shown_although_others_fill_half_of_the_room() {
    let mut rig = crowded("receive l m n a b c d e f");
    assert_eq!(ids(&hidden(&rig.send(300, "answered x 503 5s"))), ["f", "e", "d"]);
    rig.play(&[(301, "settled", ""), (302, "accepted y", "delete l m n"), (303, "settled", "")]);
    for (at, id) in [(310, "a"), (311, "b"), (312, "c")] {
        rig.play(&[(at, "skip x", &format!("reply backing_off; letter {id}:skipped")), (at, "settled", "")]);
    }
    rig.play(&[
        (5_200, "receive p q r s t u v", "handle p|q|r|s"),
        (5_200, "handled p->y q->y r->y s->y", "flush y p q r s; handle t"),
        (5_310, "tick", "hide d=0"),
        (5_311, "settled", ""),
        (6_400, "tick", ""),
    ]);
}

#[test]
fn what_can_neither_stay_nor_go_is_dead_the_oldest_first() {
    let mut rig = Rig::new(narrow());
    rig.play(&[
        (0, "facts 2 43200s", ""),
        (0, "receive l a b c d e f g h i j", "handle l|a|b|c|d|e|f|g|h|i"),
        (1, "handled l->y", "flush y l; handle j"),
        (2, "handled a->x", "flush x a"),
        (3, "handled b->x c->x d->x e->x f->x g->x h->x i->x j->x", ""),
        // Seven of twelve are beyond the share of three and may not be returned; six would not be too many.
        (300, "answered x 503 10s", "letter a:partner_unavailable"),
        (310, "settled", ""),
        (10_300, "tick", "flush x b c d e f g h i j"),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.dead, counts.returned), (1, 0));
}

#[test]
fn of_one_among_several_queues_less_may_be_stuck_before_it_stands_still() {
    let mut rig = Rig::new(Rules { queues: vec![queue_rules("q0"), queue_rules("q1")], max_in_flight: 16, ..rules() });
    rig.play(&[
        (0, "facts 2 43200s", ""),
        (0, "receive a b c d e f g h i j", "handle a|b|c|d|e|f|g|h|i|j"),
        (1, "handled a->x", "flush x a"),
        (2, "handled b->x c->x d->x e->x f->x g->x h->x i->x j->x", ""),
        // Six are beyond the share of four. That is less than half of all sixteen places; but q0 has at most
        // twelve, and two are kept for others.
        (300, "answered x 503 10s", "letter a:partner_unavailable"),
    ]);
}

/// Each message is assumed to have 1 MiB at first, so that q0's long poll reserves all that is shared of the eight.
#[test]
fn a_queue_that_gets_no_place_has_those_that_are_away_shed() {
    let small_steps = PartnerRules { min_backoff: std::time::Duration::from_secs(10), ..partner_rules() };
    let partners = PartnerTable { default: std::sync::Arc::new(small_steps), by_account: Default::default() };
    let mut rig = Rig::new(Rules {
        queues: vec![queue_rules("q0"), queue_rules("q1")],
        partners,
        max_in_flight_bytes: (8 << 20) + 64,
        ..rules()
    });
    rig.play(&[
        // q0 gets many messages, so that it asks for all that is free: five times the largest body.
        (0, "receive s*40", "handle s"),
        (0, "q1: receive a*1048576 b*1048576 c*1048576", "q1: handle a|b|c"),
        (1, "q1: handled a->x", "q1: flush x a"),
        (2, "q1: handled b->x c->x", ""),
    ]);
    let commands = rig.send(300, "q1: answered x 503 10s");
    assert!(
        commands.starts_with("q1: hide c="),
        "three of eight places are held, the other five are reserved for q0: {commands}"
    );
}

#[test]
fn why_says_so_if_all_that_there_is_for_it_is_hidden() {
    let mut rig = crowded("receive l m n a b c d e f");
    assert_eq!(ids(&hidden(&rig.send(300, "answered x 503 10s"))), ["f", "e", "d"]);
    rig.play(&[
        (301, "settled", ""),
        (302, "skip x", "reply backing_off; letter a:skipped"),
        (303, "skip x", "reply backing_off"),
        (304, "skip x", "reply backing_off"),
        (305, "settled", "letter b:skipped c:skipped"),
        (306, "settled", ""),
        (11_000, "tick", "hide d=0"),
    ]);
    let report = rig.dispatcher.partner("x").unwrap();
    assert_eq!((report.hidden, report.reason), (2, "its messages were returned, and are hidden in their queue for now"));
    assert_eq!((report.oldest_age_s, report.queues[0].reason), (None, report.reason));
}

/// Returns a rig with two queues and eight of twenty places taken by q0's deliveries for x, whose endpoint for q0 refuses
/// them. What q1 has for x was accepted since.
fn refused_for_one_queue() -> Rig {
    let mut rules = Rules { max_in_flight: 20, ..rules() };
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive a b c d e f g h", "handle a|b|c|d|e|f|g|h"),
        (0, "q1: receive p", "q1: handle p"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 404", ""),
        (3, "q1: handled p->x", "q1: flush x p"),
        (4, "q1: accepted x", "q1: delete p"),
        (5, "q1: settled", ""),
        (6, "handled b->x c->x d->x e->x f->x g->x h->x", ""),
    ]);
    rig
}

#[test]
fn what_waits_at_an_endpoint_that_refuses_leaves_although_its_partner_takes_from_another_queue() {
    let mut rig = refused_for_one_queue();
    let left = hidden(&rig.send(300, "q1: receive q r s t u"));
    assert_eq!(ids(&left), ["h", "g", "f"], "down to the share of one that is away, or until half of the room is free");
    assert!(left.iter().all(|(_, millis)| *millis >= 299_702), "until the next attempt at its own endpoint: {left:?}");
    rig.play(&[(301, "settled", ""), (302, "q1: handled q->x r->x s->x t->x u->x", "q1: flush x q r s t u")]);
    assert_eq!(rig.send(600, "tick"), "", "x takes them, and need not shed them");
    let tally = &rig.dispatcher.status().queues[0].tally;
    assert_eq!(tally.returns().collect::<Vec<_>>(), [("partner_unavailable", 3)]);
    // The first is said at once, the others in a sum.
    let said = |rig: &Rig| {
        rig.notes
            .iter()
            .filter_map(|note| if let Note::GivenBack { count, .. } = note { Some(*count) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&rig), [1]);
    rig.send(10_300, "tick");
    assert_eq!(said(&rig), [1, 2]);
}

#[test]
fn what_waits_at_an_endpoint_that_fails_leaves_although_its_partner_takes_from_another_queue() {
    let mut rules = Rules { max_in_flight: 20, ..rules() };
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "q1: receive o p", "q1: handle o|p"),
        (0, "q1: handled o->x", "q1: flush x o"),
        (0, "q1: accepted x", "q1: delete o"),
        (0, "q1: settled", ""),
        (0, "receive a b c d e f g h", "handle a|b|c|d|e|f|g|h"),
        (1, "handled a->x", "flush x a"),
        (2, "answered x 503", ""),
        (3, "handled b->x c->x d->x e->x f->x g->x h->x", ""),
        (4, "q1: handled p->x", ""),
    ]);
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "q1: flush x p", "each queue in turn");
    rig.play(&[(at, "q1: accepted x", "flush x a; q1: delete p"), (at, "q1: settled", "")]);
    let report = rig.dispatcher.partner("x").unwrap();
    assert_eq!((report.failures, report.last_error.as_deref()), (1, Some("answered 503")), "of that endpoint");
    let left = hidden(&rig.send(at + 300, "q1: receive q r s t u"));
    assert_eq!(ids(&left), ["h", "g", "f"]);
}

#[test]
fn what_an_endpoint_that_refuses_has_hidden_shows_once_that_endpoint_takes() {
    let mut rig = refused_for_one_queue();
    rig.send(300, "q1: receive q r s t u");
    rig.play(&[
        (301, "settled", ""),
        (302, "q1: handled q->x r->x s->x t->x u->x", "q1: flush x q r s t u"),
        (303, "q1: accepted x", "q1: delete q r s t u"),
        (304, "q1: settled", ""),
        (60_000, "tick", ""),
        (300_002, "tick", "flush x a"),
        (300_003, "accepted x", "flush x b c d e; delete a"),
        (300_004, "settled", "hide f=0 g=0 h=0"),
    ]);
}

/// What is accepted was on its way before the partner asked for a pause: until that is over, it takes nothing more.
#[test]
fn a_partner_that_asked_for_a_pause_is_away_although_an_older_flush_is_accepted() {
    let mut rules = narrow();
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    rules.partners.default = PartnerRules { max_batch: 1, parallel: 2, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive l m n a b c d e f", "handle l|m|n|a|b|c|d|e|f"),
        (1, "handled l->y m->y n->y", "flush y l; flush y m"),
        (2, "handled a->x b->x", "flush x a; flush x b"),
        (3, "handled c->x d->x e->x f->x", ""),
        (4, "answered x 429 600s", ""),
        (5, "accepted x", "delete b"),
        (6, "settled", ""),
    ]);
    let hidden = hidden(&rig.skip_to_commands().1);
    assert_eq!(ids(&hidden), ["f", "e"], "until half of the room is free");
    assert!(hidden.iter().all(|(_, millis)| *millis > 590_000), "{hidden:?}");
}

#[test]
fn a_partner_that_asks_for_a_pause_with_what_it_refuses_is_away_until_then() {
    let mut rules = narrow();
    rules.queues[0].visibility_timeout = Duration::from_secs(7200);
    rules.partners.default = PartnerRules { max_batch: 1, ..partner_rules() }.into();
    let mut rig = Rig::new(rules);
    rig.play(&[
        (0, "receive l m n a b c d e f", "handle l|m|n|a|b|c|d|e|f"),
        (1, "handled l->y m->y n->y", "flush y l"),
        (2, "handled a->x b->x", "flush x a"),
        (3, "handled c->x d->x e->x f->x", ""),
        (4, "answered x 413 600s", "letter a:too_large"),
        (5, "settled", ""),
    ]);
    assert_eq!(ids(&hidden(&rig.skip_to_commands().1)), ["f", "e"], "until half of the room is free");
}

#[test]
fn what_is_stuck_at_an_endpoint_that_begins_to_refuse_is_stuck_once() {
    let partner = PartnerRules { max_waiting: 2, ..partner_rules() };
    let partners = PartnerTable { default: Arc::new(partner), by_account: Default::default() };
    let mut rules = Rules { partners, max_in_flight: 20, ..rules() };
    rules.queues.push(queue_rules("q1"));
    let mut rig = Rig::new(rules);
    // Twenty messages for others, who hold less than their shares.
    for _ in 0..20 {
        for event in ["q1: receive z", "q1: handled z->y", "q1: accepted y", "q1: settled"] {
            rig.send(0, event);
        }
    }
    rig.play(&[
        (0, "q1: receive o", "q1: handle o"),
        (0, "q1: handled o->x", "q1: flush x o"),
        (0, "q1: accepted x", "q1: delete o"),
        (0, "q1: settled", ""),
        // None of them may be received once more.
        (0, "facts 3 43200s", ""),
        (0, "q1: facts 3 43200s", ""),
        (0, "receive a#2 b#2 c#2 d#2 e#2 f#2 g#2 h#2 i#2 j#2", "handle a|b|c|d|e|f|g|h|i|j"),
        (1, "handled a->x", "flush x a"),
        (2, "handled b->x c->x d->x e->x f->x g->x h->x i->x j->x", ""),
        (3, "q1: receive q#2 r#2 s#2", "q1: handle q|r|s"),
        (4, "q1: handled q->x", ""),
        // Eight of the first queue are stuck, and half as many of them once that endpoint is away: no half of the room.
        (300, "tick", ""),
        (400, "answered x 404", "q1: flush x q"),
        (1_400, "tick", ""),
    ]);
}

#[test]
fn what_is_hidden_shows_once_a_partner_takes_that_asked_for_a_pause_with_what_it_refused() {
    let mut rig = Rig::new(Rules { max_in_flight: 2, ..rules() });
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x b->x", "flush x a b")]);
    assert_eq!(ids(&hidden(&rig.send(300, "answered x 422 400s"))), ["b", "a"], "its share is nothing");
    rig.send(310, "settled");
    let (at, commands) = rig.skip_to_commands();
    assert!((400_300..402_000).contains(&at) && commands == "hide a=0", "{commands} at {at}");
    the_other_shows_once_the_one_is_accepted(&mut rig);
}

#[test]
fn what_showed_by_itself_while_the_machine_slept_is_hidden_no_more() {
    let mut rig = crowded("receive l m n a b c d e f");
    let wall = |rig: &mut Rig, at: u64, wall: u64| {
        let now = rig.start + Duration::from_millis(at);
        rig.dispatcher.set_wall_clock(now, SystemTime::UNIX_EPOCH + Duration::from_millis(wall));
    };
    wall(&mut rig, 300, 300);
    rig.send(300, "answered x 503 600s");
    rig.send(310, "settled");
    assert_eq!(rig.dispatcher.partner("x").unwrap().hidden, 3);
    // They are hidden for fifteen minutes at most.
    wall(&mut rig, 320, 900_320);
    rig.send(320, "tick");
    assert_eq!((rig.dispatcher.partner("x").unwrap().hidden, rig.dispatcher.hidden.count(0)), (0, 0));
}

#[test]
fn what_was_to_be_shown_and_showed_while_the_machine_slept_is_not_asked_for() {
    let mut rig = Rig::new(Rules { max_in_flight: 2, ..rules() });
    let wall = |rig: &mut Rig, at: u64, wall: u64| {
        let now = rig.start + Duration::from_millis(at);
        rig.dispatcher.set_wall_clock(now, SystemTime::UNIX_EPOCH + Duration::from_millis(wall));
    };
    wall(&mut rig, 0, 0);
    rig.play(&[(0, "receive a b", "handle a|b"), (1, "handled a->x b->x", "flush x a b")]);
    rig.send(300, "answered x 422 400s");
    rig.send(310, "settled");
    let (at, commands) = rig.skip_to_commands();
    assert_eq!(commands, "hide a=0");
    // Another consumer may have received it before the queue can be reached again.
    rig.send(at, "settled fault");
    wall(&mut rig, at + 1, at + 1 + 12 * 3_600_000);
    assert_eq!(rig.send(at + 20_000, "tick"), "");
}
