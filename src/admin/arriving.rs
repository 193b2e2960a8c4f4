//! Clients whose requests are not complete yet. They occupy no thread and hold up no other client: the thread `admin`
//! reads what has come from all of them, beside accepting connections.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::request::{CLIENT_TIMEOUT, is_whole};
use super::response::Response;

/// The largest number of arriving clients. When another one comes, the one that has waited longest is removed.
const MAX_ARRIVING: usize = 64;

/// A connection and the bytes read from it.
pub struct Client {
    pub connection: TcpStream,
    pub received: Vec<u8>,
    /// When the client is given up.
    until: Instant,
}

/// The clients in the order in which they came, the oldest first.
#[derive(Default)]
pub struct Arriving(Vec<Client>);

impl Arriving {
    /// Adds a client, whose request must be complete within [`CLIENT_TIMEOUT`]. Returns the client that is
    /// removed for it, if any.
    pub fn enter(&mut self, connection: TcpStream, now: Instant) -> io::Result<Option<Client>> {
        connection.set_nonblocking(true)?;
        let makes_way = (self.0.len() >= MAX_ARRIVING).then(|| self.0.remove(0));
        self.0.push(Client { connection, received: Vec::new(), until: now + CLIENT_TIMEOUT });
        Ok(makes_way)
    }

    /// Returns the connections in the order of the clients.
    pub fn connections(&self) -> impl Iterator<Item = &TcpStream> {
        self.0.iter().map(|client| &client.connection)
    }

    /// Returns when the oldest client is given up, or `None` if there is no client.
    pub fn until(&self) -> Option<Instant> {
        self.0.first().map(|client| client.until)
    }

    /// Reads from the clients that are `ready`, a list in the order of the clients. Removes and returns those whose
    /// request is complete, or will never be.
    pub fn read(&mut self, ready: &[bool]) -> Vec<Client> {
        let mut ready = ready.iter();
        self.0.extract_if(.., |client| ready.next().is_some_and(|ready| *ready) && client.read()).collect()
    }

    /// Removes and returns the clients whose time is up.
    pub fn expire(&mut self, now: Instant) -> Vec<Client> {
        self.0.extract_if(.., |client| client.until <= now).collect()
    }
}

impl Client {
    /// Reads once what has come, without blocking. Returns whether no more bytes are to be awaited.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.connection.read(&mut chunk) {
            Ok(0) => true,
            Ok(count) => {
                self.received.extend_from_slice(chunk.get(..count).unwrap_or_default());
                is_whole(&self.received)
            }
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Answers without blocking. What does not fit into the socket's buffer at once is not sent.
    pub fn send_away(mut self, answer: &Response) {
        let _ = self.connection.write(&answer.bytes(true));
    }
}
