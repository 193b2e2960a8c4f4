//! Files of other versions and programs, files that were moved away, and processes that want the same one.

use super::*;

#[test]
fn a_newer_file_and_one_of_queues_are_refused_by_name() {
    let scene = Scene::new();
    drop(scene.parking());
    Connection::open(scene.path()).unwrap().execute_batch("PRAGMA user_version = 12").unwrap();
    let error = scene.open("stock", 0, MIB).err().unwrap();
    assert!(!error.is_transient() && error.to_string().contains("schema version 12"), "{error}");

    let queues = Scene::new();
    let options = crate::queue::sqlite::SqliteOptions::new(queues.path(), "stock");
    let open = crate::queue::sqlite::SqliteQueue::open(options).unwrap();
    let error = queues.open("stock", 0, MIB).err().unwrap().to_string();
    assert!(error.contains("stock.parking") && error.contains("is for queues"), "{error}");
    drop(open);
    let error = queues.open("stock", 0, MIB).err().unwrap().to_string();
    assert!(error.contains("not for parking"), "{error}");
}

#[test]
fn what_is_parked_in_a_file_that_was_moved_away_is_still_delivered() {
    let scene = Scene::new();
    let origin = memory();
    let queue = ParkedQueue::new(scene.parking(), Arc::clone(&origin) as Arc<dyn Queue>).unwrap();
    queue.parking.park(&behind("x", &["a", "b"])).unwrap();
    std::fs::rename(scene.path(), scene.folder.path().join("away.db")).unwrap();
    let error = queue.parking.park(&behind("x", &["c"])).unwrap_err().to_string();
    assert!(error.contains("put it back"), "{error}");
    let rows = take(&queue.parking, "x", START, 9).rows;
    assert_eq!(queue.delete(&[rows[0].receipt.clone()]).unwrap(), [Ok(())]);
    assert_eq!(queue.set_aside(&[letter(&rows[1], "why")]).unwrap(), [Ok(())]);
    std::fs::rename(scene.folder.path().join("away.db"), scene.path()).unwrap();
    assert!(queue.count().unwrap().is_empty());
    assert_eq!(origin.dead_letters().unwrap().find("1").unwrap().unwrap().body, "body of b");
}

#[test]
fn one_process_claims_a_file_for_all_of_its_queues_and_another_one_waits() {
    let scene = Scene::new();
    let first = ParkedQueue::new(scene.parking(), memory()).unwrap();
    let second = ParkedQueue::new(scene.open("invoice", 0, MIB).unwrap(), memory()).unwrap();
    drop(first);
    // A descriptor of its own, as another process would have.
    let lock = || std::fs::File::open(scene.folder.path().join("parking.db-lock")).unwrap().try_lock();
    assert!(lock().is_err(), "the second still delivers from it");
    drop(second);
    let theirs = std::fs::File::open(scene.folder.path().join("parking.db-lock")).unwrap();
    theirs.try_lock().unwrap();
    let error = ParkedQueue::new(scene.parking(), memory()).err().unwrap();
    assert!(error.is_transient() && error.to_string().contains("another instance"), "{error}");
}
