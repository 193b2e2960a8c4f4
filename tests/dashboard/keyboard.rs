//! The whole dashboard without a mouse.

use serde_json::json;

use crate::assert_quiet;
use crate::browser;
use crate::panel::{Panel, queue, report, row, status};
use crate::support::browser::Browser;

fn panel() -> Panel {
    let rows = vec![row("acme", "open", 900.0), row("globex", "limited", 800.0), row("initech", "paused", 700.0)];
    let panel = Panel::start(status(vec![queue("stock", "sqs")], 3000, rows));
    panel.answers.lock().partners =
        ["acme", "globex", "initech"].map(|account| (account.to_owned(), report(account, "open"))).into();
    panel
}

fn focused(browser: &Browser) -> String {
    browser.value("document.activeElement.id || document.activeElement.innerText").as_str().unwrap().to_owned()
}

/// Presses Tab until the expression is true of the focused element, which shows that it can be reached.
fn tab_to(browser: &Browser, expression: &str) {
    let mut passed = Vec::new();
    while browser.value(expression) != true {
        passed.push(focused(browser));
        assert!(passed.len() < 60, "never focused: {expression}; passed {passed:?}");
        browser.press("Tab");
    }
    let ring = "(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; })()";
    assert_eq!(browser.value(ring), true, "the focus on {} cannot be seen", focused(browser));
}

#[test]
fn a_slash_opens_the_search_and_arrows_choose() {
    let panel = panel();
    let browser = browser(&panel.url());
    // Without a search on the server, the page searches among the waiting partners.
    browser.press("/");
    assert_eq!(focused(&browser), "search-text");
    browser.write("E");
    browser.until("document.querySelectorAll('#search-found li').length === 3");
    browser.press("ArrowDown");
    browser.press("ArrowDown");
    assert_eq!(browser.value("document.getElementById(document.getElementById('search-text').getAttribute('aria-activedescendant')).firstChild.innerText"), "globex");
    browser.press("Enter");
    browser.shows("partner-name", "globex");
    browser.press("Escape");
    browser.until("!document.getElementById('partner').open && location.hash === ''");
    // A partner that does not wait is asked for as typed. If the server can search, it does.
    panel.answers.lock().found = Some(json!([{ "account": "umbrella", "state": "healthy" }]));
    browser.value("document.activeElement.blur()");
    browser.press("/");
    browser.write("umbr");
    browser.shows("search-found", "umbrella");
    browser.press("Enter");
    browser.shows("partner-name", "umbr");
    browser.shows("partner-why", "Nothing is known of this account");
}

/// A person who types quickly has several searches under way, and the last of them counts.
#[test]
fn a_search_that_the_server_puts_off_is_made_again() {
    let panel = panel();
    panel.answers.lock().busy = true;
    let browser = browser(&panel.url());
    browser.press("/");
    browser.write("umbr");
    browser.shows("search-found", "The server has not searched yet (too many searches at once).");
    panel.answers.lock().found = Some(json!([{ "account": "umbrella", "state": "healthy" }]));
    panel.answers.lock().busy = false;
    browser.shows("search-found", "umbrella");
}

#[test]
fn tab_and_enter_open_an_arm_that_keeps_the_focus() {
    let panel = panel();
    let browser = browser(&panel.url());
    browser.until("document.querySelectorAll('#octopus-partners button').length === 3");
    browser.press("Tab");
    assert_eq!(focused(&browser), "To the content");
    tab_to(&browser, "document.activeElement.matches('.partner') && document.activeElement.account === 'globex'");
    // The order and the figures change: the element moves, and the focus moves with it.
    let rows = vec![row("initech", "paused", 1700.0), row("globex", "limited", 1600.0)];
    panel.answers.lock().status["waiting"] = json!(rows);
    browser.until("document.querySelectorAll('#octopus-partners button').length === 2");
    assert_eq!(browser.value("document.activeElement.account"), "globex");
    browser.press("Enter");
    browser.shows("partner-name", "globex");
    assert_eq!(browser.value("document.getElementById('partner').contains(document.activeElement)"), true);
    browser.press("Escape");
    browser.until("!document.getElementById('partner').open");
    assert_eq!(browser.value("document.activeElement.account"), "globex");
    tab_to(&browser, "document.activeElement.matches('.state.open')");
    browser.press("Enter");
    browser.shows("waiting-none", "None of those that have waited longest is breaker open.");
    assert_eq!(browser.value("document.activeElement.getAttribute('aria-pressed')"), "true");
    assert_quiet(&browser);
}
