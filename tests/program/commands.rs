//! The commands and their exit statuses: 0 done, 1 failed while running, 2 wrong usage or configuration.

use std::process::Command;

use crate::support::program::{Workspace, invoice, lines};
use serde_json::{Value, json};

pub const CONFIG: &str = r#"
[admin]
listen = ""
[queues.invoice]
source = "sqlite"
handler = "order"
[partners.default]
deliver = "file"
path = "out/{account}.jsonl"
"#;

pub fn workspace() -> Workspace {
    Workspace::new("octoconf.toml", CONFIG)
}

/// What `send --json` prints when the queue has refused nothing.
pub fn sent(sent: u64, interrupted: bool) -> Value {
    json!({ "sent": sent, "interrupted": interrupted, "refused": [], "not_confirmed": [] })
}

#[test]
fn a_configuration_is_checked_whole() {
    let workspace = workspace();
    assert!(workspace.expect(0, &["check"]).contains("max_in_flight"));
    assert_eq!(workspace.json(&["check", "--json"])["ok"], true);
    workspace.write("octoconf.toml", &CONFIG.replace("handler", "handlr").replace("deliver = \"file\"", "deliver = \"fil\""));
    let said = workspace.expect(2, &["check"]);
    assert!(said.contains("did you mean") && said.contains("handler") && said.contains("partners.default.deliver"), "{said}");
    workspace.expect(2, &["run"]);
    workspace.expect(2, &["check", "--json"]);
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let workspace = workspace();
    workspace.expect(2, &["no-such-command"]);
    workspace.expect(2, &["send"]);
    let said = workspace.expect(2, &["send", "no-such-queue"]);
    assert!(said.contains("invoice"), "the queues that there are: {said}");
    let said = workspace.expect(1, &["send", "invoice", "no-such-file"]);
    assert!(said.contains("no-such-file"), "{said}");
    assert!(workspace.expect(0, &["completions", "bash"]).contains("octoconf"));
    for command in ["why", "skip"] {
        let said = workspace.expect(2, &[command, ""]);
        assert!(said.contains("<PARTNER>") && said.contains("give the account of a partner"), "{said}");
    }
}

#[test]
fn an_empty_variable_names_no_configuration() {
    let said = |file: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_octoconf"));
        let output = command.args(arguments).env("OCTOCONF_CONFIG", file).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said("", &["check", "--config", "no.ini"]).starts_with("no.ini: "));
    assert!(said("other.ini", &["check"]).starts_with("other.ini: "));
    assert!(said("other.ini", &["--config", "", "check"]).contains("--config"), "a slip on the command line is no default");
    if !std::path::Path::new("/etc/octoconf/octoconf.toml").exists() {
        assert!(said("", &["check"]).starts_with("/etc/octoconf/octoconf.toml: "));
    }
}

#[test]
fn a_bad_line_stops_send_with_its_number() {
    let workspace = workspace();
    let file = workspace.write(
        "lines.jsonl",
        &format!("{}\n{}\n{{\"account\":\n{}\n", invoice(Some("a"), 1), invoice(Some("a"), 2), invoice(Some("a"), 3)),
    );
    let said = workspace.expect(1, &["send", "invoice", file.to_str().unwrap()]);
    assert!(said.contains('3') && said.contains("2 "), "line 3 is bad, 2 are sent: {said}");
    assert_eq!(workspace.run_until_empty()["queues"][0]["acked"], 2);
    let output = workspace.octoconf(&["send", "invoice", file.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object, sent(2, false), "the same keys as after a success");
    assert!(String::from_utf8(output.stderr).unwrap().contains("not JSON: "));
}

#[test]
fn try_shows_outcomes_and_sends_nothing() {
    let workspace = workspace();
    let file = workspace.write("lines.jsonl", &format!("{}\n{}\n", invoice(Some("acme"), 1), invoice(None, 2)));
    let shown = workspace.json(&["try", "invoice", file.to_str().unwrap(), "--json"]);
    assert_eq!(
        (&shown[0]["outcome"], &shown[0]["bucket"], &shown[0]["payload"]["invoice"]),
        (&json!("deliver"), &json!("acme"), &json!("1"))
    );
    assert_eq!(shown[1]["outcome"], "reject");
    assert!(!workspace.path("out").exists());
    assert_eq!(workspace.run_until_empty()["queues"][0]["received"], 0);
}

/// The main thread of a command has half of it.
#[test]
fn try_has_the_stack_of_a_handler() {
    let workspace = workspace();
    let keys: Vec<String> = (0..2000).map(|key| format!("k{key}: .a")).collect();
    let wide = format!("[handlers.wide]\njq = '{{{}}}'\n", keys.join(", "));
    workspace.write("octoconf.toml", &(CONFIG.replace("\"order\"", "\"wide\"") + &wide));
    let file = workspace.write("in.jsonl", "{\"account\":\"acme\",\"a\":1}\n");
    let shown = workspace.json(&["try", "invoice", file.to_str().unwrap(), "--json"]);
    assert_eq!(shown[0]["payload"]["k1999"], 1);
}

#[test]
fn dead_letters_are_listed_filtered_redriven_and_purged() {
    let workspace = workspace();
    let bodies = [invoice(None, 1), "{\"account\":\"acme\"}".to_owned(), "[]".to_owned()];
    let file = workspace.write("lines.jsonl", &bodies.join("\n"));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    workspace.run_until_empty();

    let all = workspace.json(&["dead", "list", "invoice", "--json"]);
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(workspace.json(&["dead", "list", "invoice", "--json", "--limit", "2"]).as_array().unwrap().len(), 2);
    let lacking = workspace.json(&["dead", "list", "invoice", "--json", "--reason", "account"]);
    assert!(!lacking.as_array().unwrap().is_empty());
    let id = all[1]["id"].to_string();
    assert_eq!(workspace.json(&["dead", "show", "invoice", &id, "--json"])["body"], json!({ "account": "acme" }));
    workspace.expect(1, &["dead", "show", "invoice", "999999"]);

    assert_eq!(workspace.json(&["dead", "redrive", "invoice", &id, "--dry-run", "--json"])["redriven"], 0);
    assert_eq!(workspace.json(&["dead", "redrive", "invoice", &id, "--rate", "100/s", "--json"])["redriven"], 1);
    let report = workspace.run_until_empty();
    assert_eq!(
        (&report["queues"][0]["received"], &report["queues"][0]["dead"]),
        (&json!(1), &json!(1)),
        "it is as bad as before"
    );
    assert_eq!(workspace.json(&["dead", "purge", "invoice", "--json"])["purged"], 3);
    assert_eq!(workspace.json(&["dead", "list", "invoice", "--json"]), json!([]));
}

#[test]
fn missing_dead_letters_are_named_and_nothing_changes() {
    let workspace = workspace();
    let file = workspace.write("lines.jsonl", "[]\n[]\n");
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    workspace.run_until_empty();
    let there = workspace.json(&["dead", "list", "invoice", "--json"])[0]["id"].to_string();
    for command in ["purge", "redrive"] {
        for ids in [&["999999"][..], &[&there, "999999", "no-id"]] {
            let said = workspace.expect(1, &[&["dead", command, "invoice"], ids].concat());
            assert!(said.contains("queue invoice has no dead letter") && said.contains("999999"), "{said}");
            assert_eq!((said.contains("no-id"), said.contains(&format!(" {there},"))), (ids.len() > 1, false), "{said}");
        }
    }
    assert_eq!(workspace.json(&["dead", "list", "invoice", "--json"]).as_array().unwrap().len(), 2);
    assert_eq!(workspace.json(&["dead", "purge", "invoice", &there, "--json"])["purged"], 1);
}

#[test]
fn a_letter_named_twice_counts_once() {
    let workspace = workspace();
    let file = workspace.write("lines.jsonl", "[]\n[]\n");
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    workspace.run_until_empty();
    let all = workspace.json(&["dead", "list", "invoice", "--json"]);
    let [first, second] = [0, 1].map(|at| all[at]["id"].to_string());
    let twice = [&first, &first, &second, &first].map(String::as_str);
    for (command, word) in [("redrive", "redriven"), ("purge", "purged")] {
        for (ids, count) in [(&twice[..2], 1), (&twice[..], 2)] {
            let said = workspace.json(&[&["dead", command, "invoice", "--json", "--dry-run"], ids].concat());
            assert_eq!((&said["chosen"], &said[word]), (&json!(count), &json!(0)));
        }
    }
    let said = workspace.json(&["dead", "purge", "invoice", &second, &second, "--json"]);
    assert_eq!((&said["chosen"], &said["purged"]), (&json!(1), &json!(1)));
}

#[test]
fn a_missing_file_is_named_and_not_created() {
    let workspace = workspace();
    workspace.write("octoconf.toml", &CONFIG.replace("handler =", "path = \"q.db\"\nparking = \"p.db\"\nhandler ="));
    for (listing, file) in [("dead", "q.db"), ("parked", "p.db")] {
        let output = workspace.octoconf(&[listing, "list", "invoice", "--json"]);
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"[]\n"[..]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(workspace.path(file).to_str().unwrap()) && said.contains("queues.invoice."), "{said}");
        assert!(!workspace.path(file).exists());
    }
}

#[test]
fn a_file_made_by_a_command_is_reported_once() {
    let workspace = workspace();
    let config = CONFIG.replace("handler =", "path = \"q.db\"\nparking = \"p.db\"\nhandler =");
    workspace.write("octoconf.toml", &config);
    workspace.write("in.jsonl", "1\n");
    let made = |file: &str| format!("made a new file {};", workspace.path(file).display());
    let told = |arguments: &[&str]| String::from_utf8(workspace.octoconf(arguments).stderr).unwrap();
    workspace.expect(1, &["send", "invoice", "no-such-file"]);
    assert!(!workspace.path("q.db").exists(), "nothing was to be sent");
    let said = told(&["send", "invoice", "in.jsonl"]);
    assert!(said.starts_with("octoconf: queues.invoice.path: ") && said.contains(&made("q.db")), "{said}");
    assert!(said.contains("working directory") && said.contains("absolute path"), "{said}");
    assert_eq!(told(&["send", "invoice", "in.jsonl"]), "");
    let said = told(&["parked", "purge", "invoice"]);
    assert!(said.starts_with("octoconf: queues.invoice.parking: ") && said.contains(&made("p.db")), "{said}");
    workspace.write("octoconf.toml", &config.replace("q.db", workspace.path("other.db").to_str().unwrap()));
    let said = told(&["dead", "purge", "invoice"]);
    assert!(
        said.contains(&made("other.db")) && said.contains("correct the path") && !said.contains("working directory"),
        "{said}"
    );
}

#[test]
fn a_queue_in_memory_is_out_of_reach_of_every_other_process() {
    let workspace = workspace();
    workspace.write("octoconf.toml", &CONFIG.replace("sqlite", "memory"));
    let file = workspace.write("lines.jsonl", "[]\n");
    let said = workspace.expect(2, &["send", "invoice", file.to_str().unwrap()]);
    assert!(said.starts_with("queues.invoice: ") && said.contains("preload") && said.contains("sqlite"), "{said}");
    for command in [
        &["dead", "list", "invoice"][..],
        &["dead", "show", "invoice", "1"],
        &["dead", "redrive", "invoice"],
        &["dead", "purge", "invoice"],
    ] {
        let said = workspace.expect(2, command);
        assert!(said.starts_with("queues.invoice: ") && said.contains("octoconf status") && said.contains("sqlite"), "{said}");
    }
}

#[test]
fn run_refuses_what_check_refuses_in_the_same_words() {
    let workspace = workspace().with_environment(&[("BAD", "whsec_!!!")]);
    let wrong = "[partners.x]\nsigning_secret = \"env:BAD\"\nurl = \"http://h/..\"\npath = \"/\"\n";
    workspace.write("octoconf.toml", &format!("{CONFIG}{wrong}"));
    let checked = workspace.expect(2, &["check"]);
    assert!(
        ["partners.x.signing_secret: ", "partners.x.url: ", "partners.x.path: "].iter().all(|key| checked.contains(key)),
        "{checked}"
    );
    assert_eq!(workspace.expect(2, &["run", "--until-empty"]).trim(), checked.trim());
}

#[test]
fn long_work_reports_its_progress_without_a_terminal() {
    let workspace = workspace();
    let file = workspace.write("lines.jsonl", &["[]"; 5].join("\n"));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    workspace.run_until_empty();
    let output = workspace.octoconf(&["dead", "redrive", "invoice", "--rate", "2/s"]);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(out, "5 redriven\n");
    assert!(err.lines().any(|line| line.contains(" of 5 redriven")), "{err}");
}

#[test]
fn hostile_accounts_stay_in_their_folder() {
    let workspace = workspace();
    let long = "x".repeat(5_000);
    let accounts = ["../../evil", ".", "..", "/etc/passwd", "a\u{0}b", "new\nline", &long, "ordinary"];
    let bodies: Vec<String> = accounts.iter().enumerate().map(|(n, account)| invoice(Some(account), n)).collect();
    let file = workspace.write("lines.jsonl", &bodies.join("\n"));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    let report = workspace.run_until_empty();
    let [acked, dead] = ["acked", "dead"].map(|key| report["queues"][0][key].as_u64().unwrap());
    assert_eq!(acked + dead, accounts.len() as u64);
    let files: Vec<_> = std::fs::read_dir(workspace.path("out")).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(files.iter().all(|entry| entry.file_type().unwrap().is_file()));
    assert_eq!(files.len() as u64, acked, "a file each");
    assert_eq!(lines(&workspace.path("out/ordinary.jsonl")).len(), 1);
    assert!(!workspace.path("../evil.jsonl").exists() && !workspace.path("evil.jsonl").exists());
}
