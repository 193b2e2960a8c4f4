//! How many files and folders stay open.

use super::*;

#[test]
fn without_open_files_nothing_on_their_file_system_is_open() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    stage.sink.close();
    let mut open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    assert_eq!(open.find(|path| path.starts_with(stage.dir.path())), None);
    // Another configuration writes there again.
    assert_eq!(stage.sink.renewed().deliver(&stage.template, &batch("acme", &["2"])), Answer::Accepted);
}

#[test]
fn open_files_stay_within_their_bound() {
    let stage = Stage::with_open_files(4);
    let open = || fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    for round in 0..3 {
        for account in 0..20 {
            assert_eq!(stage.deliver(&account.to_string(), &[&round.to_string()]), Answer::Accepted);
            let ours = open().filter(|path| path.starts_with(stage.dir.path()) && path.extension().is_some()).count();
            assert!(ours <= 4, "{ours} files are open");
        }
    }
    for account in 0..20 {
        assert_eq!(stage.read(&account.to_string()), "0\n1\n2\n");
    }
}

#[test]
fn folders_of_files_that_cannot_be_written_or_synced_do_not_stay_open() {
    for written in [false, true] {
        let stage = Stage::with_open_files(8);
        let deep = Template::parse(&format!("{}/{{queue}}/{{account}}/a/b/c.jsonl", stage.dir.path().display())).unwrap();
        for account in 0..20 {
            if written {
                *stage.disk.sync_fails.lock() = Some(ErrorKind::Other);
            } else {
                *stage.disk.full_after.lock() = Some(0);
            }
            reason(stage.sink.deliver(&deep, &batch(&account.to_string(), &["1"])));
            let ours = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
            let ours = ours.filter(|path| path.starts_with(stage.dir.path())).count();
            // Those of the last delivery come on top of the bound: its file and five folders.
            assert!(ours <= 8 + 6, "{ours} files and folders are open");
        }
    }
}

/// The slots of these files exist already, so no new one makes room for what is opened.
#[test]
fn nor_do_those_of_files_that_were_moved_away_before() {
    for written in [false, true] {
        let stage = Stage::with_open_files(8);
        let deep = Template::parse(&format!("{}/{{queue}}/{{account}}/a/b/c.jsonl", stage.dir.path().display())).unwrap();
        let deliver = |account: usize| stage.sink.deliver(&deep, &batch(&account.to_string(), &["1"]));
        for account in 0..6 {
            assert_eq!(deliver(account), Answer::Accepted);
        }
        fs::rename(stage.dir.path().join("stock"), stage.dir.path().join("moved")).unwrap();
        for account in 0..6 {
            if written {
                *stage.disk.sync_fails.lock() = Some(ErrorKind::Other);
            } else {
                *stage.disk.full_after.lock() = Some(0);
            }
            reason(deliver(account));
            let ours = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
            let ours = ours.filter(|path| path.starts_with(stage.dir.path())).count();
            assert!(ours <= 8 + 6, "{ours} files and folders are open");
        }
    }
}
