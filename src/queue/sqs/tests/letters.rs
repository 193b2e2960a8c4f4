//! Dead letters: written with their messages' deletes, listed, put back and taken off.

use super::*;

fn letter(handle: &str, last: bool) -> SetAside {
    let message = Message::new("1b9d", "b");
    let reason = DeadReason { kind: DeadKind::Rejected, text: "account is null".into() };
    SetAside { message: Arc::new(message), receipt: Receipt::Handle(handle.into()), delivery: None, reason, last }
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
    let delivery = DeadDelivery { account: "acme".into(), index: None, payload: vec![b'p'; 1500].into() };
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
        refusal(400, "InvalidMessageContents"),
        refusal(400, "InvalidMessageContents"),
        ok("SendMessageBatch", &sent(&[0])),
        done("DeleteMessageBatch", 0..1),
        most(2000),
        refusal(400, "InvalidMessageContents"),
        ok("SendMessageBatch", &sent(&[0])),
        done("DeleteMessageBatch", 0..1),
    ]);
    let queue = stub.queue("stock");
    let results = queue.set_aside(&[letter("a", true), letter_of("b", String::new()), letter("c", true)]).unwrap();
    assert!(
        matches!(&results[..], [Ok(()), Err(EntryError::Failed(why)), Ok(())] if why.contains("MissingParameter")),
        "{results:?}"
    );
    // A request that is too large for a service that accepts less than AWS.
    assert_eq!(queue.set_aside(&[letter("a", true), letter("c", true)]).unwrap(), [Ok(()), Ok(())]);
    // One of them has something in an attribute that the service does not accept.
    let results = queue.set_aside(&[letter("a", true), letter("c", true)]).unwrap();
    assert!(
        matches!(&results[..], [Err(EntryError::Failed(why)), Ok(())] if why.contains("InvalidMessageContents")),
        "{results:?}"
    );
    // It is the only one that is not sent alone anyway.
    let results = queue.set_aside(&[letter("a", true), letter_of("b", String::new())]).unwrap();
    assert!(matches!(&results[..], [Err(EntryError::Failed(why)), Ok(())] if why.contains("message 1b9d")), "{results:?}");
}

#[test]
fn a_dead_letter_queue_that_is_missing_entry_by_entry_is_looked_for_anew() {
    let policy = |target: &str| {
        let policy = format!(
            "{{&quot;deadLetterTargetArn&quot;:&quot;arn:aws:sqs:eu-west-1:7:{target}&quot;,&quot;maxReceiveCount&quot;:5}}"
        );
        ok("GetQueueAttributes", &format!("<Attribute><Name>RedrivePolicy</Name><Value>{policy}</Value></Attribute>"))
    };
    let url = |target: &str| ok("GetQueueUrl", &format!("<QueueUrl>http://here/7/{target}</QueueUrl>"));
    let missing = failed(0, "AWS.SimpleQueueService.NonExistentQueue").replace("false", "true");
    let stub = Stub::new(vec![
        policy("lost"),
        url("lost"),
        most(2000),
        ok("SendMessageBatch", &missing),
        policy("dead"),
        url("dead"),
        most(2000),
        ok("SendMessageBatch", &sent(&[0])),
        done("DeleteMessageBatch", 0..1),
    ]);
    let queue = stub.queue_to(Named::Url(format!("{}/7/stock", stub.url)), DeadLetterQueue::OfPolicy);
    let letters = [letter("a", true)];
    let results = queue.set_aside(&letters).unwrap();
    assert!(matches!(&results[..], [Err(EntryError::Failed(why))] if why.contains("NonExistentQueue")), "{results:?}");
    assert_eq!(queue.set_aside(&letters).unwrap(), [Ok(())]);
}

/// Several queues may have the same one for their dead letters.
#[test]
fn letters_of_other_queues_are_left_alone() {
    let of = |id: &str, queue: &str| {
        let source = format!("<Name>DeadLetterQueueSourceArn</Name><Value>arn:aws:sqs:eu-west-1:7:{queue}</Value>");
        message(id, "1").replace("</Message>", &format!("<Attribute>{source}</Attribute></Message>"))
    };
    let stub = Stub::new(vec![
        last(ok("ReceiveMessage", &[of("a", "stock"), of("b", "invoice")].concat())),
        last(done("DeleteMessageBatch", 0..1)),
        last(ok("ReceiveMessage", "")),
        counts(1, 1),
        done("ChangeMessageVisibilityBatch", 0..1),
    ]);
    let (queue, ids) = (stub.queue("stock"), ["a", "b"].map(CompactString::from));
    let changed = queue.dead_letters().unwrap().purge_in(Portions { most: 10, after: &mut |_| true }, &ids);
    assert!(changed.done == 1 && changed.failed.len() == 1 && changed.failed[0].0 == "b", "{changed:?}");
    let (_received, deleted) = (stub.request(), stub.request());
    assert!(deleted.contains("handle-a") && !deleted.contains("handle-b"), "{deleted}");
    stub.end();
}

#[test]
fn letters_that_cannot_be_read_are_named_at_the_end_of_a_list() {
    let unreadable = "<Message><MessageId>bad</MessageId></Message>";
    let stub = Stub::new(vec![
        last(ok("ReceiveMessage", &format!("{unreadable}{}", message("a", "1")))),
        last(ok("ReceiveMessage", "")),
        done("ChangeMessageVisibilityBatch", 0..1),
    ]);
    let (queue, mut seen) = (stub.queue("stock"), 0);
    let mut each = |_| {
        seen += 1;
        true
    };
    let error = queue.dead_letters().unwrap().list(&DeadFilter::default(), &mut each).unwrap_err().to_string();
    assert!(seen == 1 && error.contains("message bad: it has no ReceiptHandle"), "{seen} {error}");
    stub.end();
}

/// As at a low rate.
#[test]
fn a_letter_that_is_put_back_alone_and_refused_ends_no_redrive() {
    let stub = Stub::new(vec![
        last(ok("ReceiveMessage", &format!("{}{}", message("a", "1"), message("b", "2")))),
        most(2000),
        refusal(400, "InvalidMessageContents"),
        ok("SendMessageBatch", &sent(&[0])),
        done("DeleteMessageBatch", 0..1),
        done("ChangeMessageVisibilityBatch", 0..1),
    ]);
    let queue = stub.queue("stock");
    let ids = ["a", "b"].map(CompactString::from);
    let changed = queue.dead_letters().unwrap().redrive_in(Portions { most: 1, after: &mut |_| true }, &ids);
    assert!(matches!(&changed.failed[..], [(id, why)] if id == "a" && why.contains("InvalidMessageContents")), "{changed:?}");
    assert!(changed.done == 1 && changed.ended.is_none(), "{changed:?}");
    stub.end();
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
fn a_queue_is_no_place_for_its_own_dead_letters_however_it_is_called() {
    let arn = |name: &str| {
        ok(
            "GetQueueAttributes",
            &format!("<Attribute><Name>QueueArn</Name><Value>arn:aws:sqs:eu-west-1:7:{name}</Value></Attribute>"),
        )
    };
    let facts = |of_dead: &str| {
        let stub = Stub::new(vec![ok("GetQueueUrl", "<QueueUrl>http://here/7/stock</QueueUrl>"), arn("stock"), arn(of_dead)]);
        stub.queue_to(Named::of("stock"), DeadLetterQueue::To(Named::of("http://other/7/stock"))).facts()
    };
    let error = facts("stock").unwrap_err();
    assert!(matches!(error, QueueError::Unusable { .. }) && error.to_string().contains("the queue itself"), "{error}");
    assert!(facts("dead").is_ok());
    let policy = "dead</Value></Attribute><Attribute><Name>RedrivePolicy</Name><Value>{&quot;deadLetterTargetArn&quot;:&quot;\
                  arn:aws:sqs:eu-west-1:7:stock&quot;,&quot;maxReceiveCount&quot;:5}";
    let error = facts(policy).unwrap_err();
    assert!(matches!(error, QueueError::Unusable { .. }) && error.to_string().contains("leads back to the queue"), "{error}");
    assert!(facts(&policy.replace(":stock", ":elsewhere")).is_ok());
    // A purge would delete messages that nobody has handled.
    let stub = Stub::new(vec![arn("stock"), ok("GetQueueUrl", "<QueueUrl>http://here/7/stock</QueueUrl>"), arn("stock")]);
    let queue = stub.queue_to(Named::of("stock"), DeadLetterQueue::To(Named::of("http://other/7/stock")));
    let error = queue.dead_letters().unwrap().purge(&["a".into()]).unwrap_err();
    assert!(error.to_string().contains("the queue itself"), "{error}");
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
