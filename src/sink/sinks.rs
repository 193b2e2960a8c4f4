//! The sinks of all partners: the settings of each account, and one sink of each kind.
//!
//! Called by delivery threads, many at once, and by the dispatcher's thread for sinks that do not block.
//! Only [`Sinks::install`] changes anything, at a reload. Flushes on the wire then end under the
//! settings with which they began.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::file::{FilePartner, FileSink};
use super::http::{HttpPartner, HttpSink};
use super::limits::Limits;
use super::reply::{Reply, SharedWork};
use super::sqs::Queues;
use super::stdout::StdoutSink;
use super::{Sink, caught};
use crate::message::{Account, Answer, Batch};
use crate::net::clocks::Clocks;
use crate::net::names::Names;
use crate::settings::{Deliver, PartnersSettings, Settings};

/// All sinks, and the one of each partner.
pub struct Sinks {
    partners: RwLock<Partners>,
    kinds: Kinds,
}

/// Why a partner's settings cannot be used. The texts contain no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partners.{partner}: {problem}")]
pub struct SetupError {
    /// The section of the settings: an account, or `default`.
    pub partner: String,
    /// What is wrong, with the key.
    pub problem: String,
}

/// Checked settings, ready to be installed, or settings that were replaced. Dropping
/// them closes their partners' files, which blocks for as long as the kernel does.
pub struct Prepared(Partners);

/// The sink of each section of the configuration.
struct Partners {
    default: Arc<dyn Sink>,
    by_account: HashMap<Account, Arc<dyn Sink>, foldhash::fast::RandomState>,
    files: Arc<FileSink>,
}

/// What the partners of one kind share: connections, open files, a pipe.
struct Kinds {
    http: Arc<HttpSink>,
    file: Arc<FileSink>,
    /// Opened for the first partner that needs it.
    stdout: Mutex<Option<Arc<StdoutSink>>>,
    queues: Queues,
}

/// `deliver = "discard"`: accepts everything.
struct Discard;

impl Sinks {
    /// Checks and parses every partner's settings. `version` becomes part of the user agent. The error lists
    /// everything that is wrong.
    pub fn new(settings: &PartnersSettings, limits: Limits, version: &str) -> Result<Self, Vec<SetupError>> {
        Self::with_clocks(settings, limits, version, Clocks::system())
    }

    /// Like [`Sinks::new`], with the given clocks.
    pub fn with_clocks(
        settings: &PartnersSettings,
        limits: Limits,
        version: &str,
        clock: Clocks,
    ) -> Result<Self, Vec<SetupError>> {
        let http = HttpSink::new(version, limits.idle_connections, Names::system(), clock);
        let http =
            http.map_err(|_| vec![SetupError { partner: "default".into(), problem: "the version fits no header".into() }])?;
        let file = FileSink::new(limits.open_files);
        let kinds = Kinds { http: Arc::new(http), file, stdout: Mutex::default(), queues: Queues::default() };
        Ok(Self { partners: RwLock::new(kinds.partners(settings)?), kinds })
    }

    /// Checks and parses other settings for [`Sinks::install`]. The error lists everything that is wrong.
    pub fn prepare(&self, settings: &PartnersSettings) -> Result<Prepared, Vec<SetupError>> {
        self.kinds.partners(settings).map(Prepared)
    }

    /// Replaces the present settings, and returns those. Does not block.
    pub fn install(&self, Prepared(partners): Prepared) -> Prepared {
        Prepared(std::mem::replace(&mut *self.partners.write(), partners))
    }

    /// Refuses deliveries to the files of these queues from now on. To be called before anything is
    /// delivered beside them. Blocks for as long as the disk does.
    pub(crate) fn reserve(&self, settings: &Settings) {
        self.kinds.file.reserve(&settings.stores());
    }

    /// Closes connections that have been idle for long. To be called regularly.
    pub fn sweep(&self) {
        self.kinds.http.sweep();
    }

    fn of(&self, account: &str) -> Arc<dyn Sink> {
        let partners = self.partners.read();
        Arc::clone(partners.by_account.get(account).unwrap_or(&partners.default))
    }
}

/// A panic inside becomes an answer, since one partner's trouble must not end a thread that serves the others.
impl Sink for Sinks {
    fn deliver(&self, batch: &Batch) -> Answer {
        let sink = self.of(&batch.account);
        caught(|| sink.deliver(batch))
    }

    fn begin(&self, batch: &Batch, reply: Reply) -> Option<SharedWork> {
        let sink = self.of(&batch.account);
        // A panic drops the reply, which says so.
        catch_unwind(AssertUnwindSafe(|| sink.begin(batch, reply))).ok().flatten()
    }
}

impl Drop for Partners {
    fn drop(&mut self) {
        self.files.close();
    }
}

impl Sink for Discard {
    fn deliver(&self, _batch: &Batch) -> Answer {
        Answer::Accepted
    }
}

impl Kinds {
    fn partners(&self, settings: &PartnersSettings) -> Result<Partners, Vec<SetupError>> {
        let mut errors = Vec::new();
        let files = self.file.renewed();
        let mut sink = |partner: &str, deliver: &Deliver| {
            let sink = self.sink(deliver, &files);
            sink.map_err(|problem| errors.push(SetupError { partner: partner.to_owned(), problem })).ok()
        };
        let default = sink("default", &settings.default.deliver);
        let by_account = settings.by_account.iter();
        let by_account =
            by_account.filter_map(|(account, settings)| Some((account.clone(), sink(account, &settings.deliver)?))).collect();
        match default {
            Some(default) if errors.is_empty() => Ok(Partners { default, by_account, files }),
            _ => Err(errors),
        }
    }

    fn sink(&self, deliver: &Deliver, files: &Arc<FileSink>) -> Result<Arc<dyn Sink>, String> {
        Ok(match deliver {
            Deliver::Http(settings) => Arc::new(HttpPartner::new(Arc::clone(&self.http), settings)?),
            Deliver::File { path } => Arc::new(FilePartner::new(Arc::clone(files), path)?),
            Deliver::Stdout => self.stdout()?,
            Deliver::Discard => Arc::new(Discard),
            Deliver::Sqs { url } => Arc::new(self.queues.open(url)?),
        })
    }

    fn stdout(&self) -> Result<Arc<StdoutSink>, String> {
        let mut stdout = self.stdout.lock();
        if let Some(open) = &*stdout {
            return Ok(Arc::clone(open));
        }
        Ok(Arc::clone(stdout.insert(Arc::new(StdoutSink::open()?))))
    }
}
