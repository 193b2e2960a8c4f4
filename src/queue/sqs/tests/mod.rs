//! Faults that no emulator produces: throttling, incomplete answers, garbage,
//! a clock that is off, a queue that disappears. Against a scripted server.

use bytes::Bytes;

use super::testing::{Reply, Stub, ok, refusal};
use super::*;
use crate::message::Message;
use crate::message::settle::{self, DeadKind, DeadReason};
use crate::queue::{DeadFilter, DeadLetter, Portions};

mod attended;

const ASK: Ask = Ask { max: 10, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX };

fn message(id: &str, body: &str) -> String {
    format!(
        "<Message><MessageId>{id}</MessageId><ReceiptHandle>handle-{id}</ReceiptHandle><Body>{body}</Body>\
         <Attribute><Name>SentTimestamp</Name><Value>1720000000123</Value></Attribute>\
         <Attribute><Name>ApproximateReceiveCount</Name><Value>1</Value></Attribute></Message>"
    )
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

fn letter(handle: &str, last: bool) -> SetAside {
    let message = Message::new("1b9d", "b");
    let reason = DeadReason { kind: DeadKind::Rejected, text: "account is null".into() };
    SetAside { message: Arc::new(message), receipt: Receipt::Handle(handle.into()), delivery: None, reason, last }
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
    assert!(results[..10].iter().all(Result::is_ok) && results[10..].iter().all(Result::is_err));
    assert_eq!(results.len(), 25);
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

#[test]
fn a_message_leaves_its_queue_only_with_all_its_letters_written() {
    let stub = Stub::new(vec![
        ok("GetQueueAttributes", ""),
        ok("SendMessageBatch", &format!("{}{}", failed(0, "InternalError"), sent(&[1, 2]))),
        done("DeleteMessageBatch", 0..1),
    ]);
    let queue = stub.queue("stock");
    let results = queue.set_aside(&[letter("a", false), letter("a", true), letter("b", true)]).unwrap();
    assert!(matches!(results[..], [Err(EntryError::Failed(_)), Err(EntryError::Failed(_)), Ok(())]), "{results:?}");
    let (_most, _sent) = (stub.request(), stub.request());
    let deleted = stub.request();
    assert!(deleted.contains("ReceiptHandle=b") && !deleted.contains("ReceiptHandle=a"), "{deleted}");
}

#[test]
fn a_letter_whose_message_stays_is_written_all_the_same() {
    let gone = "<BatchResultErrorEntry><Id>1</Id><Code>ReceiptHandleIsInvalid</Code><SenderFault>true</SenderFault></BatchResultErrorEntry>";
    let stub = Stub::new(vec![
        ok("GetQueueAttributes", ""),
        ok("SendMessageBatch", &sent(&[0, 1])),
        ok("DeleteMessageBatch", &format!("{}{gone}", failed(0, "InternalError"))),
        ok("SendMessageBatch", &sent(&[0])),
        refusal(403, "AccessDenied"),
    ]);
    let queue = stub.queue("stock");
    let results = queue.set_aside(&[letter("a", true), letter("b", true)]).unwrap();
    let [Err(EntryError::NotDeleted(why)), Err(EntryError::NotDeleted(_))] = &results[..] else { panic!("{results:?}") };
    assert_eq!(why, "InternalError");
    let results = queue.set_aside(&[letter("a", true)]).unwrap();
    assert!(matches!(&results[..], [Err(EntryError::NotDeleted(why))] if why.contains("AccessDenied")), "{results:?}");
    stub.end();
}

fn most(bytes: usize) -> Reply {
    let attribute = format!("<Attribute><Name>MaximumMessageSize</Name><Value>{bytes}</Value></Attribute>");
    ok("GetQueueAttributes", &attribute)
}

fn letter_of(handle: &str, body: String) -> SetAside {
    let small = letter(handle, true);
    let message = Message { body: body.into(), ..(*small.message).clone() };
    SetAside { message: Arc::new(message), ..small }
}

#[test]
fn letters_are_as_long_as_their_queue_takes() {
    let stub = Stub::new(vec![
        most(2000),
        // The limit may have been raised since.
        most(2000),
        ok("SendMessageBatch", &sent(&[0, 1])),
        done("DeleteMessageBatch", 0..2),
        most(4000),
        ok("SendMessageBatch", &sent(&[0])),
        done("DeleteMessageBatch", 0..1),
    ]);
    let queue = stub.queue("stock");
    let delivery = settle::DeadDelivery { account: "acme".into(), index: None, payload: vec![b'p'; 1500].into() };
    let mut with_payload = letter_of("b", "b".repeat(1000));
    with_payload.delivery = Some(delivery);
    let letters = [letter_of("a", "a".repeat(2001)), with_payload, letter_of("c", "c".repeat(1999))];
    let results = queue.set_aside(&letters).unwrap();
    let [Err(EntryError::Failed(why)), Ok(()), Ok(())] = &results[..] else { panic!("{results:?}") };
    for part in ["message 1b9d", "2001 bytes", "dead takes, 2000 bytes", "raise MaximumMessageSize of dead"] {
        assert!(why.contains(part), "{why}");
    }
    let (_most, _again, both) = (stub.request(), stub.request(), stub.request());
    // The reason fits, the payload has no room, and beside the last body there is no room for either.
    assert!(both.contains("account is null") && !both.contains("octoconf-payload"), "{both}");
    assert!(!both.contains("SendMessageBatchRequestEntry.2.MessageAttribute"), "{both}");
    assert_eq!(queue.set_aside(&letters[..1]).unwrap(), [Ok(())]);
    let (_deleted, _most, sent) = (stub.request(), stub.request(), stub.request());
    assert!(sent.contains("account is null"), "{sent}");
}

#[test]
fn a_letter_without_room_for_its_facts_keeps_the_group_of_its_message() {
    let stub = Stub::new(vec![
        most(2000),
        ok("SendMessageBatch", &sent(&[0, 1])),
        last(done("DeleteMessageBatch", 0..2)),
        last(ok("ReceiveMessage", &in_group("a", "acme"))),
        most(2000),
        ok("SendMessageBatch", &sent(&[0])),
        last(done("DeleteMessageBatch", 0..1)),
        last(ok("ReceiveMessage", &in_group("b", "octoconf.dead.0123"))),
        ok("SendMessageBatch", &sent(&[0])),
        done("DeleteMessageBatch", 0..1),
    ]);
    let url = |name: &str| Named::Url(format!("{}/1/{name}", stub.url));
    let queue = stub.queue_to(url("stock.fifo"), DeadLetterQueue::To(url("dead.fifo")));
    let grouped = |length: usize| {
        let letter = letter_of("a", "b".repeat(length));
        let message = Message { group: Some("acme".into()), ..(*letter.message).clone() };
        SetAside { message: Arc::new(message), ..letter }
    };
    assert_eq!(queue.set_aside(&[grouped(2000), grouped(10)]).unwrap(), [Ok(()), Ok(())]);
    let (_most, letters, _deleted) = (stub.request(), stub.request(), stub.request());
    let group = |request: &str, entry: usize| {
        let parameter = format!("SendMessageBatchRequestEntry.{entry}.MessageGroupId=");
        request.split('&').find_map(|part| part.strip_prefix(&parameter).map(str::to_owned)).unwrap()
    };
    assert_eq!(group(&letters, 1), "acme");
    assert!(group(&letters, 2).starts_with("octoconf.dead."), "{letters}");
    // Earlier versions gave such a letter a group of its own, which is not that of its message.
    for (id, returned) in [("a", "acme"), ("b", "octoconf.alone.b")] {
        assert_eq!(queue.dead_letters().unwrap().redrive(&[id.into()]).unwrap(), 1);
        let sent = std::iter::repeat_with(|| stub.request()).find(|request| request.contains("SendMessageBatch")).unwrap();
        assert_eq!(group(&sent, 1), returned);
    }
    stub.end();
}

/// A message on a FIFO queue.
fn in_group(id: &str, group: &str) -> String {
    message(id, "1")
        .replace("</Message>", &format!("<Attribute><Name>MessageGroupId</Name><Value>{group}</Value></Attribute></Message>"))
}

#[test]
fn a_letter_that_its_queue_refuses_is_named_and_its_bound_asked_again() {
    let refused = "<BatchResultErrorEntry><Id>0</Id><Code>InvalidParameterValue</Code><Message>too long</Message>\
                   <SenderFault>true</SenderFault></BatchResultErrorEntry>";
    let stub = Stub::new(vec![most(2000), ok("SendMessageBatch", refused), most(1000), most(1000)]);
    let queue = stub.queue("stock");
    let letters = [letter_of("a", "a".repeat(1500))];
    for says in ["dead: InvalidParameterValue: too long", "raise MaximumMessageSize"] {
        let results = queue.set_aside(&letters).unwrap();
        assert!(
            matches!(&results[..], [Err(EntryError::Failed(why))] if why.contains("message 1b9d") && why.contains(says)),
            "{results:?}"
        );
    }
}

#[test]
fn a_letter_that_fails_whole_requests_does_not_hold_up_the_others() {
    let stub = Stub::new(vec![
        most(2000),
        ok("SendMessageBatch", &sent(&[0, 1])),
        refusal(400, "MissingParameter"),
        done("DeleteMessageBatch", 0..2),
        most(2000),
        refusal(400, "AWS.SimpleQueueService.BatchRequestTooLong"),
        ok("SendMessageBatch", &sent(&[0])),
        ok("SendMessageBatch", &sent(&[0])),
        done("DeleteMessageBatch", 0..2),
    ]);
    let queue = stub.queue("stock");
    let results = queue.set_aside(&[letter("a", true), letter_of("b", String::new()), letter("c", true)]).unwrap();
    assert!(
        matches!(&results[..], [Ok(()), Err(EntryError::Failed(why)), Ok(())] if why.contains("MissingParameter")),
        "{results:?}"
    );
    // A request that is too large for a service that accepts less than AWS.
    assert_eq!(queue.set_aside(&[letter("a", true), letter("c", true)]).unwrap(), [Ok(()), Ok(())]);
}

/// An answer that ends its connection: long polls have connections
/// of their own, and the stub serves one connection after another.
fn last(reply: Reply) -> Reply {
    let Reply::Say(status, body) = reply else { return reply };
    let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    Reply::Cut((head + &body).into_bytes())
}

#[test]
fn a_letter_that_cannot_be_put_back_holds_up_no_other() {
    let refused = "<BatchResultErrorEntry><Id>1</Id><Code>InvalidMessageContents</Code><SenderFault>true</SenderFault></BatchResultErrorEntry>";
    let letters = format!("{}{}{}", message("a", "1"), message("b", "2"), message("c", "3"));
    let stub = Stub::new(vec![
        last(ok("ReceiveMessage", &letters)),
        most(2000),
        ok("SendMessageBatch", &format!("{}{refused}", sent(&[0, 2]))),
        ok(
            "DeleteMessageBatch",
            &format!("<DeleteMessageBatchResultEntry><Id>0</Id></DeleteMessageBatchResultEntry>{}", failed(1, "InternalError")),
        ),
        last(done("ChangeMessageVisibilityBatch", 0..2)),
        last(ok("ReceiveMessage", &letters)),
        refusal(403, "AccessDenied"),
        done("ChangeMessageVisibilityBatch", 0..3),
    ]);
    let queue = stub.queue("stock");
    let ids = ["a", "b", "c"].map(CompactString::from);
    let mut seen = 0;
    let mut after = |count| {
        seen += count;
        true
    };
    let changed = queue.dead_letters().unwrap().redrive_in(Portions { most: 1000, after: &mut after }, &ids);
    let said: Vec<_> = changed.failed.iter().map(|(id, why)| (id.as_str(), why.as_str())).collect();
    assert_eq!((changed.done, seen), (2, 3));
    assert_eq!(
        (said, changed.kept.clone()),
        (vec![("b", "InvalidMessageContents")], vec![("c".into(), "InternalError".to_owned())])
    );
    assert!(changed.ended.is_none(), "{changed:?}");
    let requests: Vec<_> = (0..5).map(|_| stub.request()).collect();
    let back = &requests[4];
    assert!(back.contains("ReceiptHandle=handle-b") && !back.contains("ReceiptHandle=handle-a"), "{back}");
    // A failure for which no single letter is to blame ends the call, which reports what was done until then.
    let mut after = |_| true;
    let changed = queue.dead_letters().unwrap().purge_in(Portions { most: 1000, after: &mut after }, &ids);
    assert!(changed.failed.is_empty() && matches!(changed.ended, Some(QueueError::Refused { .. })), "{changed:?}");
    stub.end();
}

#[test]
fn letters_that_are_put_back_are_named_where_none_can_be_deleted() {
    let letters = format!("{}{}", message("a", "1"), message("b", "2"));
    let stub = Stub::new(vec![
        last(ok("ReceiveMessage", &letters)),
        most(2000),
        ok("SendMessageBatch", &sent(&[0, 1])),
        refusal(403, "AccessDenied"),
        done("ChangeMessageVisibilityBatch", 0..2),
    ]);
    let queue = stub.queue("stock");
    let mut after = |_| true;
    let changed =
        queue.dead_letters().unwrap().redrive_in(Portions { most: 10, after: &mut after }, &["a", "b"].map(CompactString::from));
    let said: Vec<_> = changed.kept.iter().map(|(id, why)| (id.as_str(), why.as_str())).collect();
    let [("a", first), ("b", second)] = said[..] else { panic!("{changed:?}") };
    assert!(first == second && first.starts_with("AccessDenied"), "{first}");
    assert!(
        changed.failed.is_empty() && changed.done == 2 && matches!(changed.ended, Some(QueueError::Refused { .. })),
        "{changed:?}"
    );
    stub.end();
}

#[test]
fn letters_that_come_again_end_no_list_while_others_are_behind_them() {
    let page = |ids: &[&str]| last(ok("ReceiveMessage", &ids.iter().map(|id| message(id, "1")).collect::<String>()));
    let list = |stub: &Stub| {
        let (queue, mut ids) = (stub.queue("stock"), Vec::new());
        let mut each = |letter: DeadLetter| {
            ids.push(letter.id.to_string());
            true
        };
        let unseen = queue.dead_letters().unwrap().list(&DeadFilter::default(), &mut each).unwrap();
        (ids, unseen.why)
    };
    let stub = Stub::new(vec![
        page(&["a", "b"]),
        page(&["a"]),
        page(&["c", "b"]),
        page(&[]),
        counts(3, 0),
        done("ChangeMessageVisibilityBatch", 0..5),
    ]);
    assert_eq!(list(&stub), (["a", "b", "c"].map(String::from).to_vec(), None));
    stub.end();
    // The service does not hide letters that were received, so the same one comes again and again.
    let stub = Stub::new(vec![page(&["a"]), page(&["a"]), page(&["a"]), done("ChangeMessageVisibilityBatch", 0..3)]);
    let (ids, why) = list(&stub);
    assert!(ids == ["a"] && why.as_ref().is_some_and(|why| why.contains("again and again")), "{why:?}");
    stub.end();
}

fn counts(visible: u64, hidden: u64) -> Reply {
    let count =
        |name, count| format!("<Attribute><Name>ApproximateNumberOfMessages{name}</Name><Value>{count}</Value></Attribute>");
    ok("GetQueueAttributes", &format!("{}{}{}", count("", visible), count("NotVisible", hidden), count("Delayed", 0)))
}

#[test]
fn nowhere_is_no_place_for_letters_and_every_copy_comes_back() {
    let stub = Stub::new(Vec::new());
    let queue = stub.queue_to(Named::of("stock"), DeadLetterQueue::Nowhere);
    assert_eq!(queue.set_aside(&[letter("a", true)]).unwrap(), [Err(EntryError::Gone)]);
    assert!(queue.dead_letters().is_none());
}

#[test]
fn a_queue_without_a_place_for_dead_letters_is_unusable() {
    let retention = "<Attribute><Name>MessageRetentionPeriod</Name><Value>345600</Value></Attribute>";
    let stub = Stub::new(vec![ok("GetQueueAttributes", retention), ok("GetQueueAttributes", retention)]);
    let url = || Named::Url(format!("{}/1/stock", stub.url));
    let error = stub.queue_to(url(), DeadLetterQueue::OfPolicy).facts().unwrap_err();
    assert!(matches!(error, QueueError::Unusable { .. }) && error.to_string().contains("\"none\""), "{error}");
    let facts = stub.queue_to(url(), DeadLetterQueue::Nowhere).facts().unwrap();
    assert_eq!((facts.redrive_after, facts.retention), (None, Some(Duration::from_secs(345_600))));
    assert_eq!((facts.hidden_limit, facts.longest_lease), (Some(120_000), Some(Duration::from_secs(43_200))));
}

#[test]
fn a_dead_letter_queue_that_is_missing_is_named() {
    let policy = "<Attribute><Name>RedrivePolicy</Name><Value>{&quot;deadLetterTargetArn&quot;:&quot;arn:aws:sqs:eu-west-1:7:lost&quot;,\
                  &quot;maxReceiveCount&quot;:5}</Value></Attribute>";
    let stub = Stub::new(vec![ok("GetQueueAttributes", policy), refusal(400, "AWS.SimpleQueueService.NonExistentQueue")]);
    let error = stub.queue_to(Named::Url(stub.url.clone()), DeadLetterQueue::OfPolicy).facts().unwrap_err();
    assert!(matches!(error, QueueError::Missing { .. }) && error.to_string().contains("lost"), "{error}");
    stub.request();
    assert!(stub.request().contains("QueueOwnerAWSAccountId=7"));
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_costs_nothing() {
    let stub = Stub::new(vec![ok("ReceiveMessage", ""), Reply::Cut(Vec::new()), ok("ReceiveMessage", "")]);
    let queue = stub.queue("stock");
    queue.receive(&ASK).unwrap();
    // The second request fails on the first one's connection and is sent again on a new one.
    queue.receive(&ASK).unwrap();
    stub.end();
}

#[test]
fn a_request_that_dies_on_its_own_connection_or_in_its_answer_is_not_repeated() {
    for cut in [Vec::new(), b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n<Receive".to_vec(), b"HTTP/1.1 2".to_vec()] {
        let stub = Stub::new(vec![Reply::Cut(cut)]);
        let error = stub.queue("stock").receive(&ASK).unwrap_err();
        assert!(error.is_transient(), "{error}");
        stub.end();
    }
}

#[test]
fn tls_where_plain_text_was_meant_is_said() {
    let alert = vec![0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];
    let stub = Stub::new(vec![Reply::Cut(alert)]);
    let error = stub.queue("stock").receive(&ASK).unwrap_err().to_string();
    assert!(error.contains("https://"), "{error}");
}

#[test]
fn plain_text_where_tls_was_meant_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let server = std::thread::Builder::new().spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
        // Waits until the client has read the answer and closed the connection.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let service = Arc::new(Service::new("eu-west-1", &endpoint, Arc::new(credentials::Fixed(super::testing::keys()))));
    let (queue, dead_letter) = (Named::Url(endpoint), DeadLetterQueue::Nowhere);
    let queue = SqsQueue::new(SqsOptions { name: "stock".into(), service, queue, dead_letter, grouping: None });
    let error = queue.receive(&ASK).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("write http:// in endpoint"), "{error}");
    server.unwrap().join().unwrap();
}

#[test]
fn a_signature_refused_for_the_clock_says_so_and_shows_no_secret() {
    let body = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired: hush-token AKIDHUSH\n\
                x-amz-security-token:hush-token</Message></Error></ErrorResponse>";
    let stub = Stub::new(vec![Reply::With(403, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", body.to_owned())]);
    let error = stub.queue("stock").receive(&ASK).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("clock of this machine") && text.contains("1994-11-06"), "{text}");
    assert!(!text.to_lowercase().contains("hush"), "{text}");
}

#[test]
fn an_answer_without_end_is_cut_short() {
    let stub = Stub::new(vec![ok("GetQueueAttributes", &"x".repeat(2 * 1024 * 1024))]);
    let error = stub.queue("stock").count().unwrap_err().to_string();
    assert!(error.contains("more than 1048576 bytes"), "{error}");
}
