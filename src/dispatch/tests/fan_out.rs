//! A message that leads to several deliveries is settled when all are.

use std::sync::Arc;

use super::rig::Rig;
use super::{partner_rules, rules};
use crate::dispatch::ledger::DELIVERY_BYTES;
use crate::dispatch::{Note, PartnerRules, PartnerTable, Rules};

#[test]
fn is_deleted_when_the_last_delivery_is_accepted() {
    Rig::new(rules()).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta,acme", "flush acme a-0 a-2; flush beta a-1"),
        (2, "accepted acme", ""),
        (3, "accepted beta", "delete a"),
        (4, "settled", ""),
    ]);
}

#[test]
fn what_is_dead_of_it_is_written_before_it_is_deleted() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "answered acme 400", "letter a-0:refused+open"),
        (3, "accepted beta", ""),
        (4, "settled", "delete a"),
        (5, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.acked, counts.dead, counts.delivered), (1, 0, 1));
}

#[test]
fn is_dead_where_all_of_it_is() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "answered acme 400", "letter a-0:refused+open"),
        (3, "cannot beta", ""),
        (4, "settled", "letter a-1:impossible+open"),
        (5, "settled", "delete a"),
        (6, "settled", ""),
    ]);
    let queue = &rig.dispatcher.status().queues[0];
    assert_eq!((queue.counts.acked, queue.counts.dead, queue.counts.delivered), (0, 1, 0));
    let deaths: Vec<_> = queue.tally.deaths().filter(|(_, count)| *count > 0).collect();
    assert_eq!(deaths, [("impossible", 1)], "the last one's reason");
}

#[test]
fn is_not_dead_where_the_queue_knows_of_a_part_that_was_accepted() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "answered acme 400", "letter a-0:refused+open"),
        (3, "settled", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        (30_002, "answered beta 503", ""),
        // Another process had it meanwhile.
        (60_000, "receive a~1@beta#3", "handle a"),
        (60_001, "handled a->acme,beta", "delete a'2"),
        (60_002, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.acked, counts.dead), (1, 0));
}

#[test]
fn is_dead_where_all_of_it_was_before_its_copy_came() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "answered acme 400", "letter a-0:refused+open"),
        (3, "settled", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        (30_002, "answered beta 503", ""),
        // Its handler makes only of it what is dead by now.
        (60_000, "receive a#2", "handle a"),
        (60_001, "handled a->acme", "delete a'2"),
        (60_002, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.acked, counts.dead, counts.leases_lost), (0, 1, 1));
}

#[test]
fn a_redriven_message_leads_only_to_what_is_open() {
    Rig::new(rules()).play(&[
        (0, "receive a!1", "handle a"),
        (1, "handled a->acme,beta,gamma", "flush beta a-1"),
        (2, "accepted beta", "delete a"),
    ]);
}

#[test]
fn redriven_for_what_its_handler_gives_no_more_it_is_a_letter_again() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a!7", "handle a"),
        (1, "handled a->acme,beta", "letter a:rejected"),
        (2, "settled", ""),
        (3, "receive b!1", "handle b"),
        (4, "handled b->acme", "letter b:rejected"),
        (5, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.acked, counts.dead, counts.discarded), (0, 2, 0));
}

#[test]
fn of_what_is_open_and_given_in_part_nothing_is_sent() {
    Rig::new(rules()).play(&[
        (0, "receive a!0+1+2", "handle a"),
        (1, "handled a->acme,beta", "letter a:rejected"),
        (2, "settled", ""),
        // A message whose letter could not be written stays held, and the letter is tried again.
        (3, "receive b!0+1", "handle b"),
        (4, "handled b->acme", "letter b:rejected"),
        (5, "settled failed", ""),
        (106, "tick", "letter b:rejected"),
        (107, "settled", ""),
    ]);
}

#[test]
fn what_was_settled_since_its_redrive_is_not_missed() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a!0+1", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "accepted beta", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        (30_002, "answered acme 503", ""),
        (60_000, "receive a!0+1#2", "handle a"),
        // Under the id that the partner knows.
        (60_001, "handled a->acme", "flush acme a-0"),
        (60_002, "accepted acme", "delete a'2"),
    ]);
}

#[test]
fn redriven_for_no_delivery_by_name_all_are_open() {
    let mut rig = Rig::new(rules());
    rig.play(&[(0, "receive a!", "handle a"), (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1")]);
}

#[test]
fn redriven_and_discarded_by_its_handler_it_is_deleted() {
    Rig::new(rules()).play(&[(0, "receive a!1", "handle a"), (1, "handled a=discard", "delete a")]);
}

#[test]
fn a_letter_that_fails_is_written_again_and_only_then_the_message_deleted() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "answered acme 400", "letter a-0:refused+open"),
        (3, "settled failed", ""),
        (4, "accepted beta", ""),
    ]);
    let retry = rig.next_deadline().expect("a retry");
    assert_eq!(rig.send(retry, "tick"), "letter a-0:refused+open");
    assert_eq!(rig.send(retry + 1, "settled"), "delete a");
}

#[test]
fn a_letter_that_cannot_be_written_any_more_leaves_the_message_where_it_is() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "answered acme 400", "letter a-0:refused+open"),
        // The lease is lost and the letter is not written: the message must come back for it.
        (3, "settled gone", ""),
        (4, "accepted beta", ""),
    ]);
    assert_eq!(rig.dispatcher.held(), 0);
    assert_eq!(rig.dispatcher.status().queues[0].counts.leases_lost, 1);
}

#[test]
fn a_letter_that_was_not_written_is_owed_even_if_a_new_copy_comes() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "answered acme 400", "letter a-0:refused+open"),
        (3, "settled gone", ""),
        (4, "receive a#2", ""),
        (5, "accepted beta", "hide a'2=0~1@beta"),
        (6, "settled", ""),
        // Deliveries that are settled stay settled.
        (7, "receive a#3", "handle a"),
        (8, "handled a->acme,beta", "flush acme a-0"),
        (9, "answered acme 400", "letter a'3-0:refused+open"),
        (10, "settled", "delete a'3"),
        (11, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.acked, counts.dead), (1, 0), "a partner took one of its deliveries");
}

#[test]
fn a_copy_that_comes_back_leads_only_to_what_is_open_of_it() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta,gamma", "flush acme a-0; flush beta a-1; flush gamma a-2"),
        (2, "accepted acme", ""),
        (3, "answered gamma 429 50s", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        (30_002, "answered beta 503", ""),
        (60_000, "receive a#2", "handle a"),
        (60_001, "handled a->acme,beta,gamma", "flush beta a-1; flush gamma a-2"),
        (60_002, "accepted beta", ""),
        (60_003, "accepted gamma", "delete a'2"),
        (60_004, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.delivered, counts.leases_lost, counts.acked), (3, 1, 1));
}

#[test]
fn a_copy_of_which_nothing_is_open_any_more_is_deleted() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "accepted acme", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
        (30_002, "answered beta 503", ""),
        // The handler now makes only one delivery of the message, and that one is settled.
        (60_000, "receive a#2", "handle a"),
        (60_001, "handled a->acme", "delete a'2"),
        (60_002, "settled", ""),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.acked, counts.discarded), (1, 0));
}

#[test]
fn a_copy_that_comes_back_to_another_handler_leads_to_the_accounts_that_are_open() {
    for (now, flushes) in [
        ("beta,acme", "flush beta a-0"),
        ("beta", "flush beta a-0"),
        ("acme,gamma,beta", "flush gamma a-1; flush beta a-2"),
        ("gamma", "flush gamma a-0"),
    ] {
        let mut rig = Rig::new(rules());
        rig.play(&[
            (0, "receive a", "handle a"),
            (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
            (2, "accepted acme", ""),
            (30_000, "tick", "hide a=60s"),
            (30_001, "settled gone", ""),
            (30_002, "answered beta 503", ""),
            (60_000, "receive a#2", "handle a"),
        ]);
        assert_eq!(rig.send(60_001, &format!("handled a->{now}")), flushes, "{now}");
    }
}

#[test]
fn a_redrive_is_for_the_account_of_its_letter_wherever_the_handler_puts_it() {
    for (open, now, flushes) in [
        ("1@beta", "beta,acme", "flush beta a-1"),
        ("1@beta", "beta", "flush beta a-1"),
        ("1@beta", "acme,beta", "flush beta a-1"),
        ("1@beta", "acme,gamma", "letter a:rejected"),
        ("0@acme+1@acme", "beta,acme,acme", "flush acme a-1 a-0"),
        ("1", "beta,acme", "flush acme a-1"),
    ] {
        let mut rig = Rig::new(rules());
        assert_eq!(rig.send(0, &format!("receive a!{open}")), "handle a");
        assert_eq!(rig.send(1, &format!("handled a->{now}")), flushes, "{open} {now}");
    }
}

#[test]
fn a_return_tells_the_queue_what_is_settled() {
    Rig::new(rules()).play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->acme,beta,gamma", "flush acme a-0; flush beta a-1; flush gamma a-2"),
        (2, "accepted acme", ""),
        (3, "answered beta 400", "letter a-1:refused+open"),
        (4, "settled", ""),
        // An extension says nothing.
        (30_000, "tick", "hide a=60s b=60s"),
        (30_001, "settled", ""),
        (30_002, "answered gamma 429 50s", ""),
        (30_003, "stop", "interrupt; hide a=0~0@acme+1@beta b=0"),
    ]);
    // Only dead letters.
    Rig::new(rules()).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta", "flush acme a-0; flush beta a-1"),
        (2, "answered acme 400", "letter a-0:refused+open"),
        (3, "settled", ""),
        (4, "answered beta 429 50s", ""),
        (5, "stop", "interrupt; hide a=0~dead:0@acme"),
    ]);
}

#[test]
fn what_another_process_settled_is_not_sent() {
    let mut rig = Rig::new(rules());
    rig.play(&[
        (0, "receive a~0@acme#2", "handle a"),
        (1, "handled a->acme,beta,gamma", "flush beta a-1; flush gamma a-2"),
        (2, "accepted gamma", ""),
        (3, "accepted beta", "delete a"),
        (4, "settled", ""),
        (5, "receive b~0@acme+1@beta#2", "handle b"),
        (6, "handled b->acme,beta", "delete b"),
        (7, "settled", ""),
        // Of what it was redriven for, a part was settled since.
        (8, "receive c!0+1~0@acme#2", "handle c"),
        (9, "handled c->acme,beta,gamma", "flush beta c-1"),
    ]);
    let counts = &rig.dispatcher.status().queues[0].counts;
    assert_eq!((counts.acked, counts.delivered), (2, 2));
}

#[test]
fn both_this_process_and_the_queue_may_know_what_is_settled() {
    Rig::new(rules()).play(&[
        (0, "receive a", "handle a"),
        (1, "handled a->acme,beta,gamma", "flush acme a-0; flush beta a-1; flush gamma a-2"),
        (2, "accepted acme", ""),
        (3, "answered gamma 429 50s", ""),
        (30_000, "tick", "hide a=60s"),
        // The queue was not told of the first delivery, and another process sent the second one meanwhile.
        (30_001, "settled gone", ""),
        (30_002, "answered beta 503", ""),
        (60_000, "receive a~1@beta#3", "handle a"),
        (60_001, "handled a->acme,beta,gamma", "flush gamma a-2"),
        (60_002, "answered gamma 429 50s", ""),
        (60_003, "stop", "interrupt; hide a'2=0~0@acme+1@beta"),
    ]);
}

#[test]
fn a_partly_accepted_message_that_is_set_aside_is_not_counted_as_dead() {
    let lost = [
        (0, "facts 3 43200s", ""),
        (0, "receive a#2", "handle a"),
        (1, "handled a->x,y", "flush x a-0; flush y a-1"),
        (2, "accepted x", ""),
        (3, "answered y 429 60s", ""),
        (30_000, "tick", "hide a=60s"),
        (30_001, "settled gone", ""),
    ];
    let ends: [&[(u64, &str, &str)]; 3] = [
        &[(30_002, "receive a#3", "handle a"), (30_003, "handled a=retry:1s", "letter a'2:max_receives")],
        &[(30_002, "receive a#3", "handle a"), (30_003, "handled a=reject", "letter a'2:rejected")],
        &[(30_002, "receive a#101", "letter a'2:max_receives")],
    ];
    for end in ends {
        let mut rig = Rig::new(rules());
        rig.play(&lost);
        rig.play(end);
        rig.play(&[(30_004, "settled", "")]);
        let counts = &rig.dispatcher.status().queues[0].counts;
        assert_eq!((counts.acked, counts.dead, counts.leases_lost), (1, 0, 1), "{end:?}");
    }
}

#[test]
fn each_of_many_small_deliveries_counts_for_more_than_its_payload() {
    let mut rig = Rig::new(rules());
    let mut counted = |at, event| {
        rig.send(at, event);
        rig.dispatcher.status().in_flight_bytes as usize
    };
    let alone = counted(0, "receive a b c");
    assert_eq!(counted(1, "handled a->x"), alone + 1, "the only one of its message");
    assert_eq!(counted(2, "handled b->x,y,z"), alone + 4 + 3 * DELIVERY_BYTES);
    assert_eq!(counted(3, "accepted y"), alone + 3 + 2 * DELIVERY_BYTES);
    // A dead letter holds what it is about until it is written.
    assert_eq!(counted(4, "answered z 422"), alone + 3 + 2 * DELIVERY_BYTES);
    assert_eq!(counted(5, "settled"), alone + 2 + DELIVERY_BYTES);
    assert_eq!(counted(6, "accepted x"), alone + 1 + DELIVERY_BYTES);
    assert_eq!(counted(7, "accepted x"), alone);
    counted(8, "handled c=discard");
    let before = counted(20, "receive d!1");
    assert_eq!(counted(21, "handled d->x,y"), before + 1 + DELIVERY_BYTES, "what is not sent of it does not count");
}

#[test]
fn what_cannot_be_told_from_a_settled_delivery_is_sent_rather_than_lost() {
    // Its handler once made the deliveries for y, x and x, of which the last is settled.
    Rig::new(rules()).play(&[(0, "receive a~2@x", "handle a"), (1, "handled a->x,x,y", "flush x a-0 a-1; flush y a-2")]);
}

#[test]
fn what_an_earlier_handler_settled_is_not_taken_for_what_a_later_one_has_open() {
    let partner = PartnerRules { max_batch: 1, ..partner_rules() };
    let rules = Rules { partners: PartnerTable { default: Arc::new(partner), by_account: Default::default() }, ..rules() };
    Rig::new(rules.clone()).play(&[
        (0, "receive a~2@x", "handle a"),
        (1, "handled a->x,x,y", "flush x a-0; flush y a-2"),
        (2, "accepted x", "flush x a-1"),
        (3, "accepted y", ""),
        (4, "answered x 429 50s", ""),
        (5, "stop", "interrupt; hide a=0~2@x+0@x+2@y"),
    ]);
    Rig::new(rules).play(&[(0, "receive a~2@x+0@x+2@y#2", "handle a"), (1, "handled a->x,x,y", "flush x a-1")]);
}

#[test]
fn of_what_a_message_was_redriven_for_what_was_settled_since_is_not_sent_again() {
    for (message, now, commands) in [
        ("a!0@acme+1@acme~0@acme#2", "beta,acme,acme", "flush acme a-1"),
        ("a!0@acme+1@acme~1@acme#2", "beta,acme,acme", "flush acme a-0"),
        // In whatever order they were settled.
        ("a!0@acme+1@beta+2@acme~2@acme+0@acme#2", "acme,beta,acme", "flush beta a-1"),
        // The only one now may be either of them.
        ("a!0@acme+3@acme~0@acme#2", "beta,acme", "letter a:rejected"),
    ] {
        let mut rig = Rig::new(rules());
        assert_eq!(rig.send(0, &format!("receive {message}")), "handle a");
        assert_eq!(rig.send(1, &format!("handled a->{now}")), commands, "{message}");
    }
}

#[test]
fn a_letter_about_a_whole_message_says_what_of_it_is_settled() {
    let many: Vec<_> = (0..22).map(|index| format!("{index}@z")).collect();
    for (message, says) in [
        ("a", ""),
        ("a~0@x+2@y", "; settled before: its deliveries 0 for \"x\", 2 for \"y\" (counted from 0)"),
        (&format!("a~{}", many.join("+")), ", 19 for \"z\" and 2 more (counted from 0)"),
    ] {
        let mut rig = Rig::new(rules());
        rig.play(&[
            (0, &format!("receive {message}"), "handle a"),
            (1, "handled a=reject", "letter a:rejected"),
            (2, "settled", ""),
        ]);
        let [Note::DeadLetters { reason, .. }] = &rig.notes[..] else { panic!("{:?}", rig.notes) };
        assert_eq!((reason.ends_with(says), reason.contains("settled")), (true, !says.is_empty()), "{reason}");
    }
}

#[test]
fn a_delivery_is_counted_as_dead_once_its_letter_is_written() {
    let mut rig = Rig::new(rules());
    let dead = |rig: &Rig| rig.dispatcher.status().queues[0].counts.deliveries_dead;
    rig.play(&[
        (0, "receive a b", "handle a|b"),
        (1, "handled a->x b->y,z", "flush x a; flush y b-0; flush z b-1"),
        (2, "answered x 422", "letter a:refused"),
        (3, "answered y 422", ""),
    ]);
    assert_eq!(dead(&rig), 0, "neither is written");
    // Neither can be: both messages are with another consumer.
    rig.play(&[(4, "settled gone", "letter b-0:refused+open"), (5, "settled gone", ""), (6, "accepted z", "")]);
    assert_eq!((dead(&rig), rig.dispatcher.status().queues[0].counts.leases_lost), (0, 2));
    rig.play(&[
        (7, "receive c", "handle c"),
        (8, "handled c->x", "flush x c"),
        (9, "answered x 422", "letter c:refused"),
        (10, "settled undeleted", ""),
    ]);
    assert_eq!(dead(&rig), 1, "the letter is written");
}
