//! Dead letters whose rows are damaged.

use super::*;
use crate::queue::Portions;
use crate::queue::sqlite::spoil::{spoil, spoil_root};

const LETTERS: &str = "
    INSERT INTO dead (queue, message_id, kind, reason, body, attributes, open, receives, redrives, sent_at, dead_at) VALUES
        (1, 'a', 'rejected', 'no total', x'61', '{', NULL, 1, 0, 1000, 1000),
        (1, 'b', 'rejected', 'no total', x'62', NULL, NULL, 1, 0, 1000, 1000),
        (1, 'c', x'00ff', 7, x'63', NULL, 'every one', -1, 0, 1000, 1000)";

#[test]
fn a_damaged_letter_hides_no_other_and_can_be_purged() {
    let scene = Scene::new();
    scene.queue.store.with_writers(|connection| _ = connection.execute_batch(LETTERS));
    let mut seen = Vec::new();
    let mut note = |letter: DeadLetter| {
        seen.push((letter.message_id.to_string(), letter.reason));
        true
    };
    scene.queue.list(&DeadFilter::default(), &mut note).unwrap();
    assert_eq!(seen.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(seen[0].1.starts_with("no total (the row of this letter is damaged: its attributes"), "{}", seen[0].1);
    assert_eq!((seen[1].1.as_str(), seen[2].1.as_str()), ("no total", "7"));

    for id in ["1", "3"] {
        let error = scene.queue.redrive(&["2".into(), id.into()]).unwrap_err().to_string();
        assert!(error.contains(&format!("dead letter {id} is damaged")), "{error}");
        assert!(scene.queue.find(id).unwrap().is_some());
    }
    let changed = scene.queue.redrive_in(Portions { most: 2, after: &mut |_| true }, &["1", "2", "3"].map(CompactString::from));
    assert!(changed.ended.is_none() && changed.done == 1, "{changed:?}");
    let failed: Vec<_> = changed.failed.iter().map(|(id, why)| (id.as_str(), why.contains("is damaged: its"))).collect();
    assert_eq!(failed, [("1", true), ("3", true)], "{changed:?}");
    assert_eq!(scene.receive().unwrap().len(), 1);
    assert_eq!(scene.queue.purge(&["1".into(), "3".into()]).unwrap(), 2);
    assert!(scene.queue.find("2").unwrap().is_none());
}

#[test]
fn a_damaged_page_hides_no_letter_but_its_own() {
    let scene = Scene::new();
    let path = scene.folder.path().join("queue.db");
    let letter = |id: &str, account: &str| {
        format!(
            "INSERT INTO dead (queue, message_id, kind, reason, account, idx, body, receives, redrives, sent_at, dead_at)
             VALUES (1, '{id}', 'rejected', 'no total', '{account}', 0, CAST('{}' AS BLOB), 1, 0, 1000, 1000);",
            format!("body-of-{id} ").repeat(2000)
        )
    };
    let letters = [letter("a", "x"), letter("b", "y"), letter("c", "x"), letter("d", "y")].concat();
    scene.queue.store.with_writers(|connection| _ = connection.execute_batch(&letters));
    let Scene { queue, folder } = scene;
    drop(queue);
    spoil(&path, "body-of-b ");
    let scene = Scene { queue: SqliteQueue::open(SqliteOptions::new(&path, "stock")).unwrap(), folder };

    let list = |filter: &DeadFilter| {
        let mut seen = Vec::new();
        let mut note = |letter: DeadLetter| {
            seen.push((letter.message_id.to_string(), letter.body.len()));
            true
        };
        scene.queue.list(filter, &mut note).unwrap();
        seen
    };
    let all = |ids: &[&str]| ids.iter().map(|id| ((*id).to_owned(), if *id == "b" { 0 } else { 20_000 })).collect::<Vec<_>>();
    assert_eq!(list(&DeadFilter::default()), all(&["a", "b", "c", "d"]));
    assert_eq!(list(&DeadFilter { partner: Some("y".into()), reason: None }), all(&["b", "d"]));
    let damaged = scene.queue.find("2").unwrap().unwrap();
    assert!(damaged.reason.starts_with("no total (the file is damaged where this letter is"), "{damaged:?}");
    assert!(scene.queue.find("9").unwrap().is_none());

    let ids = ["1", "2"].map(CompactString::from);
    let changed = scene.queue.redrive_in(Portions { most: 9, after: &mut |_| true }, &ids);
    assert!(changed.ended.is_none() && changed.done == 1, "{changed:?}");
    let [(id, why)] = &changed.failed[..] else { panic!("{changed:?}") };
    assert!(id == "2" && why.contains(".recover"), "{why}");
    let ids = ["2", "3"].map(CompactString::from);
    let changed = scene.queue.purge_in(Portions { most: 9, after: &mut |_| true }, &ids);
    assert!(changed.ended.is_none() && changed.done == 1, "{changed:?}");
    assert!(changed.failed[0].0 == "2" && changed.failed[0].1.contains(".recover"), "{changed:?}");
    assert_eq!(list(&DeadFilter::default()), all(&["b", "d"]));
}

#[test]
fn letters_of_which_no_row_can_be_read_are_known_by_their_numbers() {
    let Scene { queue, folder } = Scene::new();
    queue.store.with_writers(|connection| _ = connection.execute_batch(LETTERS));
    drop(queue);
    let path = folder.path().join("queue.db");
    spoil_root(&path, "dead");
    let scene = Scene { queue: SqliteQueue::open(SqliteOptions::new(&path, "stock")).unwrap(), folder };
    let list = |filter: &DeadFilter| {
        let mut seen = Vec::new();
        let mut note = |letter: DeadLetter| {
            seen.push((letter.id.to_string(), letter.reason.contains("the file is damaged where this letter is")));
            true
        };
        scene.queue.list(filter, &mut note).unwrap();
        seen
    };
    assert_eq!(list(&DeadFilter::default()), ["1", "2", "3"].map(|id| (id.to_owned(), true)));
    assert_eq!(list(&DeadFilter { partner: Some("x".into()), reason: None }), [], "nobody can tell whose they are");
    assert!(scene.queue.find("2").unwrap().is_some() && scene.queue.find("9").unwrap().is_none());
}

/// What one read brought is shown although it is deleted meanwhile, and what is behind it was not read yet.
#[test]
fn a_list_reads_about_a_mebibyte_of_letters_at_once() {
    let scene = Scene::new();
    let letter = "INSERT INTO dead (queue, message_id, kind, reason, body, receives, redrives, sent_at, dead_at)
                  VALUES (1, 'a', 'rejected', 'no total', zeroblob(600000), 1, 0, 1000, 1000);";
    let letters: String = (0..5).map(|n| letter.replace("'a'", &format!("'{n}'"))).collect();
    scene.queue.store.with_writers(|connection| _ = connection.execute_batch(&letters));
    let mut seen = 0;
    let mut each = |_| {
        seen += 1;
        scene.queue.purge(&["1", "2", "3", "4", "5"].map(CompactString::from)).unwrap();
        true
    };
    scene.queue.list(&DeadFilter::default(), &mut each).unwrap();
    assert_eq!(seen, 2);
}

#[test]
fn a_message_that_is_set_aside_leaves_nothing_on_the_queue() {
    let scene = Scene::new();
    scene.send(b"a").unwrap();
    let taken = scene.receive().unwrap().remove(0);
    let reason = crate::queue::DeadReason { kind: crate::queue::DeadKind::Rejected, text: "no total".into() };
    let letter = SetAside { message: taken.message, receipt: taken.receipt, delivery: None, reason, last: true };
    assert_eq!(scene.queue.set_aside(&[letter]).unwrap(), [Ok(())]);
    let left = "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM contents)";
    scene.queue.store.with_writers(|connection| {
        assert_eq!(connection.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    });
}
