//! Commands that a signal ends: they say how far they have come.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use crate::commands::{sent, workspace};
use crate::support::program::{Workspace, invoice, lines, send_signal, until};
use serde_json::{Value, json};

/// Starts `send` with this file, or with an input that stays open.
fn sending(workspace: &Workspace, file: &str) -> Child {
    let mut command = workspace.command(&["send", "invoice", file, "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs until `count` messages in total have been delivered. A run that has found the queue empty returns the messages
/// that arrive afterwards, so several runs may be needed.
fn run_until_acked(workspace: &Workspace, count: u64) {
    let mut acked = 0;
    until(
        || {
            acked += workspace.run_until_empty()["queues"][0]["acked"].as_u64().unwrap();
            acked >= count
        },
        || "what is read is not sent while the input is open".to_owned(),
    );
    assert_eq!(acked, count);
}

fn interrupt(child: Child, signal: &str) -> (Option<i32>, Value) {
    send_signal(child.id(), signal);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_slow_input_is_sent_as_it_comes_until_a_signal() {
    for signal in ["INT", "TERM"] {
        let workspace = workspace();
        let mut child = sending(&workspace, "-");
        // Kept open, so that it is not the end of the input that sends the lines.
        let mut input = child.stdin.take().unwrap();
        for (from, to) in [(0, 3), (3, 5)] {
            (from..to).for_each(|number| writeln!(input, "{}", invoice(Some("acme"), number)).unwrap());
            run_until_acked(&workspace, (to - from) as u64);
        }
        assert_eq!(interrupt(child, signal), (Some(0), sent(5, true)));
        assert_eq!(lines(&workspace.path("out/acme.jsonl")).len(), 5);
    }
}

#[test]
fn a_file_that_a_signal_leaves_unfinished_is_a_failure() {
    let workspace = workspace();
    let file = workspace.path("pipe");
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let child = sending(&workspace, "pipe");
    let mut input = std::fs::File::options().write(true).open(&file).unwrap();
    writeln!(input, "{}", invoice(Some("acme"), 1)).unwrap();
    run_until_acked(&workspace, 1);
    assert_eq!(interrupt(child, "TERM"), (Some(1), sent(1, true)));
    let mut child = sending(&workspace, "pipe");
    drop(child.stdout.take());
    let mut input = std::fs::File::options().write(true).open(&file).unwrap();
    writeln!(input, "{}", invoice(Some("acme"), 1)).unwrap();
    run_until_acked(&workspace, 1);
    send_signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(1), "also where nobody reads the result");
}

#[test]
fn a_redrive_that_a_signal_interrupts_says_how_far_it_came() {
    let workspace = workspace();
    let file = workspace.write("lines.jsonl", &["[]"; 50].join("\n"));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    workspace.run_until_empty();
    let mut command = workspace.command(&["dead", "redrive", "invoice", "--rate", "1/s", "--json"]);
    let log = std::fs::File::create(workspace.path("log")).unwrap();
    let child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    workspace.said(&[" of 50 redriven"]);
    let (status, object) = interrupt(child, "INT");
    let left = workspace.json(&["dead", "list", "invoice", "--json"]).as_array().unwrap().len();
    assert_eq!((status, &object["interrupted"], &object["chosen"]), (Some(1), &json!(true), &json!(50)));
    assert!(left > 0 && object["redriven"] == json!(50 - left), "{object}, {left} left");
}
