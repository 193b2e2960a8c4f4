//! Reloads under load: queues, handlers, secrets and the token change while messages flow, and
//! invalid files change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::support::admin::{ask, free_port, get};
use crate::support::partner::{NO_CONTENT, Partner, Request};
use crate::support::program::{Running, Workspace, invoice, until};
use crate::support::sqs_server::{SqsServer, TestQueue, aws_environment};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

const ACCOUNTS: usize = 16;

/// A running service, and a partner that accepts everything.
struct Scene {
    /// Must end before the partner, which waits for it.
    running: Option<Running>,
    partner: Partner,
    workspace: Workspace,
    admin: SocketAddr,
    reloads: usize,
    sent: usize,
    requests: Vec<Request>,
}

impl Scene {
    /// Starts the service; `queues` are the sections of the first configuration.
    fn start(queues: &str) -> Self {
        Self::start_in(&[], queues)
    }

    fn start_in(environment: &[(&str, &str)], queues: &str) -> Self {
        let partner = Partner::answering(NO_CONTENT);
        let workspace = Workspace::new("octoconf.toml", "").with_environment(environment);
        let (admin, requests) = (free_port(), Vec::new());
        let mut scene = Self { workspace, partner, admin, running: None, reloads: 0, sent: 0, requests };
        scene.secrets("old");
        scene.write(queues);
        scene.running = Some(scene.workspace.start(&["run", "--report", "report.json"]));
        scene.workspace.said(&["starting:"]);
        scene
    }

    fn write(&self, queues: &str) {
        let (admin, url) = (self.admin, self.partner.url());
        let text = format!(
            "[engine]\nhandler_threads = 32\n[admin]\nlisten = \"{admin}\"\ntoken = \"file:./token\"\n[partners.default]\n\
             deliver = \"http\"\nurl = \"{url}\"\nmax_batch = 5\nsigning_secret = \"file:./key\"\n{queues}\n"
        );
        self.workspace.write("octoconf.toml", &text);
    }

    fn secrets(&self, word: &str) {
        self.workspace.write("token", &format!("token-{word}"));
        self.workspace.write("key", &key(word));
    }

    /// Puts another configuration in force.
    fn reload(&mut self, queues: &str) {
        self.write(queues);
        self.running.as_ref().unwrap().signal("HUP");
        self.reloads += 1;
        let reloads = self.reloads;
        until(|| self.workspace.log().matches("reloaded: config=").count() == reloads, || self.workspace.log());
    }

    /// Tries to reload, and checks that this is refused with `why`.
    fn is_refused(&mut self, queues: &str, why: &str) {
        self.write(queues);
        self.running.as_ref().unwrap().signal("HUP");
        self.workspace.said(&["the reload was refused", why]);
    }

    /// Sends `count` invoices, each with a number of its own. One in a hundred has no account.
    fn send(&mut self, queue: &str, count: usize) {
        let body = |number: usize| {
            let account = format!("a{}", number % ACCOUNTS);
            invoice((number % 100 != 99).then_some(account.as_str()), number)
        };
        let bodies: Vec<String> = (self.sent..self.sent + count).map(body).collect();
        self.sent += count;
        let file = self.workspace.write("invoices.jsonl", &bodies.join("\n"));
        self.workspace.expect(0, &["send", queue, file.to_str().unwrap()]);
    }

    fn take_requests(&mut self) -> usize {
        self.requests.extend(self.partner.requests.try_iter());
        self.requests.iter().map(|request| payloads(request).len()).sum()
    }

    /// Waits until every message sent so far is delivered, except those without an account.
    fn wait_until_delivered(&mut self) {
        let wanted = (0..self.sent).filter(|number| number % 100 != 99).count();
        let mut seen = self.take_requests();
        until(
            || {
                let news: Vec<_> = self.partner.requests.try_iter().collect();
                seen += news.iter().map(|request| payloads(request).len()).sum::<usize>();
                self.requests.extend(news);
                seen >= wanted
            },
            || format!("not all of {wanted} were delivered\n{}", self.workspace.log()),
        );
        assert_eq!(seen, wanted, "some came twice");
    }

    fn status(&self) -> Value {
        get(self.admin, "/api/status").json()
    }

    /// Returns the row of a queue in the status.
    fn queue(&self, name: &str) -> Option<Value> {
        self.status()["queues"].as_array().unwrap().iter().find(|queue| queue["name"] == name).cloned()
    }

    /// Waits until a removed queue has disappeared from the status.
    fn is_gone(&self, name: &str) {
        until(|| self.queue(name).is_none(), || format!("{}\n{}", self.status(), self.workspace.log()));
    }

    /// Ends the service and returns its report.
    fn end(&mut self) -> Value {
        let running = self.running.take().unwrap();
        running.signal("TERM");
        assert_eq!(running.end(), Some(0), "{}", self.workspace.log());
        self.take_requests();
        self.workspace.report()
    }
}

/// Returns a signing secret.
fn key(word: &str) -> String {
    format!("whsec_{}", STANDARD.encode(format!("a key that is {word} enough")))
}

/// Returns when the last reload was, in seconds since the start.
fn reloaded_at(status: &Value) -> f64 {
    status["uptime_s"].as_f64().unwrap() - status["last_reload"]["seconds_ago"].as_f64().unwrap()
}

fn payloads(request: &Request) -> Vec<Value> {
    serde_json::from_str(&request.body).unwrap()
}

fn number(payload: &Value) -> usize {
    payload["invoice"].as_str().unwrap().parse().unwrap()
}

fn is_signed_with(request: &Request, word: &str) -> bool {
    let [id, timestamp] = ["webhook-id", "webhook-timestamp"].map(|name| request.header(name).unwrap());
    let mut mac = Hmac::<Sha256>::new_from_slice(format!("a key that is {word} enough").as_bytes()).unwrap();
    mac.update(format!("{id}.{timestamp}.{}", request.body).as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    request.header("webhook-signature") == Some(&format!("v1,{signature}"))
}

fn invoices(more: &str) -> String {
    format!("[queues.invoice]\nsource = \"sqlite\"\nhandler = \"order\"\n{more}\n")
}

fn stock(version: usize) -> String {
    format!(
        "[queues.stock]\nsource = \"sqlite\"\nhandler = \"pricing\"\n[handlers.pricing]\njq = '{{invoice, version: {version}}}'\n"
    )
}

#[test]
fn reloads_of_all_kinds_lose_and_repeat_nothing() {
    let mut scene = Scene::start(&invoices("concurrency = 2"));
    scene.send("invoice", 2000);
    scene.reload(&(invoices("concurrency = 2") + &stock(1)));
    scene.send("stock", 2000);
    scene.reload(&(invoices("concurrency = 12\nreceive_batch = 7\nvisibility_timeout = \"5m\"") + &stock(1)));
    scene.wait_until_delivered();
    let first = scene.sent;

    // A new jq program under the same handler name, and another file under the same queue name.
    scene.send("invoice", 2000);
    scene.reload(&(invoices("path = \"other.db\"") + &stock(2)));
    scene.send("stock", 2000);
    scene.send("invoice", 2000);
    // Messages that the replaced queue returned are received once that queue is configured again.
    scene.reload(&(invoices("") + &stock(2)));
    scene.reload(&(invoices("path = \"other.db\"") + &stock(2)));
    scene.reload(
        &(invoices("path = \"other.db\"")
            + &stock(2)
            + "[queues.earlier]\nsource = \"sqlite\"\nhandler = \"order\"\nname = \"invoice\"\n"),
    );
    scene.wait_until_delivered();
    let rotated = scene.requests.len();
    assert!(scene.requests.iter().all(|request| is_signed_with(request, "old")));

    // Secrets change, and a queue that has work is removed.
    scene.secrets("new");
    scene.send("stock", 3000);
    scene.reload(&invoices("path = \"other.db\""));
    let post = |token: &str| {
        ask(scene.admin, "POST", "/api/partners/nobody/resume", &format!("Authorization: Bearer token-{token}\r\n"))
            .unwrap()
            .status
    };
    assert_eq!((post("old"), post("new")), (401, 404));
    scene.is_gone("stock");
    let metrics = get(scene.admin, "/metrics").body;
    assert!(!metrics.contains("queue=\"stock\"") && metrics.contains("queue=\"invoice\""), "{metrics}");
    scene.reload(&(invoices("path = \"other.db\"") + &stock(3)));
    scene.send("stock", 500);
    scene.wait_until_delivered();
    let (sent, report) = (scene.sent, scene.end());

    let all = assert_all_once(&scene);
    let versions: BTreeMap<usize, u64> =
        all.iter().filter_map(|payload| Some((number(payload), payload["version"].as_u64()?))).collect();
    assert!(versions.iter().all(|(number, version)| (*number < first) == (*version == 1)), "{versions:?}");
    assert_eq!(versions.iter().filter(|(number, _)| **number >= sent - 500).map(|(_, version)| *version).min(), Some(3));
    assert!(scene.requests[rotated..].iter().any(|request| is_signed_with(request, "new")));
    assert_books(&report, sent);
}

/// Checks that no message is lost or repeated, and returns what was delivered.
fn assert_all_once(scene: &Scene) -> Vec<Value> {
    let all: Vec<Value> = scene.requests.iter().flat_map(payloads).collect();
    let numbers: BTreeSet<usize> = all.iter().map(number).collect();
    assert_eq!(numbers.len(), all.len(), "{} came twice", all.len() - numbers.len());
    assert_eq!(numbers, (0..scene.sent).filter(|number| number % 100 != 99).collect());
    all
}

/// Checks that the report counts each message once, and each received copy under one result.
fn assert_books(report: &Value, sent: usize) {
    let sum = |key: &str| report["queues"].as_array().unwrap().iter().map(|queue| queue[key].as_u64().unwrap()).sum::<u64>();
    let (sent, dead) = (sent as u64, sent as u64 / 100);
    assert_eq!(
        (sum("acked"), sum("delivered"), sum("dead"), sum("leases_lost")),
        (sent - dead, sent - dead, dead, 0),
        "{report}"
    );
    assert_eq!(sum("received"), sum("acked") + sum("dead") + sum("returned") + sum("duplicates_dropped"), "{report}");
}

#[test]
fn reloads_of_sqs_queues_lose_and_repeat_nothing() {
    let server = SqsServer::start();
    let [one, other, dead] = ["one", "other", "dead"].map(|name| server.queue(name, &[]));
    let section = |name: &str, queue: &TestQueue<'_>, more: &str| {
        let (endpoint, queue, dead) = (server.endpoint(), &queue.name, &dead.name);
        format!(
            "[queues.{name}]\nsource = \"sqs\"\nname = \"{queue}\"\nendpoint = \"{endpoint}\"\ndead_letter = \"{dead}\"\n\
             wait_time = \"1s\"\nhandler = \"order\"\n{more}\n"
        )
    };
    let mut scene = Scene::start_in(&aws_environment(), &section("invoice", &one, "concurrency = 2"));
    // The queue stays in place: only its rules change.
    scene.send("invoice", 400);
    scene.reload(&section("invoice", &one, "concurrency = 12\nreceive_batch = 7\nvisibility_timeout = \"5m\""));
    scene.send("invoice", 400);
    scene.wait_until_delivered();
    assert_eq!(scene.queue("invoice").unwrap()["replaced"], 0);

    // Another queue takes over the name while the first one has work. What the first returns waits
    // there until it is read again.
    scene.send("invoice", 600);
    scene.reload(&section("invoice", &other, ""));
    scene.send("invoice", 400);
    scene.reload(&(section("invoice", &other, "") + &section("earlier", &one, "")));
    scene.wait_until_delivered();

    // A queue is removed while it has work, and comes back.
    scene.send("earlier", 600);
    scene.reload(&section("invoice", &other, "concurrency = 3"));
    scene.send("invoice", 400);
    scene.is_gone("earlier");
    scene.reload(&(section("invoice", &other, "concurrency = 3") + &section("earlier", &one, "")));
    scene.wait_until_delivered();
    let (sent, report) = (scene.sent, scene.end());

    assert_all_once(&scene);
    assert_books(&report, sent);
    assert_eq!((one.counts(), other.counts()), ((0, 0, 0), (0, 0, 0)));
    assert_eq!(dead.counts(), (sent as u64 / 100, 0, 0));
}

#[test]
fn a_reload_that_is_refused_names_its_key_and_changes_nothing() {
    let memory = "[queues.mail]\nsource = \"memory\"\nhandler = \"order\"\nconcurrency = 5\n";
    let base = invoices("parking = \"parked.db\"\nconcurrency = 5") + memory;
    let mut scene = Scene::start(&base);
    scene.send("invoice", 100);
    scene.wait_until_delivered();
    scene.is_refused(&base.replace("concurrency", "concurency"), "queues.invoice.concurency");
    scene.is_refused(&(base.clone() + "[handlers.bad]\njq = '{a: .b'\n"), "handlers.bad");
    scene.is_refused(
        &(base.clone() + "[queues.new]\nsource = \"sqlite\"\nhandler = \"order\"\npath = \"no/such/folder.db\"\n"),
        "queues.new",
    );
    scene.is_refused(&base.replace("concurrency = 5", "concurrency = 20"), "engine.handler_threads");
    scene.is_refused(&invoices("parking = \"parked.db\""), "queues.mail (its messages live in this process)");
    let other = base.replace("parking =", "path = \"other.db\"\nparking =");
    scene.is_refused(&other, "these keys need a restart: queues.invoice.path (queues.invoice.parking stays");
    let last = scene.status()["last_reload"].clone();
    assert_eq!(last["ok"], false);
    assert!(last["reason"].as_str().unwrap().contains("queues.invoice.path"), "{last}");
    assert!(scene.workspace.expect(0, &["status"]).contains("was refused, what was before is in force: these keys need"));
    assert_eq!(scene.status()["queues"].as_array().unwrap().len(), 3);
    // Restores the file for the command that sends.
    scene.write(&base);
    scene.send("invoice", 100);
    scene.wait_until_delivered();

    // A changed log filter does not need a restart.
    scene.running.as_ref().unwrap().signal("HUP");
    until(|| scene.status()["last_reload"]["ok"] == true, || scene.workspace.log());
    assert!(scene.workspace.expect(0, &["status"]).contains("\nreloaded "));
    let workspace = &scene.workspace;
    let text = std::fs::read_to_string(workspace.path("octoconf.toml")).unwrap();
    workspace.write("octoconf.toml", &text.replace("[engine]", "[engine]\nlog = \"error\""));
    let before = reloaded_at(&scene.status());
    let said = scene.workspace.log().matches("reloaded: config=").count();
    scene.running.as_ref().unwrap().signal("HUP");
    until(|| reloaded_at(&scene.status()) > before + 0.01, || scene.workspace.log());
    // The parking was never used, which must not keep the service from being ready.
    until(|| get(scene.admin, "/readyz").status == 200, || get(scene.admin, "/readyz").body);
    let report = scene.end();
    assert_eq!(scene.workspace.log().matches("reloaded: config=").count(), said, "it is no error, and said to nobody");
    assert_eq!(report["queues"][0]["acked"], 198);
}
