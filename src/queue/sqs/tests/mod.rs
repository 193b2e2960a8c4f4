//! Faults that no emulator produces: throttling, incomplete answers, garbage,
//! a clock that is off, a queue that disappears. Against a scripted server.

use bytes::Bytes;

use super::testing::{Reply, Stub, ok, refusal};
use super::*;
use crate::message::Message;
use crate::message::dead::{DeadDelivery, DeadKind, DeadReason};
use crate::queue::{DeadFilter, DeadLetter, Portions};

mod attended;
mod connections;
mod letters;

const ASK: Ask = Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX };

fn message(id: &str, body: &str) -> String {
    format!(
        "<Message><MessageId>{id}</MessageId><ReceiptHandle>handle-{id}</ReceiptHandle><Body>{body}</Body>\
         <Attribute><Name>SentTimestamp</Name><Value>1720000000123</Value></Attribute>\
         <Attribute><Name>ApproximateReceiveCount</Name><Value>1</Value></Attribute></Message>"
    )
}

/// A message on a FIFO queue.
fn in_group(id: &str, group: &str) -> String {
    message(id, "1")
        .replace("</Message>", &format!("<Attribute><Name>MessageGroupId</Name><Value>{group}</Value></Attribute></Message>"))
}

fn handles(handles: &[&str]) -> Vec<Receipt> {
    handles.iter().map(|handle| Receipt::Handle((*handle).into())).collect()
}

fn done(action: &str, ids: std::ops::Range<usize>) -> Reply {
    ok(action, &ids.map(|id| format!("<{action}ResultEntry><Id>{id}</Id></{action}ResultEntry>")).collect::<String>())
}

fn sent(ids: &[usize]) -> String {
    let entry = |id: &usize| {
        format!("<SendMessageBatchResultEntry><Id>{id}</Id><MessageId>m{id}</MessageId></SendMessageBatchResultEntry>")
    };
    ids.iter().map(entry).collect()
}

fn failed(id: usize, code: &str) -> String {
    format!("<BatchResultErrorEntry><Id>{id}</Id><Code>{code}</Code><SenderFault>false</SenderFault></BatchResultErrorEntry>")
}

fn most(bytes: usize) -> Reply {
    let attribute = format!("<Attribute><Name>MaximumMessageSize</Name><Value>{bytes}</Value></Attribute>");
    ok("GetQueueAttributes", &attribute)
}

/// An answer that ends its connection: long polls have connections
/// of their own, and the stub serves one connection after another.
fn last(reply: Reply) -> Reply {
    let Reply::Say(status, body) = reply else { return reply };
    let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    Reply::Cut((head + &body).into_bytes())
}

fn counts(visible: u64, hidden: u64) -> Reply {
    let count =
        |name, count| format!("<Attribute><Name>ApproximateNumberOfMessages{name}</Name><Value>{count}</Value></Attribute>");
    ok("GetQueueAttributes", &format!("{}{}{}", count("", visible), count("NotVisible", hidden), count("Delayed", 0)))
}

fn bodies(count: usize) -> Vec<NewMessage> {
    (0..count).map(|n| NewMessage { body: n.to_string().into(), ..NewMessage::default() }).collect()
}

#[test]
fn nothing_is_asked_before_the_first_call_and_a_name_is_looked_up_once() {
    let url = "<QueueUrl>http://elsewhere/1/stock</QueueUrl>";
    let stub = Stub::new(vec![
        refusal(503, "ServiceUnavailable"),
        ok("GetQueueUrl", url),
        ok("ReceiveMessage", ""),
        ok("ReceiveMessage", ""),
    ]);
    let queue = stub.queue_to(Named::of("stock"), DeadLetterQueue::Nowhere);
    assert!(matches!(queue.receive(&ASK), Err(QueueError::Unavailable { .. })));
    assert!(queue.receive(&ASK).unwrap().is_empty() && queue.receive(&ASK).unwrap().is_empty());
    assert!(stub.request().contains("Action=GetQueueUrl&QueueName=stock"));
    assert!(stub.request().contains("Action=GetQueueUrl"));
    for _ in 0..2 {
        let request = stub.request();
        assert!(request.contains("QueueUrl=http://elsewhere/1/stock") && request.contains("WaitTimeSeconds=0"), "{request}");
    }
    stub.end();
}

#[test]
fn a_queue_that_goes_away_is_missing_and_looked_up_again() {
    let stub = Stub::new(vec![
        ok("GetQueueUrl", "<QueueUrl>http://here/1/old</QueueUrl>"),
        refusal(400, "AWS.SimpleQueueService.NonExistentQueue"),
        refusal(400, "AWS.SimpleQueueService.NonExistentQueue"),
        ok("GetQueueUrl", "<QueueUrl>http://here/1/new</QueueUrl>"),
        ok("ReceiveMessage", ""),
    ]);
    let queue = stub.queue_to(Named::of("stock"), DeadLetterQueue::Nowhere);
    for _ in 0..2 {
        assert!(matches!(queue.receive(&ASK), Err(QueueError::Missing { .. })));
    }
    queue.receive(&ASK).unwrap();
    let requests: Vec<_> = (0..5).map(|_| stub.request()).collect();
    assert!(requests[4].contains("http://here/1/new"), "{requests:?}");
}

#[test]
fn throttling_is_transient_and_a_denied_action_is_not() {
    let stub = Stub::new(vec![refusal(403, "OverLimit"), refusal(400, "RequestThrottled"), refusal(403, "AccessDenied")]);
    let queue = stub.queue("stock");
    for transient in [true, true, false] {
        assert_eq!(queue.receive(&ASK).unwrap_err().is_transient(), transient);
    }
}

#[test]
fn sequence_numbers_have_no_gap_where_a_copy_is_left_out() {
    let bad = "<Message><MessageId>bad</MessageId></Message>";
    let stub = Stub::new(vec![
        ok("ReceiveMessage", &format!("{}{bad}{}", message("a", "1"), message("b", "2"))),
        ok("ReceiveMessage", &message("c", "3")),
        ok("ReceiveMessage", bad),
    ]);
    let queue = stub.queue("stock");
    let mut received = queue.receive(&ASK).unwrap();
    // The copy that was left out is reported, without a request.
    let error = queue.receive(&ASK).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("message bad: it has no ReceiptHandle"), "{error}");
    received.extend(queue.receive(&ASK).unwrap());
    assert_eq!(received.iter().map(|received| received.sequence).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(queue.receive(&ASK).unwrap_err().to_string().contains("message bad"));
}

#[test]
fn on_a_fifo_queue_a_copy_that_cannot_be_read_holds_up_its_own_group_only() {
    let unreadable = in_group("a1", "a").replace("<ReceiptHandle>handle-a1</ReceiptHandle>", "");
    let stub = Stub::new(vec![ok("ReceiveMessage", &[unreadable, in_group("a2", "a"), in_group("b1", "b")].concat())]);
    let queue = stub.queue("stock.fifo");
    let received: Vec<_> = queue.receive(&ASK).unwrap().iter().map(|received| received.message.id.clone()).collect();
    assert_eq!(received, ["b1"]);
    let error = queue.receive(&ASK).unwrap_err().to_string();
    assert!(error.contains("message a1: it has no ReceiptHandle") && error.contains("message a2: one before it"), "{error}");
}

#[test]
fn a_queue_that_is_missing_entry_by_entry_is_looked_up_again() {
    let missing = failed(0, "AWS.SimpleQueueService.NonExistentQueue").replace("false", "true");
    let stub = Stub::new(vec![
        ok("GetQueueUrl", "<QueueUrl>http://here/1/old</QueueUrl>"),
        ok("DeleteMessageBatch", &missing),
        ok("GetQueueUrl", "<QueueUrl>http://here/1/new</QueueUrl>"),
        done("DeleteMessageBatch", 0..1),
    ]);
    let queue = stub.queue_to(Named::of("stock"), DeadLetterQueue::Nowhere);
    assert!(queue.delete(&handles(&["a"])).unwrap()[0].is_err());
    assert_eq!(queue.delete(&handles(&["a"])).unwrap(), [Ok(())]);
    stub.end();
}

#[test]
fn entries_go_in_tens_and_each_has_its_own_end() {
    let second =
        format!("{}<DeleteMessageBatchResultEntry><Id>1</Id></DeleteMessageBatchResultEntry>", failed(0, "InternalError"));
    let stub = Stub::new(vec![done("DeleteMessageBatch", 0..10), ok("DeleteMessageBatch", &second)]);
    let mut receipts = handles(&["same"; 12]);
    receipts.insert(3, Receipt::Row { row: 1, receive: 1 });
    let results = stub.queue("stock").delete(&receipts).unwrap();
    assert_eq!(results[3], Err(EntryError::Gone));
    assert_eq!(results[11..], [Err(EntryError::Failed("InternalError".into())), Ok(())]);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 11);
}

#[test]
fn a_batch_that_fails_after_another_fails_its_entries_only() {
    let stub = Stub::new(vec![done("DeleteMessageBatch", 0..10), refusal(403, "OverLimit")]);
    let results = stub.queue("stock").delete(&handles(&["h"; 25])).unwrap();
    assert!(results[..10].iter().all(Result::is_ok));
    assert_eq!(results[10..], vec![Err(EntryError::Failed("OverLimit: because".into())); 15]);
}

#[test]
fn what_fails_of_a_send_is_sent_again_and_in_the_end_said() {
    let stub = Stub::new(vec![
        ok("SendMessageBatch", &format!("{}{}", sent(&[0, 2]), failed(1, "InternalError"))),
        ok("SendMessageBatch", &sent(&[0])),
    ]);
    assert_eq!(stub.queue("stock").send(&bodies(3)).unwrap(), ["m0", "m0", "m2"]);
    assert!(stub.request().contains("MessageBody=2"));
    let again = stub.request();
    assert!(again.contains("MessageBody=1") && !again.contains("MessageBody=2"), "{again}");

    let some = || ok("SendMessageBatch", &format!("{}{}", sent(&[1]), failed(0, "InternalError")));
    let stub = Stub::new(vec![some(), ok("SendMessageBatch", &failed(0, "InternalError")), refusal(503, "ServiceUnavailable")]);
    let error = stub.queue("stock").send(&bodies(2)).unwrap_err().to_string();
    assert_eq!(error, "queue stock: send: 1 of 2 messages were sent; not confirmed: message 1: InternalError");
}

#[test]
fn what_sqs_refuses_of_a_send_is_told_by_its_place() {
    let refused = "<BatchResultErrorEntry><Id>1</Id><Code>InvalidMessageContents</Code><Message>no</Message><SenderFault>true</SenderFault></BatchResultErrorEntry>";
    let stub = Stub::new(vec![ok("SendMessageBatch", &format!("{}{refused}", sent(&[0, 2])))]);
    let error = stub.queue("stock").send(&bodies(3)).unwrap_err();
    let says = "queue stock: send: 2 of 3 messages were sent; refused: message 2: InvalidMessageContents: no";
    assert!(error.to_string() == says && !error.is_transient(), "{error}");
}

#[test]
fn a_send_of_which_sqs_refuses_the_whole_request_is_made_again_one_by_one() {
    let stub = Stub::new(vec![
        Reply::Say(413, String::new()),
        ok("SendMessageBatch", &sent(&[0])),
        refusal(400, "InvalidMessageContents"),
        ok("SendMessageBatch", &sent(&[0])),
        refusal(400, "InvalidMessageContents"),
    ]);
    let queue = stub.queue("stock");
    let error = queue.send(&bodies(3)).unwrap_err().to_string();
    let refused = "refused: message 2: InvalidMessageContents: because";
    assert_eq!(error, format!("queue stock: send: 2 of 3 messages were sent; {refused}"));
    let error = queue.send(&bodies(1)).unwrap_err();
    assert!(matches!(&error, QueueError::PartlySent { failed, .. } if failed.len() == 1), "{error}");
}

#[test]
fn a_message_that_sqs_would_refuse_is_refused_by_its_place_and_nothing_is_sent() {
    let stub = Stub::new(Vec::new());
    let wrong =
        |queue: &SqsQueue, message: NewMessage| queue.send(&[bodies(1).remove(0), message]).map(drop).unwrap_err().to_string();
    let (queue, fifo) = (stub.queue("stock"), stub.queue("stock.fifo"));
    let late = |delay| NewMessage { delay: Duration::from_secs(delay), ..bodies(1).remove(0) };
    let body = |body: Bytes| NewMessage { body, ..NewMessage::default() };
    for (error, says) in [
        (wrong(&queue, body(Bytes::new())), "empty"),
        (wrong(&queue, body("\0".into())), "U+0000"),
        (wrong(&queue, late(901)), "901 s"),
        (wrong(&fifo, late(1)), "FIFO"),
    ] {
        assert!(error.contains("message 2: ") && error.ends_with("nothing was sent") && error.contains(says), "{error}");
    }
}
