//! The minimal policies of the README allow what the program asks of SQS, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::partner::Partner;
use crate::support::program::{Workspace, invoice};
use crate::support::proxy::Proxy;
use crate::support::sqs_server::{SqsServer, TestQueue, aws_environment};
use serde_json::Value;

const COME_LATER: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n";

/// Returns the actions of each policy in the README, in its order: for a source, for a sink, for a person.
fn policies() -> [BTreeSet<String>; 3] {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let policies = readme.split("```json\n").skip(1).map(|rest| {
        let policy: Value = serde_json::from_str(rest.split("```").next().unwrap()).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
        actions.map(|action| action.as_str().unwrap().to_owned()).collect()
    });
    policies.collect::<Vec<_>>().try_into().unwrap()
}

/// Returns the actions that the proxy saw. A batch needs the permission of the single
/// action (AWS: SQS API permissions).
fn asked(proxy: &Proxy) -> BTreeSet<String> {
    proxy.counts().requests.keys().map(|action| format!("sqs:{}", action.trim_end_matches("Batch"))).collect()
}

fn workspace(queue: &TestQueue<'_>, dead: &TestQueue<'_>, endpoint: &str, partners: &str) -> Workspace {
    let text = format!(
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
        {partners}
        "#,
        queue.name, dead.name
    );
    Workspace::new("octoconf.toml", &text).with_environment(&aws_environment())
}

#[test]
fn a_source_asks_for_what_its_policy_allows() {
    let server = SqsServer::shared();
    let (queue, dead) = (server.queue("source", &[]), server.queue("source-dead", &[]));
    let (proxy, refusing) = (Proxy::start(server.address(), 1), Partner::answering(COME_LATER));
    let url = format!("deliver = \"http\"\nurl = \"http://{}/x\"\n[partners.quick]\ndeliver = \"discard\"", refusing.address);
    let workspace = workspace(&queue, &dead, &proxy.endpoint(), &url);
    // One message is delivered and deleted, one is rejected and set aside, one is returned at the end.
    queue.send(&[invoice(Some("quick"), 1), invoice(None, 2), invoice(Some("slow"), 3)]);
    let running = workspace.start(&["run"]);
    refusing.requests.recv_timeout(Duration::from_secs(60)).unwrap();
    crate::support::program::until(|| dead.counts().0 == 1, || workspace.log());
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    assert_eq!(asked(&proxy), policies()[0]);
}

#[test]
fn a_sink_asks_for_what_its_policy_allows() {
    let server = SqsServer::shared();
    let (queue, dead, target) = (server.queue("raw", &[]), server.queue("raw-dead", &[]), server.queue("by-account.fifo", &[]));
    let proxy = Proxy::start(server.address(), 1);
    let to = format!("deliver = \"sqs\"\nurl = \"{}\"", target.url);
    // Only the sink has no endpoint of its own, so only its requests go through the proxy.
    let endpoint = proxy.endpoint();
    let workspace = workspace(&queue, &dead, &server.endpoint(), &to).with_environment(&[("AWS_ENDPOINT_URL_SQS", &endpoint)]);
    queue.send(&[invoice(Some("acme"), 1)]);
    workspace.run_until_empty();
    assert_eq!(asked(&proxy), policies()[1]);
}

#[test]
fn the_commands_ask_for_what_their_policy_allows() {
    let server = SqsServer::shared();
    let (queue, dead) = (server.queue("worked-on", &[]), server.queue("worked-on-dead", &[]));
    let proxy = Proxy::start(server.address(), 1);
    let workspace = workspace(&queue, &dead, &proxy.endpoint(), "deliver = \"discard\"");
    dead.send(&["one", "two"]);
    let file = workspace.write("invoices.jsonl", &invoice(Some("acme"), 1));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    let listed = workspace.json(&["dead", "list", "invoice", "--json"]);
    let ids = [0, 1].map(|at| listed[at]["id"].as_str().unwrap().to_owned());
    workspace.expect(0, &["dead", "show", "invoice", &ids[0]]);
    workspace.expect(0, &["dead", "redrive", "invoice", &ids[0]]);
    workspace.expect(0, &["dead", "purge", "invoice", &ids[1]]);
    assert_eq!(asked(&proxy), policies()[2]);
}
