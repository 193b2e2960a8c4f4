//! What works but will surprise is reported once, with its key.

use octoconf::config::{self, Context, Environment, FileFormat};
use octoconf::handler::Registry;

fn warnings(text: &str) -> Vec<String> {
    let environment = Environment::default();
    let context = Context { environment: &environment, handlers: &Registry::new() };
    let text = format!("{text}\n[queues.q]\nsource = 'memory'\nhandler = 'order'\n");
    config::parse(&text, FileFormat::Toml, "octoconf.toml", &context).unwrap_or_else(|errors| panic!("{errors}")).warnings
}

#[track_caller]
fn expect(text: &str, starts: &[&str]) {
    let found = warnings(text);
    let all = found.len() == starts.len() && found.iter().zip(starts).all(|(found, start)| found.starts_with(start));
    assert!(all, "{text}\n{found:#?}");
}

/// The rate of a partner would otherwise be overridden for nobody, in silence.
#[test]
fn a_variable_that_does_not_reach_the_partner_it_means() {
    let environment = Environment::from_iter([
        ("OCTOCONF_PARTNERS__GLOBEX__RATE", "1/s"),
        ("OCTOCONF_PARTNERS__ACME.COM__RATE", "1/s"),
        ("OCTOCONF_PARTNERS__NEW__RATE", "1/s"),
        ("OCTOCONF_PARTNERS__BOTH__RATE", "1/s"),
    ]);
    let context = Context { environment: &environment, handlers: &Registry::new() };
    let text = "[queues.q]\nsource = 'memory'\nhandler = 'order'\n[partners.default]\ndeliver = 'discard'\n[partners.Globex]\n[partners.'acme.com']\n[partners.Both]\n[partners.both]\n";
    let found = config::parse(text, FileFormat::Toml, "octoconf.toml", &context).unwrap().warnings;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("partners.globex: made by a variable, which does not reach partners.Globex,"), "{}", found[0]);
}

/// As in TOML, whose quotes are not part of the account: its rate would not be kept, in silence.
#[test]
fn an_account_in_quotes_in_ini() {
    let context = Context { environment: &Environment::default(), handlers: &Registry::new() };
    let text = "[queues.q]\nsource = memory\nhandler = order\n[partners.default]\ndeliver = discard\n[partners.\"acme.com\"]\nrate = 1/s\n[partners.it's]\n[partners.'x']\n[partners.'y']\n";
    let loaded = config::parse(text, FileFormat::Ini, "octoconf.ini", &context).unwrap();
    let expected =
        r#"partners."'x'": the quotes are part of the account; so are those of 1 more; in INI write [partners.x] without them"#;
    assert_eq!(loaded.warnings, [expected]);
    assert!(loaded.settings.partners.by_account.contains_key("acme.com"), "double quotes are those of a JSON string");
}

#[test]
fn the_defaults_give_none() {
    expect("[partners.default]\nurl = 'https://h'", &[]);
}

#[test]
fn a_lease_shorter_than_a_delivery() {
    let queue = "[queues.s]\nsource = 'memory'\nhandler = 'order'\nvisibility_timeout = '15s'";
    let partners = "[partners.default]\nurl = 'https://h'\n[partners.slow]\ntimeout = '20s'";
    expect(
        &format!("{queue}\n{partners}"),
        &["queues.s.visibility_timeout: 15s is shorter than a delivery to partners.slow may take (22s"],
    );
    expect(&format!("{queue}\n[partners.default]\ndeliver = 'discard'\ntimeout = '1h'"), &[]);
}

#[test]
fn a_wait_longer_than_the_stop() {
    let partners = "[partners.default]\nurl = 'https://h'\nlinger = '6s'\ntimeout = '7s'\nconnect_timeout = '1s'\n[partners.x]\nburst = 2\n[partners.y]\nlinger = '8s'";
    expect(
        &format!("[engine]\nshutdown_timeout = '5s'\n[queues.s]\nhandler = 'order'\n{partners}"),
        &[
            "partners.default.linger: 6s is longer",
            "partners.default.timeout: 8s (timeout and connect_timeout together) is longer than engine.shutdown_timeout, 5s",
            "partners.y.linger: 8s is longer",
            "queues.s.wait_time: 20s is longer than engine.shutdown_timeout, 5s",
        ],
    );
}

#[test]
fn batches_that_the_way_of_delivery_cannot_take() {
    let text = "[partners.default]\nurl = 'https://h'\n[partners.a]\nformat = 'single'\nmax_batch = 5\n[partners.b]\ndeliver = 'sqs'\nurl = 'https://sqs.eu-west-1.amazonaws.com/1/q'\nmax_batch = 50\nmax_batch_bytes = '2MiB'";
    expect(
        text,
        &[
            "partners.a.max_batch: format = \"single\" means at most 1",
            "partners.b.max_batch: deliver = \"sqs\" means at most 10",
            "partners.b.max_batch_bytes: deliver = \"sqs\" means at most 1MiB",
        ],
    );
}

#[test]
fn too_little_room_and_too_few_threads() {
    let text = "[engine]\nmax_in_flight = 12\nmax_in_flight_bytes = '64KiB'\ndelivery_threads = 2\n[partners.default]\ndeliver = 'discard'\nparallel = 3";
    expect(
        text,
        &["engine.max_in_flight: 12 leaves", "engine.max_in_flight_bytes: 64KiB", "partners.default.parallel: 3 is more"],
    );
}

#[test]
fn a_share_of_bytes_below_the_largest_message() {
    let others = "[queues.r]\nsource = 'memory'\nhandler = 'order'\n[queues.s]\nsource = 'memory'\nhandler = 'order'";
    let with =
        |bytes: &str| format!("[engine]\nmax_in_flight_bytes = '{bytes}'\n[partners.default]\ndeliver = 'discard'\n{others}");
    expect(&with("3MiB"), &["engine.max_in_flight_bytes: 3MiB leaves each queue sure of 512KiB"]);
    expect(&with("6MiB"), &[]);
}

#[test]
fn few_receives_and_several_deliveries_without_parking() {
    let queue = "[partners.default]\ndeliver = 'discard'\n[handlers.h]\njq = '.[]'\n[queues.s]\nsource = 'memory'\nhandler = 'h'\nmax_receives = 3";
    expect(queue, &["queues.s.max_receives: 3 receives", "queues.s.parking: handler h may make several"]);
    // A program with one result makes one delivery.
    expect(&queue.replace(".[]", ".item"), &["queues.s.max_receives: 3 receives"]);
    expect(&format!("{queue}\nparking = 'p.db'"), &[]);
    expect(&format!("{queue}\ngroup = '.g'"), &[]);
}
