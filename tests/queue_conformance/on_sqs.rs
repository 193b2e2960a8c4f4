//! SQS, played by a real server with a clock that the test moves.
//!
//! The server differs from AWS where it matters here: it is strict about order and about old receipts, which AWS need
//! not be, and it refuses to delete twice with one receipt.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use octoconf::queue::sqs::credentials::{Fixed, Keys};
use octoconf::queue::sqs::{DeadLetterQueue, Named, Service, SqsOptions, SqsQueue};
use octoconf::queue::{NewMessage, Queue, QueueError};

use crate::driver::{Driver, before_the_colon};
use crate::support::sqs_server::SqsServer;
use crate::tools::*;

pub struct Sqs {
    server: SqsServer,
    service: Arc<Service>,
}

impl Default for Sqs {
    fn default() -> Self {
        let server = SqsServer::start_with_manual_clock();
        let keys = Keys { access_key_id: "test".into(), secret_access_key: "test".into(), session_token: None, expires_at: None };
        let service = Arc::new(Service::new("eu-west-1", &server.endpoint(), Arc::new(Fixed(keys))));
        Self { server, service }
    }
}

impl Driver for Sqs {
    fn queue(&self, fifo: bool) -> Box<dyn Queue> {
        let [name, dead] = if fifo { ["queue.fifo", "dead.fifo"] } else { ["queue", "dead"] };
        let [queue, dead] = [name, dead].map(|name| self.server.queue(name, &[]));
        Box::new(SqsQueue::new(SqsOptions {
            name: "conformance".into(),
            service: Arc::clone(&self.service),
            queue: Named::of(&queue.name),
            dead_letter: DeadLetterQueue::To(Named::of(&dead.url)),
            grouping: Some(before_the_colon()),
        }))
    }

    fn pass(&self, time: Duration) {
        self.server.pass(time);
    }

    /// A message of SQS cannot be added to.
    fn keeps_what_is_settled(&self) -> bool {
        false
    }
}

/// All characters that SQS accepts, at every size that it accepts.
pub fn text_comes_back_to_the_byte(driver: &Sqs) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        let bodies: [Bytes; 5] = [
            " ".into(),
            "\t\n ".into(),
            "{\"<&>'\": \"]]>&quot;\"}".into(),
            "ä\u{1F419}\u{E000}\u{FFFD}\u{7F}".into(),
            (0..1024 * 1024_u32)
                .map(|n| b' ' + u8::try_from(n * 31 % 95).unwrap())
                .map(|byte| if byte == b':' { b'"' } else { byte })
                .collect(),
        ];
        assert_eq!(queue.send(&bodies.clone().map(message)).unwrap().len(), bodies.len());
        let mut taken = Vec::new();
        while taken.len() < bodies.len() {
            taken.extend(take_some(&*queue, 10));
        }
        for (received, body) in taken.iter().zip(&bodies) {
            assert!(received.message.body == body, "a body of {} bytes came back changed", body.len());
        }
    }
}

pub fn batches_that_sqs_would_refuse_are_refused_whole(driver: &Sqs) {
    for (fifo, wrong) in [
        (false, message("")),
        (false, message("\u{0}")),
        (false, message(vec![b'a'; 1024 * 1024 + 1])),
        (false, NewMessage { delay: seconds(901), ..message("a") }),
        (true, NewMessage { delay: seconds(1), ..message("a") }),
        (true, message("\u{e4}:a")),
    ] {
        let queue = driver.queue(fifo);
        let refused = queue.send(&[message("a"), wrong]).unwrap_err();
        assert!(matches!(refused, QueueError::Unsendable { at: 1, .. }), "{refused}");
        assert!(queue.count().unwrap().is_empty());
    }
}

/// A listing receives each dead letter, and must not keep it hidden.
pub fn letters_stay_where_they_are_however_often_they_are_looked_at(driver: &Sqs) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        let bodies: Vec<_> = (0..25).map(|n| message(format!("g:{n}"))).collect();
        queue.send(&bodies).unwrap();
        for _ in 0..3 {
            set_aside(&*queue, &take_some(&*queue, 10).iter().map(whole).collect::<Vec<_>>());
        }
        let all = letters(&*queue);
        assert_eq!(all.len(), 25);
        assert_eq!(ids(&letters(&*queue)), ids(&all));
        let dead = queue.dead_letters().unwrap();
        assert_eq!(dead.find(&all[20].id).unwrap().unwrap().body, all[20].body);
        assert_eq!(dead.redrive(&ids(&all[..12])).unwrap(), 12);
        assert_eq!(dead.purge(&ids(&all)).unwrap(), 13);
        assert!(letters(&*queue).is_empty());
        assert_eq!(queue.count().unwrap().visible, 12);
    }
}

pub fn a_queue_that_does_not_exist_is_missing_until_it_does(driver: &Sqs) {
    let stand_in = driver.server.queue("later", &[]);
    stand_in.delete();
    let queue = SqsQueue::new(SqsOptions {
        name: "later".into(),
        service: Arc::clone(&driver.service),
        queue: Named::of(&stand_in.name),
        dead_letter: DeadLetterQueue::Nowhere,
        grouping: None,
    });
    for _ in 0..2 {
        assert!(matches!(queue.receive(&ask(1)), Err(QueueError::Missing { .. })));
    }
    assert!(matches!(queue.facts(), Err(QueueError::Missing { .. })));
    driver.server.call("CreateQueue", &serde_json::json!({ "QueueName": stand_in.name }));
    driver.pass(seconds(61));
    queue.send(&[message("a")]).unwrap();
    assert_eq!(take_bodies(&queue, 1), ["a"]);
}

/// Without `dead_letter`, the redrive policy names the queue for dead letters, and the number of receives after which
/// SQS itself would move a message there.
pub fn the_redrive_policy_is_read_and_its_target_used(driver: &Sqs) {
    let dead = driver.server.queue("target", &[]);
    let policy = serde_json::json!({ "deadLetterTargetArn": dead.arn(), "maxReceiveCount": 2 }).to_string();
    let source = driver.server.queue("source", &[("RedrivePolicy", &policy), ("MessageRetentionPeriod", "3600")]);
    let queue = SqsQueue::new(SqsOptions {
        name: "source".into(),
        service: Arc::clone(&driver.service),
        queue: Named::of(&source.name),
        dead_letter: DeadLetterQueue::OfPolicy,
        grouping: None,
    });
    let facts = queue.facts().unwrap();
    assert_eq!((facts.redrive_after, facts.retention), (Some(2), Some(seconds(3600))));
    send(&queue, &["ours", "theirs"]);
    let taken = take(&queue, 2);
    set_aside(&queue, &[whole(&taken[0])]);
    for _ in 0..2 {
        driver.pass(LEASE);
        take(&queue, 1);
    }
    let letters = letters(&queue);
    let told: Vec<_> = letters.iter().map(|letter| (letter.kind.as_str(), &letter.body[..])).collect();
    assert_eq!(told, [("rejected", &b"ours"[..]), ("moved", &b"theirs"[..])]);
    assert_eq!(redrive_all(&queue), 2);
    let redriven = take(&queue, 2);
    assert!(redriven.iter().all(|received| received.message.id.ends_with("-r1")));
}
