//! Tests of the tests' own SQS server: the properties on which other tests rely.

use std::io::Read;
use std::net::TcpStream;

use crate::support::sqs_server::SqsServer;
use serde_json::json;

#[test]
fn messages_are_kept_until_they_are_deleted() {
    let queue = SqsServer::shared().queue("kept", &[("VisibilityTimeout", "0")]);
    let bodies: Vec<String> = (0..25).map(|n| format!("body {n}")).collect();
    assert_eq!(queue.send(&bodies).len(), 25);
    assert_eq!(queue.counts(), (25, 0, 0));
    assert_eq!(queue.receive(json!({ "VisibilityTimeout": 60 })).len(), 10);
    assert_eq!(queue.counts(), (15, 10, 0));
    assert_eq!(queue.drain().len(), 15);
    assert_eq!(queue.counts(), (0, 10, 0));
}

#[test]
fn a_group_of_a_fifo_queue_is_given_to_one_at_a_time() {
    let queue = SqsServer::shared().queue("groups.fifo", &[]);
    queue.send_to_groups(&[("a", "1"), ("a", "2"), ("b", "1")]);
    assert_eq!(queue.receive(json!({ "MaxNumberOfMessages": 1 }))[0]["Body"], "1");
    let other = queue.receive(json!({}));
    assert_eq!((other.len(), &other[0]["Attributes"]["MessageGroupId"]), (1, &json!("b")));
}

#[test]
fn two_queues_of_one_name_are_two() {
    let [one, other] = ["same", "same"].map(|name| SqsServer::shared().queue(name, &[]));
    one.send(&["x"]);
    assert_eq!((one.counts().0, other.counts().0), (1, 0));
}

#[test]
fn a_refusal_is_told() {
    let refusal = SqsServer::shared().try_call("GetQueueUrl", &json!({ "QueueName": "nobody" })).unwrap_err();
    assert_eq!(refusal.status, 400);
    assert!(refusal.body.contains("QueueDoesNotExist"), "{}", refusal.body);
}

#[test]
fn the_server_ends_with_its_value_even_if_frozen() {
    for frozen in [false, true] {
        let server = SqsServer::start();
        server.queue("q", &[]);
        let mut connection = TcpStream::connect(server.address()).unwrap();
        if frozen {
            server.freeze();
        }
        drop(server);
        // The connection ends or is reset; either way the server is gone.
        assert!(matches!(connection.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
}
