//! The client of the admin server, through which commands reach a running instance, with short timeouts.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use octoconf::admin;
use octoconf::config::{self, Environment};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::Request;
use ureq::{Agent, Timeout};

use super::failure::Failure;

/// The timeouts for the connection and for the whole request. The server is on this machine or near it, so it
/// answers quickly or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// The maximum size of an answer in bytes, far more than any answer has.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// A client of one instance.
pub struct Client {
    agent: Agent,
    address: SocketAddr,
    config: PathBuf,
    access: config::AdminAccess,
}

impl Client {
    /// Reads where the instance of this configuration listens. The rest of the configuration may be invalid.
    pub fn new(config: &Path) -> Result<Self, Failure> {
        let environment = Environment::of_process();
        let access = config::load_admin(config, &environment).map_err(|errors| Failure::Refused(errors.to_string()))?;
        if access.listen.is_empty() {
            let why = format!(
                "{}: admin.listen is \"\": an instance with this configuration cannot be queried; set an address",
                config.display()
            );
            return Err(Failure::Refused(why));
        }
        let address =
            admin::reached_at(&access.listen).with_context(|| format!("admin.listen: {} has no address", access.listen))?;
        Ok(Self::of(address, config, access))
    }

    fn of(address: SocketAddr, config: &Path, access: config::AdminAccess) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        Self { agent, address, config: config.to_owned(), access }
    }

    /// Returns what `/api/status` answers. Blocks for at most [`ANSWER_TIMEOUT`].
    pub fn status(&self) -> Result<Value, Failure> {
        self.ask("GET", "/api/status", "version")
    }

    /// Returns what `/api/partners/{account}` answers.
    pub fn partner(&self, account: &str) -> Result<Value, Failure> {
        self.ask("GET", &partner(account), "account")
    }

    /// Performs an action on a partner and returns the partner's state afterwards.
    pub fn act(&self, account: &str, action: &str) -> Result<Value, Failure> {
        self.ask("POST", &format!("{}/{action}", partner(account)), "account")
    }

    /// `key` is one that the answer of an instance has; another program may listen on the address.
    fn ask(&self, method: &str, path: &str, key: &str) -> Result<Value, Failure> {
        let Self { address, config, access, .. } = self;
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        if let Ok(Some(token)) = &access.token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        // The empty body makes the request carry a `content-length`.
        let request = request.body("").context("cannot make the request")?;
        let from = config.display();
        // What the instance does with a request that has reached it does not depend on whether its answer arrives.
        let done = if method == "GET" { "" } else { "; it may have been done all the same: look before you repeat it" };
        let mut answer = self.agent.run(request).map_err(|error| {
            let why = if was_sent(&error) {
                format!("{address} (admin.listen of {from}) gives no answer{done}")
            } else {
                format!(
                    "no instance answers on {address} (admin.listen of {from}): start it, or name the configuration that it runs with"
                )
            };
            anyhow::Error::new(error).context(why)
        })?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let body = body.with_context(|| format!("the answer of {address} broke off{done}"))?;
        let value: Option<Value> = serde_json::from_str(&body).ok();
        match (status, value) {
            (200, Some(value)) if value.get(key).is_some() => Ok(value),
            (_, value) => Err(self.refused(status, value.as_ref()).into()),
        }
    }

    fn refused(&self, status: u16, value: Option<&Value>) -> anyhow::Error {
        let Some(why) = value.and_then(|value| value.get("error")?.as_str()) else {
            return anyhow::anyhow!("{} answers {status}, and not as octoconf does; check admin.listen", self.address);
        };
        match (&self.access.token, status) {
            (Err(unreadable), 401) => anyhow::anyhow!("{why}; here it cannot be read: {unreadable}"),
            (Ok(None), 401) => anyhow::anyhow!("{why}; {} has no admin.token", self.config.display()),
            _ => anyhow::anyhow!("{why}"),
        }
    }
}

/// Returns whether the request may have reached a server.
fn was_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::ConnectionFailed | ureq::Error::Timeout(Timeout::Connect) => false,
        ureq::Error::Io(error) => error.kind() != io::ErrorKind::ConnectionRefused,
        _ => true,
    }
}

fn partner(account: &str) -> String {
    format!("/api/partners/{}", utf8_percent_encode(account, NON_ALPHANUMERIC))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_server::Server;

    fn client(address: SocketAddr) -> Client {
        Client::of(address, Path::new("a.toml"), config::AdminAccess { listen: address.to_string(), token: Ok(None) })
    }

    fn why(asked: Result<Value, Failure>) -> String {
        let Err(Failure::Failed(error)) = asked else { panic!("{asked:?}") };
        error.to_string()
    }

    /// A `skip` that is repeated because its answer did not arrive makes a dead letter of another delivery.
    #[test]
    fn an_action_without_an_answer_is_told_apart_from_an_instance_that_is_not_there() {
        // Each request comes without a body, and its connection is closed without an answer.
        let server = Server::start(|mut connection| drop(connection.head()));
        let address = server.address;
        let client = client(address);
        let (asked, acted) = (why(client.partner("acme")), why(client.act("acme", "skip")));
        drop(server);
        assert_eq!(asked, format!("{address} (admin.listen of a.toml) gives no answer"));
        assert_eq!(acted, format!("{asked}; it may have been done all the same: look before you repeat it"));
        assert!(why(client.act("acme", "skip")).starts_with("no instance answers on "), "nobody listens any more");
    }

    #[test]
    fn another_program_on_the_address_has_set_nothing_aside() {
        let server = Server::start(|mut connection| {
            connection.head();
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        });
        let address = server.address;
        let acted = why(client(address).act("acme", "skip"));
        assert_eq!(acted, format!("{address} answers 200, and not as octoconf does; check admin.listen"));
    }
}
