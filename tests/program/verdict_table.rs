//! Every row of the verdict table, each played by one partner against the whole program: which requests it received, in
//! which order, what was delivered, and what became a dead letter for which reason.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::partner::{Connection, Partner};
use crate::support::program::{Running, Workspace, until};
use octoconf::sink::Clocks;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// The numbers of the deliveries that each account has in each of its queues, together one full batch.
const ALL: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// The answers that mean that the partner is unavailable.
const UNAVAILABLE: [u16; 10] = [408, 409, 425, 429, 500, 501, 502, 503, 504, 599];
/// The answers that mean that the set-up of the whole partner is wrong.
const SET_UP: [u16; 14] = [301, 302, 303, 307, 308, 401, 402, 403, 405, 406, 407, 415, 421, 426];
/// Repeated, this is longer than what a dead letter keeps of an answer.
const COMPLAINT: &str = "there is no such article. ";

/// One request as the server saw it, and the status that it answered, or `None` if it did not answer.
#[derive(Debug, Clone)]
struct Seen {
    queue: String,
    numbers: Vec<u64>,
    status: Option<u16>,
    webhook_id: String,
    at: Instant,
}

type Log = Arc<Mutex<BTreeMap<String, Vec<Seen>>>>;

/// The server of all accounts: `POST /ACCOUNT/QUEUE`, answered by the account's row.
fn server(log: Log) -> Partner {
    let clock = Clocks::system();
    Partner::start(move |mut connection: Connection| {
        while let Some(request) = connection.request() {
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            let (account, queue) = path.trim_start_matches('/').split_once('/').unwrap();
            let payloads: Vec<Value> = serde_json::from_str(&request.body).unwrap();
            let numbers: Vec<u64> = payloads.iter().map(|payload| payload["n"].as_u64().unwrap()).collect();
            let mut accounts = log.lock();
            let seen = accounts.entry(account.to_owned()).or_default();
            let (status, more) = row(account, queue, &numbers, seen.len());
            let webhook_id = request.header("webhook-id").unwrap().to_owned();
            seen.push(Seen { queue: queue.to_owned(), numbers, status, webhook_id, at: clock.steady() });
            drop(accounts);
            let Some(status) = status else { return connection.hang() };
            let body = if (200..300).contains(&status) { String::new() } else { COMPLAINT.repeat(100) };
            if !connection.send(format!("HTTP/1.1 {status} X\r\n{more}content-length: {}\r\n\r\n{body}", body.len())) {
                return;
            }
        }
    })
}

/// Returns how the account answers these deliveries after `before` requests: the status, and an additional header.
fn row(account: &str, queue: &str, numbers: &[u64], before: usize) -> (Option<u16>, String) {
    let (name, code) = account.split_once('-').map_or((account, 0), |(name, code)| (name, code.parse().unwrap()));
    let has = |number: u64| numbers.contains(&number);
    let is_refused = match name {
        "once" | "asks" | "date" | "hangs" | "mended" => before == 0,
        "setup" | "refuses" => true,
        "gone" => queue == "stock",
        "culprit" | "conflict" => has(3),
        "large" => numbers.len() > 2,
        "huge" => has(5),
        "poison" | "buried" => has(2),
        _ => false,
    };
    let asked = match name {
        _ if !is_refused => String::new(),
        "asks" => "retry-after: 2\r\n".to_owned(),
        "date" => {
            let date = Clocks::system().wall() + Duration::from_secs(4);
            format!("retry-after: {}\r\n", httpdate::fmt_http_date(date))
        }
        _ => String::new(),
    };
    let status = match name {
        _ if !is_refused => Some(200),
        "hangs" => None,
        _ => Some(code),
    };
    (status, asked)
}

/// Returns the accounts, each with its settings.
fn accounts(server: &Partner) -> Vec<(String, String)> {
    let mut accounts: Vec<(String, String)> = Vec::new();
    let mut add = |account: &str, settings: &str| accounts.push((account.to_owned(), settings.to_owned()));
    add("well", "");
    for code in UNAVAILABLE {
        add(&format!("once-{code}"), "");
    }
    for code in SET_UP {
        add(&format!("setup-{code}"), "max_backoff = \"5m\"");
    }
    for code in [404, 410] {
        add(&format!("gone-{code}"), "max_backoff = \"5m\"");
    }
    for code in [400, 411, 422, 431] {
        add(&format!("culprit-{code}"), "");
    }
    add("mended-401", "max_backoff = \"1s\"");
    add("setup-451", "max_backoff = \"5m\"");
    add("asks-429", "");
    add("date-503", "");
    add("hangs", "timeout = \"300ms\"");
    add("conflict-409", "max_batch = 1\nbreaker_failures = 3");
    add("large-413", "");
    add("huge-413", "max_batch = 1");
    add("poison-500", "max_batch = 1\nbreaker_failures = 2");
    add("buried-500", "breaker_failures = 2");
    add("refuses-400", "max_batch = 1\nbreaker_failures = 2\nmax_backoff = \"5m\"");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    add("closed", &format!("url = \"http://{closed}/\"\nmax_backoff = \"5m\"\nmin_backoff = \"5m\""));
    add("tls", &format!("url = \"https://{}/\"\nmax_backoff = \"5m\"\nmin_backoff = \"5m\"", server.address));
    accounts
}

/// Whether the account accepts nothing, however long the run.
fn is_shut(account: &str) -> bool {
    ["setup", "closed", "tls"].contains(&account.split('-').next().unwrap())
}

struct Played {
    workspace: Workspace,
    log: Log,
    report: Value,
    dead: Vec<Value>,
}

/// Runs the program until every account has received what it accepts and every culprit is a dead letter.
fn play() -> Played {
    let log = Log::default();
    let server = server(Arc::clone(&log));
    let accounts = accounts(&server);
    let mut config = format!(
        r#"
        [admin]
        listen = ""
        [engine]
        shutdown_timeout = "2s"
        [queues.stock]
        source = "sqlite"
        handler = "plain"
        [queues.invoice]
        source = "sqlite"
        handler = "plain"
        [handlers.plain]
        jq = "{{n}}"
        bucket = ".account"
        [partners.default]
        deliver = "http"
        url = "http://{}/{{account}}/{{queue}}"
        max_batch = 8
        connect_timeout = "30s"
        timeout = "30s"
        linger = "60s"
        min_backoff = "10ms"
        max_backoff = "50ms"
        "#,
        server.address
    );
    for (account, settings) in &accounts {
        write!(config, "\n[partners.{account}]\n{settings}\n").unwrap();
    }
    let workspace = Workspace::new("octoconf.toml", &config);
    for (queue, for_all) in [("stock", true), ("invoice", false)] {
        let of = |account: &str| ALL.map(|n| json!({ "account": account, "n": n }).to_string()).join("\n");
        let has_two = |account: &str| ["gone", "asks", "date"].contains(&account.split('-').next().unwrap());
        let lines: Vec<String> =
            accounts.iter().filter(|(account, _)| for_all || has_two(account)).map(|(account, _)| of(account)).collect();
        let file = workspace.write("messages.jsonl", &lines.join("\n"));
        workspace.expect(0, &["send", queue, file.to_str().unwrap()]);
    }

    let running = workspace.start(&["run", "--report", "report.json"]);
    let dead = || -> Vec<Value> {
        let list = workspace.json(&["dead", "list", "stock", "--json"]);
        list.as_array().unwrap().clone()
    };
    let settled = |account: &str| -> bool {
        let log = log.lock();
        let Some(seen) = log.get(account) else { return false };
        let (accepted, requests) = (accepted(seen, None).len(), seen.len());
        match account.split('-').next().unwrap() {
            "asks" | "date" => accepted == 16,
            "culprit" | "conflict" | "huge" | "poison" | "buried" => accepted == 7,
            "gone" => accepted == 8 && requests == 2,
            "refuses" => requests == 3,
            _ => accepted == 8,
        }
    };
    let open: Vec<&str> = accounts.iter().map(|(account, _)| account.as_str()).filter(|account| !is_shut(account)).collect();
    until(
        || open.iter().all(|account| settled(account)),
        || {
            let left: Vec<_> = open.iter().filter(|account| !settled(account)).collect();
            format!("not settled: {left:?}\n{}", workspace.log())
        },
    );
    for account in accounts.iter().map(|(account, _)| account).filter(|account| is_shut(account)) {
        workspace.said(&[&format!("partner={account:?}"), "a partner waits"]);
    }
    until(|| dead().len() >= 10, || format!("too few dead letters: {:?}", dead()));
    end(running);
    let (report, dead) = (workspace.report(), dead());
    Played { workspace, log, report, dead }
}

fn end(running: Running) {
    running.signal("TERM");
    assert_eq!(running.end(), Some(0));
}

/// Returns the deliveries that were accepted, in order, of one queue or of all.
fn accepted(seen: &[Seen], queue: Option<&str>) -> Vec<u64> {
    let of = seen.iter().filter(|seen| seen.status == Some(200) && queue.is_none_or(|queue| seen.queue == queue));
    of.flat_map(|seen| seen.numbers.clone()).collect()
}

impl Played {
    fn seen(&self, account: &str) -> Vec<Seen> {
        self.log.lock().get(account).cloned().unwrap_or_default()
    }

    /// Returns the requests of an account as `0123 422`, one after the other.
    fn requests(&self, account: &str) -> String {
        let text = |seen: &Seen| {
            let numbers: String = seen.numbers.iter().map(u64::to_string).collect();
            format!("{numbers} {}", seen.status.unwrap_or(0))
        };
        self.seen(account).iter().map(text).collect::<Vec<_>>().join(", ")
    }

    /// Returns the dead letters of an account: number, kind, reason.
    fn dead_of(&self, account: &str) -> Vec<(u64, String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let of = self.dead.iter().filter(|letter| letter["account"] == account);
        of.map(|letter| (letter["payload"]["n"].as_u64().unwrap(), text(&letter["kind"]), text(&letter["reason"]))).collect()
    }
}

#[test]
fn every_row_does_what_the_table_says() {
    let played = play();
    unavailable_partners_get_the_same_batch_again(&played);
    what_a_partner_asks_for_holds_for_both_of_its_queues(&played);
    a_wrong_set_up_opens_the_breaker_and_loses_nothing(&played);
    culprits_are_found_and_the_good_are_delivered_once_in_order(&played);
    a_size_is_learnt(&played);
    a_head_that_blocks_is_set_aside_once_another_is_accepted(&played);
    the_books_are_right(&played);
}

fn unavailable_partners_get_the_same_batch_again(played: &Played) {
    assert_eq!(played.requests("well"), "01234567 200");
    for code in UNAVAILABLE {
        let account = format!("once-{code}");
        assert_eq!(played.requests(&account), format!("01234567 {code}, 01234567 200"));
        let seen = played.seen(&account);
        assert_eq!(seen[0].webhook_id, seen[1].webhook_id, "{account}");
    }
    assert_eq!(played.requests("hangs"), "01234567 0, 01234567 200");
    assert_eq!((played.requests("closed"), played.requests("tls")), (String::new(), String::new()));
    played.workspace.said(&["partner=\"closed\"", "state=backing_off", "connecting to"]);
    played.workspace.said(&["partner=\"tls\"", "state=backing_off", "TLS failed"]);
}

fn what_a_partner_asks_for_holds_for_both_of_its_queues(played: &Played) {
    for account in ["asks-429", "date-503"] {
        let seen = played.seen(account);
        assert_eq!(seen.len(), 3, "{account}: {seen:?}");
        let waited = seen[1].at - seen[0].at;
        // The date in the header has no fractions of a second.
        assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(60), "{account}: {waited:?}");
        for queue in ["stock", "invoice"] {
            assert_eq!(accepted(&seen, Some(queue)), ALL, "{account} {queue}");
        }
    }
}

fn a_wrong_set_up_opens_the_breaker_and_loses_nothing(played: &Played) {
    for code in SET_UP.into_iter().chain([451]) {
        let account = format!("setup-{code}");
        assert_eq!(played.requests(&account), format!("01234567 {code}"), "no second attempt before max_backoff");
        played.workspace.said(&[&format!("partner={account:?}"), "state=open", &format!("answered {code}")]);
        assert_eq!(played.dead_of(&account), [], "{account}");
    }
    let seen = played.seen("mended-401");
    assert_eq!(played.requests("mended-401"), "01234567 401, 01234567 200");
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1), "retried at max_backoff");
    for code in [404, 410] {
        let account = format!("gone-{code}");
        let seen = played.seen(&account);
        assert_eq!(accepted(&seen, None), ALL, "{account}");
        let refused: Vec<_> = seen.iter().filter(|seen| seen.queue == "stock").collect();
        assert_eq!(refused.len(), 1, "{account}: its bucket alone waits");
        assert_eq!(played.dead_of(&account), [], "{account}");
    }
}

fn culprits_are_found_and_the_good_are_delivered_once_in_order(played: &Played) {
    for code in [400, 411, 422, 431] {
        let account = format!("culprit-{code}");
        let halves = "01234567 X, 0123 X, 01 200, 23 X, 2 200, 3 X, 4567 200";
        assert_eq!(played.requests(&account), halves.replace('X', &code.to_string()));
        let excerpt: String = COMPLAINT.repeat(100).chars().take(1024).collect();
        assert_eq!(played.dead_of(&account), [(3, "refused".to_owned(), format!("answered {code}: {excerpt}"))]);
    }
    let conflict = "0 200, 1 200, 2 200, 3 409, 3 409, 3 409, 4 200, 5 200, 6 200, 7 200";
    assert_eq!(played.requests("conflict-409"), conflict);
    let refused = |account: &str| played.dead_of(account).into_iter().map(|(n, kind, _)| (n, kind)).collect::<Vec<_>>();
    assert_eq!(refused("conflict-409"), [(3, "refused".to_owned())]);
    // From then on, a partner that refuses everything is itself at fault.
    assert_eq!(played.requests("refuses-400"), "0 400, 1 400, 2 400");
    assert_eq!(refused("refuses-400"), [0, 1].map(|n| (n, "refused".to_owned())));
}

fn a_size_is_learnt(played: &Played) {
    assert_eq!(played.requests("large-413"), "01234567 413, 0123 413, 01 200, 23 200, 45 200, 67 200");
    assert_eq!(played.requests("huge-413"), "0 200, 1 200, 2 200, 3 200, 4 200, 5 413, 6 200, 7 200");
    let dead = played.dead_of("huge-413");
    assert_eq!((dead.len(), dead[0].0, dead[0].1.as_str()), (1, 5, "too_large"));
}

fn a_head_that_blocks_is_set_aside_once_another_is_accepted(played: &Played) {
    let alone = "0 200, 1 200, 2 500, 2 500, 3 200, 2 500, 4 200, 5 200, 6 200, 7 200";
    assert_eq!(played.requests("poison-500"), alone);
    let buried = "01234567 500, 01234567 500, 0123 500, 01 200, 23 500, 23 500, 2 500, 2 500, 3 200, 2 500, 4567 200";
    assert_eq!(played.requests("buried-500"), buried);
    for account in ["poison-500", "buried-500"] {
        let dead = played.dead_of(account);
        assert_eq!((dead.len(), dead[0].0, dead[0].1.as_str()), (1, 2, "refused"), "{account}");
        assert!(dead[0].2.starts_with(&format!("answered 500: {COMPLAINT}")), "{}", dead[0].2);
    }
}

fn the_books_are_right(played: &Played) {
    let accepted: usize = played.log.lock().values().map(|seen| accepted(seen, None).len()).sum();
    let count = |key: &str| -> u64 {
        let queues = played.report["queues"].as_array().unwrap();
        queues.iter().map(|queue| queue[key].as_u64().unwrap()).sum()
    };
    assert_eq!(count("delivered"), accepted as u64);
    assert_eq!((count("dead"), played.dead.len()), (10, 10));
    assert_eq!(count("received"), count("acked") + count("dead") + count("returned"));
}
