//! Tests of the tests' own proxy: each fault does what its name says, in front of a working server.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use crate::support::partner::{Connection, Partner};
use crate::support::proxy::Proxy;
use crate::support::proxy::fault::{ALL, Fault};
use crate::support::proxy::http::Wire;

const BODY: &str = "Action=ReceiveMessage&QueueUrl=x";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 28\r\n\r\n<Message><Id>a</Id></Message";

/// A server that gives the same answer to every request.
fn server() -> Partner {
    Partner::answering(ANSWER)
}

/// Sends a request through the proxy; returns what was received until the answer was complete or the connection ended.
fn ask(proxy: &Proxy) -> Option<Wire> {
    let mut connection = TcpStream::connect(proxy.address).unwrap();
    write!(connection, "POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len()).unwrap();
    Wire::read(&mut BufReader::new(connection)).ok().flatten()
}

/// Returns what the caller received for one request, and how often the server was asked.
fn fare(fault: Fault, seed: u64) -> (Option<Wire>, usize) {
    let server = server();
    let proxy = Proxy::start(server.address, seed);
    proxy.disturb_by(1.0, &[fault]);
    let heard = ask(&proxy);
    assert_eq!(proxy.counts().faults.get(&fault), Some(&1));
    drop(proxy);
    (heard, server.requests.try_iter().count())
}

#[test]
fn without_faults_everything_is_passed_on_as_it_is() {
    let server = server();
    let proxy = Proxy::start(server.address, 1);
    let mut connection = TcpStream::connect(proxy.address).unwrap();
    for _ in 0..3 {
        write!(connection, "POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len()).unwrap();
        assert_eq!(Wire::read(&mut BufReader::new(&connection)).unwrap().unwrap().bytes(), ANSWER.as_bytes());
        assert_eq!(server.requests.recv().unwrap().body, BODY);
    }
    assert_eq!(proxy.counts().requests, [("ReceiveMessage".to_owned(), 3)].into());
    assert!(proxy.counts().faults.is_empty());
}

#[test]
fn delays_change_nothing() {
    for fault in [Fault::RequestDelayed, Fault::AnswerDelayed] {
        let (heard, done) = fare(fault, 2);
        assert_eq!((heard.unwrap().bytes(), done), (ANSWER.as_bytes().to_vec(), 1), "{fault:?}");
    }
}

#[test]
fn cuts_leave_the_caller_without_an_answer() {
    for seed in 0..20 {
        for (fault, times) in [(Fault::CutBefore, 0), (Fault::CutWithin, 0), (Fault::CutAfter, 1), (Fault::AnswerCut, 1)] {
            assert_eq!(fare(fault, seed), (None, times), "{fault:?} {seed}");
        }
    }
}

#[test]
fn a_duplicate_is_done_twice_and_answered_once() {
    let (heard, done) = fare(Fault::Duplicated, 3);
    assert_eq!((heard.unwrap().bytes(), done), (ANSWER.as_bytes().to_vec(), 2));
}

#[test]
fn a_garbled_answer_has_the_length_and_the_text_of_the_good_one() {
    for seed in 0..20 {
        let (heard, _) = fare(Fault::AnswerGarbled, seed);
        let (heard, good) = (heard.unwrap().bytes(), ANSWER.as_bytes());
        let differ: Vec<u8> = good.iter().zip(&heard).filter(|(good, heard)| good != heard).map(|(good, _)| *good).collect();
        assert_eq!(heard.len(), good.len());
        assert!(!differ.is_empty() && differ.iter().all(|byte| b"<>".contains(byte)), "{heard:?}");
    }
}

#[test]
fn faults_that_answer_do_not_ask_the_server() {
    for fault in [Fault::Foreign, Fault::Throttled] {
        for seed in 0..20 {
            let (heard, done) = fare(fault, seed);
            assert!(heard.is_some_and(|heard| heard.bytes() != ANSWER.as_bytes()));
            assert_eq!(done, 0);
        }
    }
}

#[test]
fn a_garbled_request_is_none_to_a_server() {
    let server = Partner::start(|mut connection: Connection| {
        let head = connection.head().unwrap();
        assert!(!head.starts_with("POST"), "{head}");
        connection.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    });
    let proxy = Proxy::start(server.address, 4);
    proxy.disturb_by(1.0, &[Fault::RequestGarbled]);
    assert!(ask(&proxy).unwrap().head.starts_with(b"HTTP/1.1 400"));
}

#[test]
fn a_seed_draws_the_same_again() {
    let run = |seed| {
        let server = server();
        let proxy = Proxy::start(server.address, seed);
        proxy.disturb_by(0.5, &ALL[2..]);
        (0..40).map(|_| ask(&proxy)).collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn calm_ends_the_faults_and_dropping_it_ends_its_connections() {
    let server = server();
    let proxy = Proxy::start(server.address, 5);
    proxy.disturb(1.0);
    proxy.calm();
    assert_eq!(ask(&proxy).unwrap().bytes(), ANSWER.as_bytes());
    let mut open = TcpStream::connect(proxy.address).unwrap();
    drop(proxy);
    assert!(matches!(open.read(&mut [0; 1]), Ok(0) | Err(_)));
}
