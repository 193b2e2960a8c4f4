//! Turns the raw tree into [`Settings`]: first each section's values and their ranges, then
//! the checks between sections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;

use super::Context;
use super::problem::{Problems, join};
use super::secrets::Secrets;
use super::section::{Level, Section, quote};
use super::tree::{Tree, as_table, table};
use super::units::{Size, Span};
use crate::environment::Environment;
use crate::handler::Registry;
use crate::handler::jq::{JqError, JqHandler, Program};
use crate::message::Account;
use crate::settings::{AdminSettings, EngineSettings, HandlerSettings, PartnersSettings, SHORTEST_INTERVAL, Secret, Settings};

mod across;
mod partner;
mod queue;

/// The input of a resolution, and the place for its problems.
struct Resolver<'a> {
    tree: &'a Tree,
    defaults: &'a Tree,
    secrets: Secrets<'a>,
    problems: &'a Problems,
}

/// Resolves every section. Returns the settings, and the handlers in code with the pipelines added. If there are
/// problems, the settings hold defaults in place of bad values, pipelines are missing, and neither must be used.
pub(super) fn resolve(
    tree: &Tree,
    defaults: &Tree,
    context: &Context<'_>,
    problems: &Problems,
    warnings: &mut Vec<String>,
) -> (Settings, Registry) {
    let resolver = Resolver { tree, defaults, secrets: Secrets::new(context.environment), problems };
    let queues = resolver.named("queues", queue::resolve);
    let mut registry = context.handlers.clone();
    let handlers = resolver.named("handlers", |name, section| {
        let (settings, pipeline) = resolver.handler(section);
        if let Some(pipeline) = pipeline {
            registry.register(name, pipeline);
        }
        settings
    });
    let root = Section::new(vec![Level { path: "", table: tree }], defaults, problems);
    let mut settings = Settings {
        partners_dir: root.get("partners_dir"),
        engine: resolver.engine(),
        admin: resolver.admin(),
        queues,
        handlers,
        partners: resolver.partners(warnings),
    };
    let queues_named = tree.get("queues").is_some_and(|queues| as_table(queues).is_none_or(|queues| !queues.is_empty()));
    across::check(&mut settings, queues_named, context.handlers, problems);
    across::warn(&settings, warnings);
    (settings, registry)
}

/// Resolves only the section `admin`.
pub(super) fn resolve_admin(tree: &Tree, defaults: &Tree, environment: &Environment, problems: &Problems) -> AdminSettings {
    Resolver { tree, defaults, secrets: Secrets::new(environment), problems }.admin()
}

impl<'a> Resolver<'a> {
    /// Resolves every `[section.NAME]`, each over the values that `defaults.toml` has for `*`.
    fn named<T>(&self, section: &str, mut read: impl FnMut(&str, &Section<'_>) -> T) -> BTreeMap<String, T> {
        let defaults = table(self.defaults, &[section, "*"]);
        let tables = table(self.tree, &[section]).iter().filter_map(|(name, value)| Some((name, as_table(value)?)));
        tables
            .map(|(name, table)| {
                let path = join(section, name);
                let section = Section::new(vec![Level { path: &path, table }], defaults, self.problems);
                (name.clone(), read(name, &section))
            })
            .collect()
    }

    fn single(&self, name: &'a str) -> Section<'a> {
        let level = Level { path: name, table: table(self.tree, &[name]) };
        Section::new(vec![level], table(self.defaults, &[name]), self.problems)
    }

    fn engine(&self) -> EngineSettings {
        let section = self.single("engine");
        EngineSettings {
            handler_threads: section.get_in("handler_threads", 0..=65_536),
            delivery_threads: section.get_in("delivery_threads", 1..=65_536),
            log: section.get_if("log", |filter: &String| check_log(filter)),
            max_in_flight: section.get_in("max_in_flight", 1..=100_000_000),
            max_in_flight_bytes: size(&section, "max_in_flight_bytes", 1, 1 << 50),
            flush_interval: span(&section, "flush_interval", SHORTEST_INTERVAL, MINUTE),
            shutdown_timeout: span(&section, "shutdown_timeout", Duration::ZERO, DAY),
        }
    }

    fn admin(&self) -> AdminSettings {
        let section = self.single("admin");
        let listen: String = section.get_if("listen", |listen: &String| check_listen(listen));
        let token = secret_of(&section, "token", &self.secrets, |token| {
            let fits = token.chars().all(|c| c.is_ascii_graphic());
            if fits {
                Ok(())
            } else {
                Err("holds more than visible ASCII, which an Authorization header cannot contain; choose another".to_owned())
            }
        });
        if !section.has_text("token") && !listen.is_empty() && !is_loopback(&listen) {
            let text = format!("{listen} is not loopback and there is no admin.token; set one, or listen on 127.0.0.1");
            section.report(&["listen"], text);
        }
        AdminSettings { listen, token }
    }

    /// Returns a pipeline's settings, and the pipeline unless a program is missing.
    fn handler(&self, section: &Section<'_>) -> (HandlerSettings, Option<JqHandler>) {
        let (jq, payloads) = program(section, "jq", |why, _| why);
        let (bucket, accounts) = program(section, "bucket", with_dot);
        let handler = HandlerSettings { jq, bucket };
        if !section.has_text("jq") {
            section.report(&["jq"], "there is none; write the jq program that makes the payloads, for example \".\"");
        }
        if handler.bucket.is_empty() {
            section.report(&["bucket"], "there is none; write the jq path of the account, for example \".account\"");
        }
        let pipeline = payloads.zip(accounts).map(|(payloads, accounts)| JqHandler::new(payloads, accounts));
        (handler, pipeline)
    }

    fn partners(&self, warnings: &mut Vec<String>) -> PartnersSettings {
        let defaults = table(self.defaults, &["partners", "default"]);
        let start = Level { path: "partners.default", table: table(self.tree, &["partners", "default"]) };
        let default = partner::resolve(&Section::new(vec![start], defaults, self.problems), &self.secrets, warnings);
        let mut by_account = BTreeMap::new();
        for (account, value) in table(self.tree, &["partners"]).iter().filter(|(account, _)| *account != "default") {
            let Some(table) = as_table(value) else { continue };
            let path = join("partners", account);
            let section = Section::new(vec![Level { path: &path, table }, start], defaults, self.problems);
            by_account.insert(Account::from(account.as_str()), partner::resolve(&section, &self.secrets, warnings));
        }
        PartnersSettings { default, by_account }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn span(section: &Section<'_>, key: &str, least: Duration, most: Duration) -> Duration {
    section.get_in(key, Span(least)..=Span(most)).0
}

fn size(section: &Section<'_>, key: &str, least: u64, most: u64) -> u64 {
    section.get_in(key, Size(least)..=Size(most)).0
}

/// Reads a key whose value is one of several words. Returns `None` if the value is none of them, which is reported.
fn word<T: Copy>(section: &Section<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
    let find = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    let refused = std::cell::Cell::new(false);
    let text: String = section.get_if(key, |text: &String| {
        if find(text).is_some() {
            return Ok(());
        }
        refused.set(true);
        Err(format!("found {}; write one of {known}", quote(text)))
    });
    if refused.get() { None } else { find(&text) }
}

/// Reads a text that may be empty, and returns `None` if it is.
fn optional(section: &Section<'_>, key: &str, check: impl Fn(&str) -> Result<(), String>) -> Option<String> {
    let text: String = section.get_if(key, |text: &String| if text.is_empty() { Ok(()) } else { check(text) });
    Some(text).filter(|text| !text.is_empty())
}

/// Reads a secret from the place that the key names.
fn secret_of(
    section: &Section<'_>,
    key: &str,
    secrets: &Secrets<'_>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Option<Secret> {
    let text: String = section.get_if(key, |text: &String| match secrets.read(text)? {
        Some(secret) => check(secret.expose()),
        None => Ok(()),
    });
    secrets.read(&text).ok().flatten()
}

/// Reads a jq program; `hint` adds to what is wrong with it. Returns its text, or the default in place of a refused one, and
/// what that compiles to; `None` if it is empty.
fn program(section: &Section<'_>, key: &str, hint: impl Fn(String, &str) -> String) -> (String, Option<Program>) {
    let compiled = std::cell::Cell::new(None);
    let text: String = section.get_if(key, |text: &String| {
        if text.is_empty() {
            return Ok(());
        }
        compiled.set(Some(Program::compile(text).map_err(|error| hint(not_jq(error), text))?));
        Ok(())
    });
    // A default is not checked, so it is compiled here.
    let program = compiled.into_inner().or_else(|| Program::compile(&text).ok());
    (text, program)
}

fn not_jq(error: JqError) -> String {
    format!("not a jq program: {error}")
}

/// Adds to what is wrong with a path that it lacks its dot, if it does.
pub(super) fn with_dot(text: String, path: &str) -> String {
    let is_name = path.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && path.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name { format!("{text}; a path begins with a dot: \".{path}\"") } else { text }
}

/// Checks a log filter. The syntax also allows a module without a level, for all of its lines. It would take a misspelt
/// level for such a module, and nothing would be logged at all: so a level must be written with every module.
fn check_log(filter: &str) -> Result<(), String> {
    let parses = env_filter::Builder::new().try_parse(filter).is_ok();
    let directives = filter.split_once('/').map_or(filter, |(directives, _pattern)| directives);
    let names_level =
        |directive: &str| directive.is_empty() || directive.contains('=') || LevelFilter::from_str(directive).is_ok();
    if parses && directives.split(',').all(|directive| names_level(directive.trim())) {
        return Ok(());
    }
    Err(format!("found {}; write off, error, warn, info, debug or trace, or MODULE=LEVEL, with commas between", quote(filter)))
}

fn check_listen(listen: &str) -> Result<(), String> {
    let local = listen.strip_prefix("localhost:").is_some_and(|port| port.parse::<u16>().is_ok());
    if listen.is_empty() || local || listen.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    Err(format!(
        "found {}; write an address and port such as \"127.0.0.1:9464\" or \"[::1]:9464\", or \"\" for none",
        quote(listen)
    ))
}

fn is_loopback(listen: &str) -> bool {
    listen.starts_with("localhost:") || listen.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

/// Checks that a time is in whole seconds, as SQS requires.
fn whole_seconds(span: Span) -> Result<(), String> {
    if span.0.subsec_nanos() == 0 { Ok(()) } else { Err(format!("{span} is not in whole seconds, as SQS requires; round it")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULTS, Environment, FileFormat, format, parse, tree};

    fn defaults() -> Tree {
        format::parse(DEFAULTS, FileFormat::Toml, &tree::Origin::main("defaults.toml"), &Problems::default())
    }

    fn problem_keys(text: &str) -> Vec<String> {
        let environment = Environment::default();
        let context = Context { environment: &environment, handlers: &Registry::new() };
        match parse(text, FileFormat::Toml, "x.toml", &context) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.problems.into_iter().map(|problem| problem.key).collect(),
        }
    }

    /// The defaults are read as if a user had written them, so that an unreadable default is a problem and
    /// does not silently become zero.
    #[test]
    fn every_default_can_be_read() {
        let keys = problem_keys(&DEFAULTS.replace("\"*\"", "x"));
        let what_a_user_must_say = ["handlers.x.jq", "partners.default.url", "queues.x.handler"];
        let of_other_sources = ["queues.x.path", "queues.x.repeat"];
        let mut expected: Vec<&str> = what_a_user_must_say.into_iter().chain(of_other_sources).collect();
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }

    /// A key that is documented but never read would be accepted and have no effect.
    #[test]
    fn every_key_of_the_defaults_is_read() {
        let defaults = defaults();
        let keys = |path: &[&str]| table(&defaults, path).keys().cloned().collect::<Vec<_>>();
        let read = |text: &str, key: &str| problem_keys(text).iter().any(|problem| problem == key);
        for section in ["engine", "admin"] {
            for key in keys(&[section]) {
                assert!(read(&format!("[{section}]\n{key} = []"), &format!("{section}.{key}")), "{section}.{key}");
            }
        }
        for (section, name) in [("handlers", "*"), ("partners", "default")] {
            for key in keys(&[section, name]) {
                assert!(read(&format!("[{section}.x]\n{key} = []"), &format!("{section}.x.{key}")), "{section}.{key}");
            }
        }
        for key in keys(&["queues", "*"]) {
            let sources = ["sqs", "sqlite", "memory"].map(|source| format!("[queues.x]\nsource = '{source}'\n{key} = []"));
            let own = format!("[queues.x]\n{key} = []");
            let texts: &[String] = if key == "source" { &[own] } else { &sources };
            assert!(texts.iter().all(|text| read(text, &format!("queues.x.{key}"))), "queues.{key}");
        }
        assert!(read("partners_dir = []", "partners_dir"));
    }
}
