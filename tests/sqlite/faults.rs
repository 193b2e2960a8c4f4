//! A file that another process holds, or that is not a queue: the error says what to do,
//! nothing is lost, and work resumes.

use std::path::Path;
use std::time::Duration;

use octoconf::queue::sqlite::{SqliteOptions, SqliteQueue};
use octoconf::queue::{Ask, NewMessage, Queue, QueueError};
use rusqlite::Connection;

fn open(path: &Path) -> Result<SqliteQueue, QueueError> {
    SqliteQueue::open(SqliteOptions { patience: Duration::from_millis(5), ..SqliteOptions::new(path, "stock") })
}

fn message(body: &'static str) -> NewMessage {
    NewMessage { body: body.into(), ..NewMessage::default() }
}

fn ask() -> Ask {
    Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX }
}

#[test]
fn a_locked_file_is_unavailable_until_it_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let queue = open(&path).unwrap();
    queue.send(&[message("a")]).unwrap();

    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for result in [queue.send(&[message("b")]).map(drop), queue.receive(&ask()).map(drop), queue.delete(&[]).map(drop)] {
        let error = result.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("another process holds the file"), "{error}");
    }
    assert_eq!(queue.count().unwrap().visible, 1, "counting waits for no writer");
    other.execute_batch("ROLLBACK").unwrap();

    queue.send(&[message("b")]).unwrap();
    let taken = queue.receive(&ask()).unwrap();
    assert_eq!(taken.iter().map(|received| received.message.body.clone()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(taken.iter().map(|received| received.sequence).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_file_moved_away_while_open_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("queue.db"), folder.path().join("away.db"));
    let queue = open(&path).unwrap();
    queue.send(&[message("a")]).unwrap();
    let taken = queue.receive(&ask()).unwrap();

    std::fs::rename(&path, &away).unwrap();
    let waits = Ask { wait: Duration::from_secs(20), ..ask() };
    let asked = [queue.send(&[message("b")]).map(drop), queue.receive(&waits).map(drop), queue.count().map(drop)];
    for error in asked.map(Result::unwrap_err) {
        let told = error.to_string();
        assert!(error.is_transient() && told.contains("queue.db was moved") && told.contains("put it back"), "{told}");
    }
    assert_eq!(queue.delete(&[taken[0].receipt.clone()]).unwrap(), [Ok(())], "what is done is noted where it came from");

    std::fs::rename(&away, &path).unwrap();
    queue.send(&[message("c")]).unwrap();
    assert_eq!(queue.receive(&ask()).unwrap().len(), 1);
}

#[test]
fn a_path_that_is_no_queue_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "This is not a database, however long it may be. ".repeat(100)).unwrap();
    for (path, says) in [
        (text.clone(), "the path names something other than a queue file"),
        (folder.path().join("missing").join("queue.db"), "its folder must exist"),
        (folder.path().to_path_buf(), "its folder must exist"),
    ] {
        let error = open(&path).err().unwrap();
        assert!(!error.is_transient(), "{error}");
        let error = error.to_string();
        assert!(error.contains(says) && error.contains(&path.display().to_string()) && error.contains("stock"), "{error}");
    }
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("This is not a database"));
}

#[test]
fn a_name_that_sqlite_would_read_specially_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:queue.db?mode=memory", "ä queue.db"] {
        let path = folder.path().join(name);
        open(&path).unwrap().send(&[message("a")]).unwrap();
        assert!(path.exists());
        assert_eq!(open(&path).unwrap().count().unwrap().visible, 1);
    }
}
