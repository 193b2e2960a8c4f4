//! Clients whose request has not come whole yet. They cost no thread and hold nobody up: the thread `admin` reads from all of them what is
//! there, as it accepts.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::request::{PATIENCE, is_whole};
use super::response::Response;

/// Of them; where one more comes, the one that has been awaited for the longest makes way.
const MOST: usize = 64;

/// A connection, and what was read from it.
pub struct Client {
    pub connection: TcpStream,
    pub received: Vec<u8>,
    until: Instant,
}

/// The first to have come first.
#[derive(Default)]
pub struct Arriving(Vec<Client>);

impl Arriving {
    /// One more, which is awaited until [`PATIENCE`] has passed. Gives the one that makes way for it.
    pub fn enter(&mut self, connection: TcpStream, now: Instant) -> io::Result<Option<Client>> {
        connection.set_nonblocking(true)?;
        let makes_way = (self.0.len() >= MOST).then(|| self.0.remove(0));
        self.0.push(Client { connection, received: Vec::new(), until: now + PATIENCE });
        Ok(makes_way)
    }

    /// Their connections, in their order.
    pub fn connections(&self) -> impl Iterator<Item = &TcpStream> {
        self.0.iter().map(|client| &client.connection)
    }

    /// When the first of them is awaited no longer.
    pub fn until(&self) -> Option<Instant> {
        self.0.first().map(|client| client.until)
    }

    /// Reads from those that `ready` says have something, in their order. Gives those whose request is whole, or will never be.
    pub fn read(&mut self, ready: &[bool]) -> Vec<Client> {
        let mut ready = ready.iter();
        self.0.extract_if(.., |client| ready.next().is_some_and(|ready| *ready) && client.read()).collect()
    }

    /// Takes out those that are awaited no longer.
    pub fn expire(&mut self, now: Instant) -> Vec<Client> {
        self.0.extract_if(.., |client| client.until <= now).collect()
    }
}

impl Client {
    /// Reads what is there, once. Gives whether nothing more is to be awaited.
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

    /// Answers without waiting: what does not fit into the socket's buffer at once is not sent.
    pub fn send_away(mut self, answer: &Response) {
        let _ = self.connection.write(&answer.bytes(true));
    }
}
