//! What a path leads to: links, other file systems, the same file by another path.

use super::*;

/// Creates a link to `to` in a folder in memory, which is another file system than that of the stage.
fn link_elsewhere(to: &Path) -> (TempDir, PathBuf) {
    let links = tempfile::tempdir_in("/dev/shm").unwrap();
    assert_ne!(device(links.path()), device(to.parent().unwrap()), "these tests need /dev/shm and /tmp to be two file systems");
    let link = links.path().join("link.jsonl");
    symlink(to, &link).unwrap();
    (links, link)
}

fn device(path: &Path) -> u64 {
    fs::metadata(path).unwrap().dev()
}

fn inode(path: &Path) -> (u64, u64) {
    let meta = fs::metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

/// Returns a template without placeholders.
fn only(path: &Path) -> Template {
    Template::parse(path.to_str().unwrap()).unwrap()
}

#[test]
fn a_link_from_another_file_system_has_no_say_in_which_one_is_synced() {
    let stage = Stage::new();
    let real = stage.dir.path().join("real.jsonl");
    fs::write(&real, "").unwrap();
    let (_links, link) = link_elsewhere(&real);
    assert_eq!(stage.sink.deliver(&only(&link), &batch("linked", &["1"])), Answer::Accepted);

    // This path has more folders than are synced one by one, so the whole file system is synced.
    let deep = Template::parse(&format!("{}/{{queue}}/a/b/c/{{account}}", stage.dir.path().display())).unwrap();
    assert_eq!(stage.sink.deliver(&deep, &batch("acme", &["1"])), Answer::Accepted);
    assert_eq!(*stage.disk.synced_all.lock(), [device(stage.dir.path())]);
}

#[test]
fn a_file_that_a_link_had_made_has_its_own_folder_synced() {
    let stage = Stage::new();
    let target = stage.dir.path().join("target");
    fs::create_dir(&target).unwrap();
    let (_links, link) = link_elsewhere(&target.join("new.jsonl"));
    assert_eq!(stage.sink.deliver(&only(&link), &batch("acme", &["1"])), Answer::Accepted);
    assert_eq!(*stage.disk.synced.lock(), [inode(&target.join("new.jsonl")), inode(&target)]);
}

#[test]
fn folders_on_the_way_that_are_elsewhere_are_synced_beside_the_whole_file_system() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let deep = format!("{}/{{queue}}/a/b/c/d", stage.dir.path().display());
    let folders = [&deep, &format!("{}/{{queue}}", elsewhere.path().display())].map(|path| {
        let file = OpenFile::open(&Template::parse(path).unwrap().fill("stock", "acme"), &Held::default()).unwrap();
        file.progress.lock().folders.clone()
    });
    let slot = stage.sink.slot(&stage.path("acme"));
    slot.current.lock().as_ref().unwrap().file.progress.lock().folders = folders.concat();
    stage.disk.synced.lock().clear();

    assert_eq!(stage.deliver("acme", &["2"]), Answer::Accepted);
    assert_eq!(*stage.disk.synced_all.lock(), [device(stage.dir.path())]);
    assert_eq!(*stage.disk.synced.lock(), [inode(elsewhere.path())]);
}

#[test]
fn the_file_stands_in_for_a_folder_that_cannot_be_opened() {
    let stage = Stage::new();
    let held = Held::default();
    let file = OpenFile::open(&stage.template.fill("stock", "acme"), &held).unwrap();
    file.progress.lock().folders.clear();
    file.anchor(&held).unwrap().sync(&*stage.disk).unwrap();
    assert_eq!((stage.disk.syncs(), &**stage.disk.synced_all.lock()), ((0, 1), &[file.device][..]));
}

#[test]
fn what_a_sync_needs_is_there_before_anything_is_written() {
    let stage = Stage::new();
    let (before, after) = (stage.dir.path().join("out"), stage.dir.path().join("moved"));
    *stage.disk.moves.lock() = Some((before, after.clone()));
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted, "by then nothing more is to be opened by its path");
    assert_eq!(fs::read_to_string(after.join("stock/acme.jsonl")).unwrap(), "1\n");
}

#[test]
fn one_file_in_two_spellings_is_written_by_both() {
    let stage = Stage::new();
    fs::create_dir(stage.dir.path().join("sub")).unwrap();
    let other = Template::parse(&format!("{}/sub/../out/{{queue}}/{{account}}.jsonl", stage.dir.path().display())).unwrap();
    let link = stage.dir.path().join("link");
    symlink(stage.path("acme"), &link).unwrap();
    let templates = [&stage.template, &other, &only(&link)];
    for n in 0..6 {
        assert_eq!(stage.sink.deliver(templates[n % 3], &batch("acme", &[&n.to_string()])), Answer::Accepted, "{n}");
    }
    assert_eq!(stage.read("acme"), "0\n1\n2\n3\n4\n5\n");

    // Each path notices that it leads to another file.
    fs::rename(stage.path("acme"), stage.dir.path().join("rotated")).unwrap();
    for n in 0..6 {
        assert_eq!(stage.sink.deliver(templates[n % 3], &batch("acme", &[&n.to_string()])), Answer::Accepted, "{n}");
    }
    assert_eq!(stage.read("acme"), "0\n1\n2\n3\n4\n5\n");
}

#[test]
fn paths_to_one_file_that_open_and_close_it_all_the_time_are_never_in_each_other_s_way() {
    let stage = Stage::with_open_files(1);
    fs::create_dir(stage.dir.path().join("sub")).unwrap();
    let other = Template::parse(&format!("{}/sub/../out/{{queue}}/{{account}}.jsonl", stage.dir.path().display())).unwrap();
    thread::scope(|scope| {
        for template in [&stage.template, &other, &stage.template, &other] {
            let stage = &stage;
            scope.spawn(move || {
                for n in 0..100 {
                    let account = (n % 2).to_string();
                    assert_eq!(stage.sink.deliver(template, &batch(&account, &["[1", "2]"])), Answer::Accepted);
                }
            });
        }
    });
    for account in ["0", "1"] {
        assert_eq!(stage.read(account), "[1\n2]\n".repeat(200));
    }
}

#[test]
fn a_file_that_could_not_be_cut_back_is_repaired_while_another_path_has_it_open() {
    let stage = Stage::new();
    let shared = only(&stage.path("acme"));
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    assert_eq!(stage.sink.deliver(&shared, &batch("acme", &["2"])), Answer::Accepted);
    fs::write(stage.path("acme"), "1\n2\n{\"torn").unwrap();
    let slot = stage.sink.slot(&stage.path("acme"));
    slot.current.lock().as_ref().unwrap().file.progress.lock().broken = true;
    assert_eq!(stage.sink.deliver(&shared, &batch("acme", &["3"])), Answer::Accepted);
    assert_eq!(stage.read("acme"), "1\n2\n3\n");
}

#[test]
fn the_folder_of_a_path_that_joins_during_a_sync_is_synced_by_the_next_one() {
    let stage = Stage::new();
    assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted);
    let folder = stage.dir.path().join("other");
    fs::create_dir(&folder).unwrap();
    fs::hard_link(stage.path("acme"), folder.join("name")).unwrap();
    let other = only(&folder.join("name"));

    let (entered, go) = stage.disk.hold_next_sync();
    thread::scope(|scope| {
        let stage = &stage;
        scope.spawn(|| assert_eq!(stage.deliver("acme", &["2"]), Answer::Accepted));
        entered.recv().unwrap();
        let joins = scope.spawn(|| assert_eq!(stage.sink.deliver(&other, &batch("acme", &["3"])), Answer::Accepted));
        let volume = stage.sink.volumes.lock().values().find_map(Weak::upgrade).unwrap();
        while volume.rounds.gathering() < 1 && !joins.is_finished() {
            thread::yield_now();
        }
        go.send(()).unwrap();
    });
    assert_eq!(stage.disk.synced.lock().last(), Some(&inode(&folder)));
    assert_eq!(stage.read("acme"), "1\n2\n3\n");
}

#[test]
fn a_delivery_under_settings_that_were_replaced_keeps_no_file_open() {
    let stage = Stage::new();
    let other = FileSink::on(stage.disk.clone(), 16);
    let next = stage.sink.renewed();
    let (entered, go) = stage.disk.hold_next_sync();
    thread::scope(|scope| {
        let stage = &stage;
        scope.spawn(|| assert_eq!(stage.deliver("acme", &["1"]), Answer::Accepted));
        entered.recv().unwrap();
        stage.sink.close();
        let joins = scope.spawn(|| assert_eq!(next.deliver(&stage.template, &batch("acme", &["2"])), Answer::Accepted));
        while stage.read("acme") != "1\n2\n" && !joins.is_finished() {
            thread::yield_now();
        }
        go.send(()).unwrap();
    });
    next.close();
    assert_eq!(stage.deliver("acme", &["3"]), Answer::Accepted);
    assert_eq!(other.deliver(&stage.template, &batch("acme", &["4"])), Answer::Accepted);
    assert_eq!(stage.read("acme"), "1\n2\n3\n4\n");
}

#[test]
fn an_account_named_like_a_queue_s_file_is_refused() {
    let stage = Stage::new();
    let file = |name: &str| stage.dir.path().join(name);
    fs::create_dir(file("data")).unwrap();
    fs::write(file("data/octoconf.db"), "a database").unwrap();
    symlink("data/octoconf.db", file("link")).unwrap();
    symlink("data", file("other")).unwrap();
    let of = |path: &str| Template::parse(&file(path).display().to_string()).unwrap();
    let deliver = |path: &str, account: &str| stage.sink.deliver(&of(path), &batch(account, &["1"]));
    // The file of another queue is behind a link, and its log beside the link's target.
    fs::write(file("data/real.db"), "").unwrap();
    symlink("real.db", file("data/linked.db")).unwrap();
    fs::create_dir(file("more")).unwrap();
    let stores = ["data/octoconf.db", "data/linked.db", "more/octoconf.db"]
        .map(|path| Store::database(&file(path), "of queues.stock".into()));
    stage.sink.reserve(&stores);

    let ours = ["octoconf.db", "octoconf.db-wal", "octoconf.db-shm", "octoconf.db-journal", "octoconf.db-lock", "real.db-wal"];
    let elsewhere = [("data/{account}", ours[0]), ("more/{account}", ours[0]), ("link", "a")];
    for (path, account) in ours.map(|name| ("other/{account}", name)).into_iter().chain(elsewhere) {
        let Answer::Refused { reason, .. } = deliver(path, account) else { panic!("{account} was not refused") };
        assert!(reason.contains("queues.stock"), "{reason}");
    }
    assert_eq!(fs::read_to_string(file("data/octoconf.db")).unwrap(), "a database");
    assert_eq!(fs::read_dir(file("data")).unwrap().count(), 3, "none of those beside it was made");
    let renewed = stage.sink.renewed().deliver(&of("data/{account}"), &batch("octoconf.db", &["1"]));
    assert!(matches!(renewed, Answer::Refused { .. }));

    assert_eq!(deliver("data/{account}", "octoconf.db2"), Answer::Accepted);
    assert_eq!(deliver("out/{account}", "octoconf.db"), Answer::Accepted);
}
