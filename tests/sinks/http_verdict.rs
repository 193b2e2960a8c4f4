//! The status line is the verdict: what follows it changes nothing, and cannot block the thread.

use std::time::Duration;

use crate::support::partner::{Connection, OK, Partner, batch, http, http_sinks, unreachable};
use octoconf::message::Answer;
use octoconf::settings::{HttpSettings, Secret};
use octoconf::sink::{Clocks, Sink};

/// Returns the sink's answer to one request that is answered by a script.
fn verdict(script: impl Fn(Connection) + Send + Sync + 'static) -> Answer {
    verdict_within(Duration::from_millis(500), script)
}

fn verdict_within(timeout: Duration, script: impl Fn(Connection) + Send + Sync + 'static) -> Answer {
    let partner = Partner::start(move |mut connection| {
        connection.request();
        script(connection);
    });
    let sinks = http_sinks(HttpSettings { timeout, ..http(partner.url()) });
    let (clock, batch) = (Clocks::system(), batch("acme", &["1"]));
    let began = clock.steady();
    let answer = sinks.deliver(&batch);
    // Much longer than the timeout, since the machine may be busy, but much shorter than any
    // of these partners would take.
    assert!(clock.steady() - began < timeout + Duration::from_secs(10), "{answer:?}");
    answer
}

#[test]
fn a_body_that_breaks_off_changes_nothing() {
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    });
    assert_eq!(answer, Answer::Accepted);
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz");
    });
    assert_eq!(answer, Answer::Status { code: 500, retry_after: None, excerpt: "half".into() });
}

#[test]
fn a_body_that_never_ends_is_left() {
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 200 OK\r\n\r\n");
        while connection.send([b'x'; 4096]) {}
    });
    assert_eq!(answer, Answer::Accepted);
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 400 No\r\ncontent-length: 99999999999\r\n\r\n");
        while connection.send([b'x'; 4096]) {}
    });
    assert_eq!(answer, Answer::Status { code: 400, retry_after: None, excerpt: "x".repeat(1024).into() });
}

#[test]
fn a_body_that_comes_byte_by_byte_is_cut_at_the_timeout() {
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
        connection.drip("x");
    });
    assert_eq!(answer, Answer::Accepted);
}

#[test]
fn broken_and_endless_headers_change_nothing() {
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 202 Accepted\r\nx-half");
    });
    assert_eq!(answer, Answer::Accepted);
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 429 Slow\r\n\0\x01:;;\r\n\r\n");
    });
    assert_eq!(answer, Answer::Status { code: 429, retry_after: None, excerpt: "".into() });
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 200 OK\r\n");
        while connection.send("x-more: and more\r\n".repeat(100)) {}
    });
    assert_eq!(answer, Answer::Accepted);
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 200 OK\r\nx-slow: ");
        connection.drip("x");
    });
    assert_eq!(answer, Answer::Accepted);
}

#[test]
fn an_answer_before_the_body_is_read_counts() {
    let partner = Partner::start(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        connection.reset();
    });
    let payload = format!("\"{}\"", "x".repeat(8 * 1024 * 1024));
    let answer = http_sinks(http(partner.url())).deliver(&batch("acme", &[&payload]));
    assert_eq!(answer, Answer::Status { code: 413, retry_after: None, excerpt: "".into() });
}

/// What a partner that is too busy to read says when to come again.
#[test]
fn an_answer_before_the_body_is_read_counts_with_its_fields_and_ends_the_connection() {
    // The long interim answers fill the buffer to various degrees.
    for long in [0, 3000, 5000, 8000, 12_000, 16_000] {
        let partner = Partner::start(move |mut connection| {
            connection.head();
            connection.send(format!("HTTP/1.1 102 Processing\r\nx: {}\r\n\r\n", "x".repeat(long)));
            let body = "slow down ".repeat(200);
            connection.send(format!("HTTP/1.1 429 Slow\r\nretry-after: 3600\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            connection.reset();
        });
        let payload = format!("\"{}\"", "x".repeat(8 * 1024 * 1024));
        let sinks = http_sinks(http(partner.url()));
        for attempt in 1..=2 {
            let answer = sinks.deliver(&batch("acme", &[&payload]));
            let Answer::Status { code: 429, retry_after: Some(wait), excerpt } = answer else { panic!("{long}: {answer:?}") };
            assert_eq!((wait, partner.accepted()), (Duration::from_secs(3600), attempt));
            assert!(excerpt.starts_with("slow down slow down"), "{long}: {excerpt}");
        }
    }
}

#[test]
fn an_interim_answer_is_not_the_verdict() {
    let busy = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nserver: x\r\ndate: y\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\nserver: x\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
    ] {
        for pieces in
            [vec![interim.to_owned() + busy], vec![interim.to_owned(), busy.to_owned()], split(&(interim.to_owned() + busy))]
        {
            // The pieces are many, and on a busy machine each may come late.
            let answer = verdict_within(Duration::from_secs(60), move |mut connection| {
                for piece in &pieces {
                    connection.send(piece);
                    connection.dawdle(Duration::from_millis(1));
                }
            });
            assert_eq!(answer, Answer::Status { code: 503, retry_after: None, excerpt: "".into() }, "{interim:?}");
        }
    }
}

fn split(text: &str) -> Vec<String> {
    text.chars().map(String::from).collect()
}

#[test]
fn a_head_that_breaks_off_after_an_interim_answer_changes_nothing() {
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-le");
    });
    assert_eq!(answer, Answer::Accepted);
}

#[test]
fn a_body_is_no_interim_answer_whatever_it_looks_like() {
    let answer = verdict(|mut connection| {
        connection.send("HTTP/1.1 500 Oh\r\ncontent-length: 33\r\n\r\n");
        connection.dawdle(Duration::from_millis(20));
        connection.send("HTTP/1.1 100 Continue\r\n\r\nnonsense");
    });
    let excerpt = "HTTP/1.1 100 Continue\\r\\n\\r\\nnonsense".into();
    assert_eq!(answer, Answer::Status { code: 500, retry_after: None, excerpt });
}

#[test]
fn interim_answers_without_end_time_out() {
    let partner = Partner::start(|mut connection| {
        connection.request();
        connection.drip("HTTP/1.1 100 Continue\r\nserver: x\r\n\r\n");
    });
    let timeout = Duration::from_millis(200);
    let reason = unreachable(http_sinks(HttpSettings { timeout, ..http(partner.url()) }).deliver(&batch("acme", &["1"])));
    assert_eq!(reason, format!("waiting for the answer of {}: timed out", partner.address));
}

#[test]
fn an_excerpt_is_text_in_one_line() {
    let answer = verdict(|mut connection| {
        connection.send(b"HTTP/1.1 422 No\r\ncontent-length: 12\r\n\r\nno\r\nsuch\x1b[1\xff");
    });
    assert_eq!(answer, Answer::Status { code: 422, retry_after: None, excerpt: "no\\r\\nsuch\\u{1b}[1\u{fffd}".into() });
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Partner::answering(OK);
    let to = elsewhere.url();
    for code in [301, 302, 303, 307, 308] {
        let head = format!("HTTP/1.1 {code} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        let answer = verdict(move |mut connection| {
            connection.send(&head);
        });
        assert_eq!(answer, Answer::Status { code, retry_after: None, excerpt: "".into() });
    }
    assert_eq!(elsewhere.accepted(), 0);
}

/// Error pages often quote the request.
#[test]
fn secrets_that_the_partner_quotes_are_masked() {
    let partner = Partner::start(|mut connection| {
        let request = connection.request().unwrap();
        let quoted = request.head.replace("\r\n", " | ");
        connection.send(format!("HTTP/1.1 403 No\r\ncontent-length: {}\r\n\r\n{quoted}", quoted.len()));
    });
    let headers = [("x-api-key".to_owned(), Secret::new("HEADER-SECRET")), ("x-env".to_owned(), Secret::new("Bearer TOKEN"))];
    let url = format!("{}?key=QUERY-SECRET", partner.url().replace("http://", "http://me:USER-SECRET@"));
    let sinks = http_sinks(HttpSettings { headers: headers.into(), ..http(url) });
    let Answer::Status { code: 403, excerpt, .. } = sinks.deliver(&batch("acme", &["1"])) else { panic!("it refused") };
    assert!(excerpt.contains("/hook?key=***") && excerpt.contains("x-api-key: ***"), "{excerpt}");
    // The userinfo of the URL is sent as basic authentication.
    for secret in ["HEADER-SECRET", "TOKEN", "QUERY-SECRET", "USER-SECRET", "bWU6VVNFUi1TRUNSRVQ="] {
        assert!(!excerpt.contains(secret), "{secret} in {excerpt}");
    }
}

#[test]
fn an_early_answer_counts_even_if_nothing_more_is_read() {
    let (done, on_done) = crossbeam_channel::bounded::<()>(0);
    let partner = Partner::start(move |mut connection| {
        connection.head();
        connection.send("HTTP/1.1 503 Busy\r\nretry-after: 60\r\ncontent-length: 4\r\n\r\nbusy");
        // The partner neither reads on nor closes the connection.
        let _ = on_done.recv();
    });
    // Dropped before the partner, which waits for its scripts, if the test fails.
    let done = done;
    let timeout = Duration::from_millis(500);
    let sinks = http_sinks(HttpSettings { timeout, ..http(partner.url()) });
    let payload = format!("\"{}\"", "x".repeat(32 * 1024 * 1024));
    for attempt in 1..=2 {
        let answer = sinks.deliver(&batch("acme", &[&payload]));
        let retry_after = Some(Duration::from_secs(60));
        assert_eq!(answer, Answer::Status { code: 503, retry_after, excerpt: "busy".into() });
        assert_eq!(partner.accepted(), attempt, "the request was not sent to its end, and nothing can follow it");
    }
    drop(done);
}
