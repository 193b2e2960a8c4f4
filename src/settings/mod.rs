//! The resolved and validated settings: the defaults, the files and the environment merged. Plain data.
//!
//! The fields are named after their keys, and each type carries the unit. `defaults.toml` has
//! the full meaning of each key.
//!
//! A program may change them, or make its own. Nothing checks these, except where a queue or sink cannot be made of them.
//! Times beyond [`LONGEST_TIME`], [`Duration::MAX`] for example, count as that long, `parallel = 0` as 1, and a `flush_interval` or
//! lease of no time as the shortest that the file allows. Other values beyond the bounds that [`crate::config`] names are not supported.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::mask::mask_url;
use crate::message::Account;

pub use self::rate::Rate;
pub use self::secret::Secret;
pub(crate) use self::stores::Store;

mod rate;
mod secret;
mod stores;

/// The longest time that counts, ten years: what is added to the present must stay within what a clock can show.
pub const LONGEST_TIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The shortest `flush_interval`. With none, the dispatcher would make one turn after the other.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// The shortest lease of an embedded queue.
pub(crate) const SHORTEST_LEASE: Duration = Duration::from_millis(1);

/// Returns a time that can be added to the present. A program sets `Duration::MAX` where it means never.
pub(crate) fn within_reach(time: Duration) -> Duration {
    time.min(LONGEST_TIME)
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder from which more partners were read; empty for none.
    pub partners_dir: String,
    /// The section `engine`.
    pub engine: EngineSettings,
    /// The section `admin`.
    pub admin: AdminSettings,
    /// The queues by name; at least one.
    pub queues: BTreeMap<String, QueueSettings>,
    /// The jq pipelines by name. Handlers in code are not here, but in the registry.
    pub handlers: BTreeMap<String, HandlerSettings>,
    /// The settings of all partners.
    pub partners: PartnersSettings,
}

/// The section `engine`: threads, and limits over all queues and partners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// The number of handler threads. The 0 of the file is already replaced by the sum of the queues' concurrency.
    pub handler_threads: usize,
    /// The maximum number of flushes in flight over all partners, each on a thread of its own.
    pub delivery_threads: usize,
    /// The log filter, in the syntax of `env_logger`.
    pub log: String,
    /// The maximum number of messages held over all queues.
    pub max_in_flight: usize,
    /// The maximum number of bytes of the held messages and of what the handlers made of them.
    pub max_in_flight_bytes: u64,
    /// The longest time between two turns of the dispatcher: a guard, and the pulse for the watchdog. What waits for a
    /// moment (linger, back-off, rates, idle times) has its own wake-up and does not wait for this.
    pub flush_interval: Duration,
    /// How long a stop waits for the flushes in flight before it returns the remaining messages to their queues.
    pub shutdown_timeout: Duration,
}

/// The section `admin`: pages, metrics and health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// The address and port to listen on; empty if the admin server is off.
    pub listen: String,
    /// The token that every POST must carry, or `None` if POST is refused.
    pub token: Option<Secret>,
}

/// One `[queues.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// The queue service and the queue's place in it.
    pub source: Source,
    /// The name of a handler in code, or a key of [`Settings::handlers`].
    pub handler: String,
    /// The maximum number of this queue's messages in its handler at once.
    pub concurrency: usize,
    /// How long later messages wait for a message that is in the handler; zero keeps no order. FIFO groups always wait.
    pub order_wait: Duration,
    /// The number of threads that receive; 0 for as many as the load needs.
    pub pollers: usize,
    /// How long one receive waits for messages (the long poll).
    pub wait_time: Duration,
    /// The lease that a receive asks for. It is extended for as long as the message is held.
    pub visibility_timeout: Duration,
    /// The file for parked deliveries, or `None` if they are returned to the queue instead.
    pub parking: Option<PathBuf>,
    /// The maximum size of the parking file in bytes, without its write-ahead log.
    pub parking_max_bytes: u64,
    /// The number of receives after which a message becomes a dead letter; 0 for no limit.
    pub max_receives: u32,
    /// The maximum number of messages that one receive asks for; 0 for the number that suits the source.
    pub receive_batch: usize,
}

/// Where a queue lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A queue at AWS SQS or at another server that speaks its protocol.
    Sqs(SqsSettings),
    /// A queue in an SQLite file.
    Sqlite {
        /// The path of the file.
        path: PathBuf,
        /// The queue's name within the file.
        name: String,
        /// The jq path of the FIFO group in the body, or `None` for a standard queue.
        group: Option<String>,
    },
    /// A queue in memory, which is lost when the process ends.
    Memory {
        /// A JSONL file whose lines are on the queue at the start.
        preload: Option<PathBuf>,
        /// How many times the preloaded lines are put on the queue, each time with new ids.
        repeat: u64,
        /// The jq path of the FIFO group in the body, or `None` for a standard queue.
        group: Option<String>,
    },
}

/// The word for no queue for dead letters. A queue of that name is named by its URL.
pub const NOWHERE: &str = "none";

/// The place of an SQS queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqsSettings {
    /// The name of the queue, used if `url` is `None`.
    pub name: String,
    /// The URL of the queue, used in place of its name.
    pub url: Option<String>,
    /// The AWS region, or `None` to take it from the usual AWS variables or profile.
    pub region: Option<String>,
    /// The URL of another server that speaks SQS, or `None` for AWS.
    pub endpoint: Option<String>,
    /// The name or URL of the queue for dead letters. If empty, the target of the queue's redrive policy is used; with
    /// [`NOWHERE`], rejected messages circulate.
    pub dead_letter: String,
}

/// One `[handlers.NAME]`: a pipeline without code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerSettings {
    /// The jq program over the body of a message. Each of its results is a payload.
    pub jq: String,
    /// The jq path of the account in the body.
    pub bucket: String,
}

/// The settings of every partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnersSettings {
    /// The settings of an account without a section of its own.
    pub default: PartnerSettings,
    /// The settings of the accounts that have a section, the default's values filled in.
    pub by_account: BTreeMap<Account, PartnerSettings>,
}

impl PartnersSettings {
    /// Returns the settings of an account: its own if it has a section, the default's otherwise.
    pub fn of(&self, account: &str) -> &PartnerSettings {
        self.by_account.get(account).unwrap_or(&self.default)
    }
}

/// The settings of one partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerSettings {
    /// How deliveries reach the partner.
    pub deliver: Deliver,
    /// The maximum number of payloads in one flush.
    pub max_batch: usize,
    /// The maximum number of payload bytes in one flush; a larger payload goes alone.
    pub max_batch_bytes: u64,
    /// How long a bucket waits for a fuller batch.
    pub linger: Duration,
    /// The maximum rate of requests over all queues, or `None` for no limit.
    pub rate: Option<Rate>,
    /// How many requests may be made at once after a pause, if there is a `rate`.
    pub burst: u32,
    /// The maximum number of flushes in flight. More than 1 gives up the order within a bucket.
    pub parallel: usize,
    /// The upper bound of the random wait after the first failure. It doubles with each further failure.
    pub min_backoff: Duration,
    /// The limit of that upper bound.
    pub max_backoff: Duration,
    /// The number of consecutive failures that opens the breaker.
    pub breaker_failures: u32,
    /// The maximum number of deliveries held for the partner.
    pub max_waiting: usize,
    /// The time that sizes the partner's share: the deliveries that it takes in this time at its present rate.
    pub hold_for: Duration,
    /// How long a delivery may wait for the partner before it becomes a dead letter, or `None` for ever.
    pub give_up_after: Option<Duration>,
    /// How long an empty bucket is kept.
    pub idle_timeout: Duration,
}

/// A way of delivery, with its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deliver {
    /// Requests over HTTP or HTTPS.
    Http(HttpSettings),
    /// Lines appended to files.
    File {
        /// The path, with its placeholders.
        path: String,
    },
    /// Messages sent to an SQS queue.
    Sqs {
        /// The URL of the queue.
        url: String,
    },
    /// Lines on standard output.
    Stdout,
    /// No delivery: every payload counts as accepted.
    Discard,
}

/// The settings of delivery over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The URL, with its placeholders. Its userinfo and query may hold secrets: never print it unmasked.
    pub url: String,
    /// How payloads are encoded in the request's body.
    pub format: Format,
    /// The maximum time from the established connection to the end of the answer.
    pub timeout: Duration,
    /// The maximum time to look up the host and establish the connection.
    pub connect_timeout: Duration,
    /// The secret of Standard Webhooks signatures, or `None` for unsigned requests.
    pub signing_secret: Option<Secret>,
    /// Additional headers by name, in lower case, the default's included.
    pub headers: BTreeMap<String, Secret>,
    /// Whether a URL with a placeholder in its host may lead to loopback, link-local and private addresses.
    pub allow_private_addresses: bool,
}

impl fmt::Debug for HttpSettings {
    /// Masks the URL.
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

/// How the payloads of a batch are encoded in the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON array, even of one payload.
    Json,
    /// One JSON payload per line.
    Ndjson,
    /// One payload per request.
    Single,
    /// An array of CloudEvents.
    Cloudevents,
}
