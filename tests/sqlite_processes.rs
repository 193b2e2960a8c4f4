//! Several processes on one file, some of which are killed. The test binary starts itself as a child: a variable in the
//! environment names the child's role.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::unreachable,
    reason = "a test with a main of its own: clippy does not see that it is one"
)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use octoconf::message::park::{Parked, START, ToPark, Want};
use octoconf::message::{Item, Message};
use octoconf::queue::parking::{Parking, ParkingOptions};
use octoconf::queue::sqlite::{SqliteOptions, SqliteQueue};
use octoconf::queue::{Ask, NewMessage, Queue};

const ROLE: &str = "OCTOCONF_TEST_ROLE";
const FILE: &str = "OCTOCONF_TEST_FILE";
/// Set for children that should believe that the disk has this many bytes for their file and its log.
const DISK: &str = "OCTOCONF_TEST_DISK";

fn main() {
    match std::env::var(ROLE).as_deref() {
        Err(_) => run_or_list(),
        Ok("send") => send_and_tell(20),
        Ok("send much") => send_and_tell(200),
        Ok("send for ever") => send_and_tell(usize::MAX),
        Ok("consume") => consume_and_tell(),
        Ok("park for ever") => park_and_tell(),
        Ok("hold") => hold_and_tell(),
        Ok(other) => unreachable!("no such role: {other}"),
    }
}

const SCENARIOS: [(&str, fn()); 6] = [
    ("a_new_file_is_opened_by_many_at_once", a_new_file_is_opened_by_many_at_once),
    ("many_consumers_and_senders_share_without_overlap", many_consumers_and_senders_share_without_overlap),
    ("many_share_a_disk_that_is_too_small_for_their_log", many_share_a_disk_that_is_too_small_for_their_log),
    ("messages_that_a_killed_sender_reported_are_there", messages_that_a_killed_sender_reported_are_there),
    ("messages_that_a_killed_consumer_held_come_back", messages_that_a_killed_consumer_held_come_back),
    ("deliveries_that_a_killed_service_parked_are_in_order", deliveries_that_a_killed_service_parked_are_in_order),
];

/// Runs all scenarios, or those that the arguments name, or lists them: nextest runs each one in a process of its own.
fn run_or_list() {
    let (options, filters): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let has = |name: &str| options.iter().any(|option| option == name);
    for (name, scenario) in SCENARIOS {
        if has("--list") {
            if !has("--ignored") {
                println!("{name}: test");
            }
        } else if filters.is_empty() || filters.iter().any(|filter| name.contains(filter)) {
            scenario();
            println!("test {name} ... ok");
        }
    }
}

// The roles of the children.

fn file() -> PathBuf {
    std::env::var_os(FILE).unwrap().into()
}

fn open(path: &Path) -> SqliteQueue {
    let mut options = SqliteOptions { patience: Duration::from_secs(60), ..SqliteOptions::new(path, "stock") };
    if let Ok(size) = std::env::var(DISK) {
        let size: u64 = size.parse().unwrap();
        options.space = Arc::new(move |file: &Path| Some(size.saturating_sub(used(file))));
    }
    SqliteQueue::open(options).unwrap()
}

/// Returns the bytes that a file and its log take on the disk.
fn used(file: &Path) -> u64 {
    let size = |end: &str| std::fs::metadata(format!("{}{end}", file.display())).map_or(0, |file| file.len());
    size("") + size("-wal")
}

fn tell(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Sends batches of ten, and prints each id once its batch is reported as sent.
fn send_and_tell(batches: usize) {
    let queue = open(&file());
    let message = NewMessage { body: vec![b'x'; 300].into(), ..NewMessage::default() };
    for _ in 0..batches {
        let sent = loop {
            match queue.send(&vec![message.clone(); 10]) {
                Ok(sent) => break sent,
                // The disk is full until a consumer makes room.
                Err(error) => assert!(error.is_transient() && std::env::var_os(DISK).is_some(), "{error}"),
            }
        };
        sent.iter().for_each(tell);
    }
}

/// Receives, deletes and prints until the parent, which holds the other end of the input, has no more to
/// send and the queue is empty.
fn consume_and_tell() {
    let queue = open(&file());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::io::stdin().lines().for_each(drop);
            queue.interrupt();
        });
        loop {
            let ask = Ask { max: 7, wait: Duration::from_secs(3600), lease: Duration::from_secs(600), bytes: usize::MAX };
            let taken = queue.receive(&ask).unwrap();
            if taken.is_empty() {
                return;
            }
            let receipts: Vec<_> = taken.iter().map(|received| received.receipt.clone()).collect();
            for (received, result) in taken.iter().zip(queue.delete(&receipts).unwrap()) {
                result.unwrap();
                tell(&received.message.id);
            }
        }
    });
}

/// Receives what there is under a short lease, prints it, and holds it until killed.
fn hold_and_tell() {
    let queue = open(&file());
    let ask = Ask { max: 100, wait: Duration::ZERO, lease: Duration::from_secs(1), bytes: usize::MAX };
    for received in queue.receive(&ask).unwrap() {
        tell(&received.message.id);
    }
    std::io::stdin().lines().for_each(drop);
}

fn parking(path: &Path) -> Parking {
    Parking::open(ParkingOptions::new(path, "stock", 1 << 30)).unwrap()
}

/// Parks ten deliveries at a time, and prints each once it is reported as parked.
fn park_and_tell() {
    let parking = parking(&file());
    for call in 0.. {
        let deliveries: Vec<_> = (call * 10..call * 10 + 10).map(delivery).collect();
        for (delivery, parked) in deliveries.iter().zip(parking.park(&deliveries).unwrap()) {
            assert!(matches!(parked, Parked::At(_)));
            tell(&delivery.item.message.id);
        }
    }
}

fn delivery(number: usize) -> ToPark {
    let message = Message::new(number.to_string(), vec![b'b'; 300]);
    let item = Item { message: Arc::new(message), index: None, payload: vec![b'p'; 300].into() };
    ToPark { account: "acme".into(), item, waited: Duration::ZERO, after: START, older: false }
}

// What the parent does with the children.

fn child(role: &str, file: &Path) -> Child {
    command(role, file).spawn().unwrap()
}

fn command(role: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role).env(FILE, file).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Returns every line that a child prints until it ends, which it must do successfully.
fn told(child: Child) -> Vec<String> {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Kills a child after it has printed `lines` lines. Returns these lines, and any more that it printed before.
fn told_until_killed(mut child: Child, lines: usize) -> Vec<String> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut told: Vec<String> = (&mut out).lines().take(lines).map(Result::unwrap).collect();
    assert_eq!(told.len(), lines);
    child.kill().unwrap();
    // A line that the kill truncated does not count as printed.
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    told.extend(rest.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned));
    assert!(!child.wait().unwrap().success());
    told
}

fn a_new_file_is_opened_by_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.db");
    let senders: Vec<_> = (0..8).map(|_| child("send", &file)).collect();
    let sent: HashSet<_> = senders.into_iter().flat_map(told).collect();
    assert_eq!(sent.len(), 8 * 200);
    assert_eq!(open(&file).count().unwrap().visible, 8 * 200);
}

fn many_consumers_and_senders_share_without_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.db");
    let consumers: Vec<_> = (0..3).map(|_| child("consume", &file)).collect();
    let senders: Vec<_> = (0..2).map(|_| child("send", &file)).collect();
    let mut sent: Vec<_> = senders.into_iter().flat_map(told).collect();
    // `wait_with_output` closes a consumer's input: the consumer empties the queue and ends.
    let mut consumed: Vec<_> = consumers.into_iter().flat_map(told).collect();
    assert_eq!(sent.len(), 400);
    sent.sort();
    consumed.sort();
    assert_eq!(consumed, sent, "each was taken exactly once");
    assert!(open(&file).count().unwrap().is_empty());
}

fn many_share_a_disk_that_is_too_small_for_their_log() {
    const SIZE: u64 = 4 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.db");
    // The last process that closes the file removes the log.
    let queue = open(&file);
    let child = |role| command(role, &file).env(DISK, SIZE.to_string()).spawn().unwrap();
    let consumers: Vec<_> = (0..2).map(|_| child("consume")).collect();
    let senders: Vec<_> = (0..2).map(|_| child("send much")).collect();
    let mut sent: Vec<_> = senders.into_iter().flat_map(told).collect();
    let mut consumed: Vec<_> = consumers.into_iter().flat_map(told).collect();
    sent.sort();
    consumed.sort();
    assert_eq!((sent.len(), consumed == sent), (4000, true), "each was taken exactly once");
    assert!(queue.count().unwrap().is_empty());
    assert!(used(&file) <= SIZE, "{}", used(&file));
}

fn messages_that_a_killed_sender_reported_are_there() {
    for lines in [1, 10, 55, 333] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("queue.db");
        let reported = told_until_killed(child("send for ever", &file), lines);
        let queue = open(&file);
        let mut there = HashSet::new();
        loop {
            let taken = queue
                .receive(&Ask { max: 500, wait: Duration::ZERO, lease: Duration::from_secs(600), bytes: usize::MAX })
                .unwrap();
            if taken.is_empty() {
                break;
            }
            there.extend(taken.iter().map(|received| received.message.id.to_string()));
        }
        assert!(reported.iter().all(|id| there.contains(id)));
        assert_eq!(there.len() % 10, 0, "a batch is sent whole or not at all");
    }
}

fn messages_that_a_killed_consumer_held_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.db");
    let queue = open(&file);
    queue.send(&vec![NewMessage::default(); 20]).unwrap();
    let held = told_until_killed(child("hold", &file), 20);
    let ask = Ask { max: 100, wait: Duration::from_secs(600), lease: Duration::from_secs(600), bytes: usize::MAX };
    let back = queue.receive(&ask).unwrap();
    assert_eq!(back.iter().map(|received| received.message.id.to_string()).collect::<Vec<_>>(), held);
    assert!(back.iter().all(|received| received.message.receives == 2));
}

fn deliveries_that_a_killed_service_parked_are_in_order() {
    for lines in [1, 10, 55, 333] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("parking.db");
        let reported = told_until_killed(child("park for ever", &file), lines);
        let unparked = parking(&file).unpark(&[Want { account: "acme".into(), after: START, rows: 1_000_000 }]).unwrap();
        let rows = unparked.iter().flat_map(|unparked| &unparked.rows);
        let there: Vec<_> = rows.map(|row| row.item.message.id.to_string()).collect();
        assert!(there.starts_with(&reported), "{reported:?} of {there:?}");
        assert_eq!(there.len() % 10, 0, "a call is parked whole or not at all");
    }
}
