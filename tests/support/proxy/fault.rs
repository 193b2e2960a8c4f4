//! The faults of single requests, and how they are caused.

use std::time::Duration;

/// One way in which a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The request reaches the server late.
    RequestDelayed,
    /// The answer comes late.
    AnswerDelayed,
    /// The connection is cut before any of the request is passed on.
    CutBefore,
    /// The server sees a part of the request and then the end; so does the caller.
    CutWithin,
    /// The server has handled the request, but the caller receives nothing.
    CutAfter,
    /// The server has handled the request, and the caller receives a part of the answer.
    AnswerCut,
    /// The server is asked twice, one request after the other, and one of the answers is passed on.
    Duplicated,
    /// The first line of the request is garbled. The body is not, since a signature covers it, which the
    /// tests' server does not check.
    RequestGarbled,
    /// Some of the answer's markup is garbled. The text between is not, since the protocol can
    /// detect that only for bodies.
    AnswerGarbled,
    /// A gateway answers in the server's place, with a page or with nothing; 200 is among its status codes.
    Foreign,
    /// The service answers that it is throttling. The tests' server itself never does.
    Throttled,
}

pub const ALL: [Fault; 11] = [
    Fault::RequestDelayed,
    Fault::AnswerDelayed,
    Fault::CutBefore,
    Fault::CutWithin,
    Fault::CutAfter,
    Fault::AnswerCut,
    Fault::Duplicated,
    Fault::RequestGarbled,
    Fault::AnswerGarbled,
    Fault::Foreign,
    Fault::Throttled,
];

/// The longest delay. It is well below any timeout, so that a delay does not become a cut.
const LONGEST_DELAY: Duration = Duration::from_millis(800);

/// A fault with its random details.
#[derive(Debug, Clone)]
pub struct Drawn {
    pub fault: Fault,
    /// The duration, if the fault is a delay.
    pub delay: Duration,
    /// Whether a cut is a reset rather than an end.
    pub reset: bool,
    /// Whether the second of two answers is passed on.
    pub second: bool,
    random: fastrand::Rng,
}

impl Drawn {
    /// Draws the details. The same state of the generator draws the same details.
    pub fn new(fault: Fault, random: &mut fastrand::Rng) -> Self {
        let delay = LONGEST_DELAY.mul_f64(random.f64());
        Self { fault, delay, reset: random.bool(), second: random.bool(), random: random.fork() }
    }

    /// Returns the start of the bytes: possibly nothing, never all.
    pub fn part<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(..self.random.usize(..bytes.len().max(1))).unwrap_or_default()
    }

    /// Overwrites the method, so that no server accepts the request.
    pub fn garble_request(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().take(4).for_each(|byte| *byte = self.random.u8(..b' '));
    }

    /// Overwrites one to three of the markup characters, if there are any; the length stays the same.
    pub fn garble_answer(&mut self, body: &mut [u8]) {
        let marks: Vec<usize> =
            body.iter().enumerate().filter(|(_, byte)| matches!(byte, b'<' | b'>')).map(|(at, _)| at).collect();
        for _ in 0..self.random.usize(1..=3) {
            if let Some(byte) = self.random.choice(&marks).and_then(|at| body.get_mut(*at)) {
                *byte = self.random.alphanumeric() as u8;
            }
        }
    }

    /// Returns what a gateway answers in the server's place.
    pub fn page(&mut self) -> Vec<u8> {
        match self.random.u8(..3) {
            0 => answer("200 OK", "text/xml", ""),
            1 => answer("200 OK", "text/html", "<html><body><h1>Sign in to the network</h1></body></html>"),
            _ => answer("502 Bad Gateway", "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>"),
        }
    }

    /// Returns an error of the service that passes by itself.
    pub fn refusal(&mut self) -> Vec<u8> {
        let (status, code) = match self.random.u8(..4) {
            0 => ("403 Forbidden", "RequestThrottled"),
            1 => ("400 Bad Request", "ThrottlingException"),
            2 => ("503 Service Unavailable", "ServiceUnavailable"),
            _ => ("500 Internal Server Error", "InternalFailure"),
        };
        let body = format!(
            r#"<?xml version="1.0"?><ErrorResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><Error><Type>Sender</Type><Code>{code}</Code><Message>not now</Message><Detail/></Error><RequestId>b1</RequestId></ErrorResponse>"#
        );
        answer(status, "text/xml", &body)
    }
}

fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
