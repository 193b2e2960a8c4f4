//! Sends signed requests over blocking HTTP.
//!
//! Pollers and ackers call it, several at once; a call blocks for at most its
//! patience. Long polls have connections of their own, so that they never keep a
//! delete waiting. It knows nothing of SQS: whatever the server sends is an answer.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read as _};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ureq::config::AutoHeaderValue;
use ureq::http::header::DATE;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport as Connection};
use ureq::{Agent, Error, Proxy};

use super::codec::Signed;
use super::proxy;
use super::resolve::Lookups;
use crate::mask::mask_url;
use crate::net::tls;

/// The time for look-up, connection and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may be idle and still be used: less than
/// the 60 s after which load balancers commonly close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// The largest number of idle connections of each of the two
/// agents: no more threads than this ever use one queue at once.
const IDLE_CONNECTIONS: usize = 64;

/// The server's answer to one request.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// The time on the server's clock (RFC 9110, section 6.6.1), if the answer has it.
    pub date: Option<SystemTime>,
    /// The time on our clock when the answer came.
    pub received: SystemTime,
    pub body: Bytes,
}

/// The bounds of one request.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Whether the request waits at the server, so that it needs a connection apart from the others.
    pub long: bool,
    /// The time for the whole request, answer included.
    pub patience: Duration,
    /// The largest size of an answer's body in bytes.
    pub longest_answer: u64,
}

/// The connections to one server, opened when needed and kept for the next request.
pub struct Transport {
    polls: Agent,
    calls: Agent,
}

impl Transport {
    /// Creates the connections' agents, without connecting. Requests go through
    /// the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`, …).
    pub fn new() -> Self {
        let (names, proxy) = (Lookups::system(), proxy::of_environment());
        Self { polls: agent(names.clone(), proxy.clone()), calls: agent(names, proxy) }
    }

    /// Sends a request and returns the answer, whatever its status. The error says why there was none.
    ///
    /// A request that dies on a reused connection before the first byte of an
    /// answer is sent once more, since the server had closed that connection.
    pub fn send(&self, request: &Signed, terms: Terms) -> Result<Response, String> {
        let agent = if terms.long { &self.polls } else { &self.calls };
        for last in [false, true] {
            PROGRESS.set(Progress::default());
            match attempt(agent, request, terms) {
                Err(Error::Io(error)) if !last && is_closed(&error) && PROGRESS.get() == Progress::default() => {}
                Err(error) => return Err(explain(&error, request, terms)),
                Ok(answer) => return Ok(answer),
            }
        }
        Err("the connection was closed twice before an answer".to_owned())
    }
}

fn agent(names: Lookups, proxy: Option<Proxy>) -> Agent {
    let config = Agent::config_builder()
        .tls_config(tls::config())
        .proxy(proxy)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .max_idle_connections(IDLE_CONNECTIONS)
        .max_idle_connections_per_host(IDLE_CONNECTIONS)
        .max_idle_age(IDLE_TIMEOUT)
        .user_agent(AutoHeaderValue::Provided(format!("octoconf/{}", env!("CARGO_PKG_VERSION")).into()))
        .accept(AutoHeaderValue::None)
        .accept_encoding(AutoHeaderValue::None)
        .build();
    Agent::with_parts(config, Watching(tls::connector()), names)
}

fn attempt(agent: &Agent, request: &Signed, terms: Terms) -> Result<Response, Error> {
    let mut post = agent.post(&request.url).config().timeout_global(Some(terms.patience)).build();
    for (name, value) in &request.headers {
        post = post.header(name, value.as_slice());
    }
    let response = post.send(&*request.body)?;
    let received = now();
    let (parts, body) = response.into_parts();
    let date = parts.headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    // A single allocation if the length is known, and never more than an answer may have.
    let length = body.content_length().unwrap_or_default().min(terms.longest_answer);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    body.into_with_config().limit(terms.longest_answer).reader().read_to_end(&mut bytes)?;
    let body = bytes;
    Ok(Response { status: parts.status.as_u16(), date, received, body: body.into() })
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// Returns what went wrong and what to look at. The URL is shown
/// without its secret parts; the request itself is all in its body.
fn explain(error: &Error, request: &Signed, terms: Terms) -> String {
    let url = mask_url(&request.url);
    match error {
        // The text of this error is the URL itself.
        Error::BadUri(_) => format!("{url} is not a usable URL; check endpoint and url"),
        Error::Timeout(phase) => format!("{url} did not answer within {:?} ({phase})", terms.patience),
        Error::HostNotFound => format!("the name in {url} cannot be looked up; check region and endpoint"),
        Error::BodyExceedsLimit(limit) => format!("{url} answered more than {limit} bytes, which SQS never does; check endpoint"),
        Error::NativeTls(error) => {
            format!("no TLS with {url}: {error}; where the server speaks plain HTTP, write http:// in endpoint")
        }
        Error::Protocol(error) => {
            format!("{url} does not answer in HTTP: {error}; where the server speaks TLS, write https:// in endpoint")
        }
        error => format!("{url}: {error}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "an edge: compared with the date of an answer, to tell a clock that is off")]
fn now() -> SystemTime {
    SystemTime::now()
}

thread_local! {
    /// The progress of the request on this thread: `ureq` connects,
    /// writes and reads on the thread that runs the request.
    static PROGRESS: Cell<Progress> = const { Cell::new(Progress { connected: false, answered: false }) };
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    /// Whether a connection was made for the request.
    connected: bool,
    /// Whether a byte of an answer came.
    answered: bool,
}

/// Records when a connection is made and when bytes arrive.
#[derive(Debug)]
struct Watching<C>(C);

impl<C: Connector<()>> Connector<()> for Watching<C> {
    type Out = Watched;

    fn connect(&self, details: &ConnectionDetails, chained: Option<()>) -> Result<Option<Watched>, Error> {
        PROGRESS.set(Progress { connected: true, ..PROGRESS.get() });
        Ok(self.0.connect(details, chained)?.map(|connection| Watched(connection.boxed())))
    }
}

struct Watched(Box<dyn Connection>);

impl Connection for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let progress = self.0.await_input(timeout)?;
        if progress {
            PROGRESS.set(Progress { answered: true, ..PROGRESS.get() });
        }
        Ok(progress)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let url = "http://user:hush@127.0.0.1:9324/1/stock".to_owned();
        let request = Signed { url: url.clone(), headers: Vec::new(), body: Bytes::new() };
        let terms = Terms { long: false, patience: Duration::from_secs(1), longest_answer: 1 };
        for error in [Error::HostNotFound, Error::BadUri(url), Error::ConnectionFailed, Error::BodyExceedsLimit(1)] {
            let why = explain(&error, &request, terms);
            assert!(why.contains("http://***@127.0.0.1:9324/1/stock") && !why.contains("hush"), "{why}");
        }
    }
}
