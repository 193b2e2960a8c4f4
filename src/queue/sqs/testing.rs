//! Shared by the tests of this module: keys, and a server that answers by script.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use super::credentials::{Fixed, Keys};
use super::{DeadLetterQueue, Named, Service, SqsOptions, SqsQueue};

pub fn keys() -> Keys {
    Keys {
        access_key_id: "AKIDHUSH".into(),
        secret_access_key: "hush-secret".into(),
        session_token: Some("hush-token".into()),
        expires_at: None,
    }
}

/// The server's reaction to one request.
pub enum Reply {
    /// Answers with a status and a body, and keeps the connection open.
    Say(u16, String),
    /// Does the same, with additional header lines.
    With(u16, &'static str, String),
    /// Sends these bytes and closes the connection.
    Cut(Vec<u8>),
}

pub fn ok(action: &str, result: &str) -> Reply {
    Reply::Say(200, format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"))
}

pub fn refusal(status: u16, code: &str) -> Reply {
    let body = format!("<ErrorResponse><Error><Code>{code}</Code><Message>because</Message></Error></ErrorResponse>");
    Reply::Say(status, body)
}

/// A server that answers requests in the order of its script, over any number of connections, one after another.
pub struct Stub {
    pub url: String,
    requests: Receiver<String>,
    server: Option<JoinHandle<()>>,
}

impl Stub {
    pub fn new(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (send, requests) = channel();
        let server = std::thread::Builder::new().spawn(move || {
            let mut script = script.into_iter().peekable();
            while script.peek().is_some() {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while let Some(request) = script.peek().and_then(|_| read(&mut reader)) {
                    send.send(request).unwrap();
                    if !answer(&mut stream, script.next().unwrap()) {
                        break;
                    }
                }
            }
        });
        Self { url, requests, server: Some(server.unwrap()) }
    }

    pub fn service(&self) -> Arc<Service> {
        Arc::new(Service::new("eu-west-1", &self.url, Arc::new(Fixed(keys()))))
    }

    /// A queue at this URL, with another for its dead letters.
    pub fn queue(&self, name: &str) -> SqsQueue {
        self.queue_to(
            Named::Url(format!("{}/1/{name}", self.url)),
            DeadLetterQueue::To(Named::Url(format!("{}/1/dead", self.url))),
        )
    }

    pub fn queue_to(&self, queue: Named, dead_letter: DeadLetterQueue) -> SqsQueue {
        SqsQueue::new(SqsOptions { name: "stock".into(), service: self.service(), queue, dead_letter, grouping: None })
    }

    /// Returns the parameters of the next request that was received.
    pub fn request(&self) -> String {
        let decoded = self.requests.recv().unwrap().replace('+', " ");
        percent_encoding::percent_decode_str(&decoded).decode_utf8().unwrap().into_owned()
    }

    /// Waits for the end of the script.
    pub fn end(mut self) {
        self.server.take().unwrap().join().unwrap();
    }
}

/// Reads the body of a request; `None` if the connection is closed.
fn read(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some((name, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            assert!(!name.is_empty());
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

/// Returns whether the connection stays open.
fn answer(stream: &mut TcpStream, reply: Reply) -> bool {
    let (status, headers, body) = match reply {
        Reply::Say(status, body) => (status, "", body),
        Reply::With(status, headers, body) => (status, headers, body),
        Reply::Cut(bytes) => {
            stream.write_all(&bytes).unwrap();
            return false;
        }
    };
    write!(stream, "HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).is_ok()
}
