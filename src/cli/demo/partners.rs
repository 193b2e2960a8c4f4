//! The partners of the demo: one small HTTP server on loopback that plays all of them, each with its own behaviour.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::books::Books;

/// The stack size of a connection's thread in bytes; a small one is enough, since the server copies no body.
const STACK: usize = 128 * 1024;

/// The maximum size of a request's head in bytes. Only our own client sends requests here, and its heads are smaller.
const MAX_HEAD_BYTES: u64 = 64 * 1024;

/// How a partner behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// Accepts every request at once.
    Quick,
    /// Accepts every request after this time.
    Slow(Duration),
    /// Refuses two of three requests, with 429 and Retry-After or with 503.
    Limiting,
    /// Closes every connection until this time after the start.
    Down(Duration),
}

impl Temper {
    /// Returns the behaviour for an account, by its rank: most are quick, one in 25 is slow, one in 50 limits, and five
    /// of the busy ones are down for the first seconds.
    pub fn of(account: &str) -> Self {
        let rank: u32 = account.rsplit('-').next().and_then(|rank| rank.parse().ok()).unwrap_or(0);
        match rank {
            3 | 14 | 27 | 45 | 80 => Self::Down(Duration::from_secs(4 + u64::from(rank % 7))),
            rank if rank % 50 == 7 => Self::Limiting,
            rank if rank % 25 == 11 => Self::Slow(Duration::from_millis(100 + u64::from(rank % 400))),
            _ => Self::Quick,
        }
    }
}

/// The server, which ends with the process.
pub struct Partners {
    /// The server's address on loopback.
    pub address: SocketAddr,
}

struct Shared {
    books: Arc<Books>,
    start: Instant,
    /// The number of requests to limiting partners, of which every third is accepted.
    to_limiting: AtomicU64,
}

impl Partners {
    /// Starts the server.
    #[expect(clippy::disallowed_methods, reason = "outages are counted from the server's start")]
    pub fn start(books: Arc<Books>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen on loopback for the simulated partners")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { books, start: Instant::now(), to_limiting: AtomicU64::new(0) });
        let accept = move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // If no thread can be started, the connection is closed, and the engine sees an unavailable partner.
                let _ = thread::Builder::new().name("partner".into()).stack_size(STACK).spawn(move || shared.serve(stream));
            }
        };
        thread::Builder::new().name("partners".into()).spawn(accept).context("cannot start the simulated partners")?;
        Ok(Self { address })
    }
}

impl Shared {
    /// Serves one connection, request after request.
    fn serve(&self, stream: TcpStream) {
        let Ok(mut writer) = stream.try_clone() else { return };
        let mut reader = BufReader::new(stream);
        while let Ok(Some(request)) = Request::read(&mut reader) {
            let Some(answer) = self.answer(&request) else { return };
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Returns the answer to a request, or `None` if the connection is to be closed without one.
    #[expect(
        clippy::disallowed_methods,
        reason = "a slow partner is played by a sleep, which the end of the process ends; the books want the moment of each delivery"
    )]
    fn answer(&self, request: &Request) -> Option<&'static str> {
        let temper = Temper::of(&request.account);
        match temper {
            Temper::Quick => {}
            Temper::Slow(pause) => thread::sleep(pause),
            Temper::Limiting => match self.to_limiting.fetch_add(1, Ordering::Relaxed) % 3 {
                0 => return Some("HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"),
                1 => return Some("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"),
                _ => {}
            },
            Temper::Down(until) if self.start.elapsed() < until => return None,
            Temper::Down(_) => {}
        }
        self.books.accepted(&request.queue, temper == Temper::Quick, &request.messages, Instant::now());
        Some("HTTP/1.1 204 No Content\r\n\r\n")
    }
}

/// The parts of a request that the books need.
struct Request {
    account: String,
    queue: String,
    messages: Vec<String>,
}

impl Request {
    /// Reads one request, or returns `None` if the client has closed the connection.
    fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut head = reader.by_ref().take(MAX_HEAD_BYTES);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut path = line.split(' ').nth(1).unwrap_or_default().split('/').skip(1);
        let mut request =
            Self { account: path.next().unwrap_or_default().to_owned(), queue: String::new(), messages: Vec::new() };
        let mut length = 0;
        loop {
            line.clear();
            head.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().map_err(|_| io::ErrorKind::InvalidData)?,
                "octoconf-queue" => value.clone_into(&mut request.queue),
                "octoconf-messages" => request.messages = value.split(',').map(|id| id.trim().to_owned()).collect(),
                _ => {}
            }
        }
        io::copy(&mut reader.take(length), &mut io::sink())?;
        Ok(Some(request))
    }
}
