//! The dashboard in a real browser: what it shows, how it looks, and how it treats hostile text. The page's files
//! are those that are compiled into the program; [`panel`] answers in place of the admin server, so that each state
//! can be brought about at will.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test fails by panicking, as the test does")]

#[path = "../../src/admin/page/mod.rs"]
mod page;
mod panel;

mod actions;
mod hostile;
mod keyboard;
mod looks;
mod real;
mod trouble;

#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use support::browser::Browser;

/// Counts what the page's content security policy has blocked, from the first script on.
const WATCH: &str = "window.stopped = []; document.addEventListener('securitypolicyviolation', (e) => window.stopped.push(e.violatedDirective + ' ' + e.blockedURI));";

/// Opens the page and waits until it shows the first answer.
fn browser(url: &str) -> Browser {
    let browser = Browser::start();
    browser.before(WATCH);
    browser.open(url);
    browser.shows("state", "running");
    browser
}

/// Checks that the page ran without errors, and that its policy had nothing to block.
fn assert_quiet(browser: &Browser) {
    assert_eq!(browser.value("window.stopped"), Value::Array(Vec::new()));
    assert_eq!(browser.events("Runtime.exceptionThrown"), Vec::<Value>::new());
    let errors: Vec<Value> =
        browser.events("Log.entryAdded").into_iter().filter(|event| event["entry"]["level"] == "error").collect();
    assert_eq!(errors, Vec::<Value>::new());
}
