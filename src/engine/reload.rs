//! Another configuration for an engine at work: what may change under it, and what needs a restart.
//!
//! A reload is all or nothing. Partners may change in every way; their sinks and the dispatcher's rules for them change between two turns
//! of the dispatcher, so that what a partner needs (a thread, or none) and where its deliveries go always fit together.

use crossbeam_channel::bounded;
use serde_json::Value;

use crate::config::settings::Settings;

use super::remote::PATIENCE;
use super::shell::Control;
use super::{Remote, rules};

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// These keys differ from what is in force.
    #[error("these keys need a restart: {}", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// Partners whose sinks cannot be set up; all of them.
    #[error("{0}")]
    Sinks(String),
    /// The engine has ended, or its dispatcher hangs.
    #[error("the dispatcher does not answer")]
    NoAnswer,
}

impl Remote {
    /// Puts the settings in force, or none of them. What is on the wire lands as it was sent; what waits leaves by the new rules. Waits
    /// for the dispatcher's next turn, at most 2 s.
    ///
    /// # Errors
    ///
    /// See [`ReloadError`]; with [`ReloadError::NoAnswer`] it may yet come into force.
    pub fn reload(&self, settings: &Settings) -> Result<(), ReloadError> {
        let mut in_force = self.settings.lock();
        let keys = need_restart(&in_force, settings);
        if !keys.is_empty() {
            return Err(ReloadError::NeedsRestart(keys));
        }
        let sinks = self.sinks.prepare(&settings.partners).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            ReloadError::Sinks(lines.join("; "))
        })?;
        let (done, answer) = bounded(1);
        let table = rules::partner_table(&settings.partners);
        let control = Control::Reload { sinks: Box::new(sinks), table, done };
        self.control.send_timeout(control, PATIENCE).map_err(|_| ReloadError::NoAnswer)?;
        answer.recv_timeout(PATIENCE).map_err(|_| ReloadError::NoAnswer)?;
        *in_force = settings.clone();
        Ok(())
    }
}

/// The keys outside of `partners` that differ.
fn need_restart(old: &Settings, new: &Settings) -> Vec<String> {
    let mut keys = Vec::new();
    let (before, after) = (old.show(), new.show());
    for section in ["engine", "admin", "queues", "handlers"] {
        differences(section, before.get(section), after.get(section), &mut keys);
    }
    // Shown masked: a new one looks like the old one.
    if old.admin.token != new.admin.token && !keys.iter().any(|key| key == "admin.token") {
        keys.push("admin.token".to_owned());
    }
    keys
}

fn differences(path: &str, old: Option<&Value>, new: Option<&Value>, keys: &mut Vec<String>) {
    if old == new {
        return;
    }
    let (Some(Value::Object(before)), Some(Value::Object(after))) = (old, new) else {
        keys.push(path.to_owned());
        return;
    };
    let added = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        differences(&format!("{path}.{key}"), before.get(key), after.get(key), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Context, Environment, Kind};

    fn settings(text: &str) -> Settings {
        let environment = Environment::from_iter([("A", "one"), ("B", "two")]);
        let context = Context { environment: &environment, handlers: &["order"], check_jq: &|_| Ok(()) };
        config::parse(text, Kind::Toml, "octoconf.toml", &context).unwrap().settings
    }

    const BASE: &str = "
        [queues.invoice]
        source = 'sqlite'
        handler = 'order'
        [partners.default]
        deliver = 'discard'
    ";

    fn keys(more: &str) -> Vec<String> {
        need_restart(&settings(BASE), &settings(&format!("{BASE}\n{more}")))
    }

    #[test]
    fn partners_may_change() {
        assert!(keys("rate = '5/s'\n[partners.acme]\ndeliver = 'stdout'").is_empty());
    }

    #[test]
    fn what_needs_a_restart_is_named_by_key() {
        assert_eq!(keys("[engine]\nmax_in_flight = 7\nlog = 'debug'"), ["engine.log", "engine.max_in_flight"]);
        assert_eq!(keys("[handlers.new]\njq = '.'"), ["handlers.new"]);
        let added = keys("[queues.stock]\nsource = 'memory'\nhandler = 'order'");
        assert!(added.contains(&"queues.stock".to_owned()), "{added:?}");
    }

    #[test]
    fn a_secret_that_changes_behind_its_mask_is_seen() {
        let with = |token| settings(&format!("{BASE}\n[admin]\ntoken = '{token}'"));
        assert_eq!(need_restart(&with("env:A"), &with("env:B")), ["admin.token"]);
        assert!(need_restart(&with("env:A"), &with("env:A")).is_empty());
        assert_eq!(need_restart(&settings(BASE), &with("env:A")), ["admin.token"]);
    }
}
