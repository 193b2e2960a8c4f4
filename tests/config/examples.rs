//! Every file in `conf/` loads without a warning, and the TOML and INI files hold the same configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

use octoconf::config::{self, Context, Environment, Loaded};
use octoconf::handler::Registry;
use octoconf::settings::{Deliver, Source};
use tempfile::TempDir;

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

/// A folder of made-up credentials, in place of the one that systemd provides.
fn credentials() -> TempDir {
    let credentials = tempfile::tempdir().unwrap();
    for (name, text) in
        [("admin-token", "made-up-admin-token"), ("partner-key", "made-up-partner-key"), ("signing-secret", "whsec_bWFkZS11cA==")]
    {
        std::fs::write(credentials.path().join(name), format!("{text}\n")).unwrap();
    }
    credentials
}

fn load(path: &Path) -> Loaded {
    let credentials = credentials();
    let environment = Environment::from_iter([("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap())]);
    let context = Context { environment: &environment, handlers: &Registry::new() };
    config::load(path, &context).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_example_loads_without_a_warning() {
    let files: Vec<PathBuf> = std::fs::read_dir(conf(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| config::FileFormat::of(path).is_some())
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(load(&file).warnings, [""; 0], "{}", file.display());
    }
}

#[test]
fn the_program_checks_the_production_file_and_shows_no_secret() {
    let credentials = credentials();
    let output = Command::new(env!("CARGO_BIN_EXE_octoconf"))
        .arg("--config")
        .arg(conf("sqs.toml"))
        .arg("check")
        .env("CREDENTIALS_DIRECTORY", credentials.path())
        .output()
        .unwrap();
    let (shown, complaints) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), complaints.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains("invoice.fifo") && !shown.contains("made-up") && !shown.contains("bWFkZS11cA"), "{shown}");
}

#[test]
fn toml_and_ini_say_the_same() {
    assert_eq!(load(&conf("octoconf.toml")).settings, load(&conf("octoconf.ini")).settings);
}

#[test]
fn the_first_example_needs_only_embedded_queues_and_files() {
    let settings = load(&conf("octoconf.toml")).settings;
    let handlers: Vec<_> = settings.queues.iter().map(|(name, queue)| (name.as_str(), queue.handler.as_str())).collect();
    assert_eq!(handlers, [("invoice", "order"), ("stock", "product")]);
    assert!(settings.queues.values().all(|queue| matches!(queue.source, Source::Sqlite { .. })));
    assert!(matches!(settings.partners.default.deliver, Deliver::File { .. }));
}

#[test]
fn the_production_file_takes_its_secrets_from_credentials() {
    let settings = load(&conf("sqs.toml")).settings;
    assert_eq!(settings.admin.token.as_ref().map(|token| token.expose()), Some("made-up-admin-token"));
    let Deliver::Http(http) = &settings.partners.of("acme.com").deliver else { panic!("acme.com is not served by http") };
    assert_eq!(http.signing_secret.as_ref().map(|secret| secret.expose()), Some("whsec_bWFkZS11cA=="));
    assert_eq!(http.headers["authorization"].expose(), "made-up-partner-key");
    assert_eq!(http.url, "https://api.acme.com/hooks/{queue}");
    assert_eq!(settings.partners.of("Globex").max_batch, 1, "single means batches of one");
}
