//! A proxy between the program and the SQS server, which does to requests and answers what networks and gateways do.
//!
//! The fault of each request is drawn from a seed, in the order of the requests: a run can be repeated as far as its
//! threads run in the same order. Each connection has a thread of its own.

pub mod fault;
pub mod http;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use fault::{Drawn, Fault};
use http::Wire;
use parking_lot::Mutex;

/// A proxy on a free loopback port. Dropping it closes its connections.
pub struct Proxy {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    /// Dropped first, which ends all delays.
    at_work: Option<Sender<()>>,
    listening: Option<JoinHandle<()>>,
}

struct Inner {
    server: SocketAddr,
    chance: Mutex<Chance>,
    counts: Mutex<Counts>,
    stopping: AtomicBool,
    end: Receiver<()>,
    /// The open connections, which are closed when the proxy is dropped.
    connections: Mutex<Vec<Weak<TcpStream>>>,
}

struct Chance {
    random: fastrand::Rng,
    /// The share of requests that fail.
    share: f64,
    faults: Vec<Fault>,
}

/// What the proxy has seen and done.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// The number of requests by action, including those that failed.
    pub requests: BTreeMap<String, u64>,
    pub faults: BTreeMap<Fault, u64>,
}

impl Proxy {
    /// Starts a proxy that passes everything on unchanged, until [`Proxy::disturb`].
    pub fn start(server: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (at_work, end) = bounded(0);
        let inner = Arc::new(Inner {
            server,
            chance: Mutex::new(Chance { random: fastrand::Rng::with_seed(seed), share: 0.0, faults: fault::ALL.to_vec() }),
            counts: Mutex::default(),
            stopping: AtomicBool::new(false),
            end,
            connections: Mutex::default(),
        });
        let accepting = inner.clone();
        let listening = thread::Builder::new().name("proxy".into()).spawn(move || accepting.accept(&listener)).unwrap();
        Self { address, inner, at_work: Some(at_work), listening: Some(listening) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes this share of the requests, 0 to 1, fail from now on, in all ways.
    pub fn disturb(&self, share: f64) {
        self.disturb_by(share, &fault::ALL);
    }

    /// Like [`Proxy::disturb`], in these ways only.
    pub fn disturb_by(&self, share: f64, faults: &[Fault]) {
        let mut chance = self.inner.chance.lock();
        (chance.share, chance.faults) = (share, faults.to_vec());
    }

    /// Passes everything on unchanged from now on.
    pub fn calm(&self) {
        self.inner.chance.lock().share = 0.0;
    }

    pub fn counts(&self) -> Counts {
        self.inner.counts.lock().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        drop(self.at_work.take());
        for connection in self.inner.connections.lock().iter().filter_map(Weak::upgrade) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the thread that waits for the next connection.
        drop(TcpStream::connect(self.address));
        let ended = self.listening.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok(), "a thread of the proxy panicked");
    }
}

/// What becomes of a request.
enum Fate {
    /// The caller receives these bytes.
    Answered(Vec<u8>),
    /// The caller receives these bytes, and then the end of the connection.
    Cut { sent: Vec<u8>, reset: bool },
}

impl Inner {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        thread::scope(|scope| {
            for caller in listener.incoming() {
                if self.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(caller) = caller.and_then(|caller| self.open(caller)) else { continue };
                // How a connection ends only matters to its two ends.
                thread::Builder::new().name("proxied".into()).spawn_scoped(scope, || drop(self.serve(caller))).unwrap();
            }
        });
    }

    /// Adds a connection to the open ones. It is closed when its last owner drops it.
    fn open(&self, connection: TcpStream) -> io::Result<Arc<TcpStream>> {
        connection.set_nodelay(true)?;
        let connection = Arc::new(connection);
        let mut open = self.connections.lock();
        open.retain(|connection| connection.strong_count() > 0);
        open.push(Arc::downgrade(&connection));
        drop(open);
        // It may have been accepted while the others were being closed.
        if self.stopping.load(Ordering::SeqCst) { Err(io::ErrorKind::NotConnected.into()) } else { Ok(connection) }
    }

    /// Serves one connection of a caller, request after request.
    fn serve(&self, caller: Arc<TcpStream>) -> io::Result<()> {
        let mut requests = BufReader::new(&*caller);
        let mut server = Server { proxy: self, connection: None };
        while let Some(request) = Wire::read(&mut requests)? {
            let drawn = self.draw(&request);
            match self.pass(&request, drawn, &mut server)? {
                Fate::Answered(bytes) => (&*caller).write_all(&bytes)?,
                Fate::Cut { sent, reset } => {
                    (&*caller).write_all(&sent)?;
                    if reset {
                        rustix::net::sockopt::set_socket_linger(&*caller, Some(Duration::ZERO))?;
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn draw(&self, request: &Wire) -> Option<Drawn> {
        let mut chance = self.chance.lock();
        let Chance { random, share, faults } = &mut *chance;
        let fault = if random.f64() < *share { random.choice(&*faults).copied() } else { None };
        let drawn = fault.map(|fault| Drawn::new(fault, random));
        drop(chance);
        let mut counts = self.counts.lock();
        *counts.requests.entry(action(request)).or_default() += 1;
        if let Some(fault) = fault {
            *counts.faults.entry(fault).or_default() += 1;
        }
        drawn
    }

    fn pass(&self, request: &Wire, drawn: Option<Drawn>, server: &mut Server<'_>) -> io::Result<Fate> {
        let bytes = request.bytes();
        let Some(mut drawn) = drawn else { return Ok(Fate::Answered(server.ask(&bytes)?.bytes())) };
        let cut = |sent: &[u8], reset: bool| Ok(Fate::Cut { sent: sent.to_vec(), reset });
        match drawn.fault {
            Fault::RequestDelayed => {
                self.wait(drawn.delay);
                Ok(Fate::Answered(server.ask(&bytes)?.bytes()))
            }
            Fault::AnswerDelayed => {
                let answer = server.ask(&bytes)?;
                self.wait(drawn.delay);
                Ok(Fate::Answered(answer.bytes()))
            }
            Fault::CutBefore => cut(&[], drawn.reset),
            Fault::CutWithin => {
                server.tell(drawn.part(&bytes))?;
                cut(&[], drawn.reset)
            }
            Fault::CutAfter => {
                server.ask(&bytes)?;
                cut(&[], drawn.reset)
            }
            // Not a reset: a reset may overtake the bytes before it, and the answer would not be cut but lost.
            Fault::AnswerCut => cut(drawn.part(&server.ask(&bytes)?.bytes()), false),
            Fault::Duplicated => {
                let answers = [server.ask(&bytes)?, server.ask(&bytes)?];
                let [first, second] = answers.map(|answer| answer.bytes());
                Ok(Fate::Answered(if drawn.second { second } else { first }))
            }
            Fault::RequestGarbled => {
                let mut bytes = bytes;
                drawn.garble_request(&mut bytes);
                cut(&server.ask(&bytes)?.bytes(), false)
            }
            Fault::AnswerGarbled => {
                let mut answer = server.ask(&bytes)?;
                drawn.garble_answer(&mut answer.body);
                Ok(Fate::Answered(answer.bytes()))
            }
            Fault::Foreign => Ok(Fate::Answered(drawn.page())),
            Fault::Throttled => Ok(Fate::Answered(drawn.refusal())),
        }
    }

    /// Waits for this time, or until the proxy is dropped.
    fn wait(&self, delay: Duration) {
        let _ = self.end.recv_timeout(delay);
    }
}

/// The server's side of one connection, opened when it is first needed.
struct Server<'proxy> {
    proxy: &'proxy Inner,
    connection: Option<Arc<TcpStream>>,
}

impl Server<'_> {
    fn tell(&mut self, bytes: &[u8]) -> io::Result<Arc<TcpStream>> {
        let connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => self.connection.insert(self.proxy.open(TcpStream::connect(self.proxy.server)?)?).clone(),
        };
        (&*connection).write_all(bytes)?;
        Ok(connection)
    }

    fn ask(&mut self, bytes: &[u8]) -> io::Result<Wire> {
        let connection = self.tell(bytes)?;
        // One request, one answer: nothing is read ahead, so that a new reader loses nothing.
        let answer = Wire::read(&mut BufReader::new(&*connection))?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.connection = None;
        }
        Ok(answer)
    }
}

/// Returns the action that a request asks for, in either protocol of SQS.
fn action(request: &Wire) -> String {
    let in_head = request.header("x-amz-target").and_then(|target| target.strip_prefix("AmazonSQS."));
    let body = str::from_utf8(&request.body).unwrap_or_default();
    let in_body = || body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    in_head.or_else(in_body).unwrap_or("unknown").to_owned()
}
