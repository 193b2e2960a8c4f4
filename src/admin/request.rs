//! One request per connection: it is parsed within bounds of size and answered, and the connection is closed.

use std::time::Duration;

use super::response::Response;

/// How long a client may take to send its request, and again to receive the answer.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest number of bytes of a request line.
const LONGEST_LINE: usize = 8 * 1024;
/// The largest number of bytes of a whole head.
const LONGEST_HEAD: usize = 16 * 1024;
/// The largest number of headers.
const MOST_HEADERS: usize = 64;

/// The largest number of bytes of a body. No request needs a body; one that is sent is skipped.
const LONGEST_BODY: u64 = 4 * 1024;

/// The parts of a request that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// The path as it was sent, without its query.
    pub path: String,
    /// The query as it was sent, without its question mark.
    pub query: Option<String>,
    /// The host for which the request was meant.
    pub host: Option<String>,
    pub authorization: Option<Vec<u8>>,
    pub accept: String,
}

/// Why there is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The client has gone, or sent nothing. It gets no answer.
    Gone,
    /// The request is faulty; with the status and a sentence for the answer.
    Bad(u16, &'static str),
}

/// What a client is sent.
pub struct Answer {
    pub bytes: Vec<u8>,
    /// Whether the request had come in whole. If not, the client may still be sending.
    pub is_to_whole: bool,
}

/// Returns the answer of `respond` to a request that [is complete](is_whole), a refusal of one that will never be, or
/// `None` if the client has gone. Blocks for the time of `respond`.
pub fn answer(received: &[u8], respond: impl FnOnce(&Request) -> Response) -> Option<Answer> {
    match read(received) {
        Ok(request) => {
            let with_body = request.method != "HEAD";
            Some(Answer { bytes: respond(&request).bytes(with_body), is_to_whole: true })
        }
        Err(Fault::Gone) => None,
        Err(Fault::Bad(status, why)) => Some(Answer { bytes: Response::refusal(status, why).bytes(true), is_to_whole: false }),
    }
}

/// Returns whether nothing more has to be read: the request has come with its body, or what has come of it is refused.
pub fn is_whole(received: &[u8]) -> bool {
    match parse(received) {
        Ok(None) => false,
        Ok(Some((_, head, body))) => (received.len() - head) as u64 >= body,
        Err(_) => true,
    }
}

/// Returns the answer to a client that took too long.
pub fn too_slow() -> Response {
    Response::refusal(408, "the request did not come within 5 s")
}

fn read(received: &[u8]) -> Result<Request, Fault> {
    match parse(received)? {
        Some((request, ..)) => Ok(request),
        None if received.is_empty() => Err(Fault::Gone),
        None => Err(Fault::Bad(400, "the request is incomplete")),
    }
}

/// Returns the request, the number of bytes of its head, and the number of bytes of its body; `None` while
/// the head is not complete.
fn parse(head: &[u8]) -> Result<Option<(Request, usize, u64)>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length <= LONGEST_HEAD => length,
        Ok(httparse::Status::Partial) if head.len() < LONGEST_HEAD => {
            // A line that is too long already is refused without waiting for its end.
            let is_long = head.len() > LONGEST_LINE && !head.iter().take(LONGEST_LINE).any(|byte| *byte == b'\n');
            return if is_long { Err(Fault::Bad(414, "the address is longer than 8 KiB")) } else { Ok(None) };
        }
        Ok(_) => return Err(Fault::Bad(431, "the head of the request is larger than 16 KiB")),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::Bad(431, "the request has more than 64 headers")),
        Err(httparse::Error::Version) => return Err(Fault::Bad(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")),
        Err(_) => return Err(Fault::Bad(400, "this is not an HTTP request")),
    };
    let target = parsed.path.unwrap_or_default();
    if target.len() > LONGEST_LINE {
        return Err(Fault::Bad(414, "the address is longer than 8 KiB"));
    }
    let (authority, target) = split_absolute(target);
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
    // An absolute form without a path means the root.
    let path = if path.is_empty() && authority.is_some() { "/" } else { path };
    let mut request =
        Request { method: parsed.method.unwrap_or_default().to_owned(), path: path.to_owned(), query, ..Request::default() };
    let (mut hosts, mut body) = (0, None);
    for header in parsed.headers.iter() {
        // Blanks and tabs alone may stand around a value (RFC 9110, 5.5).
        let text = || std::str::from_utf8(header.value).map(|text| text.trim_matches([' ', '\t'])).unwrap_or_default();
        match header.name.to_ascii_lowercase().as_str() {
            "host" => {
                hosts += 1;
                request.host = Some(text().to_owned());
            }
            "authorization" if request.authorization.is_some() => return Err(Fault::Bad(400, "two Authorization headers")),
            "authorization" => request.authorization = Some(header.value.to_vec()),
            "accept" => request.accept.push_str(text()),
            "content-length" => {
                // Digits alone (RFC 9110, 8.6): a proxy in front may read another form differently.
                let digits = Some(text()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let length: Option<u64> = digits.and_then(|digits| digits.parse().ok());
                let length = length.ok_or(Fault::Bad(400, "the Content-Length is not a number"))?;
                if body.is_some_and(|body| body != length) {
                    return Err(Fault::Bad(400, "the request gives two lengths for its body"));
                }
                body = Some(length);
            }
            "transfer-encoding" => return Err(Fault::Bad(411, "a body needs its Content-Length; none is needed here")),
            _ => {}
        }
    }
    // RFC 9112, 3.2: exactly one Host since HTTP/1.1.
    if hosts > 1 || (hosts == 0 && parsed.version == Some(1)) {
        return Err(Fault::Bad(400, "a request has exactly one Host header"));
    }
    // The authority takes precedence over the Host header.
    if let Some(authority) = authority {
        request.host = Some(authority.to_owned());
    }
    let body = body.unwrap_or(0);
    if body > LONGEST_BODY {
        return Err(Fault::Bad(413, "no request here needs a body of more than 4 KiB"));
    }
    Ok(Some((request, length, body)))
}

/// Splits a target in absolute form into its authority and the rest. Proxies are sent this form, and every server has
/// to understand it (RFC 9112, 3.2.2). A target in another form is returned whole, without an authority.
fn split_absolute(target: &str) -> (Option<&str>, &str) {
    let Some(rest) = target.strip_prefix("http://") else { return (None, target) };
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (Some(authority), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> Option<u16> {
        match parse(head.as_bytes()) {
            Err(Fault::Bad(status, _)) => Some(status),
            Err(Fault::Gone) => panic!("nobody has gone"),
            Ok(_) => None,
        }
    }

    #[test]
    fn a_request_is_what_its_head_says() {
        let head = "POST /api/x?q=1?2 HTTP/1.1\r\nHost: localhost\r\nauthorization: Bearer t\r\nContent-Length: 3\r\n\r\nabc";
        let (request, length, body) = parse(head.as_bytes()).unwrap().unwrap();
        let expected = Request {
            method: "POST".into(),
            path: "/api/x".into(),
            query: Some("q=1?2".into()),
            host: Some("localhost".into()),
            authorization: Some(b"Bearer t".to_vec()),
            accept: String::new(),
        };
        assert_eq!((request, length, body), (expected, head.len() - 3, 3));
        for part in ["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            assert_eq!(parse(part.as_bytes()), Ok(None), "{part:?}");
        }
        assert!(parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().is_some(), "before HTTP/1.1 there was no Host");
    }

    #[test]
    fn the_absolute_form_is_understood_and_its_host_counts() {
        for (target, path, query) in [
            ("http://localhost:9464/api/x?q=1", "/api/x", Some("q=1")),
            ("http://localhost:9464", "/", None),
            ("http://localhost:9464?q", "/", Some("q")),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: elsewhere\r\n\r\n");
            let (request, ..) = parse(head.as_bytes()).unwrap().unwrap();
            assert_eq!((&*request.path, request.query.as_deref()), (path, query), "{target}");
            assert_eq!(request.host.as_deref(), Some("localhost:9464"), "{target}");
        }
    }

    #[test]
    fn each_fault_has_its_status() {
        let head = |lines: &str| status(&format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n"));
        assert_eq!(head(""), None);
        assert_eq!(head("Host: y\r\n"), Some(400));
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), Some(400));
        assert_eq!(status("\u{1}\r\n\r\n"), Some(400));
        assert_eq!(status("GET / HTTP/9.9\r\n\r\n"), Some(505));
        for length in ["x", "", "+1", "-1", "1 2", "0x1", "1,1", "\u{a0}1", "1\u{85}"] {
            assert_eq!(head(&format!("Content-Length: {length}\r\n")), Some(400), "{length}");
        }
        assert_eq!(head("Content-Length: 1\r\nContent-Length: 2\r\n"), Some(400));
        assert_eq!(head("Content-Length: 4097\r\n"), Some(413));
        assert_eq!(head("Transfer-Encoding: chunked\r\n"), Some(411));
        assert_eq!(head(&"a: b\r\n".repeat(100)), Some(431));
        assert_eq!(head(&format!("a: {}\r\n", "b".repeat(20_000))), Some(431));
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9_000))), Some(414));
        assert_eq!(status(&format!("GET /{}", "a".repeat(9_000))), Some(414), "without its end");
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: x\r\na: {}", "b".repeat(17_000))), Some(431));
    }
}
