//! A disk of a few MiB, simulated by counting the bytes that the file and its log take up.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::*;
use crate::message::{DeliveryName, Received};
use crate::queue::{Portions, SettledPart};

const MIB: u64 = 1024 * 1024;

/// A file system that holds one file, by its size in bytes.
struct Disk(AtomicU64);

impl Disk {
    fn used(file: &Path) -> u64 {
        let size = |end: &str| std::fs::metadata(format!("{}{end}", file.display())).map_or(0, |file| file.len());
        size("") + size("-wal") + size("-shm")
    }
}

struct Scene {
    queue: SqliteQueue,
    disk: Arc<Disk>,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk(size.into()));
        Self { queue: open(folder.path(), &disk).unwrap(), disk, folder }
    }

    /// Checks that the file and its log never take more than the disk has.
    fn check(&self) {
        let used = Disk::used(&self.folder.path().join("queue.db"));
        let size = self.disk.0.load(Ordering::Relaxed);
        assert!(used <= size, "{used} of {size}");
    }

    fn send(&self, count: usize, bytes: usize) -> Result<usize, QueueError> {
        let message = NewMessage { body: vec![b'x'; bytes].into(), ..NewMessage::default() };
        let sent = self.queue.send(&vec![message; count]).map(|ids| ids.len());
        self.check();
        sent
    }

    fn fill(&self, count: usize, bytes: usize) -> (usize, QueueError) {
        let mut sent = 0;
        loop {
            match self.send(count, bytes) {
                Ok(more) => sent += more,
                Err(error) => return (sent, error),
            }
        }
    }

    fn receive(&self) -> Vec<Received> {
        let taken = self
            .queue
            .receive(&Ask { max: 500, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX })
            .unwrap();
        self.check();
        taken
    }

    /// Drains the queue in an order that touches as many pages at once as possible.
    fn drain(&self) -> usize {
        let mut receipts: Vec<_> =
            std::iter::repeat_with(|| self.receive()).take_while(|taken| !taken.is_empty()).flatten().collect();
        receipts.sort_by_key(|received| received.sequence % 97);
        for some in receipts.chunks(1000) {
            let some: Vec<_> = some.iter().map(|received| received.receipt.clone()).collect();
            assert!(self.queue.delete(&some).unwrap().iter().all(Result::is_ok));
            self.check();
        }
        receipts.len()
    }
}

fn open(folder: &Path, disk: &Arc<Disk>) -> Result<SqliteQueue, QueueError> {
    let disk = Arc::clone(disk);
    let space = move |file: &Path| Some(disk.0.load(Ordering::Relaxed).saturating_sub(Disk::used(file)));
    SqliteQueue::open(SqliteOptions { space: Arc::new(space), ..SqliteOptions::new(folder.join("queue.db"), "stock") })
}

/// A letter about the whole message.
fn letter(received: &Received) -> SetAside {
    SetAside {
        message: Arc::clone(&received.message),
        receipt: received.receipt.clone(),
        delivery: None,
        reason: crate::queue::DeadReason { kind: crate::queue::DeadKind::Refused, text: "no such order".into() },
        last: true,
    }
}

#[test]
fn a_disk_full_of_backlog_can_be_drained_and_filled_again() {
    for (size, count, bytes) in [(6, 200, 300), (12, 10, 50_000), (40, 500, 700)] {
        let scene = Scene::new(size * MIB);
        let (first, error) = scene.fill(count, bytes);
        assert!(error.is_transient() && error.to_string().contains("free space on its disk"), "{error}");
        assert_eq!(scene.drain(), first, "{size} MiB");
        // The drained messages leave their pages in the file as free pages.
        let (second, _) = scene.fill(count, bytes);
        assert!(second * 10 >= first * 8, "{second} after {first} of {bytes} bytes on {size} MiB");
        assert_eq!(scene.drain(), second);
        let least = (size * MIB).saturating_sub(18 * MIB).max(size * MIB / 3) * 3 / 4;
        assert!((first * bytes) as u64 >= least, "{first} of {bytes} bytes on {size} MiB");
    }
}

#[test]
fn the_log_of_a_queue_that_is_nearly_empty_never_fills_a_small_disk() {
    let scene = Scene::new(4 * MIB);
    for _ in 0..300 {
        assert_eq!(scene.send(100, 100).unwrap(), 100);
        assert_eq!(scene.drain(), 100);
    }
}

#[test]
fn leases_and_dead_letters_go_on_where_nothing_more_is_taken_in() {
    let scene = Scene::new(6 * MIB);
    scene.fill(100, 1000);
    let taken = scene.receive();
    let longer: Vec<_> =
        taken.iter().map(|received| VisibilityChange::new(received.receipt.clone(), Duration::from_secs(60))).collect();
    for _ in 0..50 {
        assert!(scene.queue.change_visibility(&longer).unwrap().iter().all(Result::is_ok));
        scene.check();
    }
    let letters: Vec<_> = taken.iter().map(letter).collect();
    assert!(scene.queue.set_aside(&letters).unwrap().iter().all(Result::is_ok));
    scene.check();
}

#[test]
fn messages_are_returned_although_there_is_no_room_for_what_is_settled_of_them() {
    let scene = Scene::new(6 * MIB);
    scene.fill(100, 1000);
    let account = |index: u16| DeliveryName { index, account: Some("x".repeat(30).into()) };
    let settled = SettledPart { deliveries: (0..1000).map(account).collect(), accepted: true };
    let taken = scene.receive();
    let back = |received: &Received| VisibilityChange {
        settled: Some(settled.clone().into()),
        ..VisibilityChange::new(received.receipt.clone(), Duration::ZERO)
    };
    // One has room in the reserve, all together have not.
    for some in [&taken[..1], &taken[1..]] {
        let returned = scene.queue.change_visibility(&some.iter().map(back).collect::<Vec<_>>()).unwrap();
        assert!(returned.iter().all(Result::is_ok));
        scene.check();
    }
    let again = scene.receive();
    assert_eq!(again[0].settled.as_deref(), Some(&settled));
    assert!(again[1..].iter().all(|received| received.settled.is_none()));
    let receipts: Vec<_> = again.iter().map(|received| received.receipt.clone()).collect();
    assert!(scene.queue.delete(&receipts).unwrap().iter().all(Result::is_ok));
    scene.drain();
}

#[test]
fn dead_letters_leave_the_room_that_deletes_need() {
    let scene = Scene::new(6 * MIB);
    scene.fill(100, 1000);
    let taken = scene.receive();
    let letter = |received: &Received, payload: usize| SetAside {
        message: Arc::clone(&received.message),
        receipt: received.receipt.clone(),
        delivery: Some(crate::queue::DeadDelivery { account: "x".into(), index: Some(0), payload: vec![b'p'; payload].into() }),
        reason: crate::queue::DeadReason { kind: crate::queue::DeadKind::Refused, text: "no such order".into() },
        last: false,
    };
    let mut written = 0;
    let error = taken.iter().find_map(|received| {
        let done = scene.queue.set_aside(&[letter(received, 50_000)]);
        scene.check();
        written += usize::from(done.is_ok());
        done.err()
    });
    let error = error.expect("they do not take the whole disk");
    assert!(error.is_transient() && error.to_string().contains("free space on its disk"), "{error}");
    assert!(written > 5, "{written}");
    assert!(scene.send(1, 1000).is_err(), "what comes in has less");
    let receipts: Vec<_> = taken.iter().map(|received| received.receipt.clone()).collect();
    assert!(scene.queue.delete(&receipts).unwrap().iter().all(Result::is_ok));
    scene.drain();
}

#[test]
fn large_dead_letters_are_put_back_although_the_disk_has_no_room_for_all_of_them_at_once() {
    let scene = Scene::new(100 * MIB);
    for _ in 0..20 {
        scene.send(1, 1_000_000).unwrap();
        let letters: Vec<_> = scene.receive().iter().map(letter).collect();
        assert_eq!(scene.queue.set_aside(&letters).unwrap(), [Ok(())]);
    }
    let mut ids = Vec::new();
    let mut note = |letter: DeadLetter| {
        ids.push(letter.id);
        true
    };
    scene.queue.list(&DeadFilter::default(), &mut note).unwrap();
    scene.queue.store.with_writers(|connection| assert!(crate::queue::sqlite::room::cut_back(connection)));
    scene.disk.0.store(Disk::used(&scene.folder.path().join("queue.db")) + 12 * MIB, Ordering::Relaxed);
    let mut after = |_| {
        scene.check();
        true
    };
    let changed = scene.queue.redrive_in(Portions { most: 1000, after: &mut after }, &ids);
    assert!(changed.done == 20 && changed.failed.is_empty() && changed.ended.is_none(), "{changed:?}");
    assert_eq!(scene.drain(), 20);
}

#[test]
fn a_call_that_takes_more_than_plenty_is_refused_before_it_fills_the_disk() {
    let scene = Scene::new(300 * MIB);
    scene.send(3, 1000).unwrap();
    let payload = bytes::Bytes::from(vec![b'p'; 60 * 1024 * 1024]);
    let letter = |received: &Received| SetAside {
        message: Arc::clone(&received.message),
        receipt: received.receipt.clone(),
        delivery: Some(crate::queue::DeadDelivery { account: "x".into(), index: Some(0), payload: payload.clone() }),
        reason: crate::queue::DeadReason { kind: crate::queue::DeadKind::Refused, text: "no such order".into() },
        last: false,
    };
    let letters: Vec<_> = scene.receive().iter().map(letter).collect();
    let error = scene.queue.set_aside(&letters).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("full but for a reserve"), "{error}");
    scene.check();
}

#[test]
fn what_has_no_room_is_refused_with_the_numbers_and_taken_once_there_is_some() {
    let scene = Scene::new(6 * MIB);
    let (_, error) = scene.fill(100, 1000);
    let told = error.to_string();
    assert!(error.is_transient() && told.contains("MiB are left") && told.contains("MiB are kept"), "{told}");
    scene.disk.0.store(60 * MIB, Ordering::Relaxed);
    assert_eq!(scene.send(100, 1000).unwrap(), 100);
}

#[test]
fn a_log_that_was_left_on_a_short_disk_is_cut_back_when_the_file_is_opened() {
    let scene = Scene::new(1000 * MIB);
    for _ in 0..30 {
        scene.send(100, 1000).unwrap();
        scene.drain();
    }
    let (path, other) = (scene.folder.path().join("queue.db"), tempfile::tempdir().unwrap());
    // As if the process had died.
    for end in ["", "-wal"] {
        std::fs::copy(format!("{}{end}", path.display()), other.path().join(format!("queue.db{end}"))).unwrap();
    }
    let log = || std::fs::metadata(other.path().join("queue.db-wal")).unwrap().len();
    let (before, disk) = (log(), Arc::new(Disk((5 * MIB).into())));
    let queue = open(other.path(), &disk).unwrap();
    assert!(before > 2 * MIB && log() == 0, "{before} {}", log());
    assert!(queue.count().unwrap().is_empty());
}

#[test]
fn who_cannot_tell_what_is_left_goes_on_as_long_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        SqliteOptions { space: Arc::new(|_: &Path| None), ..SqliteOptions::new(folder.path().join("queue.db"), "stock") };
    let queue = SqliteQueue::open(options).unwrap();
    queue.send(&[NewMessage { body: vec![0; 1_000_000].into(), ..NewMessage::default() }]).unwrap();
}
