//! Services on loopback for the tests of this folder, and keys to sign with.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::{Keys, Surroundings};
use crate::scripted_server::{self, Request};

/// The time of all tests: 2026-01-01T00:00:00Z.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

pub fn keys(id: &str, expires_in: Option<u64>) -> Keys {
    Keys {
        access_key_id: id.into(),
        secret_access_key: "secret".into(),
        session_token: Some("token".into()),
        expires_at: expires_in.map(|secs| now() + Duration::from_secs(secs)),
    }
}

/// Surroundings at [`now`] in which only these variables exist, and nothing else of this machine.
pub fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    let clock: fn() -> SystemTime = now;
    Surroundings { clock: Arc::new(clock), ..Surroundings::new(variables.iter().copied().collect()) }
}

pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

pub fn status(code: u16, body: &str) -> String {
    format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// One request as it was received.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method and the path.
    pub line: String,
    /// All headers, names in lower case, as `name: value` lines.
    pub headers: String,
    pub body: String,
}

impl Seen {
    fn of(Request { head, body }: Request) -> Self {
        let (first, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
        let line = first.trim_end_matches(" HTTP/1.1").to_owned();
        let fields = rest.lines().filter_map(|line| line.split_once(": "));
        let headers = fields.map(|(name, value)| format!("{}: {value}\n", name.to_ascii_lowercase())).collect();
        Self { line, headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A server that answers the one request of each connection by script, until it is dropped.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _server: scripted_server::Server,
}

impl Server {
    pub fn start(script: impl Fn(&Seen) -> String + Send + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (Arc::clone(&seen), Mutex::new(script));
        let server = scripted_server::Server::start(move |mut connection| {
            let Some(request) = connection.request().map(Seen::of) else { return };
            log.lock().push(request.clone());
            let answer = (script.lock())(&request);
            connection.send(answer);
        });
        Self { url: format!("http://{}", server.address), seen, _server: server }
    }

    /// Accepts connections and never answers.
    pub fn silent() -> Self {
        Self::stalling("")
    }

    /// Begins an answer on each connection, then waits until the client gives up.
    pub fn stalling(beginning: &'static str) -> Self {
        let server = scripted_server::Server::start(move |mut connection| {
            connection.request();
            connection.send(beginning);
            connection.hang();
        });
        Self { url: format!("http://{}", server.address), seen: Arc::default(), _server: server }
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}
