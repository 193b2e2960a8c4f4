//! How a run ends: by a signal, by a second one, by `--for`, or in the middle of a reload. What is left is returned to
//! its queue, and is there for the next run.

use std::io::Write as _;
use std::time::Duration;

use crate::support::partner::{Connection, NO_CONTENT, Partner};
use crate::support::program::{Workspace, invoice, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// A queue with ten invoices for one partner, which answers as the script says.
fn workspace(partner: &Partner, more: &str) -> Workspace {
    let workspace = Workspace::new(
        "octoconf.toml",
        &format!(
            r#"
            [admin]
            listen = ""
            [engine]
            shutdown_timeout = "20s"
            [queues.invoice]
            source = "sqlite"
            handler = "order"
            [partners.default]
            deliver = "http"
            url = "http://{}/{{account}}"
            max_batch = 1
            {more}
            "#,
            partner.address
        ),
    );
    let invoices: Vec<String> = (0..10).map(|n| invoice(Some("acme"), n)).collect();
    let file = workspace.write("invoices.jsonl", &invoices.join("\n"));
    workspace.expect(0, &["send", "invoice", file.to_str().unwrap()]);
    workspace
}

const COME_LATER: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n";

#[test]
fn a_signal_returns_what_the_partner_will_not_take_in_time() {
    for signal in ["TERM", "INT"] {
        let partner = Partner::answering(COME_LATER);
        let workspace = workspace(&partner, "");
        let running = workspace.start(&["run", "--report", "report.json"]);
        partner.requests.recv_timeout(PATIENCE).unwrap();
        running.signal(signal);
        assert_eq!(running.end(), Some(0), "{}", workspace.log());
        let queue = &workspace.report()["queues"][0];
        let [received, returned] = ["received", "returned"].map(|key| queue[key].as_u64().unwrap());
        assert_eq!((received, returned, &queue["acked"]), (10, 10, &0.into()), "{}", workspace.log());
    }
}

#[test]
fn returned_messages_are_delivered_at_once_by_the_next_run() {
    let partner = Partner::answering(COME_LATER);
    let workspace = workspace(&partner, "");
    let running = workspace.start(&["run"]);
    partner.requests.recv_timeout(PATIENCE).unwrap();
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    let taking = Partner::answering(NO_CONTENT);
    let workspace = workspace.with_environment(&[("OCTOCONF_PARTNERS__DEFAULT__URL", &taking.url())]);
    assert_eq!(workspace.run_until_empty()["queues"][0]["acked"], 10);
}

#[test]
fn a_second_signal_leaves_what_is_on_the_wire() {
    let partner = Partner::start(|mut connection: Connection| {
        connection.request();
        connection.hang();
    });
    let workspace = workspace(&partner, "timeout = \"15s\"");
    let running = workspace.start(&["run", "--report", "report.json"]);
    partner.requests.recv_timeout(PATIENCE).unwrap();
    running.signal("TERM");
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    // One message is on the wire. Whether the other nine had been received by then depends on the machine.
    let queue = &workspace.report()["queues"][0];
    let [received, returned] = ["received", "returned"].map(|key| queue[key].as_u64().unwrap());
    assert_eq!(received - returned, 1, "{queue}\n{}", workspace.log());
}

#[test]
fn a_signal_ends_a_run_well_although_its_time_is_over_during_the_drain() {
    let partner = Partner::start(|mut connection: Connection| {
        connection.request();
        connection.hang();
    });
    let workspace = workspace(&partner, "timeout = \"4s\"");
    let running = workspace.start(&["run", "--until-empty", "--for", "2s"]);
    partner.requests.recv_timeout(PATIENCE).unwrap();
    // The drain waits for the flush that hangs, and the time of `--for` is over meanwhile.
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
}

#[test]
fn the_first_signal_after_the_time_is_over_cuts_nothing_off() {
    let (answers, may_answer) = crossbeam_channel::unbounded::<()>();
    let partner = Partner::start(move |mut connection: Connection| {
        while connection.request().is_some() {
            // An error means that the test lets all through.
            let _ = may_answer.recv();
            if !connection.send(NO_CONTENT) {
                break;
            }
        }
    });
    let workspace = workspace(&partner, "timeout = \"60s\"");
    let running = workspace.start(&["run", "--for", "1s", "--report", "report.json"]);
    partner.requests.recv_timeout(PATIENCE).unwrap();
    workspace.said(&["stopping: ", "--for"]);
    running.signal("TERM");
    workspace.said(&["stopping: signal=SIGTERM"]);
    drop(answers);
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    let queue = &workspace.report()["queues"][0];
    assert_eq!((&queue["received"], &queue["acked"]), (&10.into(), &10.into()), "{queue}\n{}", workspace.log());
}

#[test]
fn neither_signal_waits_for_a_reload() {
    let partner = Partner::start(|mut connection: Connection| {
        connection.request();
        connection.hang();
    });
    let slow = "timeout = \"15s\"\n";
    let workspace = workspace(&partner, slow);
    let running = workspace.start(&["run", "--report", "report.json"]);
    partner.requests.recv_timeout(PATIENCE).unwrap();
    // A named pipe that is not written to, so that reading the secret blocks.
    let secret = workspace.path("secret");
    assert!(std::process::Command::new("mkfifo").arg(&secret).status().unwrap().success());
    let text = std::fs::read_to_string(workspace.path("octoconf.toml")).unwrap();
    workspace.write("octoconf.toml", &text.replace(slow, &format!("{slow}headers.authorization = \"file:./secret\"\n")));
    running.signal("HUP");
    workspace.said(&["reloading: config="]);
    running.signal("TERM");
    workspace.said(&["stopping: signal=SIGTERM"]);
    std::fs::write(&secret, "hush").unwrap();
    workspace.said(&["the reload was refused", "the service is stopping"]);
    // The next reload blocks until the end of the run.
    running.signal("HUP");
    until(|| workspace.log().matches("reloading: config=").count() == 2, || workspace.log());
    running.signal("TERM");
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    let queue = &workspace.report()["queues"][0];
    let [received, returned] = ["received", "returned"].map(|key| queue[key].as_u64().unwrap());
    assert_eq!(received - returned, 1, "it was still on the wire: {queue}\n{}", workspace.log());
}

#[test]
fn until_empty_fails_if_its_time_ends_first() {
    let partner = Partner::answering(COME_LATER);
    let workspace = workspace(&partner, "");
    workspace.expect(1, &["run", "--until-empty", "--for", "1s", "--report", "report.json"]);
    assert_eq!(workspace.report()["queues"][0]["returned"], 10);
    workspace.expect(0, &["run", "--for", "1s"]);
}

#[test]
fn a_signal_before_anything_is_read_ends_the_run_in_order() {
    let workspace = Workspace::new("octoconf.toml", "");
    let config = workspace.path("octoconf.toml");
    std::fs::remove_file(&config).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&config).status().unwrap().success());
    let running = workspace.start(&["run", "--report", "report.json"]);
    // Opening returns once the program has opened the pipe too, and waits for its content.
    let mut pipe = std::fs::File::options().write(true).open(&config).unwrap();
    running.signal("TERM");
    pipe.write_all(b"[admin]\nlisten = \"\"\n[queues.q]\nsource = \"memory\"\nhandler = \"order\"\n[partners.default]\ndeliver = \"discard\"\n")
        .unwrap();
    drop(pipe);
    assert_eq!(running.end(), Some(0), "{}", workspace.log());
    assert_eq!(workspace.report()["state"], "stopped");
}

#[test]
fn a_second_signal_ends_a_start_that_blocks() {
    let text =
        "[queues.q]\nsource = \"memory\"\npreload = \"pipe\"\nhandler = \"order\"\n[partners.default]\ndeliver = \"discard\"\n";
    let workspace = Workspace::new("octoconf.toml", &format!("[admin]\nlisten = \"127.0.0.1:0\"\n{text}"));
    assert!(std::process::Command::new("mkfifo").arg(workspace.path("pipe")).status().unwrap().success());
    let mut running = workspace.start(&["run"]);
    workspace.said(&["the admin server listens"]);
    running.signal("TERM");
    running.signal("INT");
    until(|| running.ended().is_some(), || format!("two signals do not end it: {}", workspace.log()));
    assert!(!workspace.log().contains("starting: version"), "{}", workspace.log());
}
