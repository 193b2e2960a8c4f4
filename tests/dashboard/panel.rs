//! Plays the admin server: it serves the page's real files, and answers that a test sets. Time is the number of
//! answers: each `/api/status` is one second after the one before, so that rates are exact.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::page;
use crate::support::partner::{Connection, Partner, Request};

/// The answers, which tests change while the page is open.
pub struct Answers {
    pub status: Value,
    /// The number added to each counter of each queue, from one status to the next.
    pub growth: u64,
    pub partners: BTreeMap<String, Value>,
    /// The answers to `/api/dead` and `/api/partners?q=`, or `None` if there is no such path.
    pub dead: Option<Value>,
    pub found: Option<Value>,
    /// Whether searches are refused, because of too many others.
    pub busy: bool,
    /// The token, or `None` if none is configured.
    pub token: Option<&'static str>,
    /// Whether reading needs the token too.
    pub closed: bool,
    /// The answer to a POST, instead of the action.
    pub refusal: Option<(u16, &'static str)>,
    /// Whether connections are closed without an answer.
    pub down: bool,
    /// The answer instead of JSON.
    pub nonsense: Option<&'static str>,
    /// `(account, action, authorization)` of each POST.
    pub actions: Vec<(String, String, Option<String>)>,
}

pub struct Panel {
    pub answers: Arc<Mutex<Answers>>,
    server: Partner,
}

impl Panel {
    pub fn start(status: Value) -> Self {
        let answers = Answers {
            status,
            growth: 100,
            partners: BTreeMap::new(),
            dead: Some(json!([])),
            found: None,
            busy: false,
            token: Some("let-me-in"),
            closed: false,
            refusal: None,
            down: false,
            nonsense: None,
            actions: Vec::new(),
        };
        let answers = Arc::new(Mutex::new(answers));
        let shared = answers.clone();
        let server = Partner::start(move |mut connection| serve(&mut connection, &shared));
        Self { answers, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.server.address)
    }
}

/// Serves one request per connection, so that a test can take the server away between two requests.
fn serve(connection: &mut Connection, answers: &Mutex<Answers>) {
    let Some(request) = connection.request() else { return };
    let mut answers = answers.lock();
    if answers.down {
        return;
    }
    let (status, content_type, body) = answer(&request, &mut answers);
    let policy = page::CONTENT_SECURITY_POLICY;
    connection.send(format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-security-policy: {policy}\r\nx-content-type-options: nosniff\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
}

fn answer(request: &Request, answers: &mut Answers) -> (u16, &'static str, String) {
    let mut words = request.head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if let Some(file) = page::file(path) {
        return (200, file.content_type, file.body.to_owned());
    }
    let (status, body) = match path {
        "/healthz" | "/readyz" => return (200, "text/plain", "ok".to_owned()),
        _ if answers.closed && !allowed(request, answers) => (401, json!({ "error": "a token is needed" })),
        "/api/status" => return (200, "application/json", next_status(answers)),
        "/api/dead" => found_or_not(answers.dead.as_ref()),
        "/api/partners" if answers.busy => (503, json!({ "error": "too many searches at once" })),
        "/api/partners" if query.starts_with("q=") => found_or_not(answers.found.as_ref()),
        _ => match path.strip_prefix("/api/partners/") {
            Some(rest) => partner(method, rest, request, answers),
            None => (404, json!({ "error": "no such page" })),
        },
    };
    (status, "application/json", body.to_string())
}

fn found_or_not(answer: Option<&Value>) -> (u16, Value) {
    answer.map_or((404, json!({ "error": "no such page" })), |answer| (200, answer.clone()))
}

fn allowed(request: &Request, answers: &Answers) -> bool {
    let wanted = answers.token.map(|token| format!("Bearer {token}"));
    wanted.is_some() && request.header("authorization") == wanted.as_deref()
}

fn next_status(answers: &mut Answers) -> String {
    if let Some(text) = answers.nonsense {
        return text.to_owned();
    }
    answers.status["uptime_s"] = (answers.status["uptime_s"].as_f64().unwrap() + 1.0).into();
    let growth = answers.growth;
    for queue in answers.status["queues"].as_array_mut().unwrap() {
        for counter in ["received", "handled", "delivered", "acked"] {
            queue[counter] = (queue[counter].as_u64().unwrap() + growth).into();
        }
    }
    answers.status.to_string()
}

fn partner(method: &str, rest: &str, request: &Request, answers: &mut Answers) -> (u16, Value) {
    let decode = |text| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    match (method, rest.split_once('/')) {
        ("GET", None) => found_or_not(answers.partners.get(&decode(rest))),
        ("POST", Some((account, action))) => {
            let authorization = request.header("authorization").map(str::to_owned);
            answers.actions.push((decode(account), action.to_owned(), authorization));
            match (answers.token, answers.refusal) {
                (None, _) => (403, json!({ "error": "no token is configured" })),
                (Some(_), _) if !allowed(request, answers) => (401, json!({ "error": "wrong token" })),
                (Some(_), Some((status, error))) => (status, json!({ "error": error })),
                (Some(_), None) => (200, json!({})),
            }
        }
        _ => (405, json!({ "error": "not this method" })),
    }
}

pub fn queue(name: &str, source: &str) -> Value {
    json!({ "name": name, "source": source, "received": 1000, "handled": 1000, "delivered": 900, "acked": 900, "returned": 0, "dead": 3,
            "discarded": 0, "duplicates_dropped": 0, "leases_lost": 0, "requests": 200, "empty_receives": 10, "oldest_age_s": 42.5,
            "handler": "product", "handler_pending": 40, "handler_running": 10, "reached": true, "failing": [],
            "requests_per_message": 0.2, "empty_receive_share": 0.05, "dollars_a_day": if source == "sqs" { json!(1.236) } else { json!(null) } })
}

pub fn row(account: &str, state: &str, age: f64) -> Value {
    json!({ "account": account, "queue": "stock", "waiting": 120, "in_flight": 1, "state": state, "reason": "its breaker is open",
            "next_attempt_in_s": 75.0, "oldest_age_s": age, "failures": 7, "last_error": "503 Service Unavailable" })
}

pub fn report(account: &str, state: &str) -> Value {
    json!({ "account": account, "state": state, "reason": "its breaker is open", "next_attempt_in_s": 75.0, "waiting": 120, "in_flight": 0,
            "oldest_age_s": 3700.0, "failures": 7, "last_error": "503 Service Unavailable", "learned_batch": 40,
            "rate": null, "breaker_failures": 5, "lease_ends_in_s": 42.0,
            "why": ["120 deliveries wait.", "Why: its breaker is open.", "The last error: <b>503</b>."],
            "queues": [{ "queue": "stock", "waiting": 120, "in_flight": 0, "state": state, "reason": "its breaker is open",
                         "next_attempt_in_s": 75.0, "oldest_age_s": 3700.0, "failures": 7 }] })
}

/// The status of a running instance with these waiting partners.
pub fn status(queues: Vec<Value>, total: usize, waiting: Vec<Value>) -> Value {
    let of = |state: &str| waiting.iter().filter(|row| row["state"] == state).count();
    let troubled: usize = ["open", "backing_off", "limited", "paused"].into_iter().map(of).sum();
    json!({ "version": "9.8.7", "uptime_s": 5000.0, "state": "running", "in_flight": 14230, "in_flight_bytes": 9_123_456, "queues": queues,
            "partners": { "total": total, "healthy": total - troubled, "waiting": waiting.len(), "backing_off": of("backing_off"),
                          "open": of("open"), "limited": of("limited"), "paused": of("paused") },
            "waiting": waiting })
}
