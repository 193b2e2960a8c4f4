//! Pause, resume, flush and skip: each needs the token, and each shows an answer to the person who pressed the button.

use serde_json::json;

use crate::assert_quiet;
use crate::browser;
use crate::panel::{Panel, queue, report, row, status};
use crate::support::browser::Browser;

const ACCOUNT: &str = "acme & söhne/ 100%";

fn panel() -> Panel {
    let panel = Panel::start(status(vec![queue("stock", "sqs")], 3000, vec![row(ACCOUNT, "open", 900.0)]));
    panel.answers.lock().partners.insert(ACCOUNT.to_owned(), report(ACCOUNT, "open"));
    panel
}

fn open(panel: &Panel) -> Browser {
    let browser = browser(&panel.url());
    browser.until("document.querySelectorAll('#waiting-rows .link').length === 1");
    browser.click("#waiting-rows .link");
    browser.shows("partner-why", "120 deliveries wait");
    browser
}

fn give_token(browser: &Browser, token: &str) {
    browser.shows("token-dialog", "The admin token");
    browser.write(token);
    browser.press("Enter");
}

fn actions(panel: &Panel) -> Vec<(String, String, Option<String>)> {
    panel.answers.lock().actions.clone()
}

#[test]
fn the_reason_is_shown_as_the_server_gives_it() {
    let panel = panel();
    let browser = open(&panel);
    for sentence in ["120 deliveries wait.", "Why: its breaker is open.", "The last error: <b>503</b>."] {
        browser.shows("partner-why", sentence);
    }
    browser.shows("partner-state", "breaker open");
    let row = browser.value("[...document.querySelectorAll('#partner-rows tr:only-child > *')].map((e) => e.innerText)");
    assert_eq!(row, json!(["stock", "breaker open", "120", "0", "1 h 1 min", "its breaker is open (7 failures in a row)"]));
}

#[test]
fn actions_carry_the_token_which_is_asked_for_once() {
    let panel = panel();
    let browser = open(&panel);
    for (action, done) in [("pause", "Paused."), ("resume", "Resumed."), ("flush", "What waits is sent now.")] {
        browser.click(&format!("[data-action={action}]"));
        if action == "pause" {
            give_token(&browser, "let-me-in");
        }
        browser.shows("partner-result", done);
    }
    // Skip asks for confirmation first, and the focus is on "no".
    browser.click("[data-action=skip]");
    browser.shows("partner-confirm", "set aside as a dead letter");
    assert_eq!(browser.value("document.activeElement.id"), "confirm-no");
    browser.press("Enter");
    browser.until("document.getElementById('partner-confirm').hidden");
    browser.click("[data-action=skip]");
    browser.click("#confirm-yes");
    browser.shows("partner-result", "The head was set aside as a dead letter.");
    let authorization = Some("Bearer let-me-in".to_owned());
    let wanted =
        ["pause", "resume", "flush", "skip"].map(|action| (ACCOUNT.to_owned(), action.to_owned(), authorization.clone()));
    assert_eq!(actions(&panel), wanted);
    assert_eq!(
        browser.value(
            "[document.cookie, location.href.includes('let-me-in'), JSON.stringify(localStorage).includes('let-me-in')].join()"
        ),
        ",false,false"
    );
    assert_eq!(browser.value("document.documentElement.outerHTML.includes('let-me-in')"), false);
    assert_quiet(&browser);
    // The token is kept for as long as the tab is open.
    browser.reload();
    browser.until("document.getElementById('token').innerText === 'Token: set'");
}

#[test]
fn a_wrong_token_is_reported_and_forgotten() {
    let panel = panel();
    let browser = open(&panel);
    browser.click("[data-action=pause]");
    give_token(&browser, "guess");
    browser.shows("partner-result", "Not done: wrong token");
    browser.click("[data-action=pause]");
    give_token(&browser, "let-me-in");
    browser.shows("partner-result", "Paused.");
    let sent: Vec<_> = actions(&panel).into_iter().map(|(.., authorization)| authorization.unwrap()).collect();
    assert_eq!(sent, ["Bearer guess", "Bearer let-me-in"]);
}

#[test]
fn nothing_is_sent_without_a_token() {
    let panel = panel();
    let browser = open(&panel);
    browser.click("[data-action=flush]");
    browser.shows("token-dialog", "The admin token");
    browser.press("Escape");
    browser.shows("partner-result", "Nothing was done: this needs the token.");
    assert!(actions(&panel).is_empty());
}

#[test]
fn a_refusal_is_shown_as_the_server_says_it() {
    let panel = panel();
    let browser = open(&panel);
    panel.answers.lock().refusal = Some((409, "the partner asked for a pause (Retry-After): 30 s of it are left"));
    browser.click("[data-action=flush]");
    give_token(&browser, "let-me-in");
    browser.shows("partner-result", "Not done: the partner asked for a pause (Retry-After): 30 s of it are left");
    panel.answers.lock().token = None;
    browser.click("[data-action=resume]");
    browser.shows("partner-result", "no token is configured – this instance has no [admin] token, so it takes no actions.");
    panel.answers.lock().down = true;
    browser.click("[data-action=resume]");
    browser.shows("partner-result", "Not done: No connection to Octoconf.");
}
