//! Turns a configuration file into settings, handlers and open queues, for the commands.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use octoconf::config::{self, ConfigErrors, Context, Environment, Loaded};
use octoconf::engine::{forgotten, open_parking, open_queue};
use octoconf::handler::{Handler, Registry};
use octoconf::queue::Queue;
use octoconf::queue::parking::Parking;
use octoconf::settings::{QueueSettings, Settings, Source};

use super::failure::Failure;
use super::output;

/// A valid configuration, and the handlers that it names.
pub struct Setup {
    /// The resolved settings.
    pub settings: Settings,
    /// What is valid but likely to surprise, each as `KEY: TEXT`.
    pub warnings: Vec<String>,
    /// The handlers in code, and the jq pipelines of the configuration.
    pub handlers: Registry,
}

/// Reads and validates the file, with this process's environment.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    config::load(path, &Context { environment: &Environment::of_process(), handlers: &Registry::new() })
}

impl Setup {
    /// Reads and validates the file.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        let loaded = load(path).map_err(|errors| Failure::Refused(errors.to_string()))?;
        let Loaded { settings, handlers, warnings } = loaded;
        Ok(Self { settings, warnings, handlers })
    }

    /// Returns the handler of a queue.
    pub fn handler(&self, queue: &str) -> Result<Arc<dyn Handler>, Failure> {
        let name = &self.queue(queue)?.handler;
        self.handlers.get(name).ok_or_else(|| Failure::Refused(format!("queues.{queue}.handler: no handler is called {name}")))
    }

    /// Opens a queue that outlives the process. A memory queue is refused, since this process would see only messages
    /// of its own; `of_memory` says what to do instead. If opening creates a file, that is reported on standard error.
    pub fn open(&self, name: &str, of_memory: &str) -> Result<Arc<dyn Queue>, Failure> {
        let settings = self.queue(name)?;
        let made = match &settings.source {
            Source::Memory { .. } => {
                return Err(Failure::Refused(format!(
                    "queues.{name}: it lives in the memory of the running process, out of reach of any other; {of_memory}"
                )));
            }
            Source::Sqlite { path, .. } => Some(path).filter(|path| is_missing(path)),
            Source::Sqs(_) => None,
        };
        let queue = open_queue(name, settings).context("cannot open the queue")?;
        if let Some(path) = made {
            say_made(&format!("queues.{name}.path"), path);
        }
        Ok(queue)
    }

    /// Returns whether the file of an embedded queue is missing, and reports that on standard error. Opening the queue
    /// would create the file; it is missing, for example, if the command runs in another folder than the service.
    pub fn misses_store(&self, name: &str) -> Result<bool, Failure> {
        match &self.queue(name)?.source {
            Source::Sqlite { path, .. } => Ok(say_missing(&format!("queues.{name}.path"), path)),
            Source::Memory { .. } | Source::Sqs(_) => Ok(false),
        }
    }

    /// Returns whether the file of the queue's parking is missing, and reports that on standard error.
    pub fn misses_parking(&self, name: &str) -> Result<bool, Failure> {
        let parking = self.parks(name)?.parking.as_ref();
        Ok(parking.is_some_and(|path| say_missing(&format!("queues.{name}.parking"), path)))
    }

    /// Opens the parking of a queue. If that creates a file, it is reported on standard error.
    pub fn parking(&self, name: &str) -> Result<Parking, Failure> {
        let settings = self.parks(name)?;
        let made = settings.parking.as_deref().filter(|path| is_missing(path));
        let parking = open_parking(name, settings).context("cannot open the parking")?;
        if let Some(path) = made {
            say_made(&format!("queues.{name}.parking"), path);
        }
        parking.ok_or_else(|| {
            Failure::Refused(format!(
                "queues.{name}.parking: it has none; set it to a file, or to the one that it had if something is parked there"
            ))
        })
    }

    /// Returns the section of a queue. If there is none, but deliveries are parked under its name, the error says so.
    fn parks(&self, name: &str) -> Result<&QueueSettings, Failure> {
        self.queue(name).map_err(|failure| match (failure, forgotten(&self.settings).iter().find(|found| found.queue == name)) {
            (Failure::Refused(why), Some(found)) => Failure::Refused(format!("{why}; {found}")),
            (failure, _) => failure,
        })
    }

    fn queue(&self, name: &str) -> Result<&QueueSettings, Failure> {
        self.settings.queues.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.settings.queues.keys().map(String::as_str).collect();
            Failure::Refused(format!("no queue is called {name:?}; the configuration has: {}", names.join(", ")))
        })
    }
}

fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

fn say_missing(key: &str, path: &Path) -> bool {
    let missing = is_missing(path);
    if missing {
        let hint = format!(
            "octoconf: {key}: there is no file {}: nothing was ever sent or run with it; a path that does not begin with / counts from the \
             working directory\n",
            whole(path).display()
        );
        output::remark(&hint, output::PATIENCE);
    }
    missing
}

/// Reports a newly created file. If the command runs in another folder than the service, it works on another file than
/// the service, and this hint is the only sign of that.
fn say_made(key: &str, path: &Path) {
    let what_to_do = if path.is_absolute() {
        "if there should have been a file already, delete this one and correct the path"
    } else {
        "a path that does not begin with / counts from the working directory: if a service should find it, delete it and run this again in \
         the service's working directory, or set an absolute path"
    };
    let hint = format!("octoconf: {key}: made a new file {}; {what_to_do}\n", whole(path).display());
    output::remark(&hint, output::PATIENCE);
}

fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
