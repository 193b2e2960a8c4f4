//! The program as a user runs it, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use crossbeam_channel::after;
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than any run may take by its own options.
const LONGEST_RUN: Duration = Duration::from_secs(400);
/// How long a program that does not end has to log what its threads do.
const LAST_WORDS: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(50);

/// A working directory with a configuration. It is deleted with this value.
pub struct Workspace {
    folder: TempDir,
    config: &'static str,
    environment: Vec<(String, String)>,
}

impl Workspace {
    /// Creates a workspace; `config` names the configuration file, and its extension the format.
    pub fn new(config: &'static str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(config), text).unwrap();
        Self { folder, config, environment: Vec::new() }
    }

    /// Adds variables to the environment of the workspace's commands.
    pub fn with_environment(mut self, variables: &[(&str, &str)]) -> Self {
        self.environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    /// Keeps the folder, so that a person can look into it.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Returns a command that can be changed before it is run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_octoconf"));
        command.arg("--config").arg(self.config).args(arguments).current_dir(self.folder.path());
        command.env_remove("OCTOCONF_CONFIG").env_remove("RUST_LOG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn octoconf(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must end with this status, and returns its output.
    pub fn expect(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.octoconf(arguments);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{out}\n{err}");
        if status == 0 { out } else { out + &err }
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.expect(0, arguments)).unwrap()
    }

    /// Starts a command, whose log goes to the file `log`.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let errors = log.try_clone().unwrap();
        let child = self.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        Running { child, log }
    }

    /// Runs until everything is settled, and returns the report.
    pub fn run_until_empty(&self) -> Value {
        self.expect(0, &["run", "--until-empty", "--report", "report.json"]);
        self.report()
    }

    pub fn report(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path("report.json")).unwrap()).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the log of [`Workspace::start`] has a line that contains all of these texts.
    pub fn said(&self, text: &[&str]) {
        until(
            || self.log().lines().any(|line| text.iter().all(|part| line.contains(part))),
            || format!("the log never said {text:?}:\n{}", self.log()),
        );
    }
}

/// A running command, which is killed if the test ends first.
pub struct Running {
    child: Child,
    log: fs::File,
}

impl Running {
    /// Kills the program (`kill -9`), so that it cannot clean up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Returns the exit status if the command has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end of the command and returns its exit status. If it does not end, it is asked to log what its
    /// threads do (USR1), and is killed.
    pub fn end(mut self) -> Option<i32> {
        let (id, log, mut status) = (self.child.id(), self.log.try_clone().unwrap(), None);
        let has_ended = || {
            status = self.ended();
            status.is_some()
        };
        until_within(LONGEST_RUN, has_ended, || {
            let size = || log.metadata().unwrap().len();
            let before = size();
            send_signal(id, "USR1");
            is_within(LAST_WORDS, || size() > before);
            format!("the program did not end within {LONGEST_RUN:?}; what its threads do is at the end of its log")
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

pub fn send_signal(process: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Polls a condition that no channel signals, for as long as a machine under load may need.
pub fn until(is_so: impl FnMut() -> bool, complaint: impl FnOnce() -> String) {
    until_within(PATIENCE, is_so, complaint);
}

/// Watches a condition that must hold all of this time.
pub fn holds_for(time: Duration, mut holds: impl FnMut() -> bool, complaint: impl FnOnce() -> String) {
    if is_within(time, || !holds()) {
        panic!("{}", complaint());
    }
}

fn until_within(patience: Duration, is_so: impl FnMut() -> bool, complaint: impl FnOnce() -> String) {
    if !is_within(patience, is_so) {
        panic!("{}", complaint());
    }
}

/// Returns whether a condition becomes true within this time; looks every [`GLANCE`], and once more at the end.
fn is_within(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let too_late = after(time);
    while !is_so() {
        // The timeout is received only once, so whoever receives it must act on it.
        if too_late.recv_timeout(GLANCE).is_ok() {
            return is_so();
        }
    }
    true
}

/// Returns an invoice as the built-in handler `order` reads it.
pub fn invoice(account: Option<&str>, number: usize) -> String {
    json!({ "account": account, "invoice": number.to_string(), "issued_at": "12/1/2010 8:26", "country": "United Kingdom",
            "quantity": number % 7 + 1, "unit_price": 2.55 })
    .to_string()
}

/// Returns the payloads in a file, in order.
pub fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
