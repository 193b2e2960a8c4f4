//! A partner on loopback that answers exactly as its script says, and the settings and batches to reach it with.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, never, unbounded};
use octoconf::message::{Answer, Batch, Item, Message};
use octoconf::settings::{Deliver, Format, HttpSettings, PartnerSettings, PartnersSettings};
use octoconf::sink::{Limits, Sinks};

/// Listens on a port of its own; every connection runs the script on a thread of its own. Declare it before the sinks
/// that reach it: its drop waits until its scripts have ended, and they end when the other side closes.
pub struct Partner {
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
    pub body: String,
}

impl Request {
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

impl Partner {
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

    /// Starts a partner that sends `answer` to every request on every connection.
    pub fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |mut connection| while connection.request().is_some() && connection.send(&answer) {})
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Returns how many connections have been made.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the next connection.
        drop(TcpStream::connect(self.address));
        let ended = self.listening.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok(), "the partner's script panicked");
    }
}

pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub fn http(url: impl Into<String>) -> HttpSettings {
    HttpSettings {
        url: url.into(),
        format: Format::Json,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        signing_secret: None,
        headers: BTreeMap::new(),
        allow_private_addresses: false,
    }
}

pub fn partner(deliver: Deliver) -> PartnerSettings {
    PartnerSettings {
        deliver,
        max_batch: 100,
        max_batch_bytes: 256 * 1024,
        linger: Duration::ZERO,
        rate: None,
        burst: 1,
        parallel: 1,
        min_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(300),
        breaker_failures: 5,
        max_waiting: 1000,
        hold_for: Duration::from_secs(30),
        give_up_after: None,
        idle_timeout: Duration::from_secs(600),
    }
}

pub fn everyone(deliver: Deliver) -> PartnersSettings {
    PartnersSettings { default: partner(deliver), by_account: BTreeMap::new() }
}

/// Sinks of which every account is delivered in the same way.
pub fn sinks(deliver: Deliver) -> Sinks {
    Sinks::new(&everyone(deliver), Limits::of(16), "1.2.3").unwrap()
}

pub fn http_sinks(settings: HttpSettings) -> Sinks {
    sinks(Deliver::Http(settings))
}

/// A batch of queue `stock` whose messages are `m0`, `m1`, …; its own id is `m0`.
pub fn batch(account: &str, payloads: &[&str]) -> Batch {
    let named: Vec<_> = payloads.iter().enumerate().map(|(at, payload)| (format!("m{at}"), (*payload).to_owned())).collect();
    batch_of(account, &named)
}

/// A batch of queue `stock`: the id of each message, and its payload.
pub fn batch_of(account: &str, payloads: &[(String, String)]) -> Batch {
    let item = |(id, payload): &(String, String)| {
        let message =
            Message { sent_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045), ..Message::new(id, Bytes::new()) };
        Item { message: Arc::new(message), index: None, payload: Bytes::copy_from_slice(payload.as_bytes()) }
    };
    let items = payloads.iter().map(item).collect();
    let bytes = payloads.iter().map(|(_, payload)| payload.len()).sum();
    Batch { account: account.into(), queue: "stock".into(), items, bytes }
}

/// Returns the reason of an answer that must be `Unreachable`.
pub fn unreachable(answer: Answer) -> String {
    match answer {
        Answer::Unreachable { reason } => reason.into(),
        other => panic!("expected Unreachable, got {other:?}"),
    }
}
