//! Clients that are sent their answers. One that is slow to read occupies no thread: what its socket does not take at once
//! is sent by the thread `admin`, beside what it does for all others.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::request::{Answer, CLIENT_TIMEOUT};

/// The largest number of clients that are slow to read. When another one comes, the answer of the one that has read for
/// the longest breaks off.
const MAX_DEPARTING: usize = 64;

/// How long a refused client may go on sending before the connection is closed. If it were closed at once, the client
/// might not see the reason.
const REFUSED_GRACE: Duration = Duration::from_millis(500);

/// A client that has its answer, at least in part.
pub struct Leaver {
    connection: TcpStream,
    answer: Answer,
    /// The number of bytes of the answer that are sent.
    sent: usize,
    /// Whether the whole answer is sent, and what the client still sends is passed over.
    lingers: bool,
    /// When the client is given up.
    until: Instant,
}

/// The clients in the order in which they came, the oldest first.
#[derive(Default)]
pub struct Departing(Vec<Leaver>);

impl Departing {
    /// Adds a client, for which the one that has been here the longest may have to go.
    pub fn enter(&mut self, leaver: Leaver) {
        if self.0.len() >= MAX_DEPARTING {
            self.0.remove(0);
        }
        self.0.push(leaver);
    }

    /// Returns what is awaited of each client, in their order.
    pub fn awaited(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.0.iter().map(Leaver::awaited)
    }

    /// Returns when the first client is given up, or `None` if there is no client.
    pub fn until(&self) -> Option<Instant> {
        self.0.iter().map(|leaver| leaver.until).min()
    }

    /// Sends on to the clients that are `ready`, a list in the order of the clients. Removes those that have everything,
    /// and those whose time is up.
    pub fn go_on(&mut self, ready: &[bool], now: Instant) {
        let mut ready = ready.iter();
        self.0.retain_mut(|leaver| {
            let is_ready = ready.next().is_some_and(|ready| *ready);
            now < leaver.until && !(is_ready && leaver.go_on(now))
        });
    }

    /// Sends to all clients what they take until `end`. Blocks until then at most.
    #[expect(clippy::disallowed_methods, reason = "a client's time is measured here")]
    pub fn see_off(mut self, end: Instant) {
        let mut now = Instant::now();
        while let Some(until) = self.until().filter(|_| now < end) {
            let mut awaited: Vec<PollFd<'_>> = self.awaited().collect();
            let Ok(left) = Timespec::try_from(end.min(until).saturating_duration_since(now)) else { return };
            // A signal, or an error of the call: the loop ends with its time.
            let _ = poll(&mut awaited, Some(&left));
            let ready: Vec<bool> = awaited.iter().map(|one| !one.revents().is_empty()).collect();
            now = Instant::now();
            self.go_on(&ready, now);
        }
    }
}

impl Leaver {
    /// Makes the connection one that blocks nobody.
    pub fn new(connection: TcpStream, answer: Answer, now: Instant) -> io::Result<Self> {
        connection.set_nonblocking(true)?;
        connection.set_nodelay(true)?;
        Ok(Self { connection, answer, sent: 0, lingers: false, until: now + CLIENT_TIMEOUT })
    }

    /// Sends as much as the socket takes. Returns whether nothing is left to be done, or the client has gone. Does not block.
    pub fn go_on(&mut self, now: Instant) -> bool {
        while let Some(left) = self.answer.bytes.get(self.sent..).filter(|left| !left.is_empty()) {
            match self.connection.write(left) {
                Ok(0) => return true,
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        if !self.lingers {
            let _ = self.connection.shutdown(Shutdown::Write);
            if self.answer.is_to_whole {
                return true;
            }
            (self.lingers, self.until) = (true, now + REFUSED_GRACE);
        }
        // Once a call, so that a client that sends much holds up nobody.
        match self.connection.read(&mut [0; 4096]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Sends to the client what it takes until `end`. Blocks until then at most.
    pub fn see_off(self, end: Instant) {
        Departing(vec![self]).see_off(end);
    }

    fn awaited(&self) -> PollFd<'_> {
        PollFd::new(&self.connection, if self.lingers { PollFlags::IN } else { PollFlags::OUT })
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "sockets, with both of their ends in one test")]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// More than the buffers of the system hold for one connection.
    const LARGE: usize = 64 * 1024 * 1024;

    fn connections() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    fn leaver(bytes: usize, is_to_whole: bool, now: Instant) -> (Leaver, TcpStream) {
        let (server, client) = connections();
        (Leaver::new(server, Answer { bytes: vec![b'a'; bytes], is_to_whole }, now).unwrap(), client)
    }

    #[test]
    fn who_reads_slowly_gets_everything_and_blocks_nobody() {
        let now = Instant::now();
        let ((mut slow, mut reader), (mut quick, _client)) = (leaver(LARGE, true, now), leaver(1000, true, now));
        assert!(!slow.go_on(now), "nobody reads yet");
        assert!(quick.go_on(now), "its socket takes all of it at once");
        let mut departing = Departing::default();
        departing.enter(slow);
        let read = thread::spawn(move || reader.read_to_end(&mut Vec::new()).unwrap());
        while departing.until().is_some() {
            departing.go_on(&[true], now);
        }
        assert_eq!(read.join().unwrap(), LARGE);
    }

    #[test]
    fn who_reads_nothing_is_given_up_and_so_is_the_first_of_too_many() {
        let now = Instant::now();
        let mut departing = Departing::default();
        let mut readers: Vec<TcpStream> = Vec::new();
        for _ in 0..=MAX_DEPARTING {
            let (leaver, reader) = leaver(1000, true, now);
            departing.enter(leaver);
            readers.push(reader);
        }
        assert_eq!(departing.awaited().count(), MAX_DEPARTING);
        assert_eq!(readers[0].read_to_end(&mut Vec::new()).unwrap(), 0, "its answer breaks off");
        departing.go_on(&[], now + CLIENT_TIMEOUT);
        assert_eq!(departing.until(), None);
    }

    #[test]
    fn at_the_end_one_that_reads_nothing_costs_nobody_else_an_answer() {
        let now = Instant::now();
        let ((hangs, silent), (slow, mut reader)) = (leaver(LARGE, true, now), leaver(LARGE, true, now));
        let mut departing = Departing::default();
        departing.enter(hangs);
        departing.enter(slow);
        let read = thread::spawn(move || {
            let read = reader.read_to_end(&mut Vec::new()).unwrap();
            drop(silent);
            read
        });
        departing.see_off(now + CLIENT_TIMEOUT);
        assert_eq!(read.join().unwrap(), LARGE);
    }

    /// If the connection were closed at once, what the client has sent would make it a reset, which takes the answer away.
    #[test]
    fn a_refused_client_may_go_on_sending_for_a_while() {
        let now = Instant::now();
        let (mut refused, mut client) = leaver(1000, false, now);
        assert!(!refused.go_on(now));
        client.write_all(b"more").unwrap();
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 1000);
        let mut departing = Departing::default();
        departing.enter(refused);
        assert_eq!(departing.until(), Some(now + REFUSED_GRACE));
        departing.go_on(&[true], now);
        assert_eq!(departing.awaited().count(), 1, "what it sent is passed over");
        drop(client);
        while departing.until().is_some() {
            departing.go_on(&[true], now);
        }
    }
}
