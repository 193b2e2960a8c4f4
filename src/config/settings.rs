//! The resolved settings: what the defaults, the file and the environment say together, validated. Plain data.
//!
//! The names of the fields are the names of the keys; units are in the types. The meaning of each key is told once, in
//! `defaults.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::units::Rate;
use crate::mask::mask_url;
use crate::message::Account;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder that partners were read from besides; empty: none.
    pub partners_dir: String,
    pub engine: EngineSettings,
    pub admin: AdminSettings,
    /// By name; at least one.
    pub queues: BTreeMap<String, QueueSettings>,
    /// jq pipelines by name; handlers in code are in the registry.
    pub handlers: BTreeMap<String, HandlerSettings>,
    pub partners: PartnersSettings,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// Resolved: the sum of the queues' concurrency where the file says 0.
    pub handler_threads: usize,
    pub delivery_threads: usize,
    /// A filter in `env_logger`'s syntax.
    pub log: String,
    pub max_in_flight: usize,
    pub max_in_flight_bytes: u64,
    pub flush_interval: Duration,
    pub shutdown_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Empty: off.
    pub listen: String,
    pub token: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    pub source: Source,
    /// A handler in code, or a key of [`Settings::handlers`].
    pub handler: String,
    pub concurrency: usize,
    pub order_wait: Duration,
    /// 0: as many as the load needs.
    pub pollers: usize,
    pub wait_time: Duration,
    pub visibility_timeout: Duration,
    pub parking: Option<PathBuf>,
    pub parking_max_bytes: u64,
    /// 0: no limit.
    pub max_receives: u32,
    /// Most messages that one receive asks for; 0: as the source suggests.
    pub receive_batch: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Sqs(SqsSettings),
    Sqlite {
        path: PathBuf,
        /// The queue's name within the file.
        name: String,
        /// jq path of the FIFO group; `None`: a standard queue.
        group: Option<String>,
    },
    Memory {
        /// A JSONL file whose lines are on the queue at start.
        preload: Option<PathBuf>,
        /// How often the preloaded lines are on it, each time with new ids.
        repeat: u64,
        group: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqsSettings {
    pub name: String,
    pub url: Option<String>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    /// Empty: the redrive policy's target; `none`: rejected messages circulate.
    pub dead_letter: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerSettings {
    pub jq: String,
    pub bucket: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnersSettings {
    pub default: PartnerSettings,
    pub by_account: BTreeMap<Account, PartnerSettings>,
}

impl PartnersSettings {
    /// The settings of an account: its own where it has any, else the default.
    pub fn of(&self, account: &str) -> &PartnerSettings {
        self.by_account.get(account).unwrap_or(&self.default)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerSettings {
    pub deliver: Deliver,
    pub max_batch: usize,
    pub max_batch_bytes: u64,
    pub linger: Duration,
    pub rate: Option<Rate>,
    pub burst: u32,
    pub parallel: usize,
    pub min_backoff: Duration,
    pub max_backoff: Duration,
    pub breaker_failures: u32,
    pub max_waiting: usize,
    pub hold_for: Duration,
    pub give_up_after: Option<Duration>,
    pub idle_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deliver {
    Http(HttpSettings),
    /// The path with its placeholders.
    File {
        path: String,
    },
    Sqs {
        url: String,
    },
    Stdout,
    Discard,
}

#[derive(Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// With its placeholders; may hold secrets in userinfo and query: never print it unmasked.
    pub url: String,
    pub format: Format,
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub signing_secret: Option<Secret>,
    pub headers: BTreeMap<String, Secret>,
    pub allow_private_addresses: bool,
}

impl fmt::Debug for HttpSettings {
    /// The URL is masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("url", &mask_url(&self.url))
            .field("format", &self.format)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("signing_secret", &self.signing_secret)
            .field("headers", &self.headers)
            .field("allow_private_addresses", &self.allow_private_addresses)
            .finish()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Ndjson,
    Single,
    Cloudevents,
}
