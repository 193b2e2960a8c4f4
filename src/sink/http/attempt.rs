//! The state of the request that this thread runs: how long the request may still take, and how far it has got.
//!
//! `ureq` calls its resolver, connector and transport on the thread that runs the request, but passes them none of our
//! data. So the data that these need, and the data that they report, lie in a thread-local variable. All timeouts are
//! thereby ours and strict: those of `ureq` start anew with each phase, and for writes with each part sent.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use super::head;
use crate::net::clocks::Clocks;

/// Enough time to read what the socket holds.
const LAST_LOOK: Duration = Duration::from_millis(10);

thread_local! {
    static CURRENT: Cell<Option<Attempt>> = const { Cell::new(None) };

    /// The head of the refusal of the last request, as far as it has arrived: `ureq` shows none that it cannot parse.
    static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One attempt to send a request and receive its answer.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The phase in which the attempt is.
    pub phase: Phase,
    /// When the present phase has to be over.
    pub deadline: Instant,
    /// How long sending and receiving the whole answer may take.
    timeout: Duration,
    /// When everything has to be over, a second attempt included.
    end: Instant,
    /// Whether the connection was made for this request.
    pub fresh: bool,
    /// Whether a byte of an answer has arrived.
    pub answered: bool,
    /// The status code, once the status line is complete.
    pub status: Option<u16>,
    /// Whether [`HEAD`] still grows: the status is a refusal, and its head is not whole yet.
    keeps_head: bool,
}

/// What an attempt is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the host's name, or not yet begun.
    LookUp,
    /// Connecting, including the TLS handshake.
    Connect,
    /// Sending the request.
    Send,
    /// Waiting for the answer, or receiving it.
    Wait,
}

/// The timeouts of one delivery, from which the deadlines of its attempts follow.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// How long the look-up, the connection and the TLS handshake may take together.
    pub connect_timeout: Duration,
    /// How long sending and receiving the whole answer may take.
    pub timeout: Duration,
    /// When the delivery has to be over.
    pub end: Instant,
}

impl Timeouts {
    /// Returns the timeouts of a delivery that starts now.
    pub fn starting(now: Instant, connect_timeout: Duration, timeout: Duration) -> Self {
        Self { connect_timeout, timeout, end: now + connect_timeout + timeout }
    }
}

/// Starts an attempt on this thread. The look-up, the connection and the TLS handshake together
/// have the connect timeout.
pub fn begin(now: Instant, timeouts: Timeouts) {
    let deadline = (now + timeouts.connect_timeout).min(timeouts.end);
    let Timeouts { timeout, end, .. } = timeouts;
    HEAD.with_borrow_mut(Vec::clear);
    CURRENT.set(Some(Attempt {
        phase: Phase::LookUp,
        deadline,
        timeout,
        end,
        fresh: false,
        answered: false,
        status: None,
        keeps_head: false,
    }));
}

/// Returns the attempt of this thread, or `None` outside of a delivery.
pub fn current() -> Option<Attempt> {
    CURRENT.get()
}

/// Removes the attempt from this thread and returns its last state.
pub fn finish() -> Option<Attempt> {
    CURRENT.take()
}

/// Calls `read` with the head of the answer to this thread's last request, as far as it has arrived. It is empty for an
/// answer that accepts the request, of which nothing but the status is needed.
pub fn with_head<T>(read: impl FnOnce(&[u8]) -> T) -> T {
    HEAD.with_borrow(|head| read(head))
}

/// Records that a connection is being made for this attempt.
pub fn connecting() {
    change(|attempt| {
        attempt.phase = Phase::Connect;
        attempt.fresh = true;
    });
}

/// Records that bytes of the request are about to be sent. The timeout starts with the first of them.
pub fn sending(clock: &Clocks) {
    change(|attempt| {
        if matches!(attempt.phase, Phase::LookUp | Phase::Connect) {
            attempt.phase = Phase::Send;
            attempt.deadline = (clock.steady() + attempt.timeout).min(attempt.end);
        }
    });
}

/// Allows a moment to read what the socket may hold already, though the timeout may have ended before all of
/// the request was sent. The phase stays as it is, since the thread does not wait for an answer.
pub fn last_look(clock: &Clocks) {
    change(|attempt| attempt.deadline = attempt.deadline.max(clock.steady() + LAST_LOOK));
}

/// Records that the thread waits for an answer.
pub fn waiting() {
    change(|attempt| attempt.phase = Phase::Wait);
}

/// Records that bytes of an answer have arrived. `input` holds all bytes that were not consumed yet. Returns how many of
/// them, at the beginning, are interim answers, which the caller has to skip.
pub fn received(input: &[u8]) -> usize {
    let mut interim = 0;
    change(|attempt| {
        attempt.answered = true;
        // What follows the status line of the answer proper may look like an interim answer, but is none.
        if attempt.status.is_none() {
            let answer = head::after_interim(input);
            interim = input.len() - answer.len();
            attempt.status = head::status_of(answer);
            attempt.keeps_head = attempt.status.is_some_and(|code| !head::accepts(code));
        }
        if attempt.keeps_head {
            let (head, is_whole) = head::head_of(input.get(interim..).unwrap_or_default());
            attempt.keeps_head = !is_whole;
            HEAD.with_borrow_mut(|kept| {
                kept.clear();
                kept.extend_from_slice(head);
            });
        }
    });
    interim
}

fn change(with: impl FnOnce(&mut Attempt)) {
    if let Some(mut attempt) = CURRENT.get() {
        with(&mut attempt);
        CURRENT.set(Some(attempt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_own_deadline_and_none_goes_past_the_end() {
        let clock = Clocks::system();
        let start = clock.steady();
        let at = move |secs| start + Duration::from_secs(secs);
        let timeouts = Timeouts::starting(start, Duration::from_secs(2), Duration::from_secs(10));
        begin(start, timeouts);
        assert_eq!(current().unwrap().deadline, at(2));
        sending(&Clocks::with_steady(move || at(1)));
        assert_eq!(current().unwrap().deadline, at(11));
        sending(&Clocks::with_steady(move || at(5)));
        assert_eq!(current().unwrap().deadline, at(11), "the clock runs from the first byte");

        begin(at(9), timeouts);
        sending(&Clocks::with_steady(move || at(10)));
        assert_eq!(finish().unwrap().deadline, at(12), "a second try ends with the delivery");
        begin(at(11), timeouts);
        assert_eq!(finish().unwrap().deadline, at(12), "nor does it connect for longer");
        assert!(current().is_none());
    }
}
