//! Tests of `send`: what arrives on the queue, in which batches, and what is reported on failure.

use std::io::{BufRead, Write as _};
use std::time::Duration;

use compact_str::CompactString;
use parking_lot::Mutex;

use super::*;
use crate::commands::lines::Lines;
use crate::message::MAX_BODY;
use crate::message::{Receipt, Received};
use crate::queue::{Ask, Count, DeadLetters, EntryResult, Facts, Limits, SetAside, VisibilityChange};

/// The body that the queue refuses, the one that it does not confirm, and the one that it never takes.
const REFUSED: &[u8] = b"\"refused\"";
const LOST: &[u8] = b"\"lost\"";
const UNSENDABLE: &[u8] = b"\"unsendable\"";

/// A queue that records the batches sent, until it is full.
struct Recorder {
    entries: usize,
    /// The number of messages that the queue takes before it refuses whole batches.
    room: usize,
    batches: Mutex<Vec<Vec<String>>>,
}

impl Recorder {
    fn new(entries: usize) -> Self {
        Self { entries, room: usize::MAX, batches: Mutex::default() }
    }

    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().clone()
    }
}

impl Queue for Recorder {
    fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError> {
        let mut batches = self.batches.lock();
        let before: usize = batches.iter().map(Vec::len).sum();
        if let Some(at) = messages.iter().position(|message| message.body == UNSENDABLE) {
            return Err(QueueError::Unsendable { queue: "stock".into(), at, why: "its body: it is not text".into() });
        }
        let places = |wanted: &[u8], why: &str| -> Vec<_> {
            let all = messages.iter().enumerate().filter(|(_, message)| message.body == wanted);
            all.map(|(at, _)| (at, why.to_owned())).collect()
        };
        let (failed, unconfirmed) = (places(REFUSED, "InvalidMessageContents"), places(LOST, "InternalError"));
        if !failed.is_empty() || !unconfirmed.is_empty() {
            return Err(QueueError::PartlySent { queue: "stock".into(), of: messages.len(), failed, unconfirmed });
        }
        if before + messages.len() > self.room {
            return Err(QueueError::Unavailable { queue: "stock".into(), what: "send", why: "the disk is full".into() });
        }
        batches.push(messages.iter().map(|message| String::from_utf8(message.body.to_vec()).unwrap()).collect());
        Ok((before..before + messages.len()).map(|id| compact_str::format_compact!("{id}")).collect())
    }

    fn limits(&self) -> Limits {
        Limits {
            receive: 1,
            entries: self.entries,
            fifo: false,
            remote: false,
            price: None,
            letter_requests: 1,
            linger: Duration::ZERO,
        }
    }

    fn facts(&self) -> Result<Facts, QueueError> {
        unreachable!("send only sends")
    }

    fn receive(&self, _: &Ask) -> Result<Vec<Received>, QueueError> {
        unreachable!("send only sends")
    }

    fn delete(&self, _: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        unreachable!("send only sends")
    }

    fn change_visibility(&self, _: &[VisibilityChange]) -> Result<Vec<EntryResult>, QueueError> {
        unreachable!("send only sends")
    }

    fn set_aside(&self, _: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
        unreachable!("send only sends")
    }

    fn count(&self) -> Result<Count, QueueError> {
        unreachable!("send only sends")
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        None
    }
}

/// Sends an input that never pauses, to its end.
fn send(queue: &Recorder, input: impl BufRead, progress: &mut dyn FnMut(u64)) -> Result<u64, SendError> {
    let mut lines = Lines::new(input);
    let done = super::send(queue, &mut || lines.next().map_or(Next::End, Next::Line), progress)?;
    assert!(done.whole);
    Ok(done.sent)
}

#[test]
fn a_pause_sends_what_is_there_and_a_stop_ends_it_with_what_was_read() {
    let queue = Recorder::new(10);
    let line = |number: u64| Next::Line(Ok(Line { number, body: number.to_string().into() }));
    let mut script = [line(1), line(2), Next::Pause, Next::Pause, line(3), Next::Pause, line(4), Next::Stop].into_iter();
    let done = super::send(&queue, &mut || script.next().unwrap(), &mut |_| ()).unwrap();
    assert_eq!(done, Done { sent: 4, whole: false });
    assert_eq!(queue.batches(), [vec!["1", "2"], vec!["3"], vec!["4"]]);
}

#[test]
fn lines_go_in_order_in_batches() {
    let queue = Recorder::new(2);
    let mut progress = Vec::new();
    let sent = send(&queue, &b"1\n\n{\"a\": 2}\r\n3\n 4\n5"[..], &mut |sent| progress.push(sent));
    assert_eq!(sent.unwrap(), 5);
    assert_eq!(queue.batches(), [vec!["1", "{\"a\": 2}"], vec!["3", " 4"], vec!["5"]]);
    assert_eq!(progress, [2, 4, 5]);
}

#[test]
fn nothing_to_send_is_no_batch() {
    for input in [&b""[..], b"\n \r\n"] {
        let queue = Recorder::new(2);
        assert_eq!(send(&queue, input, &mut |_| panic!("no progress without a message")).unwrap(), 0);
        assert!(queue.batches().is_empty());
    }
}

#[test]
fn a_batch_has_a_mebibyte_at_most() {
    let queue = Recorder::new(100);
    let line = "7".repeat(400 * 1024);
    assert_eq!(send(&queue, format!("{line}\n").repeat(5).as_bytes(), &mut |_| ()).unwrap(), 5);
    assert_eq!(queue.batches().iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
}

#[test]
fn a_bad_line_stops_it_after_all_before_are_sent() {
    let too_long = "7".repeat(MAX_BODY + 1);
    for (bad, expected) in [
        ("{\"a\":1,}", "not JSON: a name in quotes was expected at line 5 column 8, field `a`"),
        ("1 2", "not JSON: something follows the value at line 5 column 3"),
        ("[", "not JSON: the text ends too early at line 5 column 2"),
        (too_long.as_str(), "line 5 is longer than 1048576 bytes, the most that a message may have"),
    ] {
        let queue = Recorder::new(2);
        let input = format!("1\n2\n3\n\n{bad}\n4\n");
        let error = send(&queue, input.as_bytes(), &mut |_| ()).unwrap_err();
        assert_eq!(error.sent(), 3);
        assert_eq!(error.to_string(), format!("{expected}; 3 messages before it were sent"));
        assert_eq!(queue.batches(), [vec!["1", "2"], vec!["3"]]);
    }
}

#[test]
fn the_first_line_may_be_the_bad_one() {
    let queue = Recorder::new(2);
    let error = send(&queue, &b"\"\xff\"\n1\n"[..], &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "not JSON: invalid UTF-8 at line 1 column 2; nothing was sent");
    assert!(queue.batches().is_empty());
}

#[test]
fn lines_of_any_depth_are_sent() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let queue = Recorder::new(2);
    assert_eq!(send(&queue, deep.as_bytes(), &mut |_| ()).unwrap(), 1);
    assert_eq!(queue.batches(), [[deep]]);
}

#[test]
fn a_queue_that_fails_is_reported_with_what_it_has() {
    let queue = Recorder { room: 5, ..Recorder::new(2) };
    let error = send(&queue, &b"1\n2\n3\n4\n\n5\n6\n7\n"[..], &mut |_| ()).unwrap_err();
    assert_eq!((error.sent(), error.unconfirmed()), (4, vec![6, 7]));
    assert_eq!(
        error.to_string(),
        "queue stock: send: the disk is full; 4 messages before it were sent; lines 6 to 7 were not confirmed"
    );
}

#[test]
fn a_line_that_the_queue_refuses_is_named() {
    let queue = Recorder::new(3);
    let error = send(&queue, &b"1\n2\n3\n\n4\n\"refused\"\n6\n7\n"[..], &mut |_| ()).unwrap_err();
    assert_eq!(error.sent(), 5);
    assert_eq!(
        error.to_string(),
        "queue stock: line 6 was refused: InvalidMessageContents; all other lines up to 7 were sent, 5 messages"
    );
}

#[test]
fn lines_that_the_queue_does_not_confirm_are_named_and_the_others_counted() {
    let queue = Recorder::new(4);
    let error = send(&queue, &b"1\n\"lost\"\n\n\"refused\"\n4\n5\n"[..], &mut |_| ()).unwrap_err();
    assert_eq!((error.sent(), error.refused(), error.unconfirmed()), (2, vec![4], vec![2]));
    assert_eq!(
        error.to_string(),
        "queue stock: line 4 was refused: InvalidMessageContents; line 2 was not confirmed: InternalError; \
         all other lines up to 5 were sent, 2 messages"
    );
}

#[test]
fn a_line_that_the_queue_cannot_take_is_named_and_all_before_it_are_sent() {
    let queue = Recorder::new(4);
    let error = send(&queue, &b"1\n2\n\n\"unsendable\"\n4\n5\n"[..], &mut |_| ()).unwrap_err();
    assert_eq!((error.sent(), error.refused(), error.unconfirmed()), (2, vec![4], vec![]));
    assert_eq!(error.to_string(), "queue stock: line 4: its body: it is not text; 2 messages before it were sent");
    assert_eq!(queue.batches(), [["1", "2"]]);
}

#[test]
fn a_queue_that_fails_before_a_bad_line_is_what_is_reported() {
    let queue = Recorder { room: 2, ..Recorder::new(2) };
    let error = send(&queue, &b"1\n2\n3\n{\n"[..], &mut |_| ()).unwrap_err();
    assert!(matches!(&error, SendError::Queue { sent: 2, lines, .. } if lines == &[3]), "{error}");
}

#[test]
fn an_input_that_never_was_whole_keeps_its_number() {
    let mut input = Vec::new();
    for number in 1..=1000 {
        writeln!(input, "{{\"n\":{number}}}").unwrap();
    }
    input.extend_from_slice(b"{\"n\":10");
    let queue = Recorder::new(10);
    let error = send(&queue, &input[..], &mut |_| ()).unwrap_err();
    assert!(matches!(&error, SendError::Syntax { sent: 1000, why } if why.line == 1001), "{error}");
}
