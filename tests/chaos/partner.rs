//! The partners: one HTTP server on loopback that plays all of them and fails at random.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde_json::Value;

use crate::books::Books;
use crate::support::partner::{Connection, Partner, Request};
use crate::traffic::{Fate, Number};

/// The maximum delay of a slow answer. It is well below the timeout, since a partner that accepts
/// later receives a second delivery.
const SLOWEST: Duration = Duration::from_millis(300);

/// The request that [`Partners::settle`] makes.
const PROBE: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

pub struct Partners {
    server: Partner,
    shared: Arc<Shared>,
}

struct Shared {
    books: Arc<Books>,
    random: Mutex<fastrand::Rng>,
    /// The number of requests in 1,000 that fail.
    per_mille: AtomicU64,
    /// The number of further requests that are refused with 503, by account.
    away: Mutex<BTreeMap<String, u8>>,
    /// The number of requests by their result.
    fared: Mutex<BTreeMap<&'static str, u64>>,
    ended: Mutex<usize>,
    changed: Condvar,
}

/// How one request is treated.
#[derive(Debug, Clone, Copy)]
enum Temper {
    Takes,
    Slow(Duration),
    /// The request is accepted, and the answer's body breaks off: the status line is the verdict.
    TakesAndBreaks,
    Says(&'static str),
    /// This request and the account's next requests get a 503.
    Away(u8),
    Hangs,
    Cuts,
}

impl Partners {
    pub fn start(books: Arc<Books>, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            books,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            per_mille: AtomicU64::new(0),
            away: Mutex::default(),
            fared: Mutex::default(),
            ended: Mutex::new(0),
            changed: Condvar::new(),
        });
        let serving = shared.clone();
        let server = Partner::start(move |connection| {
            serving.serve(connection);
            *serving.ended.lock() += 1;
            serving.changed.notify_all();
        });
        Self { server, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/{{account}}", self.server.address)
    }

    /// Makes this share of the requests, 0 to 1, fail from now on.
    pub fn disturb(&self, share: f64) {
        self.shared.per_mille.store((share * 1000.0) as u64, Ordering::Relaxed);
        if share == 0.0 {
            self.shared.away.lock().clear();
        }
    }

    /// Waits until every request is answered. To be called when no requests are made any more.
    pub fn wait_until_answered(&self) {
        // Connections are served in turn, so once this one is answered (by its end), all earlier ones are counted.
        let mut probe = TcpStream::connect(self.server.address).expect("the partners listen");
        probe.write_all(PROBE).and_then(|()| probe.read_to_end(&mut Vec::new())).expect("the partners answer");
        let mut ended = self.shared.ended.lock();
        while *ended < self.server.accepted() {
            self.shared.changed.wait(&mut ended);
        }
    }

    /// Returns the number of requests by their result.
    pub fn fared(&self) -> BTreeMap<&'static str, u64> {
        self.shared.fared.lock().clone()
    }
}

impl Shared {
    fn serve(&self, mut connection: Connection) {
        while let Some(request) = connection.request() {
            if request.head.starts_with("GET") {
                return;
            }
            let temper = self.temper(account(&request));
            let (name, goes_on) = self.act(temper, &request, &mut connection);
            *self.fared.lock().entry(name).or_default() += 1;
            match temper {
                Temper::Hangs => return connection.hang(),
                _ if !goes_on => return,
                _ => {}
            }
        }
    }

    fn temper(&self, account: &str) -> Temper {
        if let Some(left) = self.away.lock().get_mut(account).filter(|left| **left > 0) {
            *left -= 1;
            return Temper::Says("503 Service Unavailable");
        }
        let mut random = self.random.lock();
        if random.u64(..1000) >= self.per_mille.load(Ordering::Relaxed) {
            return Temper::Takes;
        }
        match random.u8(..9) {
            0 => Temper::Slow(SLOWEST.mul_f64(random.f64())),
            1 => Temper::TakesAndBreaks,
            2 => Temper::Says("500 Internal Server Error"),
            3 => Temper::Says("502 Bad Gateway"),
            4 => Temper::Says("429 Too Many Requests\r\nretry-after: 1"),
            5 => Temper::Says("408 Request Timeout"),
            6 => Temper::Away(random.u8(1..8)),
            7 => Temper::Hangs,
            _ => Temper::Cuts,
        }
    }

    /// Answers a request; returns its result, and whether the connection continues.
    fn act(&self, temper: Temper, request: &Request, connection: &mut Connection) -> (&'static str, bool) {
        let say = |connection: &mut Connection, status: &str| {
            connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
        };
        match temper {
            Temper::Hangs => ("hung", true),
            Temper::Cuts => ("cut", false),
            Temper::Says(status) => (status.get(..3).unwrap_or(status), say(connection, status)),
            Temper::Away(more) => {
                self.away.lock().insert(account(request).to_owned(), more);
                ("503", say(connection, "503 Service Unavailable"))
            }
            Temper::Takes | Temper::TakesAndBreaks | Temper::Slow(_) => {
                if let Temper::Slow(pause) = temper {
                    connection.dawdle(pause);
                }
                let batch = numbers(request);
                if batch.iter().any(|number| number.fate() == Fate::Refused) {
                    return ("422", say(connection, "422 Unprocessable Content"));
                }
                // Recorded before the answer, since the program may send its next request as soon as it has the answer.
                self.books.accept(&batch);
                if let Temper::TakesAndBreaks = temper {
                    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbroken");
                    return ("taken", false);
                }
                ("taken", say(connection, "200 OK"))
            }
        }
    }
}

/// Returns the first segment of the path.
fn account(request: &Request) -> &str {
    request.head.split(['/', ' ']).nth(2).unwrap_or_default()
}

fn numbers(request: &Request) -> Vec<Number> {
    let payloads: Vec<Value> = serde_json::from_str(&request.body).expect("partners get an array of payloads");
    payloads.iter().map(|payload| Number::of(payload).expect("a payload carries its number")).collect()
}
