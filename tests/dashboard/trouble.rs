//! Problems are shown, and old figures are never presented as fresh.

use serde_json::json;

use crate::assert_quiet;
use crate::browser;
use crate::panel::{Panel, queue, row, status};
use crate::support::browser::Browser;

fn panel() -> Panel {
    Panel::start(status(vec![queue("stock", "sqs"), queue("order", "sqlite")], 3000, vec![row("acme", "open", 900.0)]))
}

#[test]
fn a_lost_connection_is_shown_until_it_is_back() {
    let panel = panel();
    let browser = browser(&panel.url());
    panel.answers.lock().down = true;
    browser.shows("banner", "No connection to Octoconf. The last answer came");
    browser.shows("state", "no connection");
    // The last figures stay visible, greyed out.
    assert_eq!(browser.value("document.body.classList.contains('stale') && document.getElementById('held').innerText"), "14,230");
    panel.answers.lock().down = false;
    browser.shows("state", "running");
    browser.until("document.getElementById('banner').hidden && !document.body.classList.contains('stale')");
}

#[test]
fn an_answer_that_is_no_status_is_a_problem_not_a_figure() {
    let panel = panel();
    let browser = browser(&panel.url());
    panel.answers.lock().nonsense = Some("<html>a proxy's page</html>");
    browser.shows("banner", "The answer is not JSON: is this address Octoconf's?");
    panel.answers.lock().nonsense = None;
    browser.until("document.getElementById('banner').hidden");
}

#[test]
fn draining_is_shown() {
    let panel = panel();
    panel.answers.lock().status["state"] = "draining".into();
    let browser = Browser::start();
    browser.open(&panel.url());
    browser.shows("state", "draining");
    browser.shows("banner", "Octoconf is stopping: it receives nothing more, lets what is on the wire land, and returns the rest. 14,230 messages are left.");
}

#[test]
fn the_token_is_asked_for_if_reading_needs_it() {
    let panel = panel();
    panel.answers.lock().closed = true;
    let browser = Browser::start();
    browser.open(&panel.url());
    browser.shows("token-dialog", "The admin token");
    browser.shows("banner", "a token is needed");
    browser.write("let-me-in");
    browser.press("Enter");
    browser.shows("state", "running");
}

#[test]
fn unknown_figures_are_not_made_up() {
    let panel = panel();
    panel.answers.lock().dead = None;
    let browser = browser(&panel.url());
    browser.shows("dead-empty", "This instance does not tell reasons here; 6 messages were set aside since its start.");
    panel.answers.lock().dead = Some(json!([{ "queue": "stock", "reason": "account is missing", "count": 1234 }]));
    browser.shows("dead-rows", "1,234");
    browser.shows("dead-rows", "account is missing");
}

#[test]
fn a_failing_queue_shows_what_fails_and_why() {
    let panel = panel();
    panel.answers.lock().status["queues"][0]["failing"] = json!([{ "doing": "receive", "reason": "<b>AccessDenied</b>" }]);
    panel.answers.lock().status["queues"][1]["reached"] = false.into();
    let browser = browser(&panel.url());
    browser.shows("queue-rows", "receive fails: <b>AccessDenied</b>");
    browser.shows("octopus-queues", "has not answered yet");
    assert_eq!(browser.value("document.querySelectorAll('.queue.failing').length"), 2);
}

#[test]
fn a_refused_reload_is_shown_until_one_succeeds() {
    let panel = panel();
    let browser = browser(&panel.url());
    assert_eq!(browser.value("document.getElementById('reload').hidden"), true);
    let reason = "octoconf.toml: 1 problem\n  queues.stock.concurency: unknown key";
    panel.answers.lock().status["last_reload"] = json!({ "ok": false, "seconds_ago": 65.0, "reason": reason });
    browser.shows("reload", "The last reload was refused");
    browser.shows("reload", "1 min 5 s ago. What was in force before still is.");
    browser.shows("reload-reason", reason);
    panel.answers.lock().status["last_reload"] = json!({ "ok": true, "seconds_ago": 3.0, "reason": null });
    browser.shows("uptime", ", reloaded 3 s ago");
    browser.until("document.getElementById('reload').hidden");
    assert_quiet(&browser);
}

#[test]
fn changes_by_a_reload_are_shown_at_the_queue() {
    let panel = panel();
    panel.answers.lock().status["queues"][0]["state"] = "retiring".into();
    panel.answers.lock().status["queues"][1]["replaced"] = 1.into();
    let browser = browser(&panel.url());
    browser.shows("queue-rows", "retiring: nothing more is received, what it holds is delivered");
    browser.shows("queue-rows", "replaced: the one before still delivers what it holds");
    browser.until("document.querySelector('#octopus-queues .queue small').innerText === 'retiring'");
    assert_eq!(browser.value("document.querySelectorAll('.queue.changing').length"), 2);
}

#[test]
fn parked_deliveries_are_shown_at_their_queue() {
    let panel = panel();
    {
        let mut answers = panel.answers.lock();
        let mut parking = queue("stock.parking", "sqlite");
        parking["handler"] = "".into();
        answers.status["queues"][0]["parked_now"] = 1234.into();
        answers.status["queues"].as_array_mut().unwrap().push(parking);
        answers.status["waiting"][0]["parked"] = 1200.into();
    }
    let browser = browser(&panel.url());
    browser.shows("queue-rows", "sqs → product, 1,234 parked");
    browser.shows("queue-rows", "on disk, in sqlite");
    browser.shows("octopus-queues", "/s in, 1,234 parked");
    browser.shows("waiting-rows", "+1 on the wire, +1,200 parked");
    browser.shows("held-note", "; 1,234 more parked on the disk");
    // The parking is not a queue from which messages are received, and it has no handler.
    for side in ["octopus-queues", "octopus-handlers"] {
        assert_eq!(browser.value(&format!("document.getElementById('{side}').children.length")), 2);
    }
}

#[test]
fn the_cost_of_a_queue_is_shown_as_an_estimate() {
    let panel = panel();
    let browser = browser(&panel.url());
    browser.shows("price-note", "an estimate");
    let told = browser.value(
        "[...document.querySelectorAll('#queue-rows tr')].map((row) => [...row.children].slice(-3).map((e) => e.innerText))",
    );
    assert_eq!(told, json!([["0.20", "5%", "1.24"], ["0.20", "5%", "–"]]));
    browser.shows("cost-note", "about $1.24 a day");
}

#[test]
fn rates_are_differences_and_start_anew_with_a_new_process() {
    let panel = panel();
    let browser = browser(&panel.url());
    // Two queues, each with a hundred more per second.
    browser.until("document.getElementById('delivered').innerText === '200'");
    let rates =
        browser.value("[...document.querySelectorAll('#queue-rows tr:first-child td')].slice(0, 3).map((e) => e.innerText)");
    assert_eq!(rates, json!(["100", "100", "100"]));
    // A restart: counters and uptime are small again, and no rate may be negative.
    {
        let mut answers = panel.answers.lock();
        let fresh = status(vec![queue("stock", "sqs"), queue("order", "sqlite")], 3000, Vec::new());
        answers.status = fresh;
        answers.status["uptime_s"] = 1.0.into();
        answers.growth = 7;
    }
    browser.until("document.getElementById('delivered').innerText === '14'");
    assert_quiet(&browser);
}
