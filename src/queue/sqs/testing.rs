//! Shared by the tests of this module: keys, and a server that answers by script.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;

use super::credentials::{Fixed, Keys};
use super::{DeadLetterQueue, Named, Service, SqsOptions, SqsQueue};
use crate::scripted_server::{Connection, Server};

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

/// A server that answers requests in the order of its script, over any number of connections.
pub struct Stub {
    pub url: String,
    server: Server,
    /// Disconnected once the last reply is sent.
    ended: Receiver<()>,
}

impl Stub {
    pub fn new(script: Vec<Reply>) -> Self {
        let (left, ended) = bounded(0);
        let script = Mutex::new((VecDeque::from(script), Some(left)));
        let server = Server::start(move |mut connection| {
            while !script.lock().0.is_empty() && connection.request().is_some() {
                let mut script = script.lock();
                let Some(reply) = script.0.pop_front() else { return };
                let stays = answer(&mut connection, reply);
                if script.0.is_empty() {
                    script.1 = None;
                }
                if !stays {
                    return;
                }
            }
        });
        Self { url: format!("http://{}", server.address), server, ended }
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
        let decoded = self.server.requests.recv().unwrap().body.replace('+', " ");
        percent_encoding::percent_decode_str(&decoded).decode_utf8().unwrap().into_owned()
    }

    /// Waits for the end of the script.
    pub fn end(self) {
        let Self { server, ended, .. } = self;
        assert!(ended.recv().is_err(), "nothing is sent");
        drop(server);
    }
}

/// Returns whether the connection stays open.
fn answer(connection: &mut Connection, reply: Reply) -> bool {
    let (status, headers, body) = match reply {
        Reply::Say(status, body) => (status, "", body),
        Reply::With(status, headers, body) => (status, headers, body),
        Reply::Cut(bytes) => {
            connection.send(&bytes);
            return false;
        }
    };
    connection.send(format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}
