//! The thread `reload`: reads the configuration again and puts it in force.
//!
//! It is a thread of its own, since a reload may take long (a file that another program keeps locked, a disk that does
//! not answer, a dispatcher that is late) and must not delay a signal that stops the service.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};
use octoconf::admin::Admin;
use octoconf::engine::Remote;
use octoconf::queue::sqs::look_for_other_keys;

use super::failure::{Failure, in_full};
use super::logger;
use super::setup::Setup;
use super::systemd::Notify;

/// Reloads the configuration of a running service, one reload at a time.
pub struct Reloads {
    asked: Sender<()>,
}

impl Reloads {
    /// Starts the thread. It ends with the process, which does not wait for it.
    pub fn start(config: PathBuf, remote: Remote, admin: Option<Admin>, notify: Notify) -> io::Result<Self> {
        let (asked, asks) = bounded(1);
        thread::Builder::new().name("reload".to_owned()).spawn(move || {
            // If this thread died, the service would silently accept no other configuration.
            let _guard = remote.guard("reload");
            for () in asks {
                notify.reloading();
                reload(&config, &remote, admin.as_ref());
                notify.ready();
            }
        })?;
        Ok(Self { asked })
    }

    /// Asks for a reload; does not wait for it. If one is already requested and has not started, that one will read the
    /// newest file, so a second would find nothing new.
    pub fn ask(&self) {
        let _ = self.asked.try_send(());
    }
}

/// Reads the configuration again and puts it in force if it is valid; otherwise everything stays as it was.
#[expect(clippy::disallowed_methods, reason = "a person asked: this is an edge")]
fn reload(config: &Path, remote: &Remote, admin: Option<&Admin>) {
    log::info!("reloading: config={}", config.display());
    look_for_other_keys();
    let loaded = Setup::new(config).map_err(|failure| match failure {
        Failure::Failed(error) => in_full(&error),
        Failure::Refused(why) => why,
    });
    if let Err(why) = &loaded {
        remote.reload_ended(Instant::now(), Some(why.trim_end()));
    }
    let done = loaded.and_then(|setup| {
        for warning in &setup.warnings {
            log::warn!("configuration: {warning}");
        }
        remote.reload(&setup.settings, &setup.handlers).map_err(|error| error.to_string())?;
        // These steps cannot fail, so they come after those that can.
        logger::change(&setup.settings.engine.log);
        if let Some(admin) = admin {
            admin.replace_token(setup.settings.admin.token);
        }
        Ok(())
    });
    match done {
        Ok(()) => log::info!("reloaded: config={}", config.display()),
        Err(why) => log::error!(
            "the reload was refused, everything stays as it was: config={} reason={:?}",
            config.display(),
            why.trim_end()
        ),
    }
}
