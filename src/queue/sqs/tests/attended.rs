//! Operations on dead letters that somebody waits for: what fails for a moment, what is hidden, and a stop.

use super::*;
use crate::queue::Attendant;

/// Waits for nothing, and goes on as long as it is told.
#[derive(Default)]
struct Hurried {
    waits: parking_lot::Mutex<Vec<(String, Duration)>>,
    stops: bool,
}

impl Attendant for Hurried {
    fn goes_on(&self) -> bool {
        !self.stops
    }

    fn wait(&self, why: &str, pause: Duration) -> bool {
        self.waits.lock().push((why.to_owned(), pause));
        !self.stops
    }
}

fn attended(stub: &Stub) -> (SqsQueue, Arc<Hurried>) {
    let (queue, attendant) = (stub.queue("stock"), Arc::new(Hurried::default()));
    queue.dead_letters().unwrap().attend(Arc::clone(&attendant) as _);
    (queue, attendant)
}

#[test]
fn what_fails_for_a_moment_of_a_redrive_is_tried_again() {
    let letters = format!("{}{}", message("a", "1"), message("b", "2"));
    let stub = Stub::new(vec![
        last(refusal(500, "InternalError")),
        last(Reply::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n<Receive".to_vec())),
        last(ok("ReceiveMessage", &letters)),
        most(2000),
        refusal(503, "ServiceUnavailable"),
        ok("SendMessageBatch", &sent(&[0, 1])),
        refusal(500, "InternalError"),
        ok(
            "DeleteMessageBatch",
            &format!("<DeleteMessageBatchResultEntry><Id>0</Id></DeleteMessageBatchResultEntry>{}", failed(1, "InternalError")),
        ),
        done("DeleteMessageBatch", 0..1),
    ]);
    let (queue, attendant) = attended(&stub);
    let ids = ["a", "b"].map(CompactString::from);
    let changed = queue.dead_letters().unwrap().redrive_in(Portions { most: 10, after: &mut |_| true }, &ids);
    assert!(changed.failed.is_empty() && changed.kept.is_empty() && changed.ended.is_none(), "{changed:?}");
    assert_eq!(changed.done, 2);
    let deletes: Vec<_> = (0..9).map(|_| stub.request()).filter(|request| request.contains("DeleteMessageBatch")).collect();
    assert!(deletes[2].contains("handle-b") && !deletes[2].contains("handle-a"), "{deletes:?}");
    let pauses: Vec<_> = attendant.waits.lock().iter().map(|(_, pause)| pause.as_millis()).collect();
    assert_eq!(pauses, [500, 1000, 500, 500, 500], "twice as long from one to the next of one request");
    stub.end();
}

#[test]
fn a_letter_that_is_put_back_and_cannot_be_deleted_is_no_failed_one() {
    let cannot = || ok("DeleteMessageBatch", &failed(0, "InternalError"));
    let mut script = vec![last(ok("ReceiveMessage", &message("a", "1"))), most(2000), ok("SendMessageBatch", &sent(&[0]))];
    script.extend((0..5).map(|_| cannot()));
    script.push(done("ChangeMessageVisibilityBatch", 0..1));
    let stub = Stub::new(script);
    let (queue, attendant) = attended(&stub);
    let changed = queue.dead_letters().unwrap().redrive_in(Portions { most: 10, after: &mut |_| true }, &["a".into()]);
    assert_eq!((changed.done, changed.kept), (1, vec![("a".into(), "InternalError".to_owned())]));
    assert!(changed.failed.is_empty() && attendant.waits.lock().len() == 4);
    stub.end();
}

#[test]
fn letters_that_were_chosen_and_are_not_seen_now_are_named() {
    let script = || {
        vec![
            last(ok("ReceiveMessage", &format!("{}{}", message("b", "1"), message("x", "2")))),
            most(2000),
            ok("SendMessageBatch", &sent(&[0])),
            last(done("DeleteMessageBatch", 0..1)),
            last(ok("ReceiveMessage", "")),
            counts(1, 1),
            done("ChangeMessageVisibilityBatch", 0..1),
        ]
    };
    let stub = Stub::new(script());
    let ids = ["c", "b", "a", "c"].map(CompactString::from);
    let (queue, _) = attended(&stub);
    let changed = queue.dead_letters().unwrap().redrive_in(Portions { most: 10, after: &mut |_| true }, &ids);
    let failed: Vec<_> = changed.failed.iter().map(|(id, why)| (id.as_str(), why.contains("not seen now"))).collect();
    assert_eq!((changed.done, failed), (1, vec![("c", true), ("a", true)]));
    assert!(changed.ended.is_none() && changed.kept.is_empty(), "{changed:?}");
    stub.end();
    // A program that means those that still exist is told how many these were.
    let mut script = script();
    script.drain(1..3);
    let stub = Stub::new(script);
    assert_eq!(stub.queue("stock").dead_letters().unwrap().purge(&ids).unwrap(), 1);
    stub.end();
}

#[test]
fn letters_that_somebody_hides_are_counted_where_they_cannot_be_seen() {
    let stub = Stub::new(vec![
        last(ok("ReceiveMessage", &message("a", "1"))),
        last(ok("ReceiveMessage", "")),
        counts(0, 11),
        done("ChangeMessageVisibilityBatch", 0..1),
    ]);
    let unseen = stub.queue("stock").dead_letters().unwrap().list(&DeadFilter::default(), &mut |_| true).unwrap();
    assert!(
        unseen.letters == 0 && unseen.why.as_ref().is_some_and(|why| why.contains("dead counts about 10 more")),
        "{unseen:?}"
    );
    stub.end();
}

#[test]
fn a_walk_that_is_stopped_returns_its_letters() {
    let stub = Stub::new(Vec::new());
    let queue = stub.queue("stock");
    let letters = queue.dead_letters().unwrap();
    letters.attend(Arc::new(Hurried { stops: true, ..Hurried::default() }));
    assert!(letters.list(&DeadFilter::default(), &mut |_| true).unwrap().why.is_none());
    let stub = Stub::new(vec![
        last(ok("ReceiveMessage", &format!("{}{}", message("a", "1"), message("b", "2")))),
        most(2000),
        ok("SendMessageBatch", &sent(&[0])),
        done("DeleteMessageBatch", 0..1),
        done("ChangeMessageVisibilityBatch", 0..1),
    ]);
    let (queue, ids) = (stub.queue("stock"), ["a", "b"].map(CompactString::from));
    let changed = queue.dead_letters().unwrap().redrive_in(Portions { most: 1, after: &mut |_| false }, &ids);
    assert!(changed.done == 1 && changed.ended.is_none() && changed.failed.is_empty(), "{changed:?}");
    stub.end();
}
