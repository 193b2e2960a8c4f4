//! A full disk and a file that cannot be written: faults that
//! only a test with access to the connections can bring about.

use std::time::{Duration, UNIX_EPOCH};

use rusqlite::ffi;

use super::*;
use crate::message::Received;

mod clock;
mod dead;
mod leftovers;
mod receive;
mod small_disk;

struct Scene {
    queue: SqliteQueue,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions {
            clock: Arc::new(|| UNIX_EPOCH + Duration::from_secs(1)),
            patience: Duration::from_millis(1),
            ..SqliteOptions::new(folder.path().join("queue.db"), "stock")
        };
        Self { queue: SqliteQueue::open(options).unwrap(), folder }
    }

    fn pragma(&self, name: &str, value: i64) {
        self.queue.store.with_writers(|connection| {
            connection.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(none_given).unwrap();
        });
    }

    fn send(&self, body: &[u8]) -> Result<usize, QueueError> {
        let message = NewMessage { body: body.to_vec().into(), ..NewMessage::default() };
        Ok(self.queue.send(&[message])?.len())
    }

    fn receive(&self) -> Result<Vec<Received>, QueueError> {
        self.queue.receive(&Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX })
    }
}

/// Accepts that a pragma returns no value, as some do.
fn none_given(error: rusqlite::Error) -> rusqlite::Result<()> {
    if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) }
}

fn says(result: Result<impl std::fmt::Debug, QueueError>, what: &str) {
    let error = result.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(what), "{error}");
}

#[test]
fn a_full_disk_refuses_what_has_no_room_and_keeps_what_is_there() {
    let scene = Scene::new();
    scene.send(b"first").unwrap();
    scene.pragma("max_page_count", 1);
    says(scene.send(&[0; 100_000]), "free space");
    scene.pragma("max_page_count", i64::from(u32::MAX - 1));
    scene.send(b"second").unwrap();
    let bodies: Vec<_> = scene.receive().unwrap().into_iter().map(|received| received.message.body.clone()).collect();
    assert_eq!(bodies, ["first", "second"]);
}

#[test]
fn a_write_that_finds_the_disk_full_cuts_the_log_back_and_is_done_once_more() {
    let scene = Scene::new();
    scene.send(&[0; 10_000]).unwrap();
    let log = || std::fs::metadata(scene.folder.path().join("queue.db-wal")).unwrap().len();
    assert!(log() > 0);
    for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE] {
        for promise in [Promise::Crash, Promise::PowerLoss] {
            let mut tries = 0;
            let work = |_: &Transaction<'_>| {
                tries += 1;
                if tries == 1 { Err(failure(code)) } else { Ok(log()) }
            };
            assert_eq!(scene.queue.store.write(promise, LOCK_TIMEOUT, work).unwrap(), 0, "cut back before the second try");
            assert_eq!(tries, 2);
            scene.send(&[0; 10_000]).unwrap();
        }
    }
    let mut tries = 0;
    let work = |_: &Transaction<'_>| -> Result<(), Fault> {
        tries += 1;
        Err(failure(ffi::SQLITE_FULL))
    };
    scene.queue.store.write(Promise::Crash, LOCK_TIMEOUT, work).unwrap_err();
    assert_eq!(tries, 2, "once more, and no more");
}

fn failure(code: i32) -> Fault {
    Fault::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
}

#[test]
fn a_sync_that_failed_is_not_tried_again() {
    let scene = Scene::new();
    let mut tries = 0;
    let work = |_: &Transaction<'_>| -> Result<(), Fault> {
        tries += 1;
        Err(failure(ffi::SQLITE_IOERR_FSYNC))
    };
    scene.queue.store.write(Promise::PowerLoss, LOCK_TIMEOUT, work).unwrap_err();
    assert_eq!(tries, 1);
}

#[test]
fn a_file_that_cannot_be_written_is_unavailable_until_it_can() {
    let scene = Scene::new();
    scene.send(b"first").unwrap();
    scene.pragma("query_only", 1);
    says(scene.send(b"second"), "writable");
    says(scene.receive(), "writable");
    scene.pragma("query_only", 0);
    let taken = scene.receive().unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].sequence, taken[0].message.receives), (0, 1), "a receive that failed gave no number away");
}

#[test]
fn a_thread_that_holds_the_file_for_too_long_is_said() {
    let scene = Scene::new();
    let (holds, held) = std::sync::mpsc::sync_channel(1);
    let (ends, end) = std::sync::mpsc::sync_channel::<()>(1);
    std::thread::scope(|scope| {
        let store = &scene.queue.store;
        scope.spawn(move || {
            let hold = |_: &Transaction<'_>| {
                holds.send(()).unwrap();
                end.recv().unwrap();
                Ok(())
            };
            store.write(Promise::Crash, Duration::from_secs(5), hold).unwrap();
        });
        held.recv().unwrap();
        says(scene.send(b"first"), "other threads");
        // A read waits for no writer.
        assert!(scene.queue.count().unwrap().is_empty());
        ends.send(()).unwrap();
    });
    scene.send(b"first").unwrap();
}

#[test]
fn threads_behind_one_that_waits_for_another_process_say_so_too() {
    let scene = Scene::new();
    let theirs = rusqlite::Connection::open(scene.folder.path().join("queue.db")).unwrap();
    theirs.execute_batch("BEGIN IMMEDIATE").unwrap();
    let store = &scene.queue.store;
    let write = |patience| store.write(Promise::Crash, patience, |_| Ok(()));
    std::thread::scope(|scope| {
        scope.spawn(|| write(Duration::from_secs(600)).unwrap());
        let mut said = std::iter::repeat_with(|| write(Duration::from_millis(100)).unwrap_err().to_string());
        let behind = said.find(|error| !error.contains("database is locked"));
        theirs.execute_batch("ROLLBACK").unwrap();
        assert!(behind.as_ref().is_some_and(|error| error.contains("another process")), "{behind:?}");
    });
}

#[test]
fn queues_of_one_file_share_its_connections() {
    let scene = Scene::new();
    let path = scene.folder.path().join(".").join("queue.db");
    let other = SqliteQueue::open(SqliteOptions::new(path, "invoice")).unwrap();
    assert!(Arc::ptr_eq(&scene.queue.store, &other.store));
    assert_ne!(scene.queue.queue, other.queue);
}

#[test]
fn what_must_survive_a_power_loss_is_synced_and_what_need_not_is_not() {
    let scene = Scene::new();
    let synchronous = |promise| {
        let read = |transaction: &Transaction<'_>| Ok(transaction.pragma_query_value(None, "synchronous", |row| row.get(0))?);
        scene.queue.write::<i64>(promise, "read", read).unwrap()
    };
    let (normal, full) = (1, 2);
    assert_eq!(synchronous(Promise::PowerLoss), full);
    assert_eq!(synchronous(Promise::Crash), normal);
}

#[test]
fn deletes_wait_for_others_but_not_where_they_free_a_group() {
    let scene = Scene::new();
    let fifo = SqliteOptions {
        grouping: Some(Arc::new(|_: &[u8]| Some("a".into()))),
        ..SqliteOptions::new(scene.folder.path().join("queue.db"), "groups")
    };
    let fifo = SqliteQueue::open(fifo).unwrap();
    assert_eq!((scene.queue.limits().linger, fifo.limits().linger), (LINGER, Duration::ZERO));
}

#[test]
fn a_row_that_cannot_be_read_stops_neither_its_queue_nor_other_groups() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let grouping: Grouping = Arc::new(|body: &[u8]| body.first().map(|byte| char::from(*byte).to_compact_string()));
    let clock = Arc::new(std::sync::atomic::AtomicU64::new(1000));
    let now = Arc::clone(&clock);
    let queue = SqliteQueue::open(SqliteOptions {
        grouping: Some(grouping),
        clock: Arc::new(move || UNIX_EPOCH + Duration::from_secs(now.load(std::sync::atomic::Ordering::Relaxed))),
        ..SqliteOptions::new(&path, "stock")
    });
    let queue = queue.unwrap();
    for body in ["a1", "b1", "b2", "c1", "c2", "d1"] {
        queue.send(&[NewMessage { body: body.into(), ..NewMessage::default() }]).unwrap();
    }
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("UPDATE contents SET attributes = 'x' WHERE body = x'6231'; DELETE FROM contents WHERE body = x'6431'")
        .unwrap();
    let receive = || {
        let taken = queue.receive(&Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX })?;
        let told = taken.iter().map(|received| {
            (String::from_utf8_lossy(&received.message.body).into_owned(), received.sequence, received.message.receives)
        });
        Ok::<_, QueueError>(told.collect::<Vec<_>>())
    };
    assert_eq!(receive().unwrap(), [("a1".into(), 0, 1), ("c1".into(), 1, 1), ("c2".into(), 2, 1)]);
    let error = receive().unwrap_err();
    let text = error.to_string();
    assert!(
        error.is_transient() && text.contains("row 2 of messages: message ") && text.contains("row 6 of messages: it has"),
        "{text}"
    );
    assert_eq!(receive().unwrap(), [], "b2 waits for b1");

    file.execute_batch("UPDATE contents SET attributes = NULL; DELETE FROM messages WHERE seq = 6").unwrap();
    clock.store(1030, std::sync::atomic::Ordering::Relaxed);
    let receives: Vec<_> = receive().unwrap().into_iter().map(|(body, _, receives)| (body, receives)).collect();
    let expected = [("a1", 2), ("b1", 2), ("b2", 1), ("c1", 2), ("c2", 2)].map(|(body, receives)| (body.to_owned(), receives));
    assert_eq!(receives, expected);
}
