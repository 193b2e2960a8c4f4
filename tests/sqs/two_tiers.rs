//! The first tier that re-keys: one instance puts the messages of a standard queue on a FIFO queue with the account as
//! group, and another instance delivers them from there.

use std::collections::BTreeSet;

use crate::support::program::{Workspace, invoice, lines};
use crate::support::proxy::Proxy;
use crate::support::proxy::fault::Fault;
use crate::support::sqs_server::{SqsServer, TestQueue, aws_environment};
use serde_json::{Value, json};

const ACCOUNTS: usize = 15;

fn account(number: usize) -> String {
    format!("shop {}", number % ACCOUNTS)
}

/// Receives from `raw` and sends to `grouped`.
fn first_tier(raw: &TestQueue<'_>, grouped: &TestQueue<'_>) -> Workspace {
    let endpoint = SqsServer::shared().endpoint();
    let text = format!(
        r#"
        [admin]
        listen = ""
        [queues.raw]
        name = "{}"
        endpoint = "{endpoint}"
        dead_letter = "none"
        handler = "as_it_is"
        pollers = 1
        wait_time = "1s"
        [handlers.as_it_is]
        jq = "."
        [partners.default]
        deliver = "sqs"
        url = "{}"
        min_backoff = "10ms"
        max_backoff = "100ms"
        "#,
        raw.name, grouped.url
    );
    Workspace::new("octoconf.toml", &text).with_environment(&aws_environment())
}

/// Receives from `grouped` and delivers to files.
fn second_tier(grouped: &TestQueue<'_>) -> Workspace {
    let endpoint = SqsServer::shared().endpoint();
    let text = format!(
        r#"
        [admin]
        listen = ""
        [queues.invoice]
        name = "{}"
        endpoint = "{endpoint}"
        dead_letter = "none"
        handler = "order"
        wait_time = "1s"
        [partners.default]
        deliver = "file"
        path = "out/{{account}}.jsonl"
        "#,
        grouped.name
    );
    Workspace::new("octoconf.toml", &text).with_environment(&aws_environment())
}

#[test]
fn each_account_is_delivered_in_order_by_the_second_tier() {
    let server = SqsServer::shared();
    let (raw, grouped) = (server.queue("raw", &[]), server.queue("grouped.fifo", &[]));
    let bodies: Vec<String> = (0..600).map(|n| invoice(Some(&account(n)), n)).collect();
    raw.send(&bodies);

    let second = second_tier(&grouped);
    let running = second.start(&["run"]);
    let report = first_tier(&raw, &grouped).run_until_empty();
    assert_eq!((&report["queues"][0]["acked"], &report["queues"][0]["delivered"]), (&json!(600), &json!(600)));
    // Handed over from one instance to the next: the first stops wherever it is.
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", second.log());
    second.run_until_empty();

    for shop in 0..ACCOUNTS {
        // SQS allows no space in a group id, so the group is a digest of the account, which travels in the body.
        let path = second.path(&format!("out/shop%20{shop}.jsonl"));
        let delivered: Vec<usize> =
            lines(&path).iter().map(|payload| payload["invoice"].as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(delivered, (shop..600).step_by(ACCOUNTS).collect::<Vec<_>>(), "shop {shop}");
    }
}

#[test]
fn the_second_tier_sees_account_origin_and_trace() {
    let server = SqsServer::shared();
    let (raw, grouped) = (server.queue("raw", &[]), server.queue("grouped.fifo", &[]));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let text = |value: &str| json!({ "DataType": "String", "StringValue": value });
    let body = json!({ "account": "acme", "n": 1 }).to_string();
    let ids = raw.send_entries(vec![
        json!({ "MessageBody": body, "MessageAttributes": { "traceparent": text(trace), "internal": text("stays here") } }),
    ]);
    first_tier(&raw, &grouped).run_until_empty();

    let arrived = grouped.drain();
    assert_eq!(arrived.len(), 1);
    let message = &arrived[0];
    assert_eq!((&message["Body"], &message["Attributes"]["MessageGroupId"]), (&json!(body), &json!("acme")));
    let attributes: Vec<(&str, &Value)> = message["MessageAttributes"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, attribute)| (name.as_str(), &attribute["StringValue"]))
        .collect();
    assert_eq!(
        attributes,
        [("octoconf-message", &json!(ids[0])), ("octoconf-queue", &json!("raw")), ("traceparent", &json!(trace))]
    );
}

#[test]
fn a_lost_answer_puts_nothing_on_the_queue_twice() {
    let server = SqsServer::shared();
    let (raw, grouped) = (server.queue("raw", &[]), server.queue("grouped.fifo", &[]));
    let bodies: Vec<String> = (0..200).map(|n| json!({ "account": account(n), "n": n }).to_string()).collect();
    raw.send(&bodies);

    // The source has an endpoint of its own, so only the sink's requests go through the proxy.
    let proxy = Proxy::start(server.address(), 7);
    proxy.disturb_by(0.4, &[Fault::CutAfter, Fault::AnswerCut]);
    let endpoint = proxy.endpoint();
    let first = first_tier(&raw, &grouped).with_environment(&[("AWS_ENDPOINT_URL_SQS", &endpoint)]);
    first.run_until_empty();

    let counts = proxy.counts();
    assert!(counts.faults.values().sum::<u64>() > 5, "{counts:?}");
    assert_eq!(counts.requests.keys().collect::<Vec<_>>(), ["SendMessageBatch"]);
    let mut arrived: Vec<Value> = Vec::new();
    // One receive returns what each group allows, and the next one what follows.
    loop {
        let some = grouped.drain();
        if some.is_empty() {
            break;
        }
        arrived.extend(some);
    }
    assert_eq!(arrived.len(), 200);
    let different: BTreeSet<&str> = arrived.iter().map(|message| message["Body"].as_str().unwrap()).collect();
    assert_eq!(different, bodies.iter().map(String::as_str).collect());
}
