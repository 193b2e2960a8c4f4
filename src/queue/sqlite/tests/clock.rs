//! A wall clock that is set back, while a process runs or between two.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const HOUR: u64 = 3600;

/// The folder of a queue file, and the time in seconds that the clock of its queues shows.
struct Clocked {
    folder: tempfile::TempDir,
    seconds: Arc<AtomicU64>,
}

impl Clocked {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), seconds: Arc::new(AtomicU64::new(100 * HOUR)) }
    }

    fn open(&self, name: &str) -> SqliteQueue {
        let seconds = Arc::clone(&self.seconds);
        let clock = Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed)));
        SqliteQueue::open(SqliteOptions { clock, ..SqliteOptions::new(self.folder.path().join("queue.db"), name) }).unwrap()
    }

    fn set(&self, seconds: u64) {
        self.seconds.store(seconds, Ordering::Relaxed);
    }
}

fn send(queue: &SqliteQueue, body: &'static str, delay: u64) {
    let message = NewMessage { body: body.into(), delay: Duration::from_secs(delay), ..NewMessage::default() };
    queue.send(&[message]).unwrap();
}

fn receive(queue: &SqliteQueue) -> Result<Vec<Received>, QueueError> {
    queue.receive(&Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX })
}

fn bodies(queue: &SqliteQueue) -> Vec<String> {
    let taken = receive(queue).unwrap();
    taken.iter().map(|received| String::from_utf8_lossy(&received.message.body).into_owned()).collect()
}

#[test]
fn a_clock_set_back_between_two_processes_keeps_no_message_for_longer_than_its_lease() {
    let scene = Clocked::new();
    let (stock, other) = (scene.open("stock"), scene.open("other"));
    send(&stock, "leased", 0);
    send(&stock, "delayed", 60);
    send(&other, "leased there", 0);
    assert_eq!((bodies(&stock), bodies(&other)), (vec!["leased".into()], vec!["leased there".into()]));
    drop((stock, other));

    scene.set(99 * HOUR);
    let (stock, other) = (scene.open("stock"), scene.open("other"));
    assert_eq!(bodies(&stock), [""; 0]);
    let error = receive(&stock).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("set back by 3600 s"), "{error}");
    assert_eq!(stock.count().unwrap(), Count { visible: 0, hidden: 1, delayed: 1 });
    scene.set(99 * HOUR + 29);
    assert_eq!((bodies(&stock), bodies(&other)), (vec![], vec![]));
    scene.set(99 * HOUR + 30);
    assert_eq!((bodies(&stock), bodies(&other)), (vec!["leased".into()], vec!["leased there".into()]));
    scene.set(99 * HOUR + 60);
    assert_eq!(bodies(&stock), ["leased", "delayed"]);
}

#[test]
fn leases_of_a_process_that_goes_on_stay_good_when_the_clock_is_set_back() {
    let scene = Clocked::new();
    let stock = scene.open("stock");
    send(&stock, "a", 0);
    send(&stock, "b", 0);
    let taken = receive(&stock).unwrap();
    scene.set(99 * HOUR);
    let extended = stock.change_visibility(&[VisibilityChange::new(taken[0].receipt.clone(), Duration::from_secs(30))]).unwrap();
    assert_eq!((extended, stock.delete(&[taken[1].receipt.clone()]).unwrap()), (vec![Ok(())], vec![Ok(())]));
    assert!(receive(&stock).is_err(), "it is said once");
    scene.set(99 * HOUR + 30);
    assert_eq!(bodies(&stock), ["a"]);
}

#[test]
fn a_clock_that_is_behind_by_a_moment_moves_nothing() {
    let scene = Clocked::new();
    let stock = scene.open("stock");
    send(&stock, "a", 0);
    receive(&stock).unwrap();
    scene.set(100 * HOUR - 2);
    assert_eq!((bodies(&stock), bodies(&stock)), (vec![], vec![]), "nothing is said");
    scene.set(100 * HOUR + 29);
    assert_eq!(bodies(&stock), [""; 0]);
    scene.set(100 * HOUR + 30);
    assert_eq!(bodies(&stock), ["a"]);
}
