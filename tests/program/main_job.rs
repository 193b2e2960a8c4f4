//! The main job from outside: invoices through the embedded queue and the handler `order` into one file per
//! partner, from TOML and from INI.

use crate::support::invoices::{expected, invoices};
use crate::support::program::{Workspace, lines};
use serde_json::json;

const TOML: &str = r#"
[admin]
listen = ""
[queues.invoice]
source = "sqlite"
path = "queue.db"
handler = "order"
concurrency = 20
[partners.default]
deliver = "file"
path = "out/{queue}/{account}.jsonl"
max_batch = 10
"#;

const INI: &str = "[admin]\nlisten =\n[queues.invoice]\nsource = sqlite\npath = queue.db\nhandler = order\nconcurrency = 20\n\
                   [partners.default]\ndeliver = file\npath = out/{queue}/{account}.jsonl\nmax_batch = 10\n";

fn main_job(config: &'static str, text: &str) {
    let (workspace, invoices) = (Workspace::new(config, text), invoices());
    let (want, without) = expected(&invoices);
    let file = workspace.write("invoices.jsonl", &invoices.join("\n"));
    assert_eq!(workspace.json(&["send", "invoice", file.to_str().unwrap(), "--json"])["sent"], invoices.len());

    let report = workspace.run_until_empty();
    let queue = &report["queues"][0];
    let delivered = invoices.len() - without;
    let counts =
        ["received", "handled", "delivered", "acked", "dead", "returned", "discarded", "duplicates_dropped", "leases_lost"];
    let found: Vec<u64> = counts.iter().map(|key| queue[key].as_u64().unwrap()).collect();
    let all = invoices.len() as u64;
    assert_eq!(found, [all, all, delivered as u64, delivered as u64, without as u64, 0, 0, 0, 0], "{counts:?}");
    assert_eq!((&report["state"], &report["in_flight"]), (&json!("stopped"), &json!(0)));

    for (account, payloads) in &want {
        assert_eq!(&lines(&workspace.path(&format!("out/invoice/{account}.jsonl"))), payloads, "account {account}");
    }
    assert_eq!(std::fs::read_dir(workspace.path("out/invoice")).unwrap().count(), want.len());

    let dead = workspace.json(&["dead", "list", "invoice", "--json"]);
    let dead = dead.as_array().unwrap();
    assert_eq!(dead.len(), without);
    assert!(dead.iter().all(|letter| letter["reason"].as_str().unwrap().contains("account")));
    assert_eq!(workspace.run_until_empty()["queues"][0]["received"], 0, "nothing comes twice");
}

#[test]
fn every_invoice_is_delivered_or_dead_as_toml_says() {
    main_job("octoconf.toml", TOML);
}

#[test]
fn every_invoice_is_delivered_or_dead_as_ini_says() {
    main_job("octoconf.ini", INI);
}
