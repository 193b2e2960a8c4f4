//! The implementations under test, each with its other side, which can be looked at and can go away.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use octoconf::queue::sqs::credentials::{Fixed, Keys};
use octoconf::queue::sqs::{Named, RemoteQueue, Service};
use octoconf::settings::{Deliver, Format, HttpSettings};
use octoconf::sink::{Sink, Sinks, SqsSink, StdoutSink};
use parking_lot::Mutex;

use crate::support::partner::{OK, Partner, http, sinks};
use crate::support::proxy::Proxy;
use crate::support::proxy::fault::Fault;
use crate::support::sqs_server::SqsServer;

/// A sink, and its other side.
pub trait Driver: Sync {
    /// Returns the sink under test, to which every account leads.
    fn sink(&self) -> &dyn Sink;

    /// Returns what has arrived: a list for each place that keeps an order of its own, in that
    /// order. `None` if nothing is kept.
    fn arrived(&self) -> Option<Vec<Vec<String>>>;

    /// Makes the other side accept nothing, until [`Driver::come_back`].
    fn go_away(&self) {}

    fn come_back(&self) {}
}

/// What arrived, by place, in the order of arrival.
type Places = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// HTTP: the place is the URL, which contains the account.
pub struct Http {
    sinks: Sinks,
    places: Places,
    away: Arc<AtomicBool>,
    /// Dropped last, since it waits for the other side to close.
    _partner: Partner,
}

impl Default for Http {
    fn default() -> Self {
        let (places, away) = (Places::default(), Arc::new(AtomicBool::new(false)));
        let (kept, is_away) = (Arc::clone(&places), Arc::clone(&away));
        let partner = Partner::start(move |mut connection| {
            while let Some(request) = connection.request() {
                if is_away.load(Ordering::SeqCst) {
                    return;
                }
                let path = request.head.split(' ').nth(1).unwrap().to_owned();
                kept.lock().entry(path).or_default().extend(request.body.lines().map(str::to_owned));
                connection.send(OK);
            }
        });
        let url = format!("http://{}/{{queue}}/{{account}}", partner.address);
        let settings = HttpSettings { format: Format::Ndjson, ..http(url) };
        Self { sinks: sinks(Deliver::Http(settings)), places, away, _partner: partner }
    }
}

impl Driver for Http {
    fn sink(&self) -> &dyn Sink {
        &self.sinks
    }

    fn arrived(&self) -> Option<Vec<Vec<String>>> {
        Some(self.places.lock().values().cloned().collect())
    }

    fn go_away(&self) {
        self.away.store(true, Ordering::SeqCst);
    }

    fn come_back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }
}

/// A file per place. While the other side is away, the folder is gone and something else has its name.
pub struct File {
    sinks: Sinks,
    top: tempfile::TempDir,
}

impl File {
    fn folder(&self) -> PathBuf {
        self.top.path().join("out")
    }

    fn elsewhere(&self) -> PathBuf {
        self.top.path().join("elsewhere")
    }
}

impl Default for File {
    fn default() -> Self {
        let top = tempfile::tempdir().unwrap();
        let path = format!("{}/out/{{account}}.jsonl", top.path().display());
        Self { sinks: sinks(Deliver::File { path }), top }
    }
}

impl Driver for File {
    fn sink(&self) -> &dyn Sink {
        &self.sinks
    }

    fn arrived(&self) -> Option<Vec<Vec<String>>> {
        let files = fs::read_dir(self.folder()).into_iter().flatten();
        let lines = |path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
        Some(files.map(|file| lines(file.unwrap().path())).collect())
    }

    fn go_away(&self) {
        if self.folder().exists() {
            fs::rename(self.folder(), self.elsewhere()).unwrap();
        }
        fs::write(self.folder(), "not a folder").unwrap();
    }

    fn come_back(&self) {
        fs::remove_file(self.folder()).unwrap();
        if self.elsewhere().exists() {
            fs::rename(self.elsewhere(), self.folder()).unwrap();
        }
    }
}

/// A queue of a real server, behind a proxy that cuts all connections while the queue is away.
/// The place is the message group.
struct Sqs {
    sink: SqsSink,
    name: String,
    url: String,
    proxy: Proxy,
    server: SqsServer,
    /// What was received from the queue.
    seen: Places,
}

impl Sqs {
    fn start(name: &str) -> Self {
        let server = SqsServer::start();
        let proxy = Proxy::start(server.address(), 1);
        let keys = Keys { access_key_id: "test".into(), secret_access_key: "test".into(), session_token: None, expires_at: None };
        let service = Arc::new(Service::new("eu-west-1", &proxy.endpoint(), Arc::new(Fixed(keys))));
        let queue = server.queue(name, &[]);
        let (name, url) = (queue.name.clone(), queue.url.clone());
        let sink = SqsSink::new(Arc::new(RemoteQueue::new(service, Named::of(&name))));
        Self { sink, name, url, proxy, server, seen: Places::default() }
    }

    fn arrived(&self) -> Vec<Vec<String>> {
        let mut groups = self.seen.lock();
        for message in self.server.existing(&self.name, &self.url).drain() {
            let group = message["Attributes"]["MessageGroupId"].as_str().unwrap_or_default();
            groups.entry(group.to_owned()).or_default().push(message["Body"].as_str().unwrap().to_owned());
        }
        groups.values().cloned().collect()
    }
}

/// Defines two sinks that differ in the names of their queues.
macro_rules! sqs {
    ($kind:ident: $name:literal) => {
        pub struct $kind(Sqs);

        impl Default for $kind {
            fn default() -> Self {
                Self(Sqs::start($name))
            }
        }

        impl Driver for $kind {
            fn sink(&self) -> &dyn Sink {
                &self.0.sink
            }

            fn arrived(&self) -> Option<Vec<Vec<String>>> {
                Some(self.0.arrived())
            }

            fn go_away(&self) {
                self.0.proxy.disturb_by(1.0, &[Fault::CutBefore]);
            }

            fn come_back(&self) {
                self.0.proxy.calm();
            }
        }
    };
}

sqs!(SqsStandard: "out");
sqs!(SqsFifo: "out.fifo");

/// Standard output, played by a pipe whose reader can go away. There is one place for all accounts.
pub struct Output {
    sink: StdoutSink,
    pipe: Pipe,
}

#[derive(Clone, Default)]
struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    closed: Arc<AtomicBool>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.bytes.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Default for Output {
    fn default() -> Self {
        let pipe = Pipe::default();
        Self { sink: StdoutSink::to(pipe.clone()), pipe }
    }
}

impl Driver for Output {
    fn sink(&self) -> &dyn Sink {
        &self.sink
    }

    fn arrived(&self) -> Option<Vec<Vec<String>>> {
        let text = String::from_utf8(self.pipe.bytes.lock().clone()).unwrap();
        Some(vec![text.lines().map(str::to_owned).collect()])
    }

    fn go_away(&self) {
        self.pipe.closed.store(true, Ordering::SeqCst);
    }

    fn come_back(&self) {
        self.pipe.closed.store(false, Ordering::SeqCst);
    }
}

/// Accepts everything and keeps nothing.
pub struct Discard(Sinks);

impl Default for Discard {
    fn default() -> Self {
        Self(sinks(Deliver::Discard))
    }
}

impl Driver for Discard {
    fn sink(&self) -> &dyn Sink {
        &self.0
    }

    fn arrived(&self) -> Option<Vec<Vec<String>>> {
        None
    }
}
