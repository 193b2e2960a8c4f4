//! A partner may close an idle connection just when a request is sent. The request is then sent
//! once more, on a new connection.

use crate::support::partner::{Connection, OK, Partner, batch, http, http_sinks, unreachable};
use octoconf::message::Answer;
use octoconf::sink::Sink;

/// A partner that answers the first request of its first connection, and breaks that connection when it is used again.
fn breaking(how: impl Fn(Connection) + Send + Sync + 'static) -> Partner {
    Partner::start(move |mut connection| {
        if connection.number == 0 {
            connection.request();
            connection.send(OK);
            connection.request();
            how(connection);
        } else {
            while connection.request().is_some() && connection.send(OK) {}
        }
    })
}

#[test]
fn a_connection_that_ends_before_the_first_byte_is_replaced() {
    let scripts: [fn(Connection); 2] = [drop, Connection::reset];
    for script in scripts {
        let partner = breaking(script);
        let sinks = http_sinks(http(partner.url()));
        for _ in 0..3 {
            assert_eq!(sinks.deliver(&batch("acme", &["1"])), Answer::Accepted);
        }
        assert_eq!(partner.accepted(), 2);
        assert_eq!(partner.requests.len(), 4, "the second was asked twice");
    }
}

#[test]
fn a_request_is_not_repeated_after_a_byte_of_an_answer() {
    let partner = breaking(|mut connection| {
        connection.send("HT");
    });
    let sinks = http_sinks(http(partner.url()));
    assert_eq!(sinks.deliver(&batch("acme", &["1"])), Answer::Accepted);
    assert!(unreachable(sinks.deliver(&batch("acme", &["2"]))).contains("closed"));
    assert_eq!((partner.accepted(), partner.requests.len()), (1, 2));
}

#[test]
fn a_new_connection_that_breaks_is_a_failure() {
    let partner = Partner::start(|mut connection| {
        connection.request();
    });
    let sinks = http_sinks(http(partner.url()));
    assert!(unreachable(sinks.deliver(&batch("acme", &["1"]))).contains("closed"));
    assert_eq!((partner.accepted(), partner.requests.len()), (1, 1));
}

#[test]
fn a_request_is_repeated_once_only() {
    let partner = Partner::start(|mut connection| {
        connection.request();
        if connection.number == 0 {
            connection.send(OK);
            connection.request();
        }
    });
    let sinks = http_sinks(http(partner.url()));
    assert_eq!(sinks.deliver(&batch("acme", &["1"])), Answer::Accepted);
    unreachable(sinks.deliver(&batch("acme", &["2"])));
    assert_eq!((partner.accepted(), partner.requests.len()), (2, 3));
}
