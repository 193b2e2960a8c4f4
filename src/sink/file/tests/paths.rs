//! What a path leads to: links, other file systems, the same file by another path.

use super::*;

/// A link to `to`, in a folder of memory: another file system than that of the stage.
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

/// A template without placeholders.
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

    // So many folders that all of the file system is synced instead.
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
        let file = OpenFile::open(&Template::parse(path).unwrap().place("stock", "acme")).unwrap();
        file.progress.into_inner().folders
    });
    let slot = stage.sink.slot(&stage.path("acme"));
    slot.current.lock().as_ref().unwrap().progress.lock().folders = folders.concat();
    stage.disk.synced.lock().clear();

    assert_eq!(stage.deliver("acme", &["2"]), Answer::Accepted);
    assert_eq!(*stage.disk.synced_all.lock(), [device(stage.dir.path())]);
    assert_eq!(*stage.disk.synced.lock(), [inode(elsewhere.path())]);
}

#[test]
fn the_file_stands_in_for_a_folder_that_cannot_be_opened() {
    let stage = Stage::new();
    let file = OpenFile::open(&stage.template.place("stock", "acme")).unwrap();
    file.progress.lock().folders.clear();
    file.anchor().unwrap().sync(&*stage.disk).unwrap();
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
