//! A message leads to four deliveries, and the process ends while one of them is open. What is settled stays settled:
//! a later process, also one after a `kill -9`, delivers only the one that is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::admin::free_port;
use crate::support::partner::{Connection, Partner, Request};
use crate::support::program::{Running, Workspace, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A partner per path. `/skipped` and `/away` know no such address until the flag is set; then all accept.
fn partners() -> (Partner, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let partner = Partner::start(move |mut connection: Connection| {
        while let Some(request) = connection.request() {
            let status = match account(&request) {
                _ if well.load(Ordering::SeqCst) => "200 OK",
                "takes" => "200 OK",
                "refuses" => "422 Unprocessable Content",
                _ => "404 Not Found",
            };
            if !connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")) {
                return;
            }
        }
    });
    (partner, is_well)
}

fn account(request: &Request) -> &str {
    request.head.strip_prefix("POST /").and_then(|rest| rest.split(' ').next()).unwrap_or_default()
}

/// A workspace with one message for four partners.
fn workspace(partner: &Partner) -> Workspace {
    let config = format!(
        r#"
        [admin]
        listen = "{}"
        token = "env:THE_TOKEN"
        [queues.orders]
        source = "sqlite"
        handler = "split"
        visibility_timeout = "2s"
        [handlers.split]
        jq = '.[] | {{account: .}}'
        bucket = '.[]'
        [partners.default]
        deliver = "http"
        url = "http://{}/{{account}}"
        format = "single"
        min_backoff = "5m"
        max_backoff = "10m"
        "#,
        free_port(),
        partner.address
    );
    let workspace = Workspace::new("octoconf.toml", &config).with_environment(&[("THE_TOKEN", "s3cret-t0ken")]);
    let file = workspace.write("orders.jsonl", &json!(["takes", "refuses", "skipped", "away"]).to_string());
    workspace.expect(0, &["send", "orders", file.to_str().unwrap()]);
    workspace
}

/// Starts the service and waits until these partners have had a request each. Returns their accounts and delivery ids.
fn start(workspace: &Workspace, partner: &Partner, requests: usize) -> (Running, Vec<(String, String)>) {
    let running = workspace.start(&["run", "--report", "report.json"]);
    let mut seen: Vec<_> = (0..requests).map(|_| told(&partner.requests.recv_timeout(PATIENCE).unwrap())).collect();
    seen.sort();
    (running, seen)
}

fn told(request: &Request) -> (String, String) {
    let id = request.header("webhook-id").unwrap();
    let (_, index) = id.rsplit_once('-').unwrap();
    (account(request).to_owned(), index.to_owned())
}

fn letters(workspace: &Workspace) -> Vec<Value> {
    workspace.json(&["dead", "list", "orders", "--json"]).as_array().unwrap().clone()
}

fn named(account: &str, index: &str) -> (String, String) {
    (account.to_owned(), index.to_owned())
}

#[test]
fn what_is_settled_of_a_message_stays_settled_in_the_next_process() {
    let (partner, is_well) = partners();
    let workspace = workspace(&partner);
    let (running, seen) = start(&workspace, &partner, 4);
    assert_eq!(seen, [named("away", "3"), named("refuses", "1"), named("skipped", "2"), named("takes", "0")]);
    until(|| workspace.octoconf(&["skip", "skipped"]).status.success(), || workspace.log());
    until(|| letters(&workspace).len() == 2, || workspace.log());
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    assert_eq!(workspace.report()["queues"][0]["returned"], 1, "{}", workspace.log());

    // The same again, and again after a process that died. By then its lease has to lapse.
    for end in ["TERM", "KILL", "TERM"] {
        let (running, seen) = start(&workspace, &partner, 1);
        assert_eq!(seen, [named("away", "3")]);
        running.signal(end);
        let status = running.end();
        assert_eq!(status, (end == "TERM").then_some(0), "{}", workspace.log());
    }

    is_well.store(true, Ordering::SeqCst);
    let report = workspace.run_until_empty();
    let all: Vec<_> = partner.requests.try_iter().map(|request| told(&request)).collect();
    assert_eq!(all, [named("away", "3")]);
    assert_eq!((&report["queues"][0]["delivered"], &report["queues"][0]["acked"]), (&json!(1), &json!(1)));
    let mut kinds: Vec<_> = letters(&workspace).iter().map(|letter| letter["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["refused", "skipped"]);
}

#[test]
fn a_letter_outlives_a_process_that_dies() {
    let (partner, is_well) = partners();
    let workspace = workspace(&partner);
    let (running, _) = start(&workspace, &partner, 4);
    until(|| letters(&workspace).len() == 1, || workspace.log());
    running.kill();
    is_well.store(true, Ordering::SeqCst);
    workspace.run_until_empty();
    // What was accepted comes again, since nobody could say so any more. The dead letter does not.
    let mut again: Vec<_> = partner.requests.try_iter().map(|request| told(&request)).collect();
    again.sort();
    assert_eq!(again, [named("away", "3"), named("skipped", "2"), named("takes", "0")]);
    assert_eq!(letters(&workspace).len(), 1);
}
