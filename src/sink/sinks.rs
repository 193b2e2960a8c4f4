//! Every partner's way out: the settings of its account, and the one sink of their kind.
//!
//! Called by deliver threads, many at once, and by the dispatcher for what does not block. Only [`Sinks::install`] changes anything; it is
//! called at a reload. What is in flight then ends under the settings that it began with.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::Sink;
use super::file::template::Template;
use super::file::{self, FileSink};
use super::http::HttpSink;
use super::http::target::Target;
use super::limits::Limits;
use super::reply::Reply;
use super::sqs::{Queues, SqsSink};
use super::stdout::StdoutSink;
use crate::config::settings::{Deliver, PartnerSettings, PartnersSettings};
use crate::message::{Account, Answer, Batch};
use crate::net::clock::Clock;
use crate::net::names::Names;

/// All sinks, and which partner goes to which.
pub struct Sinks {
    partners: RwLock<Partners>,
    file: FileSink,
    stdout: StdoutSink,
    http: HttpSink,
    queues: Queues,
}

/// Why a partner's settings cannot be used. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partners.{partner}: {problem}")]
pub struct SetupError {
    /// The section: an account, or `default`.
    pub partner: String,
    pub problem: String,
}

/// Other settings, ready to be put in place.
pub struct Prepared(Partners);

struct Partners {
    default: Way,
    by_account: HashMap<Account, Way, foldhash::fast::RandomState>,
}

/// One partner's kind of sink, with what that needs to know of it.
#[derive(Clone)]
enum Way {
    Http(Arc<Target>),
    File(Arc<Template>),
    Sqs(SqsSink),
    Stdout,
    Discard,
}

impl Sinks {
    /// Takes every partner's settings apart. `version` goes into the user agent. The error lists all that is wrong.
    pub fn new(settings: &PartnersSettings, limits: Limits, version: &str) -> Result<Self, Vec<SetupError>> {
        Self::with_clock(settings, limits, version, Clock::system())
    }

    /// The same with clocks of the caller's choice.
    pub fn with_clock(settings: &PartnersSettings, limits: Limits, version: &str, clock: Clock) -> Result<Self, Vec<SetupError>> {
        let queues = Queues::default();
        let partners = Partners::new(settings, &queues)?;
        let http = HttpSink::new(version, limits.idle_connections, Names::system(), clock);
        let http =
            http.map_err(|_| vec![SetupError { partner: "default".into(), problem: "the version fits no header".into() }])?;
        let (file, stdout) = (FileSink::new(limits.open_files), StdoutSink::default());
        Ok(Self { partners: RwLock::new(partners), file, stdout, http, queues })
    }

    /// Takes other settings apart, for [`Sinks::install`]. The error lists all that is wrong.
    pub fn prepare(&self, settings: &PartnersSettings) -> Result<Prepared, Vec<SetupError>> {
        Partners::new(settings, &self.queues).map(Prepared)
    }

    /// Puts other settings in place of the present ones. Takes no time.
    pub fn install(&self, Prepared(partners): Prepared) {
        // What was there is dropped after the lock is given back.
        let _before = std::mem::replace(&mut *self.partners.write(), partners);
    }

    /// Closes connections that have been idle for long. To be called now and then.
    pub fn sweep(&self) {
        self.http.sweep();
    }

    /// Hands a batch to its partner and waits for the answer. Never panics: a panic inside is the answer, since one partner's trouble
    /// must not end the thread that serves the others.
    pub fn deliver(&self, batch: &Batch) -> Answer {
        let way = self.partners.read().of(&batch.account).clone();
        if matches!(way, Way::Discard) {
            return Answer::Accepted;
        }
        caught(|| match &way {
            Way::Http(target) => self.http.deliver(target, batch),
            Way::File(template) => self.file.deliver(template, batch),
            Way::Sqs(queue) => queue.deliver(batch),
            Way::Stdout => self.stdout.deliver(batch),
            Way::Discard => Answer::Accepted,
        })
    }
}

impl Sinks {
    /// The same without waiting for a sync that others lead. The reply comes in any case; `Some`: this thread is to lead it now.
    pub fn begin(&self, batch: &Batch, reply: Reply) -> Option<Syncing<'_>> {
        let way = self.partners.read().of(&batch.account).clone();
        let Way::File(template) = way else {
            reply.send(self.deliver(batch));
            return None;
        };
        // A panic drops the reply, which says so.
        let begun = catch_unwind(AssertUnwindSafe(|| self.file.begin(&template, batch, reply)));
        begun.ok().flatten().map(Syncing)
    }
}

/// The duty to sync what this thread and others have written.
#[must_use = "nobody else syncs"]
pub struct Syncing<'a>(file::Syncing<'a>);

impl Syncing<'_> {
    /// Blocks for as long as the disk does, and for as long as others write meanwhile. Never panics: whose delivery a panic costs is told.
    pub fn run(self) {
        let Self(sync) = self;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| sync.run())) {
            log::error!("a fault in octoconf itself, please report it: a sync of files: {}", text_of(&*panic));
        }
    }
}

impl Sink for Sinks {
    fn deliver(&self, batch: &Batch) -> Answer {
        Sinks::deliver(self, batch)
    }
}

impl Partners {
    fn new(settings: &PartnersSettings, queues: &Queues) -> Result<Self, Vec<SetupError>> {
        let mut errors = Vec::new();
        let mut way = |partner: &str, settings: &PartnerSettings| {
            let way = Way::new(&settings.deliver, queues);
            way.map_err(|problem| errors.push(SetupError { partner: partner.to_owned(), problem })).ok()
        };
        let default = way("default", &settings.default);
        let by_account = settings
            .by_account
            .iter()
            .filter_map(|(account, settings)| Some((account.clone(), way(account, settings)?)))
            .collect();
        match default {
            Some(default) if errors.is_empty() => Ok(Self { default, by_account }),
            _ => Err(errors),
        }
    }

    fn of(&self, account: &str) -> &Way {
        self.by_account.get(account).unwrap_or(&self.default)
    }
}

impl Way {
    fn new(deliver: &Deliver, queues: &Queues) -> Result<Self, String> {
        match deliver {
            Deliver::Http(settings) => {
                let target = Target::new(settings).map_err(|error| format!("{}: {error}", error.key()))?;
                Ok(Self::Http(Arc::new(target)))
            }
            Deliver::File { path } => {
                Template::parse(path).map(|path| Self::File(Arc::new(path))).map_err(|error| error.to_string())
            }
            Deliver::Stdout => Ok(Self::Stdout),
            Deliver::Discard => Ok(Self::Discard),
            Deliver::Sqs { url } => queues.open(url).map(Self::Sqs),
        }
    }
}

fn caught(deliver: impl FnOnce() -> Answer) -> Answer {
    catch_unwind(AssertUnwindSafe(deliver)).unwrap_or_else(|panic| Answer::Unreachable {
        reason: format!("a fault in octoconf itself, please report it: {}", text_of(&*panic)).into(),
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer_with_its_text() {
        for panic in [caught(|| panic!("as {} wants", "a test")), caught(|| std::panic::panic_any("as a test wants"))] {
            let Answer::Unreachable { reason } = panic else { panic!("expected Unreachable") };
            assert!(reason.ends_with("as a test wants"), "{reason}");
        }
        assert_eq!(caught(|| Answer::Accepted), Answer::Accepted);
    }
}
