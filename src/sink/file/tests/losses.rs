//! What takes lines away, or fails a sync, and whom that concerns.

use super::*;
use crate::sink::file::folder::Folder;

#[test]
fn lines_in_a_file_that_was_emptied_and_has_grown_again_are_not_accepted() {
    let stage = Stage::new();
    let path = stage.dir.path().join("all.jsonl");
    let shared = Template::parse(&path.display().to_string()).unwrap();
    let deliver = |payload: &str| stage.sink.deliver(&shared, &batch("acme", &[payload]));
    let read = || fs::read_to_string(&path).unwrap();
    assert_eq!(deliver("1"), Answer::Accepted);

    let (entered, go) = stage.disk.hold_next_sync();
    thread::scope(|scope| {
        let synced = scope.spawn(|| deliver("2"));
        entered.recv().unwrap();
        let waits = scope.spawn(|| deliver("3"));
        while read() != "1\n2\n3\n" {
            thread::yield_now();
        }
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        let longer = scope.spawn(|| deliver("a longer line"));
        while read() != "a longer line\n" {
            thread::yield_now();
        }
        go.send(()).unwrap();
        for lost in [synced, waits] {
            assert!(reason(lost.join().unwrap()).contains("cut short"));
        }
        assert_eq!(longer.join().unwrap(), Answer::Accepted);
    });
    assert_eq!(deliver("2"), Answer::Accepted);
    assert_eq!(read(), "a longer line\n2\n");
}

#[test]
fn a_sync_that_fails_takes_nothing_that_was_there_before_the_file_was_opened() {
    let mut stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    stage.restarted();
    *stage.disk.sync_fails.lock() = Some(ErrorKind::Other);
    reason(stage.deliver("acme", &["2"]));
    assert_eq!(stage.read("acme"), "1\n");
}

#[test]
fn a_folder_that_cannot_be_synced_concerns_only_the_files_in_it() {
    let stage = Stage::new();
    let by_folder = Template::parse(&format!("{}/out/{{account}}/lines.jsonl", stage.dir.path().display())).unwrap();
    let deliver = |account: &str| stage.sink.deliver(&by_folder, &batch(account, &["1"]));
    let read = |account| fs::read_to_string(by_folder.fill("stock", account).path).unwrap();
    assert_eq!(deliver("first"), Answer::Accepted);
    fs::create_dir(stage.dir.path().join("out/bad")).unwrap();
    let bad = fs::metadata(stage.dir.path().join("out/bad")).unwrap();
    *stage.disk.folder_fails.lock() = Some((bad.dev(), bad.ino()));

    let (entered, go) = stage.disk.hold_next_sync();
    thread::scope(|scope| {
        let failed = scope.spawn(|| deliver("bad"));
        entered.recv().unwrap();
        let others = ["first", "second"].map(|account| scope.spawn(move || deliver(account)));
        let volume = stage.sink.volumes.lock().values().find_map(Weak::upgrade).unwrap();
        while volume.rounds.gathering() < 2 {
            thread::yield_now();
        }
        go.send(()).unwrap();
        reason(failed.join().unwrap());
        for other in others {
            assert_eq!(other.join().unwrap(), Answer::Accepted);
        }
    });
    assert_eq!([read("bad"), read("first"), read("second")], ["", "1\n1\n", "1\n"]);
}

#[test]
fn a_failed_sync_of_a_file_that_stands_in_for_its_folder_counts_for_all() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("first", &["1"]), Answer::Accepted);
    let slot = stage.sink.slot(&stage.path("first"));
    let file = slot.current.lock().clone().unwrap().file;
    let stand_in = Folder::stand_in(&file.file, stage.sink.held.folder()).unwrap();
    file.progress.lock().folders = vec![Arc::new(stand_in)];

    let (entered, go) = stage.disk.hold_next_sync();
    thread::scope(|scope| {
        let failed = scope.spawn(|| stage.deliver("first", &["2"]));
        entered.recv().unwrap();
        let (all_entered, all_goes) = stage.disk.hold_next_sync();
        go.send(()).unwrap();
        all_entered.recv().unwrap();
        let meanwhile = scope.spawn(|| stage.deliver("second", &["1"]));
        let volume = stage.sink.volumes.lock().values().find_map(Weak::upgrade).unwrap();
        while volume.rounds.gathering() < 1 {
            thread::yield_now();
        }
        *stage.disk.sync_fails.lock() = Some(ErrorKind::Other);
        all_goes.send(()).unwrap();
        reason(failed.join().unwrap());
        assert!(reason(meanwhile.join().unwrap()).contains("sync of its file system"));
    });
}
