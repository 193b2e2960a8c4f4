//! The page as the program itself serves it, with 3,000 partners of which a tenth refuses.

use std::fmt::Write;
use std::time::Duration;

use crate::assert_quiet;
use crate::browser;
use crate::looks::picture;
use crate::support::partner::{Connection, NO_CONTENT, Partner};
use crate::support::program::{Running, Workspace, invoice};

const PATIENCE: Duration = Duration::from_secs(60);
const HOSTILE: &str = "<img src=x onerror=window.hit=1>0";

/// A partner that refuses every account that ends in 0, with a hostile body.
fn partner() -> Partner {
    Partner::start(|mut connection: Connection| {
        while let Some(request) = connection.request() {
            let refused = request.head.lines().next().unwrap().contains("0 HTTP/1.1");
            let body = "<script>window.hit=2</script>";
            let refusal = format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if !connection.send(if refused { &refusal } else { NO_CONTENT }) {
                return;
            }
        }
    })
}

/// Starts an instance, and returns it with the address of its page.
fn start(partner: &Partner) -> (Workspace, Running, String) {
    let config = format!(
        r#"
        [admin]
        listen = "127.0.0.1:0"
        token = "env:THE_TOKEN"
        [engine]
        delivery_threads = 64
        [queues.invoice]
        source = "sqlite"
        handler = "order"
        [partners.default]
        url = "http://{}/{{account}}"
        min_backoff = "1h"
        max_backoff = "1h"
        "#,
        partner.address
    );
    let workspace = Workspace::new("octoconf.toml", &config).with_environment(&[("THE_TOKEN", "let-me-in")]);
    let accounts = (1..3000).map(|n| format!("partner-{n}"));
    let lines = std::iter::once(HOSTILE.to_owned()).chain(accounts).enumerate().fold(String::new(), |mut lines, (n, account)| {
        writeln!(lines, "{}", invoice(Some(&account), n)).unwrap();
        lines
    });
    let file = workspace.write("invoices.jsonl", &lines);
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    let running = workspace.start(&["run"]);
    workspace.said(&["the admin server listens: address="]);
    let log = workspace.log();
    let address = log.split("the admin server listens: address=").nth(1).unwrap().split_whitespace().next().unwrap();
    (workspace, running, format!("http://{address}/"))
}

#[test]
fn the_program_serves_the_page_and_does_what_is_pressed() {
    let partner = partner();
    let (workspace, running, url) = start(&partner);
    let browser = browser(&url);
    browser.shows("everyone-total", "3,000 partners");
    // The accounts 10 to 2990, and the hostile one.
    browser.shows("states", "300 backing off");
    browser.shows("health", "healthy");
    browser.shows("ready", "ready");
    for scheme in ["light", "dark"] {
        browser.prefers(scheme, "no-preference");
        picture(&browser, &format!("real-{scheme}"));
    }
    browser.click("#search-text");
    browser.write("ONERROR");
    browser.shows("search-found", HOSTILE);
    browser.press("ArrowDown");
    browser.press("Enter");
    browser.shows("partner-name", HOSTILE);
    browser.shows("partner-why", "Why: it backs off after a failure.");
    browser.shows("partner-why", "503");
    browser.click("[data-action=pause]");
    browser.shows("token-dialog", "The admin token");
    browser.write("let-me-in");
    browser.press("Enter");
    browser.shows("partner-result", "Paused.");
    browser.shows("partner-state", "paused");
    browser.click("[data-action=resume]");
    browser.shows("partner-result", "Resumed.");
    while partner.requests.try_recv().is_ok() {}
    browser.click("[data-action=flush]");
    browser.shows("partner-result", "What waits is sent now.");
    // Other partners may be tried by the program in the meantime.
    let tried = |request: &str| request.starts_with("POST /%3Cimg");
    while !tried(&partner.requests.recv_timeout(PATIENCE).unwrap().head) {}
    assert_eq!(browser.value("window.hit === undefined"), true);
    assert_quiet(&browser);
    browser.press("Escape");
    running.signal("KILL");
    browser.shows("banner", "No connection to Octoconf.");
    drop(workspace);
}
