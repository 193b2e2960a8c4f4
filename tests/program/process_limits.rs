//! Limits of the process: the program reports which limit it ran into, and goes on if it can.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::support::program::{Workspace, invoice, lines, until};

const MESSAGES: usize = 500;

fn workspace() -> Workspace {
    let workspace = Workspace::new(
        "octoconf.toml",
        r#"
        [admin]
        listen = ""
        [queues.invoice]
        source = "sqlite"
        handler = "order"
        [partners.default]
        deliver = "file"
        path = "out/{account}.jsonl"
        "#,
    );
    fs::create_dir(workspace.path("out")).unwrap();
    workspace
}

fn invoices() -> String {
    (0..MESSAGES).map(|n| invoice(Some("acme"), n) + "\n").collect()
}

/// A shell that sets limits and then becomes the program.
fn limited(workspace: &Workspace, limit: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_octoconf")]);
    command.args(["--config", "octoconf.toml"]).args(arguments).current_dir(workspace.path(""));
    command.env_remove("OCTOCONF_CONFIG").env_remove("RUST_LOG");
    command
}

fn send(workspace: &Workspace, limit: &str) -> Output {
    let mut command = limited(workspace, limit, &["send", "invoice", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A process that has already ended does not read its input.
    let _ = child.stdin.take().unwrap().write_all(invoices().as_bytes());
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_write_ahead_log_at_its_limit_is_truncated() {
    let workspace = workspace();
    workspace.expect(0, &["send", "invoice", workspace.write("first.jsonl", &invoices()).to_str().unwrap()]);
    // In blocks of 512 bytes: 1 MiB, where the write-ahead log would otherwise have 16.
    let log = fs::File::create(workspace.path("log")).unwrap();
    let mut run = limited(&workspace, "-f 2048", &["run"]).stdin(Stdio::null()).stderr(log).spawn().unwrap();
    let size = || fs::metadata(workspace.path("octoconf.db-wal")).map_or(0, |log| log.len());
    let (mut largest, mut cuts, mut before) = (0, 0, 0);
    for round in 1..=9 {
        if round > 1 {
            let sent = send(&workspace, "-f 2048");
            assert!(sent.status.success(), "{}", told(&sent));
        }
        let taken = || fs::read_to_string(workspace.path("out/acme.jsonl")).map_or(0, |text| text.lines().count());
        until(
            || {
                let now = size();
                (largest, cuts, before) = (largest.max(now), cuts + usize::from(now < before), now);
                assert!(run.try_wait().unwrap().is_none(), "it ended: {}", workspace.log());
                taken() >= round * MESSAGES
            },
            || format!("{} were taken in round {round}:\n{}", taken(), workspace.log()),
        );
    }
    assert!(largest <= 1024 * 1024 && cuts > 0, "{largest} {cuts}");
    assert!(!workspace.log().contains("the queue fails"), "{}", workspace.log());
    assert_eq!(lines(&workspace.path("out/acme.jsonl")).len(), 9 * MESSAGES);
    crate::support::program::send_signal(run.id(), "TERM");
    assert!(run.wait().unwrap().success(), "{}", workspace.log());
}

#[test]
fn a_limit_of_file_size_is_a_reason_in_words() {
    let workspace = workspace();
    workspace.expect(0, &["send", "invoice", workspace.write("none.jsonl", "").to_str().unwrap()]);
    let output = send(&workspace, "-f 160");
    assert_eq!(output.status.code(), Some(1), "it dies of no signal: {}", told(&output));
    assert!(told(&output).contains("80.0 KiB at most; raise that limit (ulimit -f"), "{}", told(&output));
}

#[test]
fn a_run_that_gets_no_threads_leaves_no_report_of_an_earlier_one() {
    let workspace = workspace();
    workspace.expect(0, &["send", "invoice", workspace.write("in.jsonl", &invoices()).to_str().unwrap()]);
    assert_eq!(workspace.run_until_empty()["queues"][0]["acked"], MESSAGES);
    let config = fs::read_to_string(workspace.path("octoconf.toml")).unwrap();
    workspace.write("octoconf.toml", &format!("{config}\n[engine]\nhandler_threads = 2000\n"));
    // In KiB of address space: less than the stacks of these threads take.
    let output = limited(&workspace, "-v 8000000", &["run", "--until-empty", "--report", "report.json"]).output().unwrap();
    assert!(output.status.code() == Some(1) && told(&output).contains("cannot start the thread"), "{}", told(&output));
    let report = workspace.report();
    assert_eq!((&report["state"], &report["queues"][0]["acked"]), (&"stopped".into(), &0.into()));
}

#[test]
fn a_lack_of_file_descriptors_is_reported_as_such() {
    let workspace = workspace();
    workspace.expect(0, &["send", "invoice", workspace.write("none.jsonl", "").to_str().unwrap()]);
    let mut seen = 0;
    for most in 4..30 {
        let said = told(&send(&workspace, &format!("-n {most}")));
        if said.contains("unable to open database file") {
            seen += 1;
            assert!(said.contains(&format!("there are too few file descriptors left of {most}; raise the limit")), "{said}");
        }
    }
    assert!(seen > 0);
}
