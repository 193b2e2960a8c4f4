//! Files with damaged pages and rows that cannot be read: what is on them holds up nothing else.

use super::*;

#[test]
fn a_row_that_cannot_be_read_is_left_out_and_named() {
    let scene = Scene::new();
    let parking = scene.parking();
    parking.park(&[behind("x", &["a", "b", "c"]), behind("y", &["d"])].concat()).unwrap();
    let file = rusqlite::Connection::open(scene.path()).unwrap();
    file.execute("UPDATE parked SET attributes = 'no JSON' WHERE message_id IN ('b', 'd')", []).unwrap();
    let first = take(&parking, "x", START, 2);
    assert_eq!((ids(&first), first.more), (vec!["a".to_owned()], true), "one row was looked at in vain");
    let [why] = &first.unreadable[..] else { panic!("{:?}", first.unreadable) };
    assert!(why.contains("row 2 of parked") && why.contains("attributes") && why.contains("sqlite3"), "{why}");
    let rest = take(&parking, "x", first.last.unwrap(), 2);
    assert_eq!((ids(&rest), rest.unreadable.len(), rest.more), (vec!["c".to_owned()], 0, false));
    let only = take(&parking, "y", START, 2);
    assert_eq!((ids(&only).len(), only.unreadable.len(), only.more), (0, 1, false));
    assert!(only.last.is_some_and(|last| last > START));
}

/// Parks `a` and `c` for x and `b` for y, and damages the part of the file that `mark` fills.
fn damaged(mark: &str) -> (Scene, Parking) {
    let scene = Scene::new();
    let large = |account: &str, id: &str| {
        let mut delivery = delivery(account, id);
        delivery.item.payload = format!("payload-of-{id} ").repeat(1000).into();
        let body = format!("body-of-{id} ").repeat(1000).into();
        delivery.item.message = Arc::new(Message { body, ..Message::clone(&delivery.item.message) });
        delivery
    };
    scene.parking().park(&[large("x", "a"), large("y", "b"), large("x", "c")]).unwrap();
    spoil(&scene.path(), mark);
    let parking = scene.parking();
    (scene, parking)
}

#[test]
fn a_damaged_page_holds_up_no_row_but_its_own() {
    let (_scene, parking) = damaged("payload-of-a ");
    let want = |account: &str, after| Want { account: account.into(), after, rows: 9 };
    let answers = parking.unpark(&[want("x", START), want("y", START)]).unwrap();
    assert_eq!((ids(&answers[0]), ids(&answers[1])), (vec!["c".to_owned()], vec!["b".to_owned()]));
    let [why] = &answers[0].unreadable[..] else { panic!("{answers:?}") };
    assert!(why.contains("row 1 of parked, for x") && why.contains("malformed") && why.contains(".recover"), "{why}");
    assert!(answers[1].unreadable.is_empty());
    assert_eq!(answers[0].last, Some(answers[0].rows[0].place));
    // What asks behind the damaged row does not meet it again.
    let one = Want { rows: 1, ..want("x", START) };
    let first = parking.unpark(&[one]).unwrap().remove(0);
    assert_eq!((first.rows.len(), first.unreadable.len(), first.more), (0, 1, true));
    assert_eq!(ids(&take(&parking, "x", first.last.unwrap(), 9)), ["c"]);
}

#[test]
fn a_body_on_a_damaged_page_keeps_only_its_own_letter_from_being_written() {
    let (_scene, parking) = damaged("body-of-a ");
    let origin = memory();
    let queue = ParkedQueue::new(parking, Arc::clone(&origin) as Arc<dyn Queue>).unwrap();
    let rows = take(&queue.parking, "x", START, 9).rows;
    let letters: Vec<_> = rows.iter().map(|row| letter(row, "why")).collect();
    let results = queue.set_aside(&letters).unwrap();
    assert!(matches!(&results[..], [Err(EntryError::Failed(why)), Ok(())] if why.contains("malformed")), "{results:?}");
    assert!(queue.set_aside(&letters[..1]).is_err(), "nothing is written");
    assert_eq!(ids(&take(&queue.parking, "x", START, 9)), ["a"]);
}

#[test]
fn a_delivered_row_on_a_damaged_page_keeps_no_other_from_being_deleted() {
    let (_scene, parking) = damaged("body-of-a ");
    let queue = ParkedQueue::new(parking, memory()).unwrap();
    let receipts: Vec<_> = take(&queue.parking, "x", START, 9).rows.into_iter().map(|row| row.receipt).collect();
    let not_deleted = |result: &EntryResult| matches!(result, Err(EntryError::NotDeleted(why)) if why.contains("malformed"));
    let results = queue.delete(&receipts).unwrap();
    assert!(not_deleted(&results[0]) && results[1].is_ok(), "{results:?}");
    assert_eq!(ids(&take(&queue.parking, "x", START, 9)), ["a"]);
    assert!(not_deleted(&queue.delete(&receipts[..1]).unwrap()[0]));
}

/// Parks `a` and `b` for x and `c` for y, and damages the first page of a table or an index.
fn without_root(name: &str) -> Scene {
    let scene = Scene::new();
    scene.parking().park(&[behind("x", &["a", "b"]), behind("y", &["c"])].concat()).unwrap();
    spoil_root(&scene.path(), name);
    scene
}

#[test]
fn a_line_that_cannot_be_found_is_named_and_no_error_of_the_whole_file() {
    let parking = without_root("parked_in_line").parking();
    let wants = ["x", "y"].map(|account| Want { account: account.into(), after: START, rows: 9 });
    for (unparked, account) in parking.unpark(&wants).unwrap().iter().zip(["x", "y"]) {
        let [why] = &unparked.unreadable[..] else { panic!("{unparked:?}") };
        assert!(why.starts_with(&format!("what is parked for {account}: ")) && why.contains(".recover"), "{why}");
        assert!(unparked.rows.is_empty() && unparked.last.is_none() && !unparked.more);
    }
}

/// As if the page of the row itself were damaged.
#[test]
fn what_is_parked_is_listed_although_a_first_row_cannot_be_read() {
    let scene = without_root("parked");
    let mut lines = Vec::new();
    let mut each = |line: ParkedAccount| {
        lines.push((line.account.to_string(), line.deliveries, line.oldest.to_string()));
        true
    };
    scene.parking().list(&mut each).unwrap();
    let line = |account: &str, deliveries| (account.to_owned(), deliveries, "(cannot be read)".to_owned());
    assert_eq!(lines, [line("x", 2), line("y", 1)]);
}
