//! An answer as it is sent. Each states its length, that the connection ends with it, and what
//! a browser may do with it.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::json;

use super::page::CONTENT_SECURITY_POLICY;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    /// Further header lines, each with its line end.
    more: &'static str,
}

impl Response {
    /// Creates an answer with this body.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status, content_type, body: body.into(), more: "" }
    }

    /// Creates an answer with one line of plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", (text.into() + "\n").into_bytes())
    }

    /// Creates an answer with a value as JSON, or a refusal with status 500 if the value cannot be written.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(status, "application/json", body),
            Err(error) => Self::refusal(500, &format!("the answer cannot be written as JSON: {error}")),
        }
    }

    /// Creates an answer that says in a sentence why there is no other.
    pub fn refusal(status: u16, why: &str) -> Self {
        Self::json(status, &json!({ "error": why }))
    }

    /// Returns the answer with more header lines, each of which ends with CRLF.
    pub fn with(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    #[cfg(test)]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the answer as the bytes to send, dated now. Without a body it still states the body's length.
    #[expect(clippy::disallowed_methods, reason = "a server that has a clock says what it shows (RFC 9110, 6.6.1)")]
    pub fn bytes(&self, with_body: bool) -> Vec<u8> {
        let Self { status, content_type, body, more } = self;
        let date = httpdate::fmt_http_date(SystemTime::now());
        let head = format!(
            "HTTP/1.1 {status} {}\r\ndate: {date}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n{more}connection: close\r\n\
             cache-control: no-store\r\nx-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n\
             content-security-policy: {CONTENT_SECURITY_POLICY}\r\n\r\n",
            phrase(*status),
            body.len()
        );
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}
