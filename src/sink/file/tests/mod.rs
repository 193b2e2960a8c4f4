//! The file sink on a real folder, with a disk whose syncs are counted and whose failures are scripted.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::sink::testing::batch;

mod last_line;
mod losses;
mod open_files;
mod paths;

/// A disk that counts its syncs, fails as scripted, and can hold a sync until the test releases it.
#[derive(Default)]
struct Scripted {
    files: AtomicUsize,
    all: AtomicUsize,
    /// How many bytes of the next append are written before it fails with a full disk.
    full_after: Mutex<Option<usize>>,
    /// Whether a sync of everything says nothing about failed writes.
    silent: AtomicBool,
    /// The error of the next sync of any kind.
    sync_fails: Mutex<Option<ErrorKind>>,
    /// The folder, as device and inode, of which every sync fails.
    folder_fails: Mutex<Option<(u64, u64)>>,
    gate: Mutex<Option<Gate>>,
    /// What was synced by itself, as device and inode, and below it the devices that were synced as a whole.
    synced: Mutex<Vec<(u64, u64)>>,
    synced_all: Mutex<Vec<u64>>,
    /// Two paths: the first is moved to the second after the next append.
    moves: Mutex<Option<(PathBuf, PathBuf)>>,
}

struct Gate {
    entered: Sender<()>,
    leave: Receiver<()>,
}

impl Scripted {
    fn pass(&self) -> io::Result<()> {
        let gate = self.gate.lock().take();
        if let Some(gate) = gate {
            gate.entered.send(()).unwrap();
            gate.leave.recv().unwrap();
        }
        self.sync_fails.lock().take().map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn syncs(&self) -> (usize, usize) {
        (self.files.swap(0, Ordering::Relaxed), self.all.swap(0, Ordering::Relaxed))
    }

    /// Makes the next sync wait. Returns a receiver that reports the start of the sync and a sender that releases it.
    fn hold_next_sync(&self) -> (Receiver<()>, Sender<()>) {
        let (entered, on_entered) = bounded(0);
        let (go, leave) = bounded(0);
        *self.gate.lock() = Some(Gate { entered, leave });
        (on_entered, go)
    }
}

impl Disk for Scripted {
    fn append(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        match self.full_after.lock().take() {
            Some(written) => {
                Kernel.append(file, &bytes[..written])?;
                Err(ErrorKind::StorageFull.into())
            }
            None => Kernel.append(file, bytes),
        }?;
        self.moves.lock().take().map_or(Ok(()), |(from, to)| fs::rename(from, to))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.files.fetch_add(1, Ordering::Relaxed);
        let meta = file.metadata()?;
        let id = (meta.dev(), meta.ino());
        self.synced.lock().push(id);
        self.pass()?;
        if *self.folder_fails.lock() == Some(id) {
            return Err(ErrorKind::Other.into());
        }
        Kernel.sync(file)
    }

    fn sync_all(&self, any: &File) -> io::Result<()> {
        self.all.fetch_add(1, Ordering::Relaxed);
        self.synced_all.lock().push(any.metadata()?.dev());
        self.pass()
    }

    fn reports_losses(&self, _: &File) -> bool {
        !self.silent.load(Ordering::Relaxed)
    }
}

struct Stage {
    dir: TempDir,
    disk: Arc<Scripted>,
    sink: Arc<FileSink>,
    template: Template,
}

impl Stage {
    fn new() -> Self {
        Self::with_open_files(16)
    }

    fn with_open_files(open_files: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Scripted::default());
        let sink = FileSink::on(disk.clone(), open_files);
        let template = Template::parse(&format!("{}/out/{{queue}}/{{account}}.jsonl", dir.path().display())).unwrap();
        Self { dir, disk, sink, template }
    }

    fn deliver(&self, account: &str, payloads: &[&str]) -> Answer {
        self.sink.deliver(&self.template, &batch(account, payloads))
    }

    fn path(&self, account: &str) -> PathBuf {
        self.template.fill("stock", account).path
    }

    fn read(&self, account: &str) -> String {
        fs::read_to_string(self.path(account)).unwrap()
    }

    /// Opens the files anew, as another process would.
    fn restarted(&mut self) {
        self.sink = FileSink::on(self.disk.clone(), 16);
    }
}

fn reason(answer: Answer) -> String {
    match answer {
        Answer::Unreachable { reason } => reason.into(),
        other => panic!("expected Unreachable, got {other:?}"),
    }
}

#[test]
fn payloads_are_appended_in_order_one_a_line() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("17850", &["1", "2"]), Answer::Accepted);
    assert_eq!(stage.deliver("17850", &["{\n\"n\":3}"]), Answer::Accepted);
    assert_eq!(stage.read("17850"), "1\n2\n{ \"n\":3}\n");
}

#[test]
fn the_first_flush_syncs_the_entries_too_and_later_ones_only_the_data() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    assert_eq!(stage.disk.syncs(), (3, 0), "the file, its folder and the root");
    assert_eq!(stage.deliver("acme", &["2"]), Answer::Accepted);
    assert_eq!(stage.disk.syncs(), (1, 0));
}

#[test]
fn many_flushes_at_once_share_one_sync() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("first", &["0"]), Answer::Accepted);
    stage.disk.syncs();
    let (entered, go) = stage.disk.hold_next_sync();
    thread::scope(|scope| {
        let stage = &stage;
        scope.spawn(|| assert_eq!(stage.deliver("first", &["1"]), Answer::Accepted));
        entered.recv().unwrap();
        for n in 0..20 {
            scope.spawn(move || assert_eq!(stage.deliver(&format!("account-{n}"), &["1"]), Answer::Accepted));
        }
        let volume = stage.sink.volumes.lock().values().find_map(Weak::upgrade).unwrap();
        while volume.rounds.gathering() < 20 {
            thread::yield_now();
        }
        go.send(()).unwrap();
    });
    assert_eq!(stage.disk.syncs(), (1, 1), "the file of the round that was held, then everything once");
}

#[test]
fn nothing_is_accepted_before_its_sync() {
    let stage = Stage::new();
    let (entered, go) = stage.disk.hold_next_sync();
    let (answered, on_answer) = bounded(1);
    thread::scope(|scope| {
        scope.spawn(|| answered.send(stage.deliver("acme", &["1"])).unwrap());
        entered.recv().unwrap();
        assert!(on_answer.try_recv().is_err());
        go.send(()).unwrap();
        assert_eq!(on_answer.recv().unwrap(), Answer::Accepted);
    });
}

#[test]
fn a_full_disk_is_said_and_leaves_no_half_line() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    *stage.disk.full_after.lock() = Some(5);
    let reason = reason(stage.deliver("acme", &["222", "333"]));
    assert!(reason.contains("acme.jsonl") && reason.contains("free space"), "{reason}");
    assert_eq!(stage.read("acme"), "1\n");
    assert_eq!(stage.deliver("acme", &["222", "333"]), Answer::Accepted);
    assert_eq!(stage.read("acme"), "1\n222\n333\n");
}

#[test]
fn a_sync_that_fails_takes_its_lines_back() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    *stage.disk.sync_fails.lock() = Some(ErrorKind::Other);
    reason(stage.deliver("acme", &["2"]));
    assert_eq!(stage.read("acme"), "1\n");
    assert_eq!(stage.deliver("acme", &["2"]), Answer::Accepted);
    assert_eq!(stage.read("acme"), "1\n2\n");
}

#[test]
fn lines_behind_those_of_a_failed_sync_are_not_accepted() {
    let stage = Stage::new();
    let shared = Template::parse(&format!("{}/all.jsonl", stage.dir.path().display())).unwrap();
    let deliver = |payload: &str| stage.sink.deliver(&shared, &batch("acme", &[payload]));
    let read = || fs::read_to_string(stage.dir.path().join("all.jsonl")).unwrap();
    assert_eq!(deliver("1"), Answer::Accepted);

    let (entered, go) = stage.disk.hold_next_sync();
    *stage.disk.sync_fails.lock() = Some(ErrorKind::Other);
    thread::scope(|scope| {
        let failed = scope.spawn(|| deliver("2"));
        entered.recv().unwrap();
        let behind = scope.spawn(|| deliver("3"));
        while read() != "1\n2\n3\n" {
            thread::yield_now();
        }
        go.send(()).unwrap();
        reason(failed.join().unwrap());
        assert!(reason(behind.join().unwrap()).contains("earlier sync"));
    });
    assert_eq!(read(), "1\n");
}

#[test]
fn lines_of_other_files_written_during_a_failed_sync_are_not_accepted() {
    let stage = Stage::new();
    let failed = |account: String| assert!(reason(stage.deliver(&account, &["1"])).contains(&account));
    let gathers = |members| {
        let volume = stage.sink.volumes.lock().values().find_map(Weak::upgrade).unwrap();
        while volume.rounds.gathering() < members {
            thread::yield_now();
        }
    };
    assert_eq!(stage.deliver("first", &["0"]), Answer::Accepted);
    thread::scope(|scope| {
        let (first_entered, first_goes) = stage.disk.hold_next_sync();
        scope.spawn(|| assert_eq!(stage.deliver("first", &["1"]), Answer::Accepted));
        first_entered.recv().unwrap();
        (0..10).for_each(|n| drop(scope.spawn(move || failed(format!("before-{n}")))));
        gathers(10);
        let (entered, go) = stage.disk.hold_next_sync();
        first_goes.send(()).unwrap();
        entered.recv().unwrap();
        // The sync of the file system reports its error once, and has met the lines of these files too.
        *stage.disk.sync_fails.lock() = Some(ErrorKind::Other);
        (0..10).for_each(|n| drop(scope.spawn(move || failed(format!("during-{n}")))));
        gathers(10);
        go.send(()).unwrap();
    });
    for n in 0..10 {
        assert_eq!(stage.read(&format!("during-{n}")), "");
        assert_eq!(stage.deliver(&format!("during-{n}"), &["1"]), Answer::Accepted);
        assert_eq!(stage.read(&format!("during-{n}")), "1\n");
    }
}

#[test]
fn where_a_sync_of_everything_says_nothing_each_file_is_synced_and_answered_by_itself() {
    let stage = Stage::new();
    stage.disk.silent.store(true, Ordering::Relaxed);
    assert_eq!(stage.deliver("first", &["0"]), Answer::Accepted);
    stage.disk.syncs();
    let (entered, go) = stage.disk.hold_next_sync();
    let accepted = thread::scope(|scope| {
        let stage = &stage;
        scope.spawn(|| stage.deliver("first", &["1"]));
        entered.recv().unwrap();
        let flushes: Vec<_> = (0..20).map(|n| scope.spawn(move || stage.deliver(&n.to_string(), &["1"]))).collect();
        let volume = stage.sink.volumes.lock().values().find_map(Weak::upgrade).unwrap();
        while volume.rounds.gathering() < 20 {
            thread::yield_now();
        }
        let (second_entered, second_goes) = stage.disk.hold_next_sync();
        go.send(()).unwrap();
        second_entered.recv().unwrap();
        *stage.disk.sync_fails.lock() = Some(ErrorKind::Other);
        second_goes.send(()).unwrap();
        flushes.into_iter().map(|flush| flush.join().unwrap()).filter(|answer| *answer == Answer::Accepted).count()
    });
    assert_eq!((accepted, stage.disk.syncs()), (19, (23, 0)), "21 files and two folders, and the failure of one file is its own");
    let lines: usize = (0..20).map(|n| stage.read(&n.to_string()).len()).sum();
    assert_eq!(lines, 19 * 2, "its lines were taken back");
}

#[test]
fn a_file_that_was_moved_away_or_deleted_is_made_anew() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    fs::rename(stage.path("acme"), stage.dir.path().join("rotated")).unwrap();
    assert_eq!(stage.deliver("acme", &["2"]), Answer::Accepted);
    fs::remove_file(stage.path("acme")).unwrap();
    assert_eq!(stage.deliver("acme", &["3"]), Answer::Accepted);
    fs::remove_dir_all(stage.dir.path().join("out")).unwrap();
    assert_eq!(stage.deliver("acme", &["4"]), Answer::Accepted);
    assert_eq!(stage.read("acme"), "4\n");
    assert_eq!(fs::read_to_string(stage.dir.path().join("rotated")).unwrap(), "1\n");
}

#[test]
fn a_file_deleted_while_it_is_written_is_not_accepted() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    let (entered, go) = stage.disk.hold_next_sync();
    thread::scope(|scope| {
        let flush = scope.spawn(|| stage.deliver("acme", &["2"]));
        entered.recv().unwrap();
        fs::remove_file(stage.path("acme")).unwrap();
        go.send(()).unwrap();
        assert!(reason(flush.join().unwrap()).contains("deleted"));
    });
    assert_eq!(stage.deliver("acme", &["2"]), Answer::Accepted);
    assert_eq!(stage.read("acme"), "2\n");
}

#[test]
fn a_file_emptied_while_it_is_written_is_not_accepted() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    let (entered, go) = stage.disk.hold_next_sync();
    thread::scope(|scope| {
        let flush = scope.spawn(|| stage.deliver("acme", &["2"]));
        entered.recv().unwrap();
        fs::OpenOptions::new().write(true).open(stage.path("acme")).unwrap().set_len(0).unwrap();
        go.send(()).unwrap();
        assert!(reason(flush.join().unwrap()).contains("cut short"));
    });
    assert_eq!(stage.deliver("acme", &["2"]), Answer::Accepted);
    assert_eq!(stage.read("acme"), "2\n");
}

#[test]
fn a_file_emptied_from_under_us_is_not_filled_with_zeros() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1", "2", "3"]), Answer::Accepted);
    fs::OpenOptions::new().write(true).open(stage.path("acme")).unwrap().set_len(0).unwrap();
    *stage.disk.sync_fails.lock() = Some(ErrorKind::Other);
    reason(stage.deliver("acme", &["4"]));
    assert_eq!(stage.read("acme"), "");
}

#[test]
fn two_processes_do_not_write_one_file() {
    let mut stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    let other = FileSink::on(stage.disk.clone(), 16);
    let answer = other.deliver(&stage.template, &batch("acme", &["2"]));
    assert!(reason(answer).contains("another process"));
    stage.restarted();
    assert_eq!(other.deliver(&stage.template, &batch("acme", &["2"])), Answer::Accepted);
}

/// Between its fork and its exec, a child has every descriptor of the process, and with it a part in each lock.
#[test]
fn a_closed_file_is_free_although_a_child_that_is_starting_still_has_its_descriptor() {
    let (stage, held) = (Stage::new(), Held::default());
    let open = OpenFile::open(&stage.template.fill("stock", "acme"), &held).unwrap();
    let inherited = open.file.try_clone().unwrap();
    drop(open);
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    drop(inherited);
}

#[test]
fn symbolic_links_do_not_lead_out_of_the_folder() {
    let stage = Stage::new();
    let outside = tempfile::tempdir().unwrap();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    symlink(outside.path().join("planted"), stage.path("evil")).unwrap();
    assert!(reason(stage.deliver("evil", &["1"])).contains("symbolic link"));

    let stage = Stage::new();
    fs::create_dir(stage.dir.path().join("out")).unwrap();
    symlink(outside.path(), stage.dir.path().join("out/stock")).unwrap();
    assert!(reason(stage.deliver("acme", &["1"])).contains("symbolic link"));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_file_is_named() {
    let stage = Stage::new();
    fs::create_dir_all(stage.path("acme")).unwrap();
    assert!(reason(stage.deliver("acme", &["1"])).contains("a folder stands"));
    fs::remove_dir_all(stage.dir.path().join("out")).unwrap();
    let root = stage.dir.path().join("out");
    let told = format!("{} is a file, or a link that leads nowhere, where a folder belongs: move it away", root.display());
    fs::write(&root, "").unwrap();
    assert!(reason(stage.deliver("acme", &["1"])).ends_with(&told));
    fs::remove_file(&root).unwrap();
    symlink("nowhere", &root).unwrap();
    assert!(reason(stage.deliver("acme", &["1"])).ends_with(&told));

    let device = Template::parse("/dev/full").unwrap();
    assert!(reason(stage.sink.deliver(&device, &batch("acme", &["1"]))).contains("not a regular file"));
}

#[test]
fn flushes_to_many_files_at_once_keep_lines_whole_and_in_order() {
    let stage = Stage::with_open_files(3);
    thread::scope(|scope| {
        for account in 0..8 {
            let stage = &stage;
            scope.spawn(move || {
                for n in 0..100 {
                    assert_eq!(stage.deliver(&account.to_string(), &[&format!("{n}"), &format!("{n}.5")]), Answer::Accepted);
                }
            });
        }
    });
    let expected: String = (0..100).map(|n| format!("{n}\n{n}.5\n")).collect();
    for account in 0..8 {
        assert_eq!(stage.read(&account.to_string()), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_account_is_delivered_inside_the_folder_or_not_at_all(account in "([./\0\n~%]|\\PC|[a-z]{300}){1,6}") {
        let stage = Stage::new();
        prop_assert_eq!(stage.deliver(&account, &["1"]), Answer::Accepted);
        let inside: Vec<_> = fs::read_dir(stage.dir.path().join("out/stock")).unwrap().map(|entry| entry.unwrap().path()).collect();
        prop_assert_eq!(inside, [stage.path(&account)]);
        prop_assert_eq!(fs::read_dir(stage.dir.path()).unwrap().count(), 1);
        prop_assert_eq!(stage.read(&account), "1\n");
    }
}
