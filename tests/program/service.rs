//! The program under a service manager: what it reports, and how it reacts to signals.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::partner::{Connection, NO_CONTENT, Partner};
use crate::support::program::{Workspace, invoice, lines, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// A configuration with one queue in a file, and the given partners.
fn config(partners: &str) -> String {
    format!(
        "[admin]\nlisten = \"\"\n[queues.invoice]\nsource = \"sqlite\"\nhandler = \"order\"\n[partners.default]\n{partners}\n"
    )
}

fn to_files(folder: &str) -> String {
    config(&format!("deliver = \"file\"\npath = \"{folder}/{{account}}.jsonl\""))
}

fn send(workspace: &Workspace, numbers: std::ops::Range<usize>) {
    let bodies: Vec<String> = numbers.map(|number| invoice(Some("acme"), number)).collect();
    let file = workspace.write("invoices.jsonl", &bodies.join("\n"));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
}

/// Returns the numbers of the invoices in a folder's file, in order.
fn delivered(workspace: &Workspace, folder: &str) -> Vec<usize> {
    let path = workspace.path(folder).join("acme.jsonl");
    if !path.exists() {
        return Vec::new();
    }
    lines(&path).iter().map(|line| line["invoice"].as_str().unwrap().parse().unwrap()).collect()
}

fn wait_for(workspace: &Workspace, folder: &str, count: usize) {
    until(|| delivered(workspace, folder).len() >= count, || format!("{:?}\n{}", delivered(workspace, folder), workspace.log()));
}

/// A systemd that only listens.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Waits for a notification with a line that starts with `beginning`. Any notification before it must
    /// start with one of `between`.
    fn hears(&self, beginning: &str, between: &[&str]) -> String {
        loop {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).unwrap();
            let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if message.lines().any(|line| line.starts_with(beginning)) {
                return message;
            }
            assert!(between.iter().any(|other| message.starts_with(other)), "{message:?} before {beginning}");
        }
    }
}

#[test]
fn systemd_hears_of_each_step_and_of_life_in_between() {
    let workspace = Workspace::new("octoconf.toml", &to_files("out"));
    let path = workspace.path("notify");
    let manager = Manager { socket: UnixDatagram::bind(&path).unwrap() };
    manager.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let workspace = workspace.with_environment(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "300000")]);
    let running = workspace.start(&["run"]);
    let at_any_time = ["WATCHDOG=1", "STATUS="];
    manager.hears("READY=1", &[]);
    manager.hears("WATCHDOG=1", &at_any_time);
    let status = manager.hears("STATUS=", &at_any_time);
    assert!(status.contains("running, 0 held"), "{status}");
    manager.hears("WATCHDOG=1", &at_any_time);
    running.signal("HUP");
    let reloading = manager.hears("RELOADING=1", &at_any_time);
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    manager.hears("READY=1", &at_any_time);
    running.signal("TERM");
    manager.hears("STOPPING=1", &at_any_time);
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
}

#[test]
fn a_reload_under_load_loses_nothing_and_repeats_nothing() {
    let workspace = Workspace::new("octoconf.toml", &to_files("a"));
    send(&workspace, 0..3000);
    let mut running = workspace.start(&["run", "--until-empty"]);
    workspace.said(&["starting:"]);
    let mut reloads = 0;
    until(
        || {
            if running.ended().is_none() {
                reloads += 1;
                workspace.write("octoconf.toml", &to_files(if reloads % 2 == 0 { "a" } else { "b" }));
                running.signal("HUP");
            }
            running.ended().is_some()
        },
        || workspace.log(),
    );
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    let mut all = [delivered(&workspace, "a"), delivered(&workspace, "b")].concat();
    all.sort_unstable();
    assert_eq!(all, (0..3000).collect::<Vec<_>>(), "after {reloads} reloads");
    workspace.said(&["reloaded:", "octoconf.toml"]);
}

#[test]
fn partners_change_at_a_reload_and_a_bad_file_changes_nothing() {
    let workspace = Workspace::new("octoconf.toml", &to_files("first"));
    let running = workspace.start(&["run"]);
    send(&workspace, 0..1);
    wait_for(&workspace, "first", 1);
    workspace.write("octoconf.toml", &to_files("second"));
    running.signal("HUP");
    workspace.said(&["reloaded:"]);
    send(&workspace, 1..2);
    wait_for(&workspace, "second", 1);

    workspace.write("octoconf.toml", &to_files("third").replace("deliver", "delivre"));
    running.signal("HUP");
    workspace.said(&["the reload was refused", "partners.default.delivre"]);
    workspace.write("octoconf.toml", &(to_files("third") + "[engine]\nmax_in_flight = 77\n"));
    running.signal("HUP");
    workspace.said(&["the reload was refused", "these keys need a restart: engine.max_in_flight"]);
    send(&workspace, 2..3);
    wait_for(&workspace, "second", 2);
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    assert_eq!((delivered(&workspace, "first"), delivered(&workspace, "second")), (vec![0], vec![1, 2]));
}

#[test]
fn secrets_are_read_again_at_a_reload() {
    let partner = Partner::answering(NO_CONTENT);
    let http = format!("deliver = \"http\"\nurl = \"http://{}/x\"\nheaders.authorization = \"file:./key\"", partner.address);
    let workspace = Workspace::new("octoconf.toml", &config(&http));
    workspace.write("key", "old-key");
    let running = workspace.start(&["run"]);
    workspace.said(&["starting:"]);
    for (number, key) in [(0, "old-key"), (1, "new-key")] {
        workspace.write("key", key);
        running.signal("HUP");
        until(|| workspace.log().matches("reloaded:").count() == number + 1, || workspace.log());
        send(&workspace, number..number + 1);
        let request = partner.requests.recv_timeout(PATIENCE).unwrap();
        assert_eq!(request.header("authorization"), Some(key));
    }
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    assert!(!workspace.log().contains("-key"), "a secret in the log:\n{}", workspace.log());
}

#[test]
fn usr1_logs_the_state_and_what_each_thread_does() {
    for log in ["info", "error"] {
        let partner = Partner::start(|mut connection: Connection| {
            connection.request();
            connection.hang();
        });
        let http = format!("deliver = \"http\"\nurl = \"http://{}/x\"", partner.address);
        let workspace = Workspace::new("octoconf.toml", &config(&http)).with_environment(&[("OCTOCONF_ENGINE__LOG", log)]);
        send(&workspace, 0..1);
        let running = workspace.start(&["run"]);
        partner.requests.recv_timeout(PATIENCE).unwrap();
        running.signal("USR1");
        workspace.said(&["state: state=running", "in_flight=1"]);
        workspace.said(&["state: queue=invoice source=sqlite received=1"]);
        workspace.said(&["thread: name=deliver-", "doing=\"delivers\"", "about=\"acme\""]);
        workspace.said(&["threads that wait for work:", "handle="]);
        running.kill();
    }
}

#[test]
fn the_log_comes_as_the_service_wants_it() {
    let workspace = Workspace::new("octoconf.toml", &to_files("out"));
    let log = |arguments: &[&str]| {
        let output = workspace.octoconf(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let json = log(&["run", "--until-empty", "--log-format", "json"]);
    let all: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let started = all.iter().find(|line| line["message"].as_str().unwrap().starts_with("starting:")).unwrap();
    assert_eq!((&started["level"], &started["fields"]["queues"]), (&"info".into(), &1.into()));
    let journal = log(&["run", "--until-empty", "--log-format", "journald"]);
    assert!(journal.lines().count() > 1 && journal.lines().all(|line| line.starts_with("<6>")), "{journal}");
    assert!(log(&["run", "--until-empty"]).starts_with('['));

    workspace.write("octoconf.toml", "[engine]\nlog = \"loud\"\n[queues.x]\nsource = \"file\"");
    let refused = workspace.expect(2, &["--log-format", "journald", "run"]);
    assert!(refused.lines().count() > 1 && refused.lines().all(|line| line.starts_with("<3>")), "{refused}");
}

#[test]
fn no_filter_lets_a_secret_into_the_log() {
    let partner = Partner::answering(NO_CONTENT);
    let http = format!(
        "deliver = \"http\"\nurl = \"http://user:in-user@{}/{{account}}?key=in-query\"\nheaders = {{ x-key = \"env:KEY\", x-other = \"in-header\" }}",
        partner.address
    );
    for (filter, variable) in [("trace", ""), ("warn,ureq=trace", ""), ("ureq_proto=debug,info", ""), ("info", "trace")] {
        let workspace = Workspace::new("octoconf.toml", &format!("[engine]\nlog = \"{filter}\"\n{}", config(&http)));
        let workspace = workspace.with_environment(&[("KEY", "in-variable"), ("RUST_LOG", variable)]);
        send(&workspace, 0..3);
        let output = workspace.octoconf(&["run", "--until-empty"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let hidden = ["in-user", "in-query", "in-header", "in-variable", "dXNlcjppbi11c2Vy"];
        assert!(!hidden.iter().any(|secret| said.contains(secret)), "{filter}: {said}");
        assert_eq!(said.matches("held back").count(), 1, "{filter}: {said}");
    }
}

#[test]
fn an_unread_log_holds_nothing_up() {
    let workspace = Workspace::new("octoconf.toml", &to_files("out"));
    send(&workspace, 0..1000);
    // The pipe stays open, unread and full, so the first line of the log cannot be written.
    let (pipe, log) = full_pipe();
    let mut child = workspace.command(&["run", "--until-empty", "--report", "report.json"]).stderr(log).spawn().unwrap();
    let mut status = None;
    until(
        || {
            status = child.try_wait().unwrap();
            status.is_some()
        },
        || "it waits for somebody to read its log".to_owned(),
    );
    assert!(status.unwrap().success());
    assert_eq!(workspace.report()["queues"][0]["acked"], 1000);
    assert!(std::io::read_to_string(pipe).unwrap().bytes().all(|byte| byte == b' '), "the pipe had room for a line");
}

/// A pipe so full that the next write to it blocks.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while writer.write(&[b' '; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}
