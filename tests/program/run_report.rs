//! The report of `run`: its path is checked before anything else, and the report is written however the run ends.

use crate::support::program::Workspace;
use rusqlite::Connection;
use serde_json::{Value, json};

const CONFIG: &str = r#"
[admin]
listen = ""
[queues.invoice]
source = "sqlite"
path = "q.db"
parking = "p.db"
handler = "order"
[partners.default]
deliver = "discard"
"#;

fn workspace() -> Workspace {
    Workspace::new("octoconf.toml", CONFIG)
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}

#[test]
fn an_unwritable_report_keeps_the_run_from_starting() {
    let workspace = workspace();
    for place in ["no/report.json", "."] {
        let said = workspace.expect(2, &["run", "--until-empty", "--report", place]);
        assert!(said.contains(&format!("--report {place}: ")) && said.contains("name a file in a folder"), "{said}");
    }
    assert!(!workspace.path("q.db").exists(), "nothing was done");
}

#[test]
fn a_run_that_refuses_to_start_has_a_report_too() {
    let workspace = workspace();
    let ordinary = workspace.run_until_empty();
    std::fs::remove_file(workspace.path("q.db")).unwrap();
    // A folder in the place of the queue's file, which only a person can correct.
    std::fs::create_dir(workspace.path("q.db")).unwrap();
    workspace.expect(2, &["run", "--until-empty", "--report", "report.json"]);
    let report = workspace.report();
    assert!(keys(&report) == keys(&ordinary) && report["elapsed_s"] != ordinary["elapsed_s"], "{report}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = \"{}\"", taken.local_addr().unwrap());
    workspace.write("octoconf.toml", &CONFIG.replace("listen = \"\"", &listen));
    workspace.expect(1, &["run", "--until-empty", "--report", "new.json"]);
    assert!(std::fs::read_to_string(workspace.path("new.json")).unwrap().contains("\"stopped\""));
}

#[test]
fn a_dash_is_standard_output() {
    let workspace = workspace();
    let report = workspace.json(&["run", "--until-empty", "--report", "-"]);
    assert_eq!((&report["state"], &report["queues"][0]["name"]), (&json!("stopped"), &json!("invoice")));
    assert!(!workspace.path("-").exists());
}

/// A named pipe that nobody reads, for instance.
#[test]
fn a_report_that_cannot_be_written_keeps_no_run_from_its_end() {
    let workspace = workspace();
    let pipe = workspace.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let said = workspace.expect(1, &["run", "--until-empty", "--report", "pipe"]);
    assert!(said.contains("the report could not be written to pipe within 5 s"), "{said}");
    let running = workspace.start(&["run", "--until-empty", "--report", "pipe"]);
    workspace.said(&["stopped: elapsed_s"]);
    running.signal("TERM");
    assert_eq!(running.end(), Some(1));
    workspace.said(&["failed: the report could not be written to pipe until a signal to stop"]);
}

#[test]
fn a_locked_queue_fails_the_run_in_time_with_a_report() {
    let workspace = workspace();
    let ordinary = workspace.run_until_empty();
    let other = Connection::open(workspace.path("q.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = workspace.expect(1, &["run", "--for", "1s", "--report", "report.json"]);
    let failed = said.lines().find(|line| line.contains("failed: ")).unwrap();
    assert!(
        failed.contains("--for") && failed.contains("invoice in q.db") && failed.contains("another process holds"),
        "{failed}"
    );
    let report = workspace.report();
    assert_eq!(report["state"], "stopped");
    assert!(report["elapsed_s"].as_f64().unwrap() >= 1.0);
    assert_eq!(keys(&report), keys(&ordinary));
    for (own, of_ordinary) in report["queues"].as_array().unwrap().iter().zip(ordinary["queues"].as_array().unwrap()) {
        assert_eq!((keys(own), &own["name"], &own["source"]), (keys(of_ordinary), &of_ordinary["name"], &of_ordinary["source"]));
        assert_eq!((&own["received"], &own["acked"]), (&json!(0), &json!(0)));
    }
    assert_eq!(report["queues"].as_array().unwrap().len(), 2);
}

/// Where systemd would start it again and again, nobody would notice that a person has to act.
#[test]
fn a_queue_that_cannot_be_opened_as_it_is_configured_is_a_refused_configuration() {
    for (key, says) in [
        ("source = \"sqlite\"\npath = \"nowhere/q.db\"", "its folder must exist"),
        ("source = \"memory\"\npreload = \"nowhere.jsonl\"", "cannot read nowhere.jsonl"),
        ("source = \"sqlite\"\npath = \"q.db\"\nparking = \"nowhere/p.db\"", "its folder must exist"),
    ] {
        let text = format!(
            "[admin]\nlisten = \"\"\n[queues.stock]\nhandler = \"order\"\n{key}\n[partners.default]\ndeliver = \"discard\"\n"
        );
        let workspace = Workspace::new("octoconf.toml", &text);
        let said = workspace.expect(2, &["run", "--report", "report.json"]);
        assert!(said.contains("refused: queue stock") && said.contains(says), "{said}");
        assert_eq!(workspace.report()["state"], "stopped");
    }
}

#[test]
fn a_queue_whose_service_never_answers_fails_the_run_in_its_time() {
    // A port that nobody listens on any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "[admin]\nlisten = \"\"\n[queues.far]\nname = \"far\"\nendpoint = \"http://{closed}\"\nhandler = \"order\"\n\
         [queues.near]\nsource = \"memory\"\nhandler = \"order\"\n[partners.default]\ndeliver = \"discard\"\n"
    );
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "eu-west-1")];
    let workspace = Workspace::new("octoconf.toml", &text).with_environment(&keys);
    let said = workspace.expect(1, &["run", "--for", "1s", "--report", "report.json"]);
    assert!(said.contains("within the time that --for gave: queues=far"), "{said}");
    assert_eq!(workspace.report()["state"], "stopped");
}

#[test]
fn a_signal_ends_the_wait_for_a_queue() {
    let workspace = workspace();
    workspace.run_until_empty();
    std::fs::remove_file(workspace.path("report.json")).unwrap();
    let other = Connection::open(workspace.path("q.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for options in [&["run", "--report", "report.json"][..], &["run", "--until-empty", "--report", "report.json"]] {
        let running = workspace.start(options);
        workspace.said(&["cannot be opened yet"]);
        running.signal("TERM");
        assert_eq!(running.end(), Some(0));
        assert_eq!(workspace.report()["state"], "stopped");
        std::fs::remove_file(workspace.path("report.json")).unwrap();
        std::fs::remove_file(workspace.path("log")).unwrap();
    }
}
