//! Dead letters of an SQS queue from the command line. SQS has no listing, so each look at them is a
//! walk through the whole queue.

use crate::support::program::{Workspace, invoice};
use crate::support::proxy::Proxy;
use crate::support::sqs_server::{SqsServer, aws_environment};

const LETTERS: usize = 40;

#[test]
fn a_redrive_at_a_rate_walks_through_the_letters_once() {
    let server = SqsServer::shared();
    let (queue, dead) = (server.queue("redriven", &[]), server.queue("redriven-dead", &[]));
    let proxy = Proxy::start(server.address(), 1);
    let text = format!(
        r#"
        [admin]
        listen = ""
        [queues.invoice]
        name = "{}"
        endpoint = "{}"
        dead_letter = "{}"
        handler = "order"
        wait_time = "1s"
        [partners.default]
        deliver = "discard"
        "#,
        queue.name,
        proxy.endpoint(),
        dead.name
    );
    let workspace = Workspace::new("octoconf.toml", &text).with_environment(&aws_environment());
    queue.send(&(0..LETTERS).map(|n| invoice(None, n)).collect::<Vec<_>>());
    workspace.run_until_empty();
    assert_eq!(dead.counts(), (LETTERS as u64, 0, 0));

    let receives = || proxy.counts().requests["ReceiveMessage"];
    let before = receives();
    // Two letters at once, twenty times.
    let done = workspace.json(&["dead", "redrive", "invoice", "--rate", "20/s", "--json"]);
    assert_eq!((&done["chosen"], &done["redriven"]), (&LETTERS.into(), &LETTERS.into()));
    assert_eq!((dead.counts(), queue.counts()), ((0, 0, 0), (LETTERS as u64, 0, 0)));
    // One walk to choose the letters and one to put them back, each with four pages and an empty one.
    let walks = receives() - before;
    assert!(walks <= 10, "{walks} receives");
}

/// Letters of one group on a FIFO dead letter queue, as SQS itself puts them there. A receive returns ten of them, and
/// no more until these are deleted.
#[test]
fn letters_of_one_group_are_seen_as_they_come_free() {
    let server = SqsServer::shared();
    let (queue, dead) = (server.queue("grouped.fifo", &[]), server.queue("grouped-dead.fifo", &[]));
    let text = format!(
        r#"
        [queues.invoice]
        name = "{}"
        endpoint = "{}"
        dead_letter = "{}"
        handler = "order"
        [partners.default]
        deliver = "discard"
        "#,
        queue.name,
        server.endpoint(),
        dead.name
    );
    let workspace = Workspace::new("octoconf.toml", &text).with_environment(&aws_environment());
    let letters: Vec<_> = (0..25).map(|n| ("acme", invoice(Some("acme"), n))).collect();
    let ids = dead.send_to_groups(&letters);

    for command in [&["dead", "list", "invoice", "--json"][..], &["dead", "redrive", "invoice", "--dry-run", "--json"]] {
        let output = workspace.octoconf(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains(&format!("{} counts 15 more", dead.name)), "{said}");
    }
    let said = workspace.expect(1, &["dead", "purge", "invoice", &ids[24]]);
    assert!(said.contains(&ids[24]) && said.contains("counts 15 more"), "{said}");

    let output = workspace.octoconf(&["dead", "redrive", "invoice"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"25 redriven\n"[..]), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("counts"), "{output:?}");
    assert_eq!((dead.counts(), queue.counts()), ((0, 0, 0), (25, 0, 0)));
    dead.send_to_groups(&letters);
    assert_eq!(workspace.json(&["dead", "purge", "invoice", "--json"])["purged"], 25);
    assert_eq!(dead.counts(), (0, 0, 0));
}
