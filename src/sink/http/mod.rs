//! `deliver = "http"`: a batch is one `POST`, and the status line of the response is the partner's answer.
//!
//! Called by delivery threads, many at once. A call blocks for at most the partner's connect timeout and timeout
//! together, whatever the partner does. The sink follows no redirect, uses no proxy, and does not decide what an answer
//! means, which is the dispatcher's part.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use ureq::Error;
use ureq::http::header::{HeaderValue, InvalidHeaderValue};
use ureq::http::{Request, Uri};

use self::agents::{Agents, InUse};
use self::attempt::{Attempt, Phase, Timeouts};
use self::resolver::PrivateAddress;
use self::target::{NoUrl, Target};
use self::wire::Dialer;
use super::Sink;
use crate::message::{Answer, Batch, RefusalCause};
use crate::net::clocks::Clocks;
use crate::net::names::{LookUp, Names};
use crate::settings::HttpSettings;

mod agents;
mod attempt;
mod guard;
mod head;
mod reach;
mod reply;
mod request;
mod resolver;
mod secrets;
mod signature;
pub mod target;
#[cfg(test)]
mod tests;
mod wire;

/// The number of names that are looked up at once.
const LOOK_UPS: usize = 8;

/// The way to all partners that are reached by HTTP.
pub struct HttpSink {
    agents: Agents,
    clock: Clocks,
    user_agent: HeaderValue,
}

/// The partners that share one section of the configuration.
pub struct HttpPartner {
    sink: Arc<HttpSink>,
    target: Target,
}

impl HttpPartner {
    /// # Errors
    ///
    /// When the settings contradict themselves; the text names the key.
    pub fn new(sink: Arc<HttpSink>, settings: &HttpSettings) -> Result<Self, String> {
        let target = Target::new(settings).map_err(|error| format!("{}: {error}", error.key()))?;
        Ok(Self { sink, target })
    }
}

impl Sink for HttpPartner {
    fn deliver(&self, batch: &Batch) -> Answer {
        self.sink.deliver(&self.target, batch)
    }
}

impl HttpSink {
    /// Creates the sink. `version` becomes part of the user agent, and `idle` is the largest number of idle
    /// connections. An error means that `version` cannot stand in a header.
    pub fn new(version: &str, idle: usize, look_up: LookUp, clock: Clocks) -> Result<Self, InvalidHeaderValue> {
        let names = Arc::new(Names::new(look_up, clock.clone(), LOOK_UPS));
        let agents = Agents::new(Dialer::new(clock.clone()), names, idle);
        Ok(Self { agents, user_agent: HeaderValue::from_str(&format!("octoconf/{version}"))?, clock })
    }

    /// Closes connections to hosts that were sent nothing for long.
    pub fn sweep(&self) {
        self.agents.sweep(self.clock.steady());
    }

    /// Sends a batch and blocks until the partner has answered, or the time is up.
    pub fn deliver(&self, target: &Target, batch: &Batch) -> Answer {
        let url = match target.url(&batch.queue, &batch.account) {
            Ok(url) => url,
            Err(NoUrl::ForAccount(reason)) => return Answer::Refused { cause: RefusalCause::Impossible, reason: reason.into() },
            Err(NoUrl::ForQueue(reason)) => return Answer::Refused { cause: RefusalCause::Place, reason: reason.into() },
        };
        let body = request::body(target.format, batch);
        let now = self.clock.steady();
        let agent = self.agents.take(&url, target.guarded, now);
        let timeouts = Timeouts::starting(now, target.connect_timeout, target.timeout);
        let make = || request::request(target, url.clone(), batch, &body, &self.user_agent, self.clock.wall());

        let (result, attempt) = self.attempt(&agent, make(), timeouts, target);
        if is_out_of_files(&result) {
            // An idle connection is worth less than this request.
            self.agents.close_idle();
        } else if !was_stale(&result, attempt) {
            return self.answer(&url, result, attempt);
        }
        // The partner closed an idle connection just as the request went out. That is no failure of the partner, and
        // nothing of this request was answered. All idle connections are suspect now: an age of zero makes the agent
        // drop them and connect anew.
        let again = agent.configure_request(make()).max_idle_age(std::time::Duration::ZERO).build();
        let (result, attempt) = self.attempt(&agent, again, timeouts, target);
        self.answer(&url, result, attempt)
    }

    /// Runs one request until its answer is read.
    fn attempt(
        &self,
        agent: &InUse<'_>,
        request: Request<&[u8]>,
        timeouts: Timeouts,
        target: &Target,
    ) -> (Result<Answer, Error>, Option<Attempt>) {
        attempt::begin(self.clock.steady(), timeouts);
        let result = agent.run(request).map(|response| reply::of_response(response, self.clock.wall(), &target.secrets));
        (result, attempt::finish())
    }

    fn answer(&self, url: &Uri, result: Result<Answer, Error>, attempt: Option<Attempt>) -> Answer {
        match (result, attempt.and_then(|attempt| attempt.status)) {
            (Ok(answer), _) => answer,
            // The headers broke off, were invalid or too large: the status line before them counts, and the wait that can be
            // read among them.
            (Err(_), Some(code)) => attempt::with_head(|head| reply::of_broken_head(code, head, self.clock.wall())),
            (Err(error), None) => failure(url, &error, attempt.map_or(Phase::LookUp, |attempt| attempt.phase)),
        }
    }
}

/// Returns whether a request failed only because its connection had been idle for too long.
fn was_stale(result: &Result<Answer, Error>, attempt: Option<Attempt>) -> bool {
    matches!(result, Err(Error::Io(_))) && attempt.is_some_and(|attempt| !attempt.fresh && !attempt.answered)
}

/// Returns whether this process has no file descriptor left for a connection.
fn is_out_of_files(result: &Result<Answer, Error>) -> bool {
    matches!(result, Err(Error::Io(error)) if lacks_files(error))
}

fn lacks_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Describes a failure: the phase, the host and port, and what is known about the cause. The URL's
/// path and query are left out.
fn failure(url: &Uri, error: &Error, phase: Phase) -> Answer {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let doing = match phase {
        Phase::LookUp => "looking up",
        Phase::Connect => "connecting to",
        Phase::Send => "sending to",
        Phase::Wait => "waiting for the answer of",
    };
    let what = match error {
        Error::Io(error) if lacks_files(error) => {
            "this process has no open files left for a connection: raise its limit (LimitNOFILE)".to_owned()
        }
        Error::Timeout(_) => "timed out".to_owned(),
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        Error::Io(error) => error.to_string(),
        Error::Tls(text) => format!("TLS failed: {text}"),
        Error::NativeTls(error) => format!("TLS failed: {error}"),
        Error::Protocol(_) => "what came back is not HTTP/1.1".to_owned(),
        Error::LargeResponseHeader(..) => "the headers of the answer are larger than 16 KiB".to_owned(),
        Error::Other(other) => match other.downcast_ref::<PrivateAddress>() {
            // The account itself is the address, so waiting does not help.
            Some(error @ PrivateAddress { literal: true, .. }) => {
                return Answer::Refused { cause: RefusalCause::Impossible, reason: format!("{authority}: {error}").into() };
            }
            _ => other.to_string(),
        },
        // The other errors tell no more than their names, except for some that contain a URL, which must not be shown.
        Error::BadUri(_) => "the URL is not valid".to_owned(),
        _ => "the request failed in a way that has no name".to_owned(),
    };
    Answer::Unreachable { reason: format!("{doing} {authority}: {what}").into() }
}
