//! `deliver = "http"`: a batch is one `POST`, and the status line of what comes back is the partner's word on it.
//!
//! Called by deliver threads, many at once; blocks for the partner's connect time-out and time-out together at most, whatever the
//! partner does. It follows no redirect, uses no proxy, and never decides what an answer means: that is the dispatcher's.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use ureq::Error;
use ureq::http::header::{HeaderValue, InvalidHeaderValue};
use ureq::http::{Request, Uri};

use self::agents::{Agents, InUse};
use self::attempt::{Attempt, Limits, Phase};
use self::lookup::PrivateAddress;
use self::target::Target;
use self::wire::Dialer;
use super::Sink;
use crate::config::settings::HttpSettings;
use crate::message::{Answer, Batch};
use crate::net::clock::Clock;
use crate::net::names::{LookUp, Names};

mod agents;
mod attempt;
mod guard;
mod lookup;
mod reply;
mod request;
mod secrets;
mod signature;
pub mod target;
#[cfg(test)]
mod tests;
mod wire;

/// Names that are looked up at once.
const LOOK_UPS: usize = 8;

/// Every partner that is reached by HTTP.
pub struct HttpSink {
    agents: Agents,
    clock: Clock,
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
    /// `version`: what the user agent ends with. `idle`: most connections that lie idle.
    pub fn new(version: &str, idle: usize, look_up: LookUp, clock: Clock) -> Result<Self, InvalidHeaderValue> {
        let names = Arc::new(Names::new(look_up, clock.clone(), LOOK_UPS));
        let agents = Agents::new(Dialer::new(clock.clone()), names, idle);
        Ok(Self { agents, user_agent: HeaderValue::from_str(&format!("octoconf/{version}"))?, clock })
    }

    /// Closes connections to hosts that nothing was sent to for long.
    pub fn sweep(&self) {
        self.agents.sweep(self.clock.steady());
    }

    /// Sends a batch and waits for the answer.
    pub fn deliver(&self, target: &Target, batch: &Batch) -> Answer {
        let url = match target.url(&batch.queue, &batch.account) {
            Ok(url) => url,
            Err(reason) => return Answer::Refused { reason: reason.into() },
        };
        let body = request::body(target.format, batch);
        let now = self.clock.steady();
        let agent = self.agents.take(&url, target.guarded, now);
        let limits = Limits::starting(now, target.connect_timeout, target.timeout);
        let make = || request::request(target, url.clone(), batch, &body, &self.user_agent, self.clock.wall());

        let (result, attempt) = self.attempt(&agent, make(), limits, target);
        if is_out_of_files(&result) {
            // Those of connections that lie idle are worth less than this request.
            self.agents.close_idle();
        } else if !was_stale(&result, attempt) {
            return self.answer(&url, result, attempt);
        }
        // The partner closed an idle connection just as the request went out: no failure of its own, and nothing of this request was
        // answered. All that lie idle are suspect now: an age of zero makes the agent drop them and connect anew.
        let again = agent.configure_request(make()).max_idle_age(std::time::Duration::ZERO).build();
        let (result, attempt) = self.attempt(&agent, again, limits, target);
        self.answer(&url, result, attempt)
    }

    /// Runs one request until its answer is read.
    fn attempt(
        &self,
        agent: &InUse<'_>,
        request: Request<&[u8]>,
        limits: Limits,
        target: &Target,
    ) -> (Result<Answer, Error>, Option<Attempt>) {
        attempt::begin(self.clock.steady(), limits);
        let result = agent.run(request).map(|response| reply::of_response(response, self.clock.wall(), &target.secrets));
        (result, attempt::finish())
    }

    fn answer(&self, url: &Uri, result: Result<Answer, Error>, attempt: Option<Attempt>) -> Answer {
        match (result, attempt.and_then(|attempt| attempt.status)) {
            (Ok(answer), _) => answer,
            // The headers broke off, were garbage or too large: the status line before them stands.
            (Err(_), Some(code)) => reply::of_status(code),
            (Err(error), None) => failure(url, &error, attempt.map_or(Phase::LookUp, |attempt| attempt.phase)),
        }
    }
}

/// Whether a request failed for no other reason than that its connection had been idle for too long.
fn was_stale(result: &Result<Answer, Error>, attempt: Option<Attempt>) -> bool {
    matches!(result, Err(Error::Io(_))) && attempt.is_some_and(|attempt| !attempt.fresh && !attempt.answered)
}

/// Whether this process has no file left for a connection.
fn is_out_of_files(result: &Result<Answer, Error>) -> bool {
    matches!(result, Err(Error::Io(error)) if lacks_files(error))
}

fn lacks_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// A failure in words: the phase, the host and port, and what is known; nothing of the URL's path and query.
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
            // The account itself is the address: no wait makes it another one.
            Some(error @ PrivateAddress { literal: true, .. }) => {
                return Answer::Refused { reason: format!("{authority}: {error}").into() };
            }
            _ => other.to_string(),
        },
        // None of the others holds more than its name says; a URL that some hold is left out.
        Error::BadUri(_) => "the URL is not valid".to_owned(),
        _ => "the request failed in a way that has no name".to_owned(),
    };
    Answer::Unreachable { reason: format!("{doing} {authority}: {what}").into() }
}
