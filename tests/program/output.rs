//! Standard output that is full, or that nobody reads: what was done is told all the same.

use crate::commands::{CONFIG, workspace};
use crate::support::program::Workspace;

#[test]
fn a_full_output_is_a_failure_and_no_panic() {
    let workspace = workspace();
    for arguments in [&["completions", "bash"][..], &["check"], &["check", "--json"], &["dead", "list", "invoice", "--json"]] {
        let said = without_output(&workspace, arguments);
        assert!(said.contains("No space left") && !said.contains("panicked"), "{arguments:?}: {said}");
    }
}

/// Runs a command whose standard output is full; returns what it reports on standard error when it fails.
fn without_output(workspace: &Workspace, arguments: &[&str]) -> String {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = workspace.command(arguments).stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    said
}

/// Runs a command whose standard output nobody reads any more; returns its exit status and what it reports on standard
/// error.
fn unread(workspace: &Workspace, arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = workspace.command(arguments).stdout(writer).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_output_without_a_reader_changes_no_exit_status() {
    let workspace = workspace();
    workspace.write("in.jsonl", "1\n{\"account\":\n");
    let (status, said) = unread(&workspace, &["send", "invoice", "in.jsonl"]);
    assert!(status == Some(1) && said.contains("line 2"), "{status:?}: {said}");
    workspace.expect(0, &["run", "--until-empty"]);
    let list = ["dead", "list", "invoice", "--json"];
    let id = workspace.json(&list)[0]["id"].to_string();
    let quiet: [&[&str]; 6] = [
        &["completions", "bash"],
        &["check"],
        &["dead", "list", "invoice"],
        &list,
        &["dead", "show", "invoice", &id],
        &["dead", "redrive", "invoice", "--json"],
    ];
    for arguments in quiet {
        assert_eq!(unread(&workspace, arguments), (Some(0), String::new()), "{arguments:?}");
    }
    let (status, said) = unread(&workspace, &["try", "invoice", ".", "--json"]);
    assert!(status == Some(1) && said.contains("line 1 cannot be read"), "{status:?}: {said}");
    let (status, said) = unread(&workspace, &["dead", "purge", "invoice", "999"]);
    assert!(status == Some(1) && said.contains("has no dead letter 999"), "{status:?}: {said}");
    workspace.write("octoconf.toml", &CONFIG.replace("handler", "handlr"));
    assert_eq!(unread(&workspace, &["check", "--json"]), (Some(2), String::new()));
}

#[test]
fn a_full_output_does_not_hide_what_was_done() {
    let workspace = workspace();
    workspace.write("in.jsonl", "1\n2\n");
    // This reports the newly created file once, so that later commands do not.
    workspace.octoconf(&["dead", "redrive", "invoice"]);
    let full = ", but standard output cannot be written: No space left on device (os error 28)\n";
    assert_eq!(without_output(&workspace, &["send", "invoice", "in.jsonl"]), format!("octoconf: 2 messages were sent{full}"));
    workspace.expect(0, &["run", "--until-empty"]);
    assert_eq!(without_output(&workspace, &["dead", "redrive", "invoice", "--json"]), format!("octoconf: 2 were redriven{full}"));
    assert_eq!(without_output(&workspace, &["dead", "purge", "invoice"]), format!("octoconf: nothing was purged{full}"));
    assert_eq!(without_output(&workspace, &["check"]), format!("octoconf: the configuration is good{full}"));
}

#[test]
fn an_error_says_its_cause_once() {
    let workspace = workspace();
    // This reports the newly created file once, so that later commands do not.
    workspace.octoconf(&["dead", "redrive", "invoice"]);
    let said = workspace.expect(1, &["send", "invoice", "."]);
    assert_eq!(said, "octoconf: line 1 cannot be read: Is a directory (os error 21); nothing was sent\n");
    workspace.write("in.jsonl", &"x".repeat(2 << 20));
    let said = workspace.expect(1, &["send", "invoice", "in.jsonl"]);
    assert_eq!(said.matches("longer than").count(), 1, "{said}");
    workspace.write("in.jsonl", "1\n");
    let said = without_output(&workspace, &["try", "invoice", "in.jsonl"]);
    assert_eq!(said.matches("No space left").count(), 1, "{said}");
}
