//! What takes lines away, or fails a sync, and whom that concerns.

use super::*;

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
