//! What happens to the request of this thread: how long it may still take, and how far it has got.
//!
//! `ureq` calls its resolver, its connector and its transport on the thread that runs the request, and hands nothing of ours to them. So
//! what they have to know and what they have to tell lies with the thread. With that every time-out is ours and strict: the phases of
//! `ureq` start anew with each, and its writes with each part that goes out.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::net::clock::Clock;

thread_local! {
    static CURRENT: Cell<Option<Attempt>> = const { Cell::new(None) };
}

/// One request under way.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    pub phase: Phase,
    /// When the phase has to be over.
    pub deadline: Instant,
    /// For sending and the whole answer.
    timeout: Duration,
    /// When all has to be over, a second try included.
    end: Instant,
    /// Whether the connection was made for this request.
    pub fresh: bool,
    /// Whether a byte of an answer has come.
    pub answered: bool,
    /// The code of the status line, once that is whole.
    pub status: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    LookUp,
    Connect,
    Send,
    Wait,
}

/// The time-outs of one delivery, from which its attempts count.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connect_timeout: Duration,
    pub timeout: Duration,
    /// When the delivery has to be over.
    pub end: Instant,
}

impl Limits {
    pub fn starting(now: Instant, connect_timeout: Duration, timeout: Duration) -> Self {
        Self { connect_timeout, timeout, end: now + connect_timeout + timeout }
    }
}

/// Starts an attempt on this thread: looking up, connecting and TLS together have the connect time-out.
pub fn begin(now: Instant, limits: Limits) {
    let deadline = (now + limits.connect_timeout).min(limits.end);
    let Limits { timeout, end, .. } = limits;
    CURRENT.set(Some(Attempt { phase: Phase::LookUp, deadline, timeout, end, fresh: false, answered: false, status: None }));
}

/// The attempt of this thread. `None` only outside of a delivery.
pub fn current() -> Option<Attempt> {
    CURRENT.get()
}

/// Takes the attempt off this thread and gives its last state.
pub fn finish() -> Option<Attempt> {
    CURRENT.take()
}

/// A connection is being made for this attempt.
pub fn connecting() {
    change(|attempt| {
        attempt.phase = Phase::Connect;
        attempt.fresh = true;
    });
}

/// Bytes of the request are about to go out: from the first on the time-out runs.
pub fn sending(clock: &Clock) {
    change(|attempt| {
        if matches!(attempt.phase, Phase::LookUp | Phase::Connect) {
            attempt.phase = Phase::Send;
            attempt.deadline = (clock.steady() + attempt.timeout).min(attempt.end);
        }
    });
}

/// An answer is waited for.
pub fn waiting() {
    change(|attempt| attempt.phase = Phase::Wait);
}

/// Bytes of an answer are there; `input` are all that nobody has taken yet.
pub fn received(input: &[u8]) {
    change(|attempt| {
        attempt.answered = true;
        if attempt.status.is_none() {
            attempt.status = status_of(input);
        }
    });
}

fn change(with: impl FnOnce(&mut Attempt)) {
    if let Some(mut attempt) = CURRENT.get() {
        with(&mut attempt);
        CURRENT.set(Some(attempt));
    }
}

/// The code of a whole status line of HTTP/1 (RFC 9112, section 4) that ends an exchange: not that of an interim answer.
fn status_of(input: &[u8]) -> Option<u16> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(input.get(..end)?).ok()?.trim_end_matches('\r');
    let rest = line.strip_prefix("HTTP/1.0 ").or_else(|| line.strip_prefix("HTTP/1.1 "))?;
    let code = rest.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?;
    let ended = rest.get(3..).is_some_and(|reason| reason.is_empty() || reason.starts_with(' '));
    code.parse().ok().filter(|code| ended && *code >= 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_counts_once_it_is_whole_and_final() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status_of(b"HTTP/1.0 503 \r\nRetry"), Some(503));
        assert_eq!(status_of(b"HTTP/1.1 429\n"), Some(429));
        for input in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 100 Continue\r\n",
            "HTTP/2 200 OK\r\n",
            "HTTP/1.1 2000 OK\r\n",
            "HTTP/1.1 20\r\n",
            "hello\r\n",
        ] {
            assert_eq!(status_of(input.as_bytes()), None, "{input:?}");
        }
    }

    #[test]
    fn each_phase_has_its_own_deadline_and_none_goes_past_the_end() {
        let clock = Clock::system();
        let start = clock.steady();
        let at = move |secs| start + Duration::from_secs(secs);
        let limits = Limits::starting(start, Duration::from_secs(2), Duration::from_secs(10));
        begin(start, limits);
        assert_eq!(current().unwrap().deadline, at(2));
        sending(&Clock::with_steady(move || at(1)));
        assert_eq!(current().unwrap().deadline, at(11));
        sending(&Clock::with_steady(move || at(5)));
        assert_eq!(current().unwrap().deadline, at(11), "the clock runs from the first byte");

        begin(at(9), limits);
        sending(&Clock::with_steady(move || at(10)));
        assert_eq!(finish().unwrap().deadline, at(12), "a second try ends with the delivery");
        assert!(current().is_none());
    }
}
