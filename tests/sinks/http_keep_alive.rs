//! Connections are reused, and no more stay idle than allowed.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::support::partner::{NO_CONTENT, OK, Partner, batch, everyone, http, http_sinks};
use octoconf::message::Answer;
use octoconf::settings::Deliver;
use octoconf::sink::{Clocks, Limits, Sink, Sinks};

#[test]
fn requests_one_after_another_share_a_connection() {
    for answer in [
        OK,
        NO_CONTENT,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy",
    ] {
        let partner = Partner::answering(answer);
        let sinks = http_sinks(http(partner.url()));
        for _ in 0..5 {
            sinks.deliver(&batch("acme", &["1"]));
        }
        assert_eq!((partner.accepted(), partner.requests.len()), (1, 5), "{answer:?}");
    }
}

#[test]
fn accounts_on_one_host_share_its_connections() {
    let partner = Partner::answering(OK);
    let sinks = http_sinks(http(format!("http://{}/{{account}}", partner.address)));
    for account in 0..20 {
        assert_eq!(sinks.deliver(&batch(&account.to_string(), &["1"])), Answer::Accepted);
    }
    assert_eq!(partner.accepted(), 1);
}

#[test]
fn a_connection_that_the_partner_closes_is_not_used_again() {
    let partner = Partner::start(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    });
    let sinks = http_sinks(http(partner.url()));
    for _ in 0..3 {
        assert_eq!(sinks.deliver(&batch("acme", &["1"])), Answer::Accepted);
    }
    assert_eq!((partner.accepted(), partner.requests.len()), (3, 3));
}

/// Otherwise an idle connection that the partner has closed would be noticed only at the next request to that host.
#[test]
fn a_connection_that_nobody_used_for_long_is_closed() {
    let (closed, on_close) = crossbeam_channel::unbounded();
    let partner = Partner::start(move |mut connection| {
        while connection.request().is_some() {
            connection.send(OK);
        }
        closed.send(connection.number).unwrap();
    });
    let (start, passed) = (Clocks::system().steady(), Arc::new(AtomicU64::new(0)));
    let now = Arc::clone(&passed);
    let clock = Clocks::with_steady(move || start + Duration::from_secs(now.load(Ordering::SeqCst)));
    let settings = everyone(Deliver::Http(http(partner.url())));
    let sinks = Sinks::with_clocks(&settings, Limits::of(16), "1", clock).unwrap();
    let at = |second| {
        passed.store(second, Ordering::SeqCst);
        sinks.sweep();
        assert_eq!(sinks.deliver(&batch("acme", &["1"])), Answer::Accepted);
        partner.accepted()
    };
    assert_eq!([at(0), at(50), at(100)], [1, 1, 1], "it is in use");
    passed.store(160, Ordering::SeqCst);
    sinks.sweep();
    assert_eq!(on_close.recv_timeout(Duration::from_secs(10)), Ok(0));
}

#[test]
fn the_connections_used_least_recently_are_closed() {
    // Ten loopback addresses, with one port each.
    let hosts: Vec<TcpListener> = (1..=10).map(|host| TcpListener::bind(format!("127.0.0.{host}:0")).unwrap()).collect();
    let (closed, on_close) = crossbeam_channel::unbounded();
    thread::scope(|scope| {
        let mut limits = Limits::of(16);
        limits.idle_connections = 3;
        let settings = everyone(Deliver::Http(http("http://127.0.0.1/")));
        let sinks = Sinks::new(&settings, limits, "1").unwrap();
        for (at, host) in hosts.iter().enumerate() {
            let closed = closed.clone();
            scope.spawn(move || {
                use std::io::{Read, Write};
                let (mut stream, _) = host.accept().unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(b"[1]") {
                    let mut chunk = [0; 4096];
                    let read = stream.read(&mut chunk).unwrap();
                    seen.extend_from_slice(&chunk[..read]);
                }
                stream.write_all(OK.as_bytes()).unwrap();
                let _ = stream.read(&mut [0; 1]);
                closed.send(at).unwrap();
            });
            let url = format!("http://{}/", host.local_addr().unwrap());
            sinks.install(sinks.prepare(&everyone(Deliver::Http(http(url)))).unwrap());
            assert_eq!(sinks.deliver(&batch("acme", &["1"])), Answer::Accepted);
        }
        // All connections but the last three, which is the limit.
        let mut early: Vec<usize> = (0..7).map(|_| on_close.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
        early.sort_unstable();
        assert_eq!(early, [0, 1, 2, 3, 4, 5, 6]);
        assert!(on_close.try_recv().is_err());
        drop(sinks);
    });
    assert_eq!(on_close.len(), 3);
}

#[test]
fn the_connections_of_one_host_count_among_those_of_all() {
    let (closed, on_close) = crossbeam_channel::unbounded();
    let together = Barrier::new(3);
    let busy = Partner::start(move |mut connection| {
        connection.request();
        together.wait();
        connection.send(OK);
        connection.hang();
        closed.send(()).unwrap();
    });
    let other = Partner::answering(OK);
    let to = |partner: &Partner| everyone(Deliver::Http(http(partner.url())));
    let mut limits = Limits::of(16);
    limits.idle_connections = 3;
    let sinks = Sinks::new(&to(&busy), limits, "1").unwrap();
    thread::scope(|scope| {
        (0..3).for_each(|_| drop(scope.spawn(|| assert_eq!(sinks.deliver(&batch("acme", &["1"])), Answer::Accepted))));
    });
    assert!(on_close.is_empty(), "three may be idle");
    sinks.install(sinks.prepare(&to(&other)).unwrap());
    assert_eq!(sinks.deliver(&batch("acme", &["1"])), Answer::Accepted);
    (0..3).for_each(|_| on_close.recv_timeout(Duration::from_secs(30)).unwrap());
}

#[test]
fn an_answer_is_read_up_to_64_kib_and_its_connection_then_closed() {
    let (sent, was_sent) = crossbeam_channel::bounded(1);
    let partner = Partner::start(move |mut connection| {
        connection.request();
        connection.send("HTTP/1.1 503 Busy\r\ncontent-length: 99999999999\r\n\r\n");
        let chunks = (0..).take_while(|_| connection.send([b'x'; 64 * 1024])).count();
        sent.send(chunks * 64 * 1024).unwrap();
    });
    let sinks = http_sinks(http(partner.url()));
    assert!(matches!(sinks.deliver(&batch("acme", &["1"])), Answer::Status { code: 503, .. }));
    let sent = was_sent.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(sent < 32 * 1024 * 1024, "more than the kernel's buffers hold: {sent}");
}
