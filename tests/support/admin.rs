//! A client of the admin server that can send anything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// An answer, unchanged.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Returns a loopback port that was free a moment ago.
pub fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends these bytes and reads to the end. Returns `None` if nothing listens or no answer comes.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Option<Reply> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that refuses a large request may not read it to its end.
    let _ = stream.write_all(bytes);
    finish(stream)
}

/// Reads the rest of a connection.
pub fn finish(mut stream: TcpStream) -> Option<Reply> {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

/// Makes an ordinary request with these header lines, each with its line end.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Option<Reply> {
    exchange(address, format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").as_bytes())
}

pub fn get(address: SocketAddr, path: &str) -> Reply {
    ask(address, "GET", path, "").unwrap_or_else(|| panic!("no answer to {path}"))
}
