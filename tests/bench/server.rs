//! The partners' side: an HTTP server on loopback that costs as little as possible, on one thread with `epoll`.
//!
//! The first letter of a request's path decides the answer: `h…` gets none, `b…` gets a 503, and anything else gets a
//! 200, after a delay if one is set. The server keeps the times of stamped deliveries ([`crate::stamp`]).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::stamp::{self, Arrival};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";

/// The number of bytes read at once, into one buffer for all connections. With a buffer each, hundreds of connections
/// at once would cost this thread the time to allocate them, and would delay every stamp.
const CHUNK: usize = 64 * 1024;

pub struct Server {
    pub port: u16,
    /// The stamped deliveries, in the order of arrival.
    pub arrivals: Receiver<Arrival>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    requests: AtomicU64,
    /// The folder of the server's thread under `/proc`, with the thread's costs.
    facts: OnceLock<PathBuf>,
    stopping: AtomicBool,
}

impl Server {
    /// Starts a server that answers at once, at 127.0.0.1.
    pub fn start() -> Self {
        Self::with(&[Ipv4Addr::LOCALHOST], Duration::ZERO, false)
    }

    /// Listens on the same port of each of these addresses, answers after `delay`, and keeps stamps if `stamped`.
    pub fn with(hosts: &[Ipv4Addr], delay: Duration, stamped: bool) -> Self {
        let mut listeners = Vec::new();
        let mut port = 0;
        for host in hosts {
            let listener = TcpListener::bind((*host, port)).expect("a port on loopback");
            // Hundreds connect at once. A connection that does not fit the backlog would be dropped
            // and tried again a second later.
            rustix::net::listen(&listener, 4096).expect("a longer line");
            listener.set_nonblocking(true).expect("a listener that does not block");
            port = listener.local_addr().expect("an address").port();
            listeners.push(listener);
        }
        let shared = Arc::new(Shared::default());
        let (to_arrivals, arrivals) = unbounded();
        let to_arrivals = stamped.then_some(to_arrivals);
        let work = Arc::clone(&shared);
        let body = move || Loop::new(listeners, delay, to_arrivals, work).run();
        let thread = thread::Builder::new().name("partners".to_owned()).spawn(body).expect("a thread");
        Self { port, arrivals, shared, thread: Some(thread) }
    }

    /// Returns the number of requests read so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Returns the time for which the server's thread has had a core.
    pub fn cpu(&self) -> Duration {
        let file = self.shared.facts.wait().join("schedstat");
        let text = std::fs::read_to_string(file).expect("the kernel counts");
        let nanos = text.split_whitespace().next().and_then(|field| field.parse().ok());
        Duration::from_nanos(nanos.expect("nanoseconds on a core"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the partners' thread panicked");
    }
}

/// The state of the server's thread.
struct Loop {
    epoll: rustix::fd::OwnedFd,
    listeners: Vec<TcpListener>,
    delay: Duration,
    to_arrivals: Option<Sender<Arrival>>,
    shared: Arc<Shared>,
    connections: Vec<Option<Connection>>,
    chunk: Vec<u8>,
    free: Vec<usize>,
    /// Delayed answers, all with the same delay, so that the first is due first.
    delayed: VecDeque<(Instant, usize, u64)>,
    opened: u64,
}

struct Connection {
    stream: TcpStream,
    /// Distinguishes the connection from an earlier one in the same place.
    number: u64,
    input: Vec<u8>,
}

/// What is at the start of the input.
enum Found {
    Partly,
    Request { length: usize, kind: u8 },
}

impl Loop {
    fn new(listeners: Vec<TcpListener>, delay: Duration, to_arrivals: Option<Sender<Arrival>>, shared: Arc<Shared>) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        for (at, listener) in listeners.iter().enumerate() {
            epoll::add(&epoll, listener, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN).expect("a watch");
        }
        let (connections, free, delayed) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { epoll, listeners, delay, to_arrivals, shared, connections, chunk: vec![0; CHUNK], free, delayed, opened: 0 }
    }

    fn run(mut self) {
        let facts = std::fs::read_link("/proc/thread-self").expect("Linux");
        self.shared.facts.set(PathBuf::from("/proc").join(facts)).expect("it is set once");
        let mut events = Vec::with_capacity(256);
        while !self.shared.stopping.load(Ordering::Acquire) {
            let timeout = Timespec::try_from(self.patience()).expect("a short time");
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("epoll: {error}"),
            }
            for event in events.drain(..) {
                let at = event.data.u64() as usize;
                match at.checked_sub(self.listeners.len()) {
                    None => self.accept(at),
                    Some(place) => self.read(place),
                }
            }
            while self.delayed.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
                let Some((_, place, number)) = self.delayed.pop_front() else { break };
                if self.connections[place].as_ref().is_some_and(|connection| connection.number == number) {
                    self.answer(place, OK);
                }
            }
        }
    }

    /// Returns the time until the next answer is due, or until the thread checks whether to stop.
    fn patience(&self) -> Duration {
        let due = self.delayed.front().map(|(due, ..)| due.saturating_duration_since(Instant::now()));
        due.unwrap_or(Duration::from_millis(50)).min(Duration::from_millis(50))
    }

    fn accept(&mut self, listener: usize) {
        while let Ok((stream, _)) = self.listeners[listener].accept() {
            stream.set_nonblocking(true).expect("a connection that does not block");
            stream.set_nodelay(true).expect("a connection without delays");
            let place = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let token = epoll::EventData::new_u64((self.listeners.len() + place) as u64);
            epoll::add(&self.epoll, &stream, token, epoll::EventFlags::IN).expect("a watch");
            self.opened += 1;
            self.connections[place] = Some(Connection { stream, number: self.opened, input: Vec::new() });
        }
    }

    fn read(&mut self, place: usize) {
        let Some(connection) = &mut self.connections[place] else { return };
        let read = connection.stream.read(&mut self.chunk);
        connection.input.extend_from_slice(&self.chunk[..*read.as_ref().unwrap_or(&0)]);
        match read {
            Ok(0) => self.close(place),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.close(place),
            _ => self.serve(place),
        }
    }

    fn close(&mut self, place: usize) {
        self.connections[place] = None;
        self.free.push(place);
    }

    fn serve(&mut self, place: usize) {
        while let Some(connection) = &mut self.connections[place] {
            let Found::Request { length, kind } = find(&connection.input) else { return };
            self.shared.requests.fetch_add(1, Ordering::Relaxed);
            if let (Some(arrivals), b'o') = (&self.to_arrivals, kind) {
                stamp::arrived(&connection.input[..length], arrivals);
            }
            let number = connection.number;
            connection.input.drain(..length);
            match kind {
                b'h' => {}
                b'b' => self.answer(place, BUSY),
                _ if self.delay.is_zero() => self.answer(place, OK),
                _ => self.delayed.push_back((Instant::now() + self.delay, place, number)),
            }
        }
    }

    fn answer(&mut self, place: usize, answer: &[u8]) {
        let Some(connection) = &mut self.connections[place] else { return };
        // A few bytes into an empty buffer fit, unless the other side is gone.
        if connection.stream.write_all(answer).is_err() {
            self.close(place);
        }
    }
}

/// Finds a whole request at the start of the input: its length, and the first letter of its path.
fn find(input: &[u8]) -> Found {
    let Some(head) = memchr::memmem::find(input, b"\r\n\r\n") else { return Found::Partly };
    let name = b"content-length: ";
    let body = memchr::memmem::find(&input[..head], name).map_or(0, |at| {
        let digits = input[at + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
    });
    let length = head + 4 + body;
    // The letter after "POST /".
    let kind = input.get(6).copied().unwrap_or_default();
    if input.len() < length { Found::Partly } else { Found::Request { length, kind } }
}
