//! What deleted messages left behind, on a damaged page.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::*;
use crate::message::Receipt;

const MARK: &str = "left-behind ";

/// A file that is full of leftovers, the oldest of which are on a page that cannot be read.
fn damaged() -> Scene {
    let Scene { queue, folder } = Scene::new();
    drop(queue);
    let path = folder.path().join("queue.db");
    let file = Connection::open(&path).unwrap();
    file.execute_batch(&format!(
        "INSERT INTO contents (seq, id, sent_at, body)
         WITH RECURSIVE n (seq) AS (SELECT -20000 UNION ALL SELECT seq + 1 FROM n WHERE seq < -1) SELECT seq, 'm', 0, '{MARK}' FROM n;
         INSERT INTO leftovers SELECT seq FROM contents"
    ))
    .unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let size = file.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0)).unwrap() as usize;
    drop(file);
    let mut bytes = std::fs::read(&path).unwrap();
    // The page of a table's rows begins with this number, and the rows stand at its end.
    let page = bytes.chunks_mut(size).find(|page| page[0] == 13 && page.ends_with(MARK.as_bytes())).unwrap();
    page[..8].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let options = SqliteOptions { clock: Arc::new(|| UNIX_EPOCH + Duration::from_secs(1)), ..SqliteOptions::new(path, "stock") };
    Scene { queue: SqliteQueue::open(options).unwrap(), folder }
}

#[test]
fn leftovers_on_a_damaged_page_keep_no_message_from_being_deleted() {
    let scene = damaged();
    let delete_one = || {
        scene.send(b"a").unwrap();
        let receipts: Vec<Receipt> = scene.receive().unwrap().into_iter().map(|received| received.receipt).collect();
        assert_eq!(scene.queue.delete(&receipts).unwrap(), [Ok(())]);
        assert!(scene.queue.count().unwrap().is_empty());
    };
    delete_one();
    says(scene.receive(), "cannot be removed");
    delete_one();
    assert!(scene.receive().unwrap().is_empty(), "it is said once");
}

#[test]
fn leftovers_that_could_not_be_read_once_are_removed_later() {
    let folder = tempfile::tempdir().unwrap();
    let seconds = Arc::new(AtomicU64::new(1));
    let clock = Arc::clone(&seconds);
    let options = SqliteOptions {
        clock: Arc::new(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed))),
        ..SqliteOptions::new(folder.path().join("queue.db"), "stock")
    };
    let scene = Scene { queue: SqliteQueue::open(options).unwrap(), folder };
    let fault = |code| Fault::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    assert!(scene.queue.sweeps());
    scene.queue.stop_sweeping(&fault(ffi::SQLITE_IOERR_READ));
    says(scene.receive(), "tried again");
    assert!(!scene.queue.sweeps());
    seconds.store(1 + 600, Ordering::Relaxed);
    assert!(scene.queue.sweeps(), "its disk may have been away");
    scene.queue.stop_sweeping(&fault(ffi::SQLITE_CORRUPT));
    seconds.store(u64::from(u32::MAX), Ordering::Relaxed);
    assert!(!scene.queue.sweeps(), "only a person can mend that");
}
