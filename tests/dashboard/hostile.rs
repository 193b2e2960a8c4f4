//! Accounts, queues, reasons and errors are foreign text, and stay text wherever they are shown.

use serde_json::json;

use crate::assert_quiet;
use crate::browser;
use crate::panel::{Panel, queue, report, row, status};

/// Each account would set `window.hit` if it were taken for markup or script.
const ACCOUNTS: [&str; 10] = [
    "<img src=x onerror=\"window.hit=1\">",
    "\"><script>window.hit=2</script>",
    "</b></button><svg onload=window.hit=3>",
    "javascript:window.hit=4",
    "__proto__",
    "constructor",
    "a/b?c=d#e%2F&f=\u{1f419}",
    "line\nbreak\ttab",
    "\u{202e}gnp.exe",
    "line break tab",
];

/// Returns the account as it is shown: what would not be seen, or looks like one, stands in a JSON string.
fn shown(account: &str) -> &str {
    match account {
        "\"><script>window.hit=2</script>" => r#""\"><script>window.hit=2</script>""#,
        "line\nbreak\ttab" => r#""line\nbreak\ttab""#,
        "\u{202e}gnp.exe" => r#""\u202egnp.exe""#,
        other => other,
    }
}

#[test]
fn accounts_that_try_to_inject_markup_stay_text() {
    let mut rows: Vec<_> = ACCOUNTS.iter().zip(1..).map(|(account, n)| row(account, "open", f64::from(5000 - n))).collect();
    for hostile in &mut rows {
        for key in ["queue", "reason", "last_error"] {
            hostile[key] = "<iframe srcdoc='<script>parent.hit=5</script>'></iframe>".into();
        }
    }
    let panel = Panel::start(status(vec![queue("<a href=javascript:hit=6>q", "sqs")], 3000, rows));
    {
        let mut answers = panel.answers.lock();
        answers.dead = Some(json!([{ "queue": "<b>q</b>", "reason": "<img src=/x onerror=window.hit=7>", "count": 3 }]));
        answers.found = Some(ACCOUNTS.iter().map(|account| json!({ "account": account, "state": "<i>odd</i>" })).collect());
        answers.status["last_reload"] =
            json!({ "ok": false, "seconds_ago": 1.0, "reason": "queues.<img src=x onerror=window.hit=8>: unknown key" });
        answers.partners = ACCOUNTS.iter().map(|account| ((*account).to_owned(), report(account, "<u>odd</u>"))).collect();
    }
    let browser = browser(&panel.url());
    browser.until("document.querySelectorAll('#waiting-rows tr').length === 10");
    browser.shows("dead-rows", "<img src=/x onerror=window.hit=7>");
    browser.shows("reload-reason", "queues.<img src=x onerror=window.hit=8>: unknown key");
    let names = browser.value("[...document.querySelectorAll('#waiting-rows .link')].map((e) => e.textContent)");
    assert_eq!(names, json!(ACCOUNTS.map(shown)));
    // Each of the seven partners that have waited longest has an arm.
    let arms = browser.value("[...document.querySelectorAll('#octopus-partners b')].map((e) => e.textContent)");
    assert_eq!(arms, json!(ACCOUNTS.map(shown)[..7]));
    browser.click("#search-text");
    browser.write("x");
    browser.until("document.querySelectorAll('#search-found li').length === 10");
    for account in ACCOUNTS {
        let address = format!("location.hash = '#partner=' + encodeURIComponent({})", json!(account));
        browser.value(&address);
        browser.until(&format!("document.getElementById('partner-name').textContent === {}", json!(shown(account))));
        // The server was asked for exactly this account; otherwise it would know nothing of it.
        browser.shows("partner-why", "The last error: <b>503</b>.");
        browser.press("Escape");
        browser.until("!document.getElementById('partner').open");
    }
    assert_eq!(browser.value("window.hit === undefined"), true);
    assert_eq!(
        browser.value("[...document.querySelectorAll('script, iframe, img, a, i, u')].map((e) => e.localName)"),
        json!(["script", "a", "img"])
    );
    assert_eq!(browser.value("document.querySelectorAll('[onerror], [onload], [srcdoc], [href^=javascript]').length"), 0);
    assert_quiet(&browser);
}

#[test]
fn the_policy_blocks_injected_images_and_scripts() {
    let panel = Panel::start(status(vec![queue("stock", "sqs")], 3, Vec::new()));
    let browser = browser(&panel.url());
    assert_quiet(&browser);
    browser.value(
        "(() => { const hole = document.createElement('div'); hole.innerHTML = '<img src=\"http://127.0.0.1:9/x\" onerror=\"window.hit=1\">'; document.body.append(hole);
           const script = document.createElement('script'); script.textContent = 'window.hit=2'; document.body.append(script); })()",
    );
    browser.until("window.stopped.some((one) => one.startsWith('img-src')) && window.stopped.filter((one) => one.startsWith('script-src')).length >= 2");
    assert_eq!(browser.value("window.hit === undefined"), true);
}

#[test]
fn very_long_and_unusual_names_do_no_harm() {
    let long = "x".repeat(20_000);
    let rows = vec![row(&long, "open", 900.0), row("..", "open", 800.0), row(".", "open", 700.0)];
    let panel = Panel::start(status(vec![queue("stock", "sqs")], 3, rows));
    let browser = browser(&panel.url());
    browser.until("document.querySelectorAll('#waiting-rows tr').length === 3");
    assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth"), true);
    for index in [2, 3] {
        browser.click(&format!("#waiting-rows tr:nth-child({index}) .link"));
        browser.shows("partner-why", "A browser cannot ask for an account of this name");
        browser.press("Escape");
        browser.until("!document.getElementById('partner').open");
    }
    assert_quiet(&browser);
}
