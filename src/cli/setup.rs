//! From the configuration file to settings, handlers and queues.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use octoconf::config::settings::Source;
use octoconf::config::{self, ConfigErrors, Context, Environment, Loaded, Settings};
use octoconf::engine::{open_parking, open_queue};
use octoconf::handler::registry::Registry;
use octoconf::handler::{Handler, jq};
use octoconf::queue::Queue;
use octoconf::queue::parking::Parking;

use super::failure::Failure;

/// A configuration in which nothing is wrong, and the handlers that it names.
pub struct Setup {
    pub settings: Settings,
    pub warnings: Vec<String>,
    pub registry: Registry,
}

/// Reads and validates the file.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    let environment = Environment::of_process();
    let registry = Registry::new();
    let handlers: Vec<&str> = registry.names().collect();
    let check_jq = |program: &str| jq::check(program).map_err(|error| error.to_string());
    config::load(path, &Context { environment: &environment, handlers: &handlers, check_jq: &check_jq })
}

impl Setup {
    pub fn new(path: &Path) -> Result<Self, Failure> {
        let Loaded { settings, warnings } = load(path).map_err(|errors| Failure::Refused(errors.to_string()))?;
        let registry = Registry::new().with_pipelines(&settings.handlers).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::Refused(lines.join("\n"))
        })?;
        Ok(Self { settings, warnings, registry })
    }

    /// The handler of a queue.
    pub fn handler(&self, queue: &str) -> Result<Arc<dyn Handler>, Failure> {
        let name = &self.queue(queue)?.handler;
        self.registry.get(name).ok_or_else(|| Failure::Refused(format!("queues.{queue}.handler: no handler is called {name}")))
    }

    /// Opens a queue that outlives its process. `of_memory`: what is to be done about one that does not; what this process put there or
    /// found there would be its own. A file that is made for it is told on standard error.
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

    /// Whether the file of an embedded queue is not there, which is said on standard error: whoever looks into it may stand in another folder
    /// than the service, and to open it would make it.
    pub fn misses_store(&self, name: &str) -> Result<bool, Failure> {
        match &self.queue(name)?.source {
            Source::Sqlite { path, .. } => Ok(say_missing(&format!("queues.{name}.path"), path)),
            Source::Memory { .. } | Source::Sqs(_) => Ok(false),
        }
    }

    /// The same of the file of its parking.
    pub fn misses_parking(&self, name: &str) -> Result<bool, Failure> {
        let parking = self.queue(name)?.parking.as_ref();
        Ok(parking.is_some_and(|path| say_missing(&format!("queues.{name}.parking"), path)))
    }

    /// Opens the parking of a queue. A file that is made for it is told on standard error.
    pub fn parking(&self, name: &str) -> Result<Parking, Failure> {
        let settings = self.queue(name)?;
        let made = settings.parking.as_deref().filter(|path| is_missing(path));
        let parking = open_parking(name, settings).context("cannot open the parking")?;
        if let Some(path) = made {
            say_made(&format!("queues.{name}.parking"), path);
        }
        parking.ok_or_else(|| Failure::Refused(format!("queues.{name}.parking: it has none; set it to a file")))
    }

    fn queue(&self, name: &str) -> Result<&config::settings::QueueSettings, Failure> {
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
        // A hint beside the answer: whoever cannot see it has the answer.
        let _ = writeln!(
            io::stderr(),
            "octoconf: {key}: there is no file {}: nothing was ever sent or run with it; a path that does not begin with / counts from the \
             working directory",
            whole(path).display()
        );
    }
    missing
}

/// Whoever stands in another folder than the service works on another file than the service, and sees nothing of it but this.
fn say_made(key: &str, path: &Path) {
    let what_to_do = if path.is_absolute() {
        "if there was to be one, delete it and mend the path"
    } else {
        "a path that does not begin with / counts from the working directory: if a service was to find it, delete it and run this again in \
         the service's working directory, or set an absolute path"
    };
    // A hint beside the work: it is done, whether anybody can see this or not.
    let _ = writeln!(io::stderr(), "octoconf: {key}: made a new file {}; {what_to_do}", whole(path).display());
}

fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
