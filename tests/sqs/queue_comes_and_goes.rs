//! Queues that do not exist yet, no longer exist, or are missing as dead letter queue; and a queue that
//! may not be used as configured.

use crate::support::admin::{ask, free_port, get};
use crate::support::program::{Workspace, invoice, lines, until};
use crate::support::sqs_server::{SqsServer, TestQueue, aws_environment};
use serde_json::json;

fn workspace(name: &str, dead_letter: &str) -> Workspace {
    room_with_admin("", name, dead_letter)
}

fn room_with_admin(listen: &str, name: &str, dead_letter: &str) -> Workspace {
    let text = format!(
        r#"
        [admin]
        listen = "{listen}"
        [queues.invoice]
        name = "{name}"
        endpoint = "{}"
        {dead_letter}
        handler = "order"
        wait_time = "1s"
        visibility_timeout = "2s"
        [partners.default]
        deliver = "file"
        path = "out/{{account}}.jsonl"
        "#,
        SqsServer::shared().endpoint()
    );
    Workspace::new("octoconf.toml", &text).with_environment(&aws_environment())
}

fn invoices(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| invoice(Some("acme"), n)).collect()
}

/// Waits until `count` messages are delivered and deleted.
fn delivered(workspace: &Workspace, queue: &TestQueue<'_>, count: usize) {
    let path = workspace.path("out/acme.jsonl");
    until(
        || path.exists() && lines(&path).len() >= count && queue.counts() == (0, 0, 0),
        || format!("{count} were to be delivered: {:?}\n{}", queue.counts(), workspace.log()),
    );
    assert_eq!(lines(&path).len(), count);
}

#[test]
fn a_queue_that_is_recreated_is_found_again() {
    let server = SqsServer::shared();
    let queue = server.queue("short-lived", &[]);
    let workspace = workspace(&queue.name, "dead_letter = \"none\"");
    let running = workspace.start(&["run"]);
    queue.send(&invoices(0..15));
    delivered(&workspace, &queue, 15);

    queue.delete();
    workspace.said(&["an operator has to act", "queue=invoice", "does not exist"]);
    server.call("CreateQueue", &json!({ "QueueName": queue.name }));
    queue.send(&invoices(15..30));
    delivered(&workspace, &queue, 30);
    workspace.said(&["works again", "queue=invoice"]);
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
}

#[test]
fn a_queue_that_does_not_exist_yet_is_awaited() {
    let server = SqsServer::shared();
    let queue = server.queue("late", &[]);
    queue.delete();
    let address = free_port();
    let workspace = room_with_admin(&address.to_string(), &queue.name, "dead_letter = \"none\"");
    let running = workspace.start(&["run"]);
    workspace.said(&["an operator has to act", "does not exist", &queue.name]);
    let ready = get(address, "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("invoice"), "{ready:?}");
    server.call("CreateQueue", &json!({ "QueueName": queue.name }));
    queue.send(&invoices(0..15));
    delivered(&workspace, &queue, 15);
    until(|| ask(address, "GET", "/readyz", "").is_some_and(|ready| ready.status == 200), || workspace.log());
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
}

#[test]
fn a_missing_dead_letter_queue_stops_the_receives() {
    let queue = SqsServer::shared().queue("without", &[]);
    queue.send(&invoices(0..1));
    let workspace = workspace(&queue.name, "dead_letter = \"nobody\"");
    let running = workspace.start(&["run"]);
    workspace.said(&["an operator has to act", "its dead letter queue nobody does not exist"]);
    assert_eq!(queue.counts(), (1, 0, 0));
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
}

#[test]
fn a_queue_without_a_place_for_dead_letters_is_refused_at_start() {
    let queue = SqsServer::shared().queue("placeless", &[]);
    let said = workspace(&queue.name, "").expect(2, &["run"]);
    assert!(said.contains("invoice") && said.contains("set dead_letter, or a redrive policy"), "{said}");
}

#[test]
fn dead_letters_go_to_the_target_of_the_redrive_policy() {
    let server = SqsServer::shared();
    let (queue, dead) = (server.queue("with-policy", &[]), server.queue("of-policy", &[]));
    let policy = json!({ "deadLetterTargetArn": dead.arn(), "maxReceiveCount": 50 }).to_string();
    queue.set_attributes(json!({ "RedrivePolicy": policy }));
    queue.send(&[invoice(None, 1)]);
    let workspace = workspace(&queue.name, "");
    assert_eq!(workspace.run_until_empty()["queues"][0]["dead"], 1);
    assert_eq!(dead.counts().0, 1);
    let listed = workspace.json(&["dead", "list", "invoice", "--json"]);
    assert!(listed[0]["reason"].as_str().unwrap().contains("account"), "{listed}");
}

#[test]
fn rejected_messages_go_back_if_dead_letter_is_none() {
    let queue = SqsServer::shared().queue("circulating", &[]);
    queue.send(&[invoice(None, 1), invoice(Some("acme"), 2)]);
    let workspace = workspace(&queue.name, "dead_letter = \"none\"");
    let running = workspace.start(&["run", "--report", "report.json"]);
    workspace.said(&["queue=invoice", "account", "dead_letter is \\\"none\\\""]);
    let left = || {
        let (visible, hidden, _) = queue.counts();
        visible + hidden
    };
    until(|| left() == 1, || format!("{} are left\n{}", left(), workspace.log()));
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    assert_eq!((left(), lines(&workspace.path("out/acme.jsonl")).len()), (1, 1), "{}", workspace.log());
    let counts = &workspace.report()["queues"][0];
    assert_eq!((&counts["leases_lost"], &counts["dead"]), (&json!(0), &json!(0)), "{counts}");
    assert!(counts["returned"].as_u64().unwrap() >= 1, "{counts}");
}
