//! The reading of answers, from the documents that AWS and other servers write to documents that no server should.

use ::md5::{Digest as _, Md5};

use super::*;
use crate::message::DeliveryName;
use crate::queue::sqs::envelope::Open;
use crate::queue::sqs::error::Fault;

fn digest(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A message whose body is given both as coded in XML and decoded.
fn xml(id: &str, coded: &str, body: &str, more: &str) -> String {
    format!(
        "<Message><MessageId>{id}</MessageId><ReceiptHandle>AQEB+{id}/=</ReceiptHandle><MD5OfBody>{}</MD5OfBody><Body>{coded}</Body>\
         <Attribute><Name>SenderId</Name><Value>AIDA</Value></Attribute>\
         <Attribute><Name>SentTimestamp</Name><Value>1720000000123</Value></Attribute>\
         <Attribute><Name>ApproximateReceiveCount</Name><Value>3</Value></Attribute>{more}</Message>",
        digest(body)
    )
}

fn document(messages: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><ReceiveMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><ReceiveMessageResult>\
         {messages}</ReceiveMessageResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></ReceiveMessageResponse>"
    )
}

fn read(messages: &str, fifo: bool) -> Copies {
    super::messages(document(messages).as_bytes(), fifo).unwrap()
}

fn one(message: &str, fifo: bool) -> Arc<Message> {
    let copies = read(message, fifo);
    assert!(copies.bad.is_empty(), "{:?}", copies.bad);
    Arc::clone(&copies.good[0].0)
}

#[test]
fn a_message_says_all_that_is_known_of_it() {
    let copies = read(&xml("1b-9d", "{&quot;a&quot;:1}", "{\"a\":1}", ""), false);
    let (message, receipt) = &copies.good[0];
    assert_eq!((message.id.as_str(), &message.body[..], message.receives), ("1b-9d", &b"{\"a\":1}"[..], 3));
    assert_eq!(message.sent_at, UNIX_EPOCH + Duration::from_millis(1_720_000_000_123));
    assert_eq!((&message.group, &message.open), (&None, &None));
    assert_eq!(*receipt, Receipt::Handle("AQEB+1b-9d/=".into()));
}

#[test]
fn bodies_come_back_to_the_byte() {
    for (coded, body) in [
        (" ", " "),
        ("\n \t", "\n \t"),
        ("&#xD;&#10;", "\r\n"),
        ("a\r\nb", "a\r\nb"),
        ("&lt;Body&gt;&amp;amp;&apos;&lt;/Body&gt;", "<Body>&amp;'</Body>"),
        ("ä\u{1F419}\u{FFFD}", "ä\u{1F419}\u{FFFD}"),
        ("", ""),
    ] {
        assert_eq!(one(&xml("1", coded, body, ""), false).body, body, "{coded:?}");
    }
}

#[test]
fn attributes_keep_type_and_bytes() {
    let attribute = |name: &str, data_type: &str, value: &str| {
        format!("<MessageAttribute><Name>{name}</Name><Value>{value}<DataType>{data_type}</DataType></Value></MessageAttribute>")
    };
    let attributes = [
        attribute("a", "String", "<StringValue> x&amp;y </StringValue>"),
        attribute("b", "Number.float.ieee", "<StringValue>1.50</StringValue>"),
        attribute("c", "Binary", "<BinaryValue>AP8K</BinaryValue>"),
        attribute("d", "String.uuid", "<StringValue>1</StringValue>"),
        attribute("e", "Text.uuid", "<StringValue>1</StringValue>"),
    ];
    let message = one(&xml("1", "b", "b", &attributes.concat()), false);
    let expected = [
        ("a", AttributeValue::String(" x&y ".into()), None),
        ("b", AttributeValue::Number("1.50".into()), Some("float.ieee")),
        ("c", AttributeValue::Binary(Bytes::from_static(&[0, 255, 10])), None),
        ("d", AttributeValue::String("1".into()), Some("uuid")),
        ("e", AttributeValue::String("1".into()), None),
    ];
    assert_eq!(
        message.attributes,
        expected.map(|(name, value, label)| Attribute { name: name.into(), value, label: label.map(Into::into) })
    );
}

#[test]
fn a_group_counts_on_fifo_queues_only_and_one_that_stands_alone_has_none() {
    let group = |group: &str| format!("<Attribute><Name>MessageGroupId</Name><Value>{group}</Value></Attribute>");
    assert_eq!(one(&xml("1", "b", "b", &group("acme")), true).group.as_deref(), Some("acme"));
    assert_eq!(one(&xml("1", "b", "b", &group("acme")), false).group, None);
    assert_eq!(one(&xml("1", "b", "b", &group("octoconf.alone.1")), true).group, None);
}

#[test]
fn what_cannot_be_read_never_stops_its_neighbours() {
    let fine = xml("fine", "b", "b", "");
    let bad_attribute = "<MessageAttribute><Name>c</Name><Value><BinaryValue>*</BinaryValue><DataType>Binary</DataType></Value></MessageAttribute>";
    let bodiless = xml("x", "b", "b", "").replace("<Body>b</Body>", "").replace("MD5OfBody", "Other");
    let cases = [
        (xml("x", "changed", "b", ""), "message x: its body does not match its MD5"),
        (xml("x", "&nbsp;", "b", ""), "message x: a text has a wrong entity"),
        (xml("x", "<b>", "b", ""), "message x: a tag is malformed"),
        (xml("x", "b", "b", bad_attribute), "message x: attribute c: is no base64"),
        ("<Message/>".to_owned(), "message without an id: it has no MessageId"),
        ("<Message><MessageId>x</MessageId></Message>".to_owned(), "message x: it has no ReceiptHandle"),
        (fine.replace("AQEB+fine/=", "").replace("fine", "x"), "message x: it has no ReceiptHandle"),
        (bodiless, "message x: it has no Body"),
    ];
    for (bad, says) in cases {
        let copies = read(&format!("{fine}{bad}{fine}"), false);
        assert_eq!((copies.good.len(), copies.bad.as_slice()), (2, &[says.to_owned()][..]));
    }
}

#[test]
fn an_answer_that_breaks_off_gives_what_is_whole() {
    let whole = document(&format!("{}{}", xml("1", "b", "b", ""), xml("2", "b", "b", "")));
    let second = whole.find("<MessageId>2").unwrap();
    let cut = format!("{}</ReceiveMessageResult></ReceiveMessageResponse>", &whole[..second]);
    let copies = super::messages(cut.as_bytes(), false).unwrap();
    assert_eq!((copies.good.len(), copies.bad.len()), (1, 1));
    assert!(matches!(super::messages(&whole.as_bytes()[..second], false), Err(Fault::Transient(_))));
}

#[test]
fn an_empty_answer_is_no_messages() {
    for empty in [document(""), "<ReceiveMessageResponse><ReceiveMessageResult/></ReceiveMessageResponse>".to_owned()] {
        let copies = super::messages(empty.as_bytes(), false).unwrap();
        assert!(copies.good.is_empty() && copies.bad.is_empty());
    }
}

#[test]
fn a_redriven_message_shows_it_in_its_id_and_opens_what_was_open() {
    let open = [(1, None), (3, Some("acme".into()))].map(|(index, account)| DeliveryName { index, account });
    let note = Redriven { redrives: 2, open: Open::of(Some(&open)) }.pack(&[], 1000).unwrap();
    let AttributeValue::String(json) = &note[0].value else { panic!("{note:?}") };
    let attribute = format!(
        "<MessageAttribute><Name>octoconf</Name><Value><StringValue>{}</StringValue><DataType>String</DataType></Value></MessageAttribute>",
        json.replace('"', "&quot;")
    );
    let message = one(&xml("1b-9d", "b", "b", &attribute), false);
    assert_eq!((message.id.as_str(), message.open.as_deref()), ("1b-9d-r2", Some(&open[..])));
    assert!(message.attributes.is_empty());
}

#[test]
fn in_a_fifo_queue_what_cannot_be_read_holds_up_its_group_and_no_other() {
    let of =
        |id, group: &str| xml(id, "b", "b", &format!("<Attribute><Name>MessageGroupId</Name><Value>{group}</Value></Attribute>"));
    let answer = |second: String| [of("1", "a"), second, of("3", "b"), of("4", "a"), of("5", "b")].concat();
    let ids = |copies: &Copies| copies.good.iter().map(|(message, _)| message.id.to_string()).collect::<Vec<_>>();
    let other_body = of("2", "a").replace("<Body>b", "<Body>c");
    let copies = read(&answer(other_body.clone()), true);
    assert_eq!((ids(&copies), copies.bad.len()), (["1", "3", "5"].map(String::from).to_vec(), 2), "{:?}", copies.bad);
    assert_eq!(ids(&read(&answer(other_body), false)), ["1", "3", "4", "5"]);
    // If the group cannot be read or is not named, it may be any.
    let nameless = read(&answer(xml("2", "b", "b", "")), true);
    assert_eq!((ids(&nameless), nameless.bad.len()), (vec!["1".to_owned()], 4));
    assert_eq!(nameless.bad[0], "message 2: it has no MessageGroupId");
    let groupless = read(&[xml("1", "b", "b", ""), xml("2", "b", "b", "")].concat(), true);
    assert_eq!((ids(&groupless).len(), groupless.is_groupless), (2, true), "a server without groups has no order to keep");
    assert!(!nameless.is_groupless && !read("", true).is_groupless && !read(&xml("1", "b", "b", ""), false).is_groupless);
    let no_group = of("2", "a").replace("<ReceiptHandle>", "<ReceiptHandle");
    assert_eq!(ids(&read(&answer(no_group), true)), ["1"]);
}
