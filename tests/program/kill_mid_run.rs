//! `kill -9`, eight times in the middle of a run over HTTP: nothing is lost, and only what was in
//! flight at a kill comes twice.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::partner::{NO_CONTENT, Partner, Request};
use crate::support::program::{Workspace, invoice};

const MESSAGES: usize = 4_000;
const KILLS: usize = 8;
/// The maximum number of messages held at once, and so the maximum number of duplicates per kill.
const IN_FLIGHT: usize = 200;

#[test]
fn nothing_is_lost() {
    let partner = Partner::answering(NO_CONTENT);
    let workspace = Workspace::new(
        "octoconf.toml",
        &format!(
            r#"
            [admin]
            listen = ""
            [engine]
            max_in_flight = {IN_FLIGHT}
            [queues.invoice]
            source = "sqlite"
            handler = "order"
            visibility_timeout = "2s"
            [partners.default]
            deliver = "http"
            url = "http://{}/{{account}}"
            timeout = "1s"
            max_batch = 5
            "#,
            partner.address
        ),
    );
    let invoices: Vec<String> = (0..MESSAGES).map(|n| invoice(Some(&format!("shop-{}", n % 97)), n)).collect();
    let file = workspace.write("invoices.jsonl", &invoices.join("\n"));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);

    let mut times: HashMap<String, usize> = HashMap::new();
    let mut count = |request: &Request| {
        let ids = request.header("octoconf-messages").unwrap();
        for id in ids.split(',') {
            *times.entry(id.trim().to_owned()).or_default() += 1;
        }
    };
    for kill in 1..=KILLS {
        let running = workspace.start(&["run"]);
        for _ in 0..20 * kill {
            count(&partner.requests.recv_timeout(Duration::from_secs(30)).unwrap());
        }
        running.kill();
    }
    let report = workspace.run_until_empty();
    partner.requests.try_iter().for_each(|request| count(&request));

    assert_eq!(times.len(), MESSAGES, "lost: {}", MESSAGES - times.len());
    let twice: usize = times.values().map(|times| times - 1).sum();
    assert!(twice <= KILLS * IN_FLIGHT, "{twice} came again");
    assert_eq!(report["queues"][0]["dead"], 0);
}
