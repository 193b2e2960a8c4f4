//! A scripted HTTP server on loopback for the tests of this folder, and keys to sign with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::{Keys, Surroundings};

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
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A server that answers the one request of each connection by script, until it is dropped.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    listening: Option<(TcpListener, JoinHandle<()>)>,
}

impl Server {
    pub fn start(script: impl Fn(&Seen) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (accepting, log) = (listener.try_clone().unwrap(), seen.clone());
        let thread = thread::Builder::new().spawn(move || {
            for stream in accepting.incoming() {
                let Some(request) = read(&mut BufReader::new(stream.as_ref().unwrap())) else { return };
                log.lock().push(request.clone());
                // The client may have closed the connection before the end.
                let _ = stream.unwrap().write_all(script(&request).as_bytes());
            }
        });
        Self { url, seen, listening: Some((listener, thread.unwrap())) }
    }

    /// Accepts connections and never answers.
    pub fn silent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // The kernel accepts the connections, and no thread reads them.
        let held = thread::Builder::new().spawn(|| ()).unwrap();
        Self { url, seen: Arc::default(), listening: Some((listener, held)) }
    }

    /// Begins an answer on one connection, then waits until the client gives up.
    pub fn stalling(beginning: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let accepting = listener.try_clone().unwrap();
        let thread = thread::Builder::new().spawn(move || {
            let mut stream = BufReader::new(accepting.accept().unwrap().0);
            read(&mut stream);
            stream.get_mut().write_all(beginning.as_bytes()).unwrap();
            // Ends when the connection is closed, in whatever way.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        Self { url, seen: Arc::default(), listening: Some((listener, thread.unwrap())) }
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (listener, thread) = self.listening.take().unwrap();
        // A connection without a request ends the thread.
        drop(TcpStream::connect(listener.local_addr().unwrap()));
        let ended = thread.join();
        assert!(thread::panicking() || ended.is_ok(), "the script panicked");
    }
}

fn read(stream: &mut impl BufRead) -> Option<Seen> {
    let mut first = String::new();
    stream.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push_str(&format!("{}: {value}\n", name.to_ascii_lowercase()));
    }
    let mut seen = Seen { line: first.trim_end().trim_end_matches(" HTTP/1.1").to_owned(), headers, body: String::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}
