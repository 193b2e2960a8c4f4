//! The client of the admin server, through which commands reach a running instance, with short timeouts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use octoconf::admin;
use octoconf::config::{self, Environment};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

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
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self { agent, address, config: config.to_owned(), access })
    }

    /// Returns what `/api/status` answers. Blocks for at most [`ANSWER_TIMEOUT`].
    pub fn status(&self) -> Result<Value, Failure> {
        self.ask("GET", "/api/status")
    }

    /// Returns what `/api/partners/{account}` answers.
    pub fn partner(&self, account: &str) -> Result<Value, Failure> {
        self.ask("GET", &partner(account))
    }

    /// Performs an action on a partner and returns the partner's state afterwards.
    pub fn act(&self, account: &str, action: &str) -> Result<Value, Failure> {
        self.ask("POST", &format!("{}/{action}", partner(account)))
    }

    fn ask(&self, method: &str, path: &str) -> Result<Value, Failure> {
        let Self { address, config, access, .. } = self;
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        if let Ok(Some(token)) = &access.token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        // The empty body makes the request carry a `content-length`.
        let request = request.body("").context("cannot make the request")?;
        let from = config.display();
        let mut answer = self.agent.run(request).with_context(|| {
            format!(
                "no instance answers on {address} (admin.listen of {from}): start it, or name the configuration that it runs with"
            )
        })?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let body = body.with_context(|| format!("the answer of {address} broke off"))?;
        let value = serde_json::from_str(&body).ok();
        match (status, value) {
            (200, Some(value)) => Ok(value),
            (_, value) => Err(self.refused(status, value.as_ref()).into()),
        }
    }

    fn refused(&self, status: u16, value: Option<&Value>) -> anyhow::Error {
        let Some(why) = value.and_then(|value| value.get("error")?.as_str()) else {
            return anyhow::anyhow!("{} answers {status}, which octoconf never does; check admin.listen", self.address);
        };
        match (&self.access.token, status) {
            (Err(unreadable), 401) => anyhow::anyhow!("{why}; here it cannot be read: {unreadable}"),
            (Ok(None), 401) => anyhow::anyhow!("{why}; {} has no admin.token", self.config.display()),
            _ => anyhow::anyhow!("{why}"),
        }
    }
}

fn partner(account: &str) -> String {
    format!("/api/partners/{}", utf8_percent_encode(account, NON_ALPHANUMERIC))
}
