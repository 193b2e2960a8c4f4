//! A partner is down for long, under traffic. Its deliveries wait on disk, the other partners are not affected, and
//! once it is back it receives all of them, once and in order.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use octoconf::message::park::{START, ToPark};
use octoconf::message::{Item, Message};
use octoconf::queue::parking::{Parking, ParkingOptions};
use serde_json::Value;

use crate::support::partner::{Connection, Partner, Request};
use crate::support::program::{Workspace, invoice, until};

const MESSAGES: usize = 2_000;
const IN_FLIGHT: usize = 100;

/// A server for all partners, of which `down` answers 503 until the flag is set.
fn partners() -> (Partner, Arc<AtomicBool>) {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let partner = Partner::start(move |mut connection: Connection| {
        while let Some(request) = connection.request() {
            let refuses = is_down(&request) && !up.load(Ordering::SeqCst);
            let status = if refuses { "503 Service Unavailable" } else { "200 OK" };
            if !connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")) {
                return;
            }
        }
    });
    (partner, is_up)
}

fn is_down(request: &Request) -> bool {
    request.head.starts_with("POST /down ")
}

/// A workspace in which every other invoice is for the partner that is down.
fn workspace(partner: &Partner) -> Workspace {
    let workspace = Workspace::new(
        "octoconf.toml",
        &format!(
            r#"
            [admin]
            listen = ""
            [engine]
            max_in_flight = {IN_FLIGHT}
            shutdown_timeout = "1s"
            [queues.invoice]
            source = "sqlite"
            handler = "order"
            visibility_timeout = "2s"
            parking = "parking.db"
            [partners.default]
            deliver = "http"
            url = "http://{}/{{account}}"
            max_batch = 10
            min_backoff = "50ms"
            max_backoff = "200ms"
            "#,
            partner.address
        ),
    );
    let account = |n: usize| if n.is_multiple_of(2) { "down".to_owned() } else { format!("shop-{}", n % 97) };
    let invoices: Vec<String> = (0..MESSAGES).map(|n| invoice(Some(&account(n)), n)).collect();
    let file = workspace.write("invoices.jsonl", &invoices.join("\n"));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    workspace
}

fn parked(workspace: &Workspace) -> u64 {
    let lines = workspace.json(&["parked", "list", "invoice", "--json"]);
    let lines = lines.as_array().unwrap();
    assert!(lines.iter().all(|line| line["account"] == "down"), "{lines:?}");
    lines.iter().map(|line| line["deliveries"].as_u64().unwrap()).sum()
}

fn wait_until_parked(workspace: &Workspace, deliveries: usize) {
    until(|| parked(workspace) >= deliveries as u64, || format!("{} parked\n{}", parked(workspace), workspace.log()));
}

/// Returns the numbers of the invoices in a request.
fn numbers(request: &Request) -> Vec<usize> {
    let payloads: Vec<Value> = serde_json::from_str(&request.body).unwrap();
    payloads.iter().map(|payload| payload["invoice"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn an_outage_is_parked_and_delivered_once_and_in_order() {
    let (partner, is_up) = partners();
    let workspace = workspace(&partner);
    let running = workspace.start(&["run", "--until-empty", "--report", "report.json"]);
    // Some deliveries stay in memory: those with which the partner is tried (a share of ten), and those on the wire.
    wait_until_parked(&workspace, MESSAGES / 2 - IN_FLIGHT / 2);
    let before: Vec<Request> = partner.requests.try_iter().collect();
    is_up.store(true, Ordering::SeqCst);
    assert_eq!(running.end(), Some(0), "{}", workspace.log());

    let after: Vec<Request> = partner.requests.try_iter().collect();
    let came: Vec<usize> = after.iter().filter(|request| is_down(request)).flat_map(numbers).collect();
    let expected: Vec<usize> = (0..MESSAGES).step_by(2).collect();
    // The last refused request may have been under way when the partner came up, so it may come twice.
    let came = came.strip_prefix(&expected[..came.len().saturating_sub(expected.len())]).unwrap_or(&came);
    assert_eq!(came, expected);
    let others = before.iter().chain(&after).filter(|request| !is_down(request)).flat_map(numbers).count();
    assert_eq!(others, MESSAGES / 2);

    let report = workspace.report();
    let [queue, rows] = [&report["queues"][0], &report["queues"][1]];
    assert_eq!((&rows["name"], &rows["source"]), (&Value::from("invoice.parking"), &Value::from("sqlite")));
    assert_eq!(queue["acked"], MESSAGES);
    assert_eq!((&rows["acked"], &rows["dead"]), (&queue["parked"], &Value::from(0)));
    let delivered = queue["delivered"].as_u64().unwrap() + rows["delivered"].as_u64().unwrap();
    assert_eq!(delivered, MESSAGES as u64);
    assert_eq!(parked(&workspace), 0);
    let requests = queue["requests"].as_u64().unwrap();
    assert!(requests < 4 * MESSAGES as u64, "{requests} requests: what is parked is not received again");
}

#[test]
fn deliveries_parked_before_a_kill_come_first_after_it() {
    let (partner, is_up) = partners();
    let workspace = workspace(&partner);
    let running = workspace.start(&["run"]);
    wait_until_parked(&workspace, MESSAGES / 10);
    running.kill();
    let kept = parked(&workspace);
    assert!(kept >= MESSAGES as u64 / 10);

    let running = workspace.start(&["run", "--until-empty"]);
    wait_until_parked(&workspace, MESSAGES / 2 - IN_FLIGHT / 2);
    let before: Vec<Request> = partner.requests.try_iter().collect();
    is_up.store(true, Ordering::SeqCst);
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    let after: Vec<Request> = partner.requests.try_iter().collect();

    let mut came: Vec<usize> = after.iter().filter(|request| is_down(request)).flat_map(numbers).collect();
    // Messages that were in memory at the kill were received again from the queue, and so come later.
    let mut late = 0;
    let mut last = 0;
    for number in &came {
        late += usize::from(*number < last);
        last = last.max(*number);
    }
    assert!(late <= IN_FLIGHT, "{late} of {} came late", came.len());
    came.sort_unstable();
    came.dedup();
    assert_eq!(came, (0..MESSAGES).step_by(2).collect::<Vec<_>>(), "lost");
    let mut others: Vec<usize> = before.iter().chain(&after).filter(|request| !is_down(request)).flat_map(numbers).collect();
    others.sort_unstable();
    others.dedup();
    assert_eq!(others.len(), MESSAGES / 2, "lost");
    assert_eq!(parked(&workspace), 0);
}

#[test]
fn parked_deliveries_can_be_purged_by_account() {
    let (partner, _) = partners();
    let workspace = workspace(&partner);
    let running = workspace.start(&["run"]);
    wait_until_parked(&workspace, 100);
    running.signal("TERM");
    assert_eq!(running.end(), Some(0));
    let kept = parked(&workspace);
    let dry = workspace.json(&["parked", "purge", "invoice", "--partner", "down", "--dry-run", "--json"]);
    assert_eq!((&dry["chosen"], &dry["purged"]), (&Value::from(kept), &Value::from(0)));
    let none = workspace.json(&["parked", "purge", "invoice", "--partner", "shop-1", "--json"]);
    assert_eq!(none["purged"], 0);
    let some = workspace.json(&["parked", "purge", "invoice", "--limit", "7", "--json"]);
    assert_eq!((&some["purged"], parked(&workspace)), (&Value::from(7), kept - 7));
    assert_eq!(workspace.expect(0, &["parked", "purge", "invoice"]), format!("{} purged\n", kept - 7));
    assert_eq!(workspace.expect(0, &["parked", "list", "invoice"]), "nothing is parked\n");
    assert!(workspace.expect(2, &["parked", "list", "elsewhere"]).contains("no queue is called"));
}

#[test]
fn what_is_parked_for_a_section_that_was_renamed_is_told() {
    let section = |name: &str| {
        format!(
            "[admin]\nlisten = ''\n[queues.{name}]\nsource = 'sqlite'\nname = 'invoice'\nhandler = 'order'\nparking = 'parking.db'\n\
             [partners.default]\ndeliver = 'discard'\n"
        )
    };
    let workspace = Workspace::new("octoconf.toml", &section("before"));
    let parked = park_three(&workspace.path("parking.db"), "before");
    for said in [workspace.expect(0, &["check"]), workspace.expect(0, &["parked", "list", "before"])] {
        assert!(!said.contains("nothing delivers them"), "{said}");
    }

    workspace.write("octoconf.toml", &section("after"));
    let check = workspace.expect(0, &["check"]);
    let told = ["queues.after.parking: ", "parking.db also holds 3 deliveries", "queues.before", "`octoconf parked list before`"];
    assert!(told.iter().all(|part| check.contains(part)), "{check}");
    let list = workspace.expect(2, &["parked", "list", "before"]);
    assert!(list.contains("no queue is called \"before\"") && list.contains("give the section its name back"), "{list}");
    assert_eq!(workspace.start(&["run", "--until-empty"]).end(), Some(0), "{}", workspace.log());
    workspace.said(&[&["WARN"][..], &told].concat());
    assert_eq!(parked.count_of(None).unwrap(), 3);
}

/// Parks three deliveries as a service with this section would.
fn park_three(file: &Path, section: &str) -> Parking {
    let parking = Parking::open(ParkingOptions::new(file, section, 1 << 20)).unwrap();
    let delivery = |n: usize| ToPark {
        account: "acme".into(),
        item: Item { message: Message::new(format!("m{n}"), "{}").into(), index: None, payload: "{}".into() },
        waited: Duration::ZERO,
        after: START,
        older: false,
    };
    parking.park(&(0..3).map(delivery).collect::<Vec<_>>()).unwrap();
    parking
}
