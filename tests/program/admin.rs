//! The admin server, and the commands that query it, against the program as a user runs it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::support::admin::{Reply, ask, exchange, finish, free_port, get};
use crate::support::partner::{Connection, NO_CONTENT, Partner};
use crate::support::program::{Running, Workspace, invoice, until};
use serde_json::{Value, json};

const TOKEN: &str = "s3cret-t0ken";

/// An account with markup, a path, quotes and letters of two bytes, which tries to break out wherever it is shown.
const HOSTILE: &str = "../<b>\"café\" & co/%2F";

/// A partner that refuses `acme` for an hour with a `Retry-After`, answers `mallory` with 503, and accepts all others.
fn partner() -> Partner {
    Partner::start(|mut connection: Connection| {
        while let Some(request) = connection.request() {
            let refusal = if request.head.starts_with("POST /acme") {
                Some("HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n")
            } else if request.head.starts_with("POST /mallory") {
                Some("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy")
            } else {
                None
            };
            if !connection.send(refusal.unwrap_or(NO_CONTENT)) {
                return;
            }
        }
    })
}

struct Instance {
    workspace: Workspace,
    address: SocketAddr,
    running: Running,
}

fn workspace(partner: &Partner, address: SocketAddr, token: &str) -> Workspace {
    let config = format!(
        r#"
        [admin]
        listen = "{address}"
        token = "{token}"
        [engine]
        shutdown_timeout = "5s"
        [queues.invoice]
        source = "sqlite"
        handler = "order"
        [partners.default]
        deliver = "http"
        url = "http://{}/{{account}}"
        max_batch = 2
        min_backoff = "5m"
        max_backoff = "10m"
        "#,
        partner.address
    );
    Workspace::new("octoconf.toml", &config).with_environment(&[("THE_TOKEN", TOKEN)])
}

/// An instance with five messages for each of these accounts, and one dead letter.
fn instance(partner: &Partner, accounts: &[&str]) -> Instance {
    let address = free_port();
    let workspace = workspace(partner, address, "env:THE_TOKEN");
    let mut bodies: Vec<String> = accounts.iter().flat_map(|account| (0..5).map(move |n| invoice(Some(account), n))).collect();
    bodies.push(invoice(None, 9));
    let file = workspace.write("invoices.jsonl", &bodies.join("\n"));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    let running = workspace.start(&["run"]);
    let instance = Instance { workspace, address, running };
    instance.until(|status| status["queues"][0]["handled"] == bodies.len());
    instance
}

impl Instance {
    fn get(&self, path: &str) -> Reply {
        get(self.address, path)
    }

    fn post(&self, path: &str) -> Reply {
        ask(self.address, "POST", path, &format!("Authorization: Bearer {TOKEN}\r\n")).unwrap()
    }

    fn until(&self, is_so: impl Fn(&Value) -> bool) {
        let status = || ask(self.address, "GET", "/api/status", "").filter(|reply| reply.status == 200);
        until(|| status().is_some_and(|reply| is_so(&reply.json())), || format!("{:?}\n{}", status(), self.workspace.log()));
    }
}

fn encoded(account: &str) -> String {
    account.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn every_endpoint_answers() {
    let partner = partner();
    let instance = instance(&partner, &["acme", "quick", HOSTILE]);
    instance.until(|status| status["queues"][0]["delivered"] == 10 && status["queues"][0]["dead"] == 1);
    assert_eq!((instance.get("/healthz").status, instance.get("/readyz").status), (200, 200));

    let page = instance.get("/");
    assert!(page.body.contains("<!doctype html>") && page.header("content-type").unwrap().starts_with("text/html"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    for file in ["/dashboard.js", "/dashboard.css"] {
        assert_eq!(instance.get(file).status, 200, "{file}");
    }
    let head = ask(instance.address, "HEAD", "/api/status", "").unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));

    let status = instance.get("/api/status").json();
    for key in ["version", "uptime_s", "state", "in_flight", "in_flight_bytes", "queues", "partners", "waiting"] {
        assert!(!status[key].is_null(), "{key}: {status}");
    }
    assert_eq!(
        (&status["state"], &status["partners"]["total"], &status["partners"]["waiting"]),
        (&json!("running"), &json!(3), &json!(1))
    );
    let queue = &status["queues"][0];
    assert_eq!((&queue["name"], &queue["source"], &queue["handler"]), (&json!("invoice"), &json!("sqlite"), &json!("order")));
    assert_eq!((&queue["dollars_a_day"], &queue["failing"]), (&Value::Null, &json!([])), "a file costs nothing");
    let waiting = &status["waiting"][0];
    assert_eq!((&waiting["account"], &waiting["waiting"], &waiting["state"]), (&json!("acme"), &json!(5), &json!("backing_off")));

    assert_eq!(instance.get("/api/dead").json(), json!([{ "queue": "invoice", "reason": "rejected", "count": 1 }]));
    let found = instance.get("/api/partners?q=ACM").json();
    assert_eq!(
        (found.as_array().unwrap().len(), &found[0]["account"], &found[0]["state"]),
        (1, &json!("acme"), &json!("backing_off"))
    );
    assert_eq!(instance.get("/api/partners?q=caf%C3%A9").json()[0]["account"], HOSTILE);
    assert_eq!(instance.get("/api/partners").json().as_array().unwrap().len(), 3);

    assert_eq!(instance.get(&format!("/api/partners/{}", encoded(HOSTILE))).json()["account"], HOSTILE);
    let acme = instance.get("/api/partners/acme").json();
    assert_eq!((&acme["state"], &acme["waiting"]), (&json!("backing_off"), &json!(5)));
    assert!(acme["next_attempt_in_s"].as_f64().unwrap() > 3000.0 && acme["lease_ends_in_s"].as_f64().unwrap() > 0.0, "{acme}");
    assert_eq!(instance.get("/api/partners/nobody").status, 404);
}

#[test]
fn metrics_are_all_there_and_name_no_partner() {
    let partner = partner();
    let instance = instance(&partner, &["acme", "quick"]);
    instance.until(|status| status["queues"][0]["delivered"] == 5 && status["queues"][0]["acked"] == 5);
    let plain = instance.get("/metrics");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let open = ask(instance.address, "GET", "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n").unwrap();
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text") && open.body.ends_with("# EOF\n"));
    for text in [&plain.body, &open.body] {
        for sample in [
            "messages_received_total{queue=\"invoice\"} 11",
            "messages_handled_total{queue=\"invoice\",outcome=\"deliver\"} 10",
            "messages_handled_total{queue=\"invoice\",outcome=\"reject\"} 1",
            "deliveries_total{queue=\"invoice\",result=\"delivered\"} 5",
            "deliveries_total{queue=\"invoice\",result=\"dead\"} 0",
            "messages_acked_total{queue=\"invoice\"} 5",
            "messages_dead_total{queue=\"invoice\",reason=\"rejected\"} 1",
            "leases_lost_total{queue=\"invoice\"} 0",
            "queue_requests_total{queue=\"invoice\",operation=\"delete\",result=\"ok\"}",
            "in_flight_messages 5",
            "in_flight_bytes ",
            "buckets 2",
            "partners{state=\"backing_off\"} 1",
            "delivery_duration_seconds_bucket{le=\"+Inf\"} ",
            "message_age_seconds_count 5",
            "dispatch_turn_seconds_sum ",
            "oldest_waiting_seconds{queue=\"invoice\"} ",
            "parked_deliveries{queue=\"invoice\"} 0",
        ] {
            assert!(
                text.lines().any(|line| line.strip_prefix("octoconf_").is_some_and(|line| line.starts_with(sample))),
                "{sample}\n{text}"
            );
        }
        assert!(text.contains("# TYPE octoconf_messages_returned"), "{text}");
        assert!(!text.contains("acme") && !text.contains("quick"), "no label names a partner:\n{text}");
        let mut names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "each name once");
    }
}

#[test]
fn odd_requests_get_their_statuses_and_do_no_harm() {
    let partner = partner();
    let instance = instance(&partner, &["quick"]);
    let status = |bytes: &str| exchange(instance.address, bytes.as_bytes()).map(|reply| reply.status);
    for (path, expected) in [
        ("/nothing", 404),
        ("/api/partners/", 404),
        ("/../etc/passwd", 400),
        ("/api/partners/../../x", 400),
        ("/api/partners/%ff", 400),
    ] {
        assert_eq!(instance.get(path).status, expected, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let reply = ask(instance.address, method, "/api/status", "").unwrap();
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(instance.get("/api/partners/quick/flush").header("allow"), Some("POST"));
    assert_eq!(status("nonsense\r\n\r\n"), Some(400));
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), Some(400), "no Host");
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), Some(200));
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000))), Some(414));
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: x\r\na: {}\r\n\r\n", "b".repeat(200_000))), Some(431));
    assert_eq!(
        status(&format!(
            "POST /api/partners/quick/flush HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{}",
            "c".repeat(1_000_000)
        )),
        Some(413)
    );
    assert_eq!(
        status("POST /api/partners/quick/flush HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Some(411)
    );
    assert_eq!(status("GET /api/status HTTP/1.1\r\nHost: evil.example\r\n\r\n"), Some(421), "a name that was led here");
    assert_eq!(instance.get("/healthz").status, 200);
}

#[test]
fn slow_clients_cost_no_thread_and_delay_nobody() {
    let partner = partner();
    let instance = instance(&partner, &["quick"]);
    let says_nothing = |_| TcpStream::connect(instance.address).unwrap();
    let stops_midway = |number| {
        let mut stream = says_nothing(number);
        stream.write_all(b"POST /api/partners/quick/flush HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").unwrap();
        stream
    };
    // More clients than there are threads and waiting places, but fewer than would displace the oldest.
    let mut slow: Vec<TcpStream> = (0..30).map(says_nothing).chain((0..30).map(stops_midway)).collect();
    for _ in 0..3 {
        assert_eq!(instance.get("/healthz").status, 200);
    }
    for stream in &mut slow {
        stream.set_nonblocking(true).unwrap();
        let heard = stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(std::io::ErrorKind::WouldBlock), "the others were answered while this one was waited for");
        stream.set_nonblocking(false).unwrap();
    }
    for stream in slow {
        assert_eq!(finish(stream).map(|reply| reply.status), Some(408));
    }
}

#[test]
fn the_oldest_of_too_many_clients_make_way() {
    let partner = partner();
    let instance = instance(&partner, &["quick"]);
    let mut crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(instance.address).unwrap()).collect();
    assert_eq!(instance.get("/healthz").status, 200, "who asks is answered");
    let first = finish(crowd.remove(0)).unwrap();
    assert_eq!((first.status, first.header("retry-after")), (503, Some("1")));
    // The server still waits for the clients that came last.
    let mut last = crowd.pop().unwrap();
    last.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(finish(last).map(|reply| reply.status), Some(200));
}

#[test]
fn actions_need_the_token() {
    let partner = partner();
    let instance = instance(&partner, &["acme", "quick"]);
    for wrong in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer\r\n",
        &format!("Authorization: Basic {TOKEN}\r\n"),
        &format!("Authorization: Bearer {TOKEN}x\r\n"),
    ] {
        let reply = ask(instance.address, "POST", "/api/partners/quick/pause", wrong).unwrap();
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer")), "{wrong}");
        assert!(!reply.body.contains(TOKEN));
    }
    assert_eq!(instance.get("/api/partners/quick").json()["state"], "healthy");
    let are_paused = || instance.get("/api/status").json()["partners"]["paused"].clone();
    assert_eq!(are_paused(), 0);
    let paused = instance.post("/api/partners/quick/pause");
    assert_eq!((paused.status, &paused.json()["state"]), (200, &json!("paused")));
    assert_eq!(are_paused(), 1, "an action is seen at once, however new the last answer is");
    assert_eq!(instance.post("/api/partners/quick/flush").status, 409, "a pause is not overridden");
    assert_eq!(instance.post("/api/partners/quick/resume").json()["state"], "healthy");
    assert_eq!(instance.post("/api/partners/acme/flush").status, 409, "a Retry-After is not overridden");
    assert_eq!(instance.post("/api/partners/nobody/resume").status, 404);
    assert_eq!(instance.post("/api/partners/quick/sell").status, 404);
    assert!(!instance.workspace.log().contains(TOKEN), "the log holds the token");

    // Without a configured token, no POST is allowed.
    let address = free_port();
    let other = workspace(&partner, address, "");
    let _running = other.start(&["run"]);
    until(|| ask(address, "GET", "/readyz", "").is_some_and(|reply| reply.status == 200), || other.log());
    assert_eq!(ask(address, "POST", "/api/partners/quick/pause", "Authorization: Bearer \r\n").unwrap().status, 403);
}

#[test]
fn a_flush_tries_a_failing_partner_again_at_once() {
    let partner = partner();
    let instance = instance(&partner, &["mallory"]);
    instance.until(|status| status["waiting"][0]["failures"] == 1);
    let before = instance.get("/api/partners/mallory").json();
    assert_eq!(before["last_error"], "answered 503: busy");
    assert_eq!(instance.post("/api/partners/mallory/flush").status, 200);
    until(|| instance.get("/api/partners/mallory").json()["failures"] == 2, || instance.workspace.log());
}

#[test]
fn commands_ask_the_running_instance() {
    let partner = partner();
    let instance = instance(&partner, &["acme", "quick", HOSTILE]);
    instance.until(|status| status["queues"][0]["delivered"] == 10);
    let workspace = &instance.workspace;
    let text = workspace.expect(0, &["status"]);
    for part in ["running", "3 partners", "invoice", "sqlite", "acme", "backing off", "Retry-After"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let status = workspace.json(&["status", "--json"]);
    assert_eq!((&status["state"], &status["waiting"][0]["account"]), (&json!("running"), &json!("acme")));

    let why = workspace.expect(0, &["why", "acme"]);
    for part in [
        "5 deliveries wait for acme (from invoice)",
        "Retry-After",
        "next attempt is in",
        "1 failure in a row",
        "answered 429",
        "leased",
    ] {
        assert!(why.contains(part), "{part}:\n{why}");
    }
    assert_eq!(workspace.json(&["why", "acme", "--json"])["waiting"], 5);
    assert!(workspace.expect(0, &["why", HOSTILE]).contains("Nothing waits for"));
    let unknown = workspace.expect(1, &["why", "nobody"]);
    assert!(unknown.contains("nothing is known of this partner"), "{unknown}");

    instance.running.signal("TERM");
    assert_eq!(instance.running.end(), Some(0), "{}", instance.workspace.log());
    let gone = instance.workspace.expect(1, &["status"]);
    assert!(gone.contains("no instance answers on") && gone.contains(&instance.address.to_string()), "{gone}");
}

#[test]
fn status_can_be_watched() {
    let partner = partner();
    let instance = instance(&partner, &["quick"]);
    let log = instance.workspace.path("watched");
    let out = std::fs::File::create(&log).unwrap();
    let mut watch = instance.workspace.command(&["status", "--watch", "--json"]).stdout(out).spawn().unwrap();
    let lines =
        || std::fs::read_to_string(&log).unwrap().lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    until(|| lines() >= 2, || std::fs::read_to_string(&log).unwrap());
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn commands_need_no_secret_that_only_the_service_can_read() {
    let partner = partner();
    let instance = instance(&partner, &["quick"]);
    let config = std::fs::read_to_string(instance.workspace.path("octoconf.toml")).unwrap();
    let config = config.replace("env:THE_TOKEN", "file:of-the-service") + "\nsigning_secret = \"file:another\"\n";
    instance.workspace.write("octoconf.toml", &config);
    assert!(instance.workspace.expect(0, &["status"]).contains("running"));
    let refused = instance.workspace.expect(1, &["skip", "quick"]);
    assert!(refused.contains("CREDENTIALS_DIRECTORY"), "says why there is no token here: {refused}");
}

#[test]
fn the_head_of_a_waiting_partner_is_set_aside() {
    let partner = partner();
    let instance = instance(&partner, &["acme", "quick"]);
    instance.until(|status| status["waiting"][0]["waiting"] == 5 && status["queues"][0]["delivered"] == 5);
    let text = instance.workspace.expect(0, &["skip", "acme"]);
    assert!(text.contains("set aside as a dead letter") && text.contains("4 deliveries wait for acme"), "{text}");
    assert_eq!(instance.workspace.json(&["skip", "acme", "--json"])["waiting"], 3);
    instance.until(|status| status["queues"][0]["dead"] == 3);
    let skipped = instance.get("/api/dead").json();
    assert!(skipped.as_array().unwrap().contains(&json!({ "queue": "invoice", "reason": "skipped", "count": 2 })), "{skipped}");
    let letters = instance.workspace.json(&["dead", "list", "invoice", "--partner", "acme", "--json"]);
    assert_eq!(
        (letters.as_array().unwrap().len(), &letters[0]["kind"], &letters[0]["account"]),
        (2, &json!("skipped"), &json!("acme"))
    );
    let refused = instance.workspace.expect(1, &["skip", "quick"]);
    assert!(refused.contains("nothing waits for this partner"), "{refused}");
    assert_eq!(ask(instance.address, "POST", "/api/partners/acme/skip", "").unwrap().status, 401);
}

#[test]
fn a_port_that_is_taken_is_a_clear_failure() {
    let partner = partner();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let workspace = workspace(&partner, taken.local_addr().unwrap(), "");
    let said = workspace.expect(1, &["run"]);
    assert!(said.contains("admin.listen") && said.contains("in use") && said.contains("choose another"), "{said}");
}

#[test]
fn a_draining_service_is_alive_and_not_ready() {
    let hanging = Partner::start(|mut connection: Connection| {
        connection.request();
        connection.hang();
    });
    let instance = instance(&hanging, &["acme"]);
    hanging.requests.recv_timeout(Duration::from_secs(30)).unwrap();
    instance.running.signal("TERM");
    until(|| instance.get("/readyz").status == 503, || instance.workspace.log());
    assert!(instance.get("/readyz").body.contains("draining"));
    assert_eq!(instance.get("/healthz").status, 200);
    assert_eq!(instance.running.end(), Some(0));
}
