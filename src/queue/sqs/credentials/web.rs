//! Requests to the services that return keys, over agents of their own: bounded in time and size, without
//! redirects, and to the services of this machine without a proxy.
//!
//! They run on the thread that fetches keys, one at a time under [`super::Cached`].
//! `ureq` looks up names (that of STS or of the proxy; the others are mostly addresses) on a thread
//! that may outlive the timeout; at most one such thread is started per second.

use std::time::Duration;

use ureq::config::AutoHeaderValue;
use ureq::http::header::{HeaderName, HeaderValue};
use ureq::http::{Method, Request, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Error, Proxy};

use super::super::proxy;
use super::CredentialsError;
use crate::net::tls;

/// The largest answer in bytes, far above any that holds keys.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// The HTTP agents.
pub struct Web {
    near: Agent,
    far: Agent,
}

/// Where a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// On this machine or at an address of its own network alone, where no proxy leads.
    Near,
    /// At AWS: where the environment names a proxy, the network may let no request out without it.
    Far,
}

/// One request. Its header values and body may hold secrets, so no error shows them.
pub struct Ask<'a> {
    /// The source that is asked, for errors.
    pub from: &'a str,
    pub at: Whereabouts,
    pub method: Method,
    pub url: &'a str,
    pub headers: Vec<(&'static str, String)>,
    pub body: &'a [u8],
    /// The time for the whole request: look-up, connection, request and answer.
    pub patience: Duration,
}

/// A complete answer of any status.
pub struct Reply {
    pub status: u16,
    pub body: String,
}

impl Web {
    /// Creates the agents. Requests to AWS go through the proxy that the environment
    /// names (`HTTPS_PROXY`, `NO_PROXY`, …), as those to SQS do.
    pub fn new() -> Self {
        Self::through(proxy::of_environment())
    }

    /// Creates the agents. Requests to AWS go through this proxy.
    pub fn through(proxy: Option<Proxy>) -> Self {
        Self { near: Self::agent(None), far: Self::agent(proxy) }
    }

    fn agent(proxy: Option<Proxy>) -> Agent {
        let config = Agent::config_builder()
            .tls_config(tls::config())
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Keys are fetched minutes or hours apart, so an idle connection would be of no use.
            .max_idle_connections(0)
            .user_agent(AutoHeaderValue::Provided(concat!("octoconf/", env!("CARGO_PKG_VERSION")).to_owned().into()))
            .build();
        Agent::with_parts(config, tls::connector(), DefaultResolver::default())
    }

    /// Makes a request and returns the answer. Blocks for at most `patience`.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::Unreachable`] if there is no answer, [`CredentialsError::Malformed`] if it is
    /// too long or not text, and [`CredentialsError::Misconfigured`] if the request cannot even be written.
    pub fn ask(&self, ask: Ask<'_>) -> Result<Reply, CredentialsError> {
        let uri: Uri =
            ask.url.parse().map_err(|_| CredentialsError::misconfigured(ask.from, "its URL is not valid; correct it"))?;
        let host = uri.authority().map_or("", |authority| authority.as_str()).rsplit('@').next().unwrap_or_default().to_owned();
        let failed = |error: Error| failure(ask.from, &host, &error, ask.patience);
        let mut request = Request::new(ask.body);
        *request.uri_mut() = uri;
        for (name, value) in ask.headers {
            let value = HeaderValue::from_str(&value).map_err(|_| {
                let problem =
                    format!("its {name} holds a line break or another character that a header cannot contain; fix its source");
                CredentialsError::misconfigured(ask.from, problem)
            })?;
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let agent = match ask.at {
            Whereabouts::Near => &self.near,
            Whereabouts::Far => &self.far,
        };
        let answered = if ask.method == Method::GET {
            let request = request.map(|_| ());
            agent.run(agent.configure_request(request).timeout_global(Some(ask.patience)).build())
        } else {
            *request.method_mut() = ask.method;
            agent.run(agent.configure_request(request).timeout_global(Some(ask.patience)).build())
        };
        let mut response = answered.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec().map_err(failed)?;
        let body = String::from_utf8(body)
            .map_err(|_| CredentialsError::malformed(ask.from, format!("what {host} answered is not text")))?;
        Ok(Reply { status, body })
    }
}

fn failure(from: &str, host: &str, error: &Error, patience: Duration) -> CredentialsError {
    let why = match error {
        Error::BodyExceedsLimit(_) => {
            return CredentialsError::malformed(
                from,
                format!("{host} answered more than 64 KiB, which cannot be keys; check the address"),
            );
        }
        Error::Protocol(_) => {
            return CredentialsError::malformed(from, format!("{host} does not speak HTTP/1.1; check the address"));
        }
        Error::Timeout(_) => format!("{host} did not answer within {}", humantime::format_duration(patience)),
        Error::HostNotFound => format!("the name {host} is not known; check the region and the endpoint"),
        Error::Tls(text) => format!("TLS with {host} failed: {text}"),
        Error::NativeTls(error) => format!("TLS with {host} failed: {error}"),
        Error::Io(error) => format!("{host} cannot be reached: {error}"),
        Error::ConnectProxyFailed(why) => format!("{host} cannot be reached through the proxy that the environment names: {why}"),
        _ => format!("{host} cannot be reached"),
    };
    CredentialsError::unreachable(from, why)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Server, ok, status};
    use super::*;

    fn ask(url: &str, patience: Duration) -> Result<Reply, CredentialsError> {
        let headers = vec![("authorization", "hush".to_owned())];
        Web::through(None).ask(Ask { from: "test", at: Whereabouts::Far, method: Method::GET, url, headers, body: b"", patience })
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_of_any_status_is_read() {
        let server = Server::start(|_| "HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\nabc".to_owned());
        let reply = ask(&server.url, LONG).unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (503, "abc"));
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let server = Server::start(|_| "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned());
        assert_eq!(ask(&server.url, LONG).unwrap().status, 302);
        assert_eq!(server.requests().len(), 1);
    }

    #[test]
    fn silence_ends_in_time() {
        let server = Server::silent();
        for url in [server.url.clone(), server.url.replace("http://", "https://")] {
            let error = ask(&url, Duration::from_millis(50)).err().unwrap();
            assert!(error.is_transient() && error.to_string().contains("did not answer within 50ms"), "{error}");
        }
    }

    #[test]
    fn an_answer_that_stalls_ends_in_time() {
        for beginning in ["HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"] {
            let server = Server::stalling(beginning);
            let error = ask(&server.url, Duration::from_millis(200)).err().unwrap();
            assert!(error.to_string().contains("did not answer within 200ms"), "{beginning}: {error}");
        }
    }

    #[test]
    fn a_flood_a_half_and_a_garbled_answer_are_errors() {
        let flood = Server::start(|_| ok(&"x".repeat(10 * 1024 * 1024)));
        let half = Server::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc".to_owned());
        let garbled = Server::start(|_| "SSH-2.0-OpenSSH_9.9\r\n".to_owned());
        for (server, expected) in [(flood, "more than 64 KiB"), (half, "cannot be reached"), (garbled, "does not speak HTTP")] {
            let error = ask(&server.url, LONG).err().unwrap();
            assert!(error.is_transient() && error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_line_break_cannot_end_a_header() {
        let headers = vec![("authorization", "hush\r\nevil: 1".to_owned())];
        let (at, url) = (Whereabouts::Near, "http://127.0.0.1:1/");
        let ask = Ask { from: "test", at, method: Method::GET, url, headers, body: b"", patience: LONG };
        let error = Web::new().ask(ask).err().unwrap().to_string();
        assert!(error.contains("its authorization holds a line break") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn a_proxy_is_on_the_way_to_aws_and_to_nothing_near() {
        let proxy = Server::start(|_| status(403, ""));
        let near = Server::start(|_| ok("keys"));
        let web = Web::through(Some(ureq::Proxy::new(&proxy.url).unwrap()));
        let ask = |at, url: &str| {
            web.ask(Ask { from: "test", at, method: Method::GET, url, headers: vec![], body: b"", patience: LONG })
        };
        assert_eq!(ask(Whereabouts::Near, &near.url).unwrap().body, "keys");
        assert!(proxy.requests().is_empty());
        let error = ask(Whereabouts::Far, "https://sts.eu-west-1.amazonaws.com/").err().unwrap();
        assert!(error.is_transient() && error.to_string().contains("through the proxy"), "{error}");
        assert_eq!(proxy.requests()[0].line, "CONNECT sts.eu-west-1.amazonaws.com:443");
    }

    #[test]
    fn nobody_there_is_an_error_with_the_host_alone() {
        let error = ask("http://user:hush@127.0.0.1:1/path?hush", LONG).err().unwrap().to_string();
        assert!(error.contains(" 127.0.0.1:1 ") && !error.contains("hush"), "{error}");
    }
}
