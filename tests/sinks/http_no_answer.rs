//! Partners that give no answer: each reason names the phase and the host, but no secret.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::partner::{OK, Partner, batch, http, http_sinks, unreachable};
use octoconf::message::Answer;
use octoconf::settings::HttpSettings;
use octoconf::sink::{Clocks, Sink};

fn reason(url: String) -> String {
    let timeout = Duration::from_millis(200);
    let sinks = http_sinks(HttpSettings { timeout, ..http(url) });
    let (clock, batch) = (Clocks::system(), batch("acme", &["1"]));
    let began = clock.steady();
    let reason = unreachable(sinks.deliver(&batch));
    // Much longer than the timeout, since the machine may be busy, but much shorter than any
    // of these partners would take.
    assert!(clock.steady() - began < Duration::from_secs(10), "{reason}");
    reason
}

#[test]
fn a_partner_that_hangs_times_out() {
    let partner = Partner::start(|mut connection| connection.hang());
    let reason = reason(format!("http://user:secret@{}/path?key=secret", partner.address));
    assert_eq!(reason, format!("waiting for the answer of {}: timed out", partner.address));
}

#[test]
fn a_partner_that_answers_byte_by_byte_times_out() {
    let partner = Partner::start(|mut connection| {
        connection.request();
        connection.drip("x");
    });
    let reason = reason(partner.url());
    assert!(reason.contains("timed out") || reason.contains("not HTTP"), "{reason}");
}

#[test]
fn a_partner_that_reads_nothing_times_out() {
    // The listener never accepts, so the kernel takes the connection and as many bytes as its buffers hold.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let timeout = Duration::from_millis(200);
    let sinks = http_sinks(HttpSettings { timeout, ..http(format!("http://{address}/")) });
    let payload = format!("\"{}\"", "x".repeat(32 * 1024 * 1024));
    assert_eq!(unreachable(sinks.deliver(&batch("acme", &[&payload]))), format!("sending to {address}: timed out"));
}

#[test]
fn a_port_without_a_listener_is_reported() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reason = reason(format!("http://{address}/"));
    assert!(reason.starts_with(&format!("connecting to {address}: Connection refused")), "{reason}");
}

#[test]
fn garbage_and_half_answers_are_reported() {
    for (answer, expected) in [
        ("hello\r\n\r\n", "not HTTP"),
        ("HTTP/2 200\r\n\r\n", "not HTTP"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        ("HTTP/1.1 2", "closed"),
        ("", "closed"),
    ] {
        let partner = Partner::start(move |mut connection| {
            connection.request();
            connection.send(answer);
        });
        let reason = reason(partner.url());
        assert!(reason.starts_with(&format!("waiting for the answer of {}: ", partner.address)), "{answer:?}: {reason}");
        assert!(reason.contains(expected), "{answer:?}: {reason}");
    }
}

#[test]
fn a_name_that_does_not_resolve_is_reported() {
    // RFC 6761 guarantees that this name never exists.
    let connect_timeout = Duration::from_secs(2);
    let sinks = http_sinks(HttpSettings { connect_timeout, ..http("http://no-such-partner.invalid/") });
    let reason = unreachable(sinks.deliver(&batch("acme", &["1"])));
    assert!(reason.starts_with("looking up no-such-partner.invalid: "), "{reason}");
}

#[test]
fn an_endless_tls_handshake_times_out() {
    let silent = Partner::start(|mut connection| connection.hang());
    let slow = Partner::start(|mut connection| {
        // A handshake record of the maximum length, one byte at a time.
        connection.send([22, 3, 3, 64, 0]);
        connection.drip([2]);
    });
    for partner in [&silent, &slow] {
        let connect_timeout = Duration::from_millis(300);
        let sinks = http_sinks(HttpSettings { connect_timeout, ..http(format!("https://{}/", partner.address)) });
        let reason = unreachable(sinks.deliver(&batch("acme", &["1"])));
        assert!(reason.starts_with(&format!("connecting to {}: ", partner.address)), "{reason}");
    }
}

#[test]
fn a_partner_without_tls_is_reported() {
    let partner = Partner::start(|mut connection| {
        connection.send("HTTP/1.1 400 No TLS here\r\n\r\n");
        connection.hang();
    });
    let reason = reason(format!("https://{}/", partner.address));
    assert!(reason.starts_with(&format!("connecting to {}: TLS failed", partner.address)), "{reason}");
}

#[test]
fn an_account_that_cannot_be_in_the_url_is_refused() {
    let sinks = http_sinks(http("http://127.0.0.1:1/{account}"));
    assert!(matches!(sinks.deliver(&batch("..", &["1"])), Answer::Refused { .. }));
}

#[test]
fn private_hosts_are_refused_unless_they_are_allowed() {
    let partner = Partner::answering(OK);
    let url = format!("http://{{account}}:{}/", partner.address.port());
    let guarded = http_sinks(http(&url));
    let Answer::Refused { reason, .. } = guarded.deliver(&batch("127.0.0.1", &["1"])) else { panic!("not refused") };
    assert!(reason.contains("allow_private_addresses"), "{reason}");
    // Not refused for good, since a name may resolve to another address tomorrow.
    assert!(unreachable(guarded.deliver(&batch("localhost", &["1"]))).contains("allow_private_addresses"));
    // Other notations of an address: names to this program, but 127.0.0.1 to many resolvers.
    for account in ["2130706433", "127.1", "0x7f000001", "0177.0.0.1"] {
        unreachable(guarded.deliver(&batch(account, &["1"])));
    }
    assert_eq!(partner.accepted(), 0);

    let open = http_sinks(HttpSettings { allow_private_addresses: true, ..http(&url) });
    assert_eq!(open.deliver(&batch("127.0.0.1", &["1"])), Answer::Accepted);
}
