//! Where a delivery may go, with name servers that answer as a test wants: the address that is checked is the
//! one that is connected to.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration as UreqDuration;

use super::*;
use crate::scripted_server::{NO_CONTENT, Server};
use crate::sink::http::resolver::DeliveryResolver;
use crate::sink::testing::{batch, http_settings};

/// Returns name servers that report these addresses for every name, and a handle to change them.
fn names(addresses: &[&str]) -> (LookUp, Arc<Mutex<Vec<IpAddr>>>) {
    let found = Arc::new(Mutex::new(parsed(addresses)));
    let kept = Arc::clone(&found);
    (Arc::new(move |_| Ok(kept.lock().clone())), found)
}

fn parsed(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn sink(look_up: LookUp) -> HttpSink {
    HttpSink::new("1", 4, look_up, Clocks::system()).unwrap()
}

fn target(url: &str) -> Target {
    Target::new(&http_settings(url)).unwrap()
}

fn reason(answer: Answer) -> String {
    match answer {
        Answer::Unreachable { reason } => reason.into(),
        other => panic!("expected Unreachable, got {other:?}"),
    }
}

#[test]
fn a_name_that_a_producer_chose_leads_to_no_private_address() {
    let loopback = Server::answering(NO_CONTENT);
    for addresses in [&["127.0.0.1"][..], &["::ffff:127.0.0.1"], &["0.0.0.0"], &["::"], &["::1", "127.0.0.1"]] {
        let sink = sink(names(addresses).0);
        let guarded = target(&format!("http://{{account}}.example:{}/", loopback.address.port()));
        let reason = reason(sink.deliver(&guarded, &batch("acme", &["1"])));
        assert!(reason.contains("allow_private_addresses"), "{addresses:?}: {reason}");
    }
    assert_eq!(loopback.accepted(), 0);
    let sink = sink(names(&["127.0.0.1"]).0);
    let fixed = target(&format!("http://partner.example:{}/{{account}}", loopback.address.port()));
    assert_eq!(sink.deliver(&fixed, &batch("acme", &["1"])), Answer::Accepted, "a person chose that host");
    assert_eq!(loopback.accepted(), 1);
}

#[test]
fn a_connection_of_a_partner_that_may_be_anywhere_is_no_way_around() {
    let loopback = Server::answering(NO_CONTENT);
    let sink = sink(names(&["127.0.0.1"]).0);
    let fixed = target(&format!("http://acme.example:{}/", loopback.address.port()));
    let guarded = target(&format!("http://{{account}}.example:{}/", loopback.address.port()));
    assert_eq!(sink.deliver(&fixed, &batch("acme", &["1"])), Answer::Accepted);
    // The authority is the same, and there is an idle connection to it.
    assert!(reason(sink.deliver(&guarded, &batch("acme", &["1"]))).contains("allow_private_addresses"));
    assert_eq!(sink.deliver(&fixed, &batch("acme", &["1"])), Answer::Accepted);
    assert_eq!(loopback.accepted(), 1);
}

#[test]
fn only_public_ones_of_several_addresses_are_connected_to_whatever_the_name_says_next() {
    let (look_up, found) = names(&["10.0.0.1", "1.1.1.1", "127.0.0.1", "2606:4700::1111", "::ffff:10.0.0.1"]);
    let start = Clocks::system().steady();
    let seconds = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&seconds);
    let clock = Clocks::with_steady(move || start + Duration::from_secs(now.load(Ordering::SeqCst)));
    let names = Arc::new(Names::new(look_up, clock.clone(), LOOK_UPS));
    let guarded = DeliveryResolver { names, dialer: Dialer::new(clock.clone()), guarded: true };
    let uri: Uri = "https://acme.example/".parse().unwrap();
    let config = ureq::config::Config::default();
    let resolve = || {
        attempt::begin(clock.steady(), Timeouts::starting(clock.steady(), Duration::from_secs(5), Duration::from_secs(5)));
        let timeout =
            NextTimeout { after: UreqDuration::NotHappening, reason: ureq::Timeout::Resolve, per_read: None, per_write: None };
        guarded.resolve(&uri, &config, timeout).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(resolve().unwrap(), ["1.1.1.1:443", "[2606:4700::1111]:443"]);
    // The name is moved, and the known answer is too old to be served.
    *found.lock() = parsed(&["169.254.169.254"]);
    seconds.store(700, Ordering::SeqCst);
    let error = resolve().unwrap_err().to_string();
    assert!(error.contains("169.254.169.254"), "{error}");
    *found.lock() = parsed(&["9.9.9.9"]);
    seconds.store(1400, Ordering::SeqCst);
    assert_eq!(resolve().unwrap(), ["9.9.9.9:443"]);
}

/// `ureq` tries 16 addresses for a request.
#[test]
fn an_address_behind_many_dead_ones_is_reached_in_the_end() {
    let partner = Server::answering(NO_CONTENT);
    // Nobody listens at these addresses of loopback.
    let dead = (2..50).map(|last| format!("127.8.0.{last}"));
    let addresses: Vec<String> = dead.chain(["127.0.0.1".to_owned()]).collect();
    let sink = sink(names(&addresses.iter().map(String::as_str).collect::<Vec<_>>()).0);
    let target = target(&format!("http://acme.example:{}/", partner.address.port()));
    let accepted = (0..4).map(|_| sink.deliver(&target, &batch("acme", &["1"])) == Answer::Accepted);
    assert_eq!(accepted.collect::<Vec<_>>(), [false, false, false, true]);
    sink.agents.close_idle();
    assert_eq!(sink.deliver(&target, &batch("acme", &["1"])), Answer::Accepted, "the dead ones come last");
}

/// A listener that nobody accepts from, with so many connections waiting that the kernel answers no further one.
fn silent(address: std::net::SocketAddr) -> Vec<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
    let socket = |flags| socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let listener = socket(SocketFlags::CLOEXEC);
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let waiting = (0..4).map(|_| {
        let socket = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        let _ = connect(&socket, &address);
        socket
    });
    let waiting: Vec<_> = waiting.collect();
    waiting.into_iter().chain([listener]).collect()
}

#[test]
fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let partner = Server::answering(NO_CONTENT);
    let _silent = silent(([127, 8, 0, 1], partner.address.port()).into());
    let sink = sink(names(&["127.8.0.1", "127.0.0.1"]).0);
    let target = target(&format!("http://acme.example:{}/", partner.address.port()));
    assert_eq!(sink.deliver(&target, &batch("acme", &["1"])), Answer::Accepted);
}

/// Half of this connect timeout is less than the time after which an address counts as dead, and no address ever has more.
#[test]
fn nor_do_those_that_do_not_answer_within_a_short_connect_timeout_keep_their_places() {
    let partner = Server::answering(NO_CONTENT);
    let port = partner.address.port();
    let _silent: Vec<_> = (1..=16).map(|last| silent(([127, 8, 1, last], port).into())).collect();
    let dead = (1..=16).map(|last| format!("127.8.1.{last}"));
    let addresses: Vec<String> = dead.chain(["127.0.0.1".to_owned()]).collect();
    let sink = sink(names(&addresses.iter().map(String::as_str).collect::<Vec<_>>()).0);
    let settings =
        HttpSettings { connect_timeout: Duration::from_millis(20), ..http_settings(&format!("http://acme.example:{port}/")) };
    let target = Target::new(&settings).unwrap();
    assert!((0..=16).any(|_| sink.deliver(&target, &batch("acme", &["1"])) == Answer::Accepted));
}
