//! How the dashboard looks: 3,000 partners with faults, light and dark, on a desktop and on a phone. Pictures are left
//! in cargo's folder for tests.

use std::path::Path;

use serde_json::{Value, json};

use crate::assert_quiet;
use crate::browser;
use crate::panel::{Panel, queue, row, status};
use crate::support::browser::Browser;

const STATES: [&str; 5] = ["open", "backing_off", "limited", "paused", "healthy"];

/// An instance with 3,000 partners. As from the real server, only the fifty that have waited longest are listed.
fn panel() -> Panel {
    let mut rows: Vec<Value> =
        (0..50_u32).map(|n| row(&format!("partner-{n}"), STATES[n as usize % 5], f64::from(9000 - 100 * n))).collect();
    rows[3]["account"] = format!("a-name-that-never-ends-{}", "0123456789".repeat(30)).into();
    rows[6]["last_error"] = format!("answered 500: <html>{}</html>", "a page as an answer ".repeat(200)).into();
    rows[7]["parked"] = 128_443.into();
    let mut status = status(
        vec![queue("order", "sqs"), queue("stock.fifo", "sqs"), queue("prices", "sqlite"), queue("returns", "memory")],
        3000,
        rows,
    );
    status["queues"][1]["failing"] = json!([{ "doing": "receive", "reason": format!("AccessDenied: {}", "arn:aws:sqs:eu-west-1:123456789012:stock ".repeat(6)) }]);
    status["queues"][2]["state"] = "retiring".into();
    status["last_reload"] = json!({ "ok": false, "seconds_ago": 700.0,
        "reason": format!("octoconf.toml: 2 problems\n  queues.stock.concurency: unknown key\n  handlers.pricing.jq: {}", "x".repeat(400)) });
    status["partners"] =
        json!({ "total": 3000, "healthy": 2795, "waiting": 214, "backing_off": 88, "open": 61, "limited": 52, "paused": 4 });
    Panel::start(status)
}

pub fn picture(browser: &Browser, name: &str) {
    browser.picture(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dashboard-{name}.png")));
}

/// Returns the texts that are too faint to read: for each visible text, the contrast ratio of its colour to its
/// background is computed (WCAG 2.2).
const FAINT: &str = r"(() => {
  const brush = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const paint = (colours) => {
    brush.clearRect(0, 0, 1, 1);
    for (const colour of colours) { brush.fillStyle = colour; brush.fillRect(0, 0, 1, 1); }
    return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.getBoundingClientRect().right < 0) continue;
    seen += 1;
    const behind = [];
    for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
    // The head is drawn: what stands directly on it has the picture behind it.
    if (element.matches('.head-note')) behind.push(getComputedStyle(document.querySelector('.mantle')).fill);
    const [back, front] = [light(paint(behind)), light(paint([...behind, getComputedStyle(element).color]))];
    const ratio = (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${element.className} ${texts.currentNode.data.trim().slice(0, 40)}`);
  }
  return { seen, faint: [...new Set(faint)] };
})()";

fn assert_readable(browser: &Browser) {
    let found = browser.value(FAINT);
    assert!(found["seen"].as_u64().unwrap() > 100, "{found}");
    assert_eq!(found["faint"], json!([]));
    let small = "[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && e.childNodes.length && parseFloat(getComputedStyle(e).fontSize) < 11.5).map((e) => e.outerHTML.slice(0, 80))";
    assert_eq!(browser.value(small), json!([]));
    assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth"), true, "the page is wider than its window");
    // No part of a table overlaps another, and no foreign text makes a row as high as ten rows.
    let overlaps = "[...document.querySelectorAll('tbody tr')].filter((e) => e.checkVisibility()).flatMap((row) => {
        const cells = [...row.children].filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect());
        const meet = (a, b) => a.left + 1 < b.right && b.left + 1 < a.right && a.top + 1 < b.bottom && b.top + 1 < a.bottom;
        return cells.some((a, i) => cells.slice(i + 1).some((b) => meet(a, b))) ? [row.innerText.slice(0, 80)] : [];
      })";
    assert_eq!(browser.value(overlaps), json!([]));
    let high = "[...document.querySelectorAll('#waiting-rows tr')].filter((row) => row.getBoundingClientRect().height > 260).map((row) => row.innerText.slice(0, 80))";
    assert_eq!(browser.value(high), json!([]));
}

#[test]
fn three_thousand_partners_are_readable_in_light_and_dark() {
    let panel = panel();
    let browser = browser(&panel.url());
    browser.until("document.getElementById('delivered').innerText === '400'");
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefers(scheme, "no-preference");
        backgrounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        assert_readable(&browser);
        picture(&browser, scheme);
    }
    assert_ne!(backgrounds[0], backgrounds[1]);
    // There is a dot for each partner, an arm for each of seven and one for all others, and a table of a
    // dozen rows that can be extended.
    assert_eq!(
        browser.value(
            "[...document.querySelectorAll('.dot')].reduce((all, e) => all + (e.getAttribute('d').match(/h0/g) ?? []).length, 0)"
        ),
        3000
    );
    assert_eq!(browser.value("document.querySelectorAll('.limb:not(.resting)').length"), 8);
    assert_eq!(browser.value("document.querySelectorAll('#octopus-partners button').length"), 7);
    assert_eq!(browser.value("document.querySelectorAll('#waiting-rows tr').length"), 12);
    browser.click("#waiting-more");
    browser.until("document.querySelectorAll('#waiting-rows tr').length === 50");
    browser.click(".state.limited");
    browser.until("document.querySelectorAll('#waiting-rows tr').length === 10");
    // There are few elements, however many partners there are, so the page stays fast.
    let elements = browser.value("document.querySelectorAll('*').length").as_u64().unwrap();
    assert!(elements < 1500, "{elements} elements");
    assert_quiet(&browser);
}

#[test]
fn arms_reach_from_the_head_to_their_partners() {
    let panel = panel();
    let browser = browser(&panel.url());
    for (width, height) in [(1440, 900), (1000, 800), (390, 844)] {
        browser.size(width, height);
        // The path of each arm's suckers starts in the head and ends at its partner's left edge.
        browser.until(
            "(() => { const box = document.getElementById('octopus').getBoundingClientRect(), head = document.getElementById('octopus-head').getBoundingClientRect();
               const ways = [...document.querySelectorAll('.suckers:not(.none)')];
               const ends = [...document.querySelectorAll('#octopus-partners li'), document.getElementById('everyone')].map((e) => e.getBoundingClientRect());
               return ways.length === 8 && ways.every((way, i) => {
                 const [from, to] = [way.getPointAtLength(0), way.getPointAtLength(way.getTotalLength())];
                 const inHead = from.x + box.left >= head.left && from.x + box.left <= head.right && from.y + box.top >= head.top && from.y + box.top <= head.bottom;
                 return inHead && Math.abs(to.x + box.left - ends[i].left) < 4 && to.y + box.top > ends[i].top && to.y + box.top < ends[i].bottom;
               }); })()",
        );
    }
}

#[test]
fn the_switch_wins_over_the_system_and_is_remembered() {
    let panel = panel();
    let browser = browser(&panel.url());
    browser.prefers("light", "no-preference");
    let background = |browser: &Browser| browser.value("getComputedStyle(document.body).backgroundColor");
    let light = background(&browser);
    browser.click("#theme");
    assert_eq!((browser.text("theme"), background(&browser)), ("Theme: light".into(), light.clone()));
    browser.click("#theme");
    assert_eq!(browser.text("theme"), "Theme: dark");
    assert_ne!(background(&browser), light);
    browser.reload();
    browser.until("document.getElementById('theme').innerText === 'Theme: dark'");
    assert_ne!(background(&browser), light);
}

#[test]
fn a_phone_shows_all_of_it_without_scrolling_sideways() {
    let panel = panel();
    let browser = browser(&panel.url());
    browser.prefers("dark", "no-preference");
    browser.size(390, 844);
    browser.until("document.getElementById('octopus-head').getBoundingClientRect().bottom <= document.getElementById('octopus-partners').getBoundingClientRect().top");
    browser.until("document.querySelectorAll('#waiting-rows tr').length === 12");
    assert_readable(&browser);
    // Nothing is cut off at the side or needs scrolling there, and every button is large enough for a finger.
    assert_eq!(
        browser.value("[...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth + 1).length"),
        0
    );
    let narrow = "[...document.querySelectorAll('button')].filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 24).map((e) => e.innerText)";
    assert_eq!(browser.value(narrow), json!([]));
    picture(&browser, "phone");
}

#[test]
fn reduced_motion_stops_all_animation() {
    let panel = panel();
    let browser = browser(&panel.url());
    browser.until("document.getAnimations().length > 0");
    browser.prefers("light", "reduce");
    browser.until("document.getAnimations().length === 0");
}
