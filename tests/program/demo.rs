//! The demo as a user runs it, ended early by a signal.

use std::process::{Command, Stdio};

use crate::support::program::{Workspace, send_signal};
use serde_json::Value;

#[test]
fn a_demo_that_a_signal_interrupts_ends_with_its_books() {
    ["INT", "HUP"].into_iter().for_each(interrupted_by);
}

fn interrupted_by(signal: &str) {
    let workspace = Workspace::new("octoconf.toml", "");
    let log = std::fs::File::create(workspace.path("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_octoconf"));
    // More messages than the test lets it send.
    command.args(["demo", "--messages", "1000000", "--json"]).env("TMPDIR", workspace.path(""));
    let child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    workspace.said(&["sent ", "delivered "]);
    send_signal(child.id(), signal);
    let output = child.wait_with_output().unwrap();
    let books: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &books["interrupted"], &books["lost"]), (Some(1), &true.into(), &0.into()), "{books}");
    let [sent, delivered, left] = ["sent", "delivered", "left"].map(|key| books[key].as_u64().unwrap());
    assert!(sent < 1_000_000 && delivered <= sent && sent <= delivered + left + books["dead"].as_u64().unwrap(), "{books}");
    assert!(workspace.log().contains("interrupted: "), "{}", workspace.log());
    let kept = std::fs::read_dir(workspace.path("")).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(kept, 0, "the folder of the queues is removed");
}
