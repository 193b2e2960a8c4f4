//! What may happen between the two transactions of a receive, the lease and the read.

use crate::queue::EntryError;
use crate::queue::sqlite::Copies;
use crate::queue::sqlite::fault::Fault;
use crate::queue::sqlite::receive::{Leased, lease, read_leased, unlease, unlease_all};
use crate::queue::sqlite::store::Promise;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::*;

/// The ends of the leases, in ms since 1970.
const FIRST_END: i64 = 2000;
const SECOND_END: i64 = 9000;

impl Scene {
    /// A queue whose messages are grouped by their first byte.
    fn grouped() -> Self {
        let mut scene = Self::new();
        let group = |body: &[u8]| body.first().map(|first| char::from(*first).to_string().into());
        let options = SqliteOptions {
            grouping: Some(Arc::new(group)),
            clock: Arc::new(|| UNIX_EPOCH + Duration::from_secs(1)),
            ..SqliteOptions::new(scene.folder.path().join("queue.db"), "stock")
        };
        scene.queue = SqliteQueue::open(options).unwrap();
        scene
    }

    /// A connection as the `sqlite3` program has one.
    fn by_hand(&self) -> Connection {
        Connection::open(self.folder.path().join("queue.db")).unwrap()
    }

    fn write<T>(&self, work: impl FnMut(&Transaction<'_>) -> Result<T, Fault>) -> T {
        self.queue.store.write(Promise::Crash, LOCK_TIMEOUT, work).unwrap()
    }

    fn lease(&self, now: i64, until: i64) -> Leased {
        self.write(|transaction| lease(transaction, self.queue.queue, 10, now, until))
    }

    fn read(&self, leased: &Leased) -> Copies {
        self.queue.store.read_on(|transaction| read_leased(transaction, leased, 0, usize::MAX)).unwrap()
    }
}

fn bodies(received: &[Received]) -> Vec<&[u8]> {
    received.iter().map(|received| &*received.message.body).collect()
}

#[test]
fn what_is_received_again_before_it_is_read_belongs_to_the_later_one() {
    let scene = Scene::grouped();
    for body in [b"a1", b"a2", b"b1"] {
        scene.send(body).unwrap();
    }
    let late = scene.lease(1000, FIRST_END);
    let again = scene.lease(FIRST_END, SECOND_END);
    let Copies { good, bad, unread, .. } = scene.read(&late);
    assert_eq!((bodies(&good).len(), bad.len(), unread.len()), (0, 0, 1), "a2 is behind a1");
    scene.write(|transaction| unlease_all(transaction, scene.queue.queue, &late));
    assert_eq!(bodies(&scene.read(&again).good), [b"a1", b"a2", b"b1"], "its leases stand");
}

#[test]
fn a_receive_ends_with_the_message_that_reaches_its_bytes_and_the_others_are_as_if_not_received() {
    let scene = Scene::grouped();
    for body in [&b"a1"[..], b"b1", b"a2", b"c1", b"a3"] {
        scene.send(body).unwrap();
    }
    let take = |bytes| {
        let ask = Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes };
        scene.queue.receive(&ask).unwrap()
    };
    let first = take(4);
    assert_eq!(bodies(&first), [b"a1", b"b1"], "each has two bytes, and its group has one: the second one reaches four");
    let second = take(1);
    assert_eq!((bodies(&second), second[0].message.receives, second[0].sequence), (vec![&b"c1"[..]], 1, 2), "a is locked");
    let receipts: Vec<_> = first.iter().map(|received| received.receipt.clone()).collect();
    scene.queue.delete(&receipts).unwrap();
    let third = take(usize::MAX);
    assert_eq!(bodies(&third), [b"a2", b"a3"]);
    assert!(third.iter().all(|received| received.message.receives == 1));
}

/// As if the page of one row were damaged.
#[test]
fn where_the_file_is_damaged_the_rows_around_are_read() {
    let scene = Scene::new();
    for body in [b"a1", b"a2", b"a3"] {
        scene.send(body).unwrap();
    }
    let damage = "
        CREATE TEMP VIEW contents AS
        SELECT seq, id, sent_at, iif(seq = 2, json('damaged'), body) AS body, attributes, open FROM main.contents";
    scene.queue.store.with_reader(|reader| reader.execute_batch(damage).unwrap());
    let Copies { good, bad, unread, .. } = scene.read(&scene.lease(1000, FIRST_END));
    assert_eq!((bodies(&good), unread.len()), (vec![&b"a1"[..], b"a3"], 0));
    let [why] = &bad[..] else { panic!("{bad:?}") };
    assert!(why.contains("row 2 of messages: malformed JSON"), "{why}");
}

#[test]
fn what_cannot_be_read_is_given_back_as_if_it_had_not_been_received() {
    let scene = Scene::grouped();
    for body in [b"a1", b"a2", b"b1"] {
        scene.send(body).unwrap();
    }
    scene.queue.store.with_reader(|reader| reader.execute_batch("CREATE TEMP TABLE contents (seq INTEGER PRIMARY KEY)").unwrap());
    assert!(scene.receive().unwrap_err().to_string().contains("no such column"));
    scene.queue.store.with_reader(|reader| reader.execute_batch("DROP TABLE temp.contents").unwrap());
    let received = scene.receive().unwrap();
    assert_eq!(bodies(&received), [b"a1", b"a2", b"b1"]);
    assert!(received.iter().all(|received| received.message.receives == 1));
    assert_eq!(received.iter().map(|received| received.sequence).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn of_many_unreadable_rows_a_few_are_named_and_the_others_counted() {
    for (rows, others) in [(3, "program; what"), (5, "program; so are 2 others; what")] {
        let scene = Scene::new();
        (0..rows).for_each(|_| _ = scene.send(b"a").unwrap());
        scene.by_hand().execute("UPDATE contents SET attributes = 'no JSON'", []).unwrap();
        let error = scene.receive().unwrap_err().to_string();
        assert!(error.contains(others) && error.matches(" of messages: ").count() == 3, "{error}");
    }
}

#[test]
fn a_group_goes_on_once_its_unreadable_message_is_deleted_by_hand() {
    let scene = Scene::grouped();
    for body in [b"a1", b"a2", b"b1"] {
        scene.send(body).unwrap();
    }
    let by_hand = scene.by_hand();
    by_hand.execute("UPDATE contents SET attributes = 'no JSON' WHERE seq = 1", []).unwrap();
    assert_eq!(bodies(&scene.receive().unwrap()), [b"b1"]);
    assert!(scene.receive().unwrap_err().to_string().contains("correct or delete it with the sqlite3 program"));
    assert!(scene.receive().unwrap().is_empty(), "a2 is behind a1");
    by_hand.execute("DELETE FROM messages WHERE seq = 1", []).unwrap();
    assert_eq!(bodies(&scene.receive().unwrap()), [b"a2"]);
}

#[test]
fn a_group_goes_on_if_its_first_message_is_deleted_before_it_is_read() {
    let scene = Scene::grouped();
    for body in [b"a1", b"a2"] {
        scene.send(body).unwrap();
    }
    let leased = scene.lease(1000, FIRST_END);
    scene.by_hand().execute("DELETE FROM messages WHERE seq = 1", []).unwrap();
    let Copies { good, unread, held_up, .. } = scene.read(&leased);
    assert_eq!((good.len(), &unread[..]), (0, &[2][..]));
    scene.write(|transaction| unlease(transaction, scene.queue.queue, unread.iter().copied(), &held_up, &leased));
    assert_eq!(bodies(&scene.receive().unwrap()), [b"a2"]);
}

/// As a program would leave it that deletes messages with triggers turned off.
#[test]
fn a_group_whose_first_message_is_gone_is_freed_by_the_receive_that_finds_that() {
    let scene = Scene::grouped();
    for body in [b"a1", b"a2"] {
        scene.send(body).unwrap();
    }
    let by_hand = scene.by_hand();
    by_hand.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    by_hand.execute("DELETE FROM messages WHERE seq = 1", []).unwrap();
    assert!(scene.receive().unwrap().is_empty());
    assert_eq!(bodies(&scene.receive().unwrap()), [b"a2"]);
}

#[test]
fn a_message_that_is_deleted_by_hand_frees_nothing_that_is_leased() {
    let scene = Scene::grouped();
    for body in [b"a1", b"a2", b"a3"] {
        scene.send(body).unwrap();
    }
    let first =
        scene.queue.receive(&Ask { max: 2, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX }).unwrap();
    scene.by_hand().execute("DELETE FROM messages WHERE seq = 1", []).unwrap();
    assert!(scene.receive().unwrap().is_empty(), "a2 is leased");
    let receipts: Vec<_> = first.into_iter().map(|received| received.receipt).collect();
    assert_eq!(scene.queue.delete(&receipts).unwrap(), [Err(EntryError::Gone), Ok(())]);
    assert_eq!(bodies(&scene.receive().unwrap()), [b"a3"]);
}

#[test]
fn no_connection_of_ours_runs_the_triggers_of_a_file() {
    let scene = Scene::new();
    let off = |connection: &Connection| assert!(!connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER).unwrap());
    scene.queue.store.with_writers(off);
}
