//! An HTTP server on loopback that does exactly what a script says, byte by byte: a partner that hangs, breaks off or talks
//! nonsense, and any other service that a test needs.
//!
//! A script is a function of one [`Connection`]. It reads requests, sends bytes, and may dawdle, hang or reset; when it
//! returns, the connection is closed. Every connection runs the script on a thread of its own, so a script that counts or
//! remembers shares what it counts with the others. What [`Connection::request`] read can be received from
//! [`Server::requests`] in the order of arrival, with a timeout and without polling.
//!
//! ```text
//! let server = Server::start(|mut connection| {
//!     while let Some(request) = connection.request() {
//!         let answer = if request.head.starts_with("POST /acme ") { BUSY } else { OK };
//!         connection.send(answer);
//!     }
//! });
//! ```
//!
//! Declare a server before what connects to it: its drop waits until its scripts have ended, and most of them end when the
//! other side closes. A panic in a script fails the test at that moment.
//!
//! It knows nothing of the crate, whose unit tests use it too (`src/lib.rs` and `src/main.rs` include this file).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, unbounded};

/// An answer that accepts a request and keeps the connection open.
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An answer that accepts a request and has no body.
pub const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A server on a port of its own. See the [module](self).
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The requests, in the order of arrival.
    pub requests: Receiver<Request>,
    accepted: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

/// One request as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The request line and the headers, without the empty line.
    pub head: String,
    /// The body, which must be UTF-8 and have a `content-length`.
    pub body: String,
}

impl Request {
    /// Returns the value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }
}

/// One connection, as its script sees it.
pub struct Connection {
    /// The number of earlier connections.
    pub number: usize,
    stream: BufReader<TcpStream>,
    requests: Sender<Request>,
}

impl Connection {
    /// Reads one request to its end, or returns `None` once the other side has closed.
    pub fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let mut request = Request { head, body: String::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        request.body = String::from_utf8(body).unwrap();
        self.requests.send(request.clone()).unwrap();
        Some(request)
    }

    /// Reads a request up to its body.
    pub fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let start = head.len();
            if self.stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
            if &head[start..] == "\r\n" {
                return Some(head.trim_end().to_owned());
            }
        }
    }

    /// Sends these bytes, and returns whether the other side still accepts any.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Lets this time pass. Being late is the script of a slow partner: there is nothing to wait for instead.
    pub fn dawdle(&self, time: Duration) {
        let _ = never::<()>().recv_timeout(time);
    }

    /// Sends these bytes every few milliseconds for as long as the other side accepts them.
    pub fn drip(&mut self, bytes: impl AsRef<[u8]>) {
        while self.send(bytes.as_ref()) {
            self.dawdle(Duration::from_millis(5));
        }
    }

    /// Sends nothing until the other side closes.
    pub fn hang(&mut self) {
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    /// Closes so that the other side sees a reset rather than an end.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(self.stream.get_ref(), Some(Duration::ZERO)).unwrap();
    }
}

impl Server {
    /// Starts a server that runs `script` for each connection, on a thread of the connection's own.
    pub fn start(script: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = unbounded();
        let accepted = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let (count, stop) = (accepted.clone(), stopping.clone());
        let script = Arc::new(script);
        let listening = thread::Builder::new().spawn(move || {
            let mut talking = Vec::new();
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                // What a script has sent must be on its way, or a reset would take it back.
                stream.set_nodelay(true).unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (script, requests) = (script.clone(), sender.clone());
                let talk = move || script(Connection { number, stream: BufReader::new(stream), requests });
                talking.push(thread::Builder::new().spawn(talk).unwrap());
            }
            for thread in talking {
                thread.join().unwrap();
            }
        });
        Self { address, requests, accepted, stopping, listening: Some(listening.unwrap()) }
    }

    /// Starts a server that sends `answer` to every request on every connection.
    pub fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |mut connection| while connection.request().is_some() && connection.send(&answer) {})
    }

    /// Returns a URL of the server.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Returns how many connections have been made.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the next connection.
        drop(TcpStream::connect(self.address));
        let ended = self.listening.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok(), "a script of the server panicked");
    }
}
