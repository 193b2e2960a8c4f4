//! The main job on SQS: invoices through a FIFO queue whose group is the account, into one file per account.

use crate::support::invoices::{expected, invoices};
use crate::support::program::{Workspace, lines, until};
use crate::support::sqs_server::{SqsServer, TestQueue, aws_environment};
use serde_json::Value;

/// The number of messages sent at once. The tests' server searches a queue from its beginning, so it becomes
/// slower with the queue's depth.
const SLICE: usize = 400;
/// The next slice is sent once no more than this number is left of the one before.
const LOW: u64 = 150;

#[test]
fn invoices_are_delivered_in_order_or_dead_letters() {
    let server = SqsServer::shared();
    let (queue, dead) = (server.queue("invoice.fifo", &[]), server.queue("invoice-dead.fifo", &[]));
    let workspace = Workspace::new("octoconf.toml", &configuration(&queue, &dead)).with_environment(&aws_environment());
    let invoices = invoices();
    let (want, without) = expected(&invoices);

    let mut running = workspace.start(&["run"]);
    let mut letters = Vec::new();
    let grouped: Vec<_> = invoices.iter().enumerate().map(|(number, line)| (group(number, line), line)).collect();
    for slice in grouped.chunks(SLICE) {
        queue.send_to_groups(slice);
        let low_or_ended = || remaining(&queue) <= LOW || running.ended().is_some();
        until(low_or_ended, || format!("the queue does not empty:\n{}", workspace.log()));
        assert_eq!(running.ended(), None, "{}", workspace.log());
        letters.extend(dead.drain());
    }
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    let report = workspace.run_until_empty();
    letters.extend(dead.drain());

    assert_eq!(report["queues"][0]["leases_lost"], 0);
    assert_eq!(remaining(&queue), 0);
    for (account, payloads) in &want {
        assert_eq!(&lines(&workspace.path(&format!("out/{account}.jsonl"))), payloads, "account {account}");
    }
    assert_eq!(std::fs::read_dir(workspace.path("out")).unwrap().count(), want.len());
    assert_eq!(letters.len(), without);
    for letter in &letters {
        let facts: Value =
            serde_json::from_str(letter["MessageAttributes"]["octoconf"]["StringValue"].as_str().unwrap()).unwrap();
        assert!(facts["reason"].as_str().unwrap().contains("account"), "{facts}");
    }
}

fn configuration(queue: &TestQueue<'_>, dead: &TestQueue<'_>) -> String {
    let endpoint = SqsServer::shared().endpoint();
    format!(
        r#"
        [admin]
        listen = ""
        [queues.invoice]
        name = "{}"
        endpoint = "{endpoint}"
        dead_letter = "{}"
        handler = "order"
        wait_time = "1s"
        [partners.default]
        deliver = "file"
        path = "out/{{account}}.jsonl"
        "#,
        queue.name, dead.name
    )
}

/// Returns the account of an invoice. An invoice without an account is rejected, and stands alone.
fn group(number: usize, line: &str) -> String {
    let invoice: Value = serde_json::from_str(line).unwrap();
    invoice["account"].as_str().map_or_else(|| format!("alone-{number}"), str::to_owned)
}

fn remaining(queue: &TestQueue<'_>) -> u64 {
    let (visible, hidden, delayed) = queue.counts();
    visible + hidden + delayed
}
