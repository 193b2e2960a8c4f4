//! Files of other versions. For each released schema there is a script that creates a file as that version left
//! it. The scripts never change.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use octoconf::message::{Attribute, AttributeValue, DeliveryName, Grouping};
use octoconf::queue::sqlite::{SqliteOptions, SqliteQueue};
use octoconf::queue::{Ask, Count, DeadFilter, DeadLetters, EntryResult, Queue, QueueError, SettledPart, VisibilityChange};
use rusqlite::Connection;

fn open(path: &Path, name: &str, grouping: Option<Grouping>) -> Result<SqliteQueue, QueueError> {
    let clock = std::sync::Arc::new(|| UNIX_EPOCH + Duration::from_millis(1_720_000_060_000));
    SqliteQueue::open(SqliteOptions { clock, grouping, ..SqliteOptions::new(path, name) })
}

#[test]
fn a_file_of_version_1_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("versions/v1.sql")).unwrap();

    let stock = open(&path, "stock", None).unwrap();
    assert_eq!(stock.count().unwrap(), Count { visible: 2, hidden: 1, delayed: 1 });
    let taken = stock.receive(&Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX }).unwrap();
    let told: Vec<_> = taken.iter().map(|received| (received.message.id.as_str(), received.message.receives)).collect();
    assert_eq!(told, [("first", 3), ("second-r4", 1)]);
    let first = &taken[0].message;
    assert_eq!(first.body.as_ref(), b"\x00{}\xff");
    assert_eq!(first.sent_at, UNIX_EPOCH + Duration::from_millis(1_720_000_000_000));
    assert_eq!(first.attributes[0], Attribute::new("try".into(), AttributeValue::Number("1".into())));
    assert_eq!(first.attributes[1].value, AttributeValue::Binary(vec![0, 255].into()));
    assert_eq!(taken[1].message.open.as_deref(), Some(&[1, 3].map(|index| DeliveryName { index, account: None })[..]));

    let mut letters = Vec::new();
    let each = &mut |letter| {
        letters.push(letter);
        true
    };
    stock.list(&DeadFilter::default(), each).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].id.as_str(), letters[0].index, letters[0].redrives), ("7", Some(2), 1));
    assert_eq!(stock.redrive(&["7".into()]).unwrap(), 1);

    // Group g is locked by its first message; group h is free.
    let group: Grouping = std::sync::Arc::new(|_| None);
    let invoice = open(&path, "invoice", Some(group)).unwrap();
    let taken =
        invoice.receive(&Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX }).unwrap();
    assert_eq!(taken.iter().map(|received| received.message.id.as_str()).collect::<Vec<_>>(), ["h1", "h2"]);
}

#[test]
fn large_messages_of_version_1_are_deleted_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("versions/v1.sql")).unwrap();
    assert_eq!(delete_all(&open(&path, "stock", None).unwrap()).unwrap(), [Ok(()), Ok(())]);
    assert_eq!(contents(&path).unwrap(), [12, 13, 20, 21, 22, 23]);
}

#[test]
fn small_messages_of_version_2_leave_their_contents_for_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("versions/v2.sql")).unwrap();
    let stock = open(&path, "stock", None).unwrap();
    assert_eq!(stock.count().unwrap(), Count { visible: 2, hidden: 0, delayed: 0 });
    assert_eq!(delete_all(&stock).unwrap(), [Ok(()), Ok(())]);
    assert!(stock.count().unwrap().is_empty());
    assert_eq!(contents(&path).unwrap(), [10, 11]);
}

#[test]
fn a_file_of_version_3_remembers_a_clock_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let file = Connection::open(&path).unwrap();
    file.execute_batch(include_str!("versions/v3.sql")).unwrap();
    let stock = open(&path, "stock", None).unwrap();
    assert_eq!(delete_all(&stock).unwrap(), [Ok(())]);
    assert_eq!(stock.count().unwrap(), Count { visible: 0, hidden: 1, delayed: 0 });
    let until: i64 = file.query_row("SELECT hidden_until FROM messages", [], |row| row.get(0)).unwrap();
    assert_eq!(until, 1_720_000_090_000);
}

#[test]
fn of_what_version_4_returned_nothing_is_known_until_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("versions/v4.sql")).unwrap();
    let stock = open(&path, "stock", None).unwrap();
    let take = || {
        stock
            .receive(&Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX })
            .unwrap()
            .remove(0)
    };
    let first = take();
    assert_eq!((first.message.id.as_str(), first.message.receives, &first.settled), ("first", 2, &None));
    let settled = SettledPart { deliveries: vec![DeliveryName { index: 1, account: Some("acme".into()) }], accepted: false };
    let back = VisibilityChange { settled: Some(settled.clone().into()), ..VisibilityChange::new(first.receipt, Duration::ZERO) };
    assert_eq!(stock.change_visibility(&[back]).unwrap(), [Ok(())]);
    assert_eq!(take().settled.as_deref(), Some(&settled));
    assert_eq!(stock.redrive(&["7".into()]).unwrap(), 1);
    assert_eq!(take().message.open.as_deref(), Some(&settled.deliveries[..]));
}

#[test]
fn groups_that_were_stranded_in_version_5_are_freed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("versions/v5.sql")).unwrap();
    let group: Grouping = std::sync::Arc::new(|_| None);
    let stock = open(&path, "stock", Some(group)).unwrap();
    let taken = stock.receive(&Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX }).unwrap();
    assert_eq!(taken.iter().map(|received| received.message.id.as_str()).collect::<Vec<_>>(), ["a5", "b6", "a10"]);
}

#[test]
fn all_receives_of_version_6_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("versions/v6.sql")).unwrap();
    let stock = open(&path, "stock", None).unwrap();
    let take = || {
        let ask = Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX };
        stock.receive(&ask).unwrap().remove(0)
    };
    let third = take();
    assert_eq!(third.message.receives, 3);
    let back = VisibilityChange { uncounted: true, ..VisibilityChange::new(third.receipt, Duration::ZERO) };
    assert_eq!(stock.change_visibility(&[back]).unwrap(), [Ok(())]);
    assert_eq!(take().message.receives, 3);
}

fn delete_all(queue: &SqliteQueue) -> Result<Vec<EntryResult>, QueueError> {
    let taken = queue.receive(&Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX })?;
    let receipts: Vec<_> = taken.into_iter().map(|received| received.receipt).collect();
    queue.delete(&receipts)
}

fn contents(path: &Path) -> rusqlite::Result<Vec<i64>> {
    let file = Connection::open(path)?;
    let mut rows = file.prepare("SELECT seq FROM contents ORDER BY seq")?;
    rows.query_map([], |row| row.get(0))?.collect()
}

#[test]
fn a_file_of_a_newer_version_is_refused_by_name_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    drop(open(&path, "stock", None).unwrap());
    let file = Connection::open(&path).unwrap();
    file.execute_batch("PRAGMA user_version = 12").unwrap();
    let error = open(&path, "stock", None).err().unwrap();
    assert!(matches!(error, QueueError::Refused { .. }));
    assert!(error.to_string().contains("schema version 12"), "{error}");
    let version: i64 = file.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 12);
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.db");
    let theirs = Connection::open(&path).unwrap();
    theirs.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)").unwrap();
    let error = open(&path, "stock", None).err().unwrap();
    assert!(matches!(error, QueueError::Refused { .. }) && error.to_string().contains("another program"), "{error}");
    let mode: String = theirs.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    let tables: i64 = theirs.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!((mode.as_str(), tables), ("delete", 1));
}
