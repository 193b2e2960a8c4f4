//! Turns a partner's HTTP response into an answer: accepted, or a status with the time to wait
//! and an excerpt of the body.
//!
//! The rest of a body is read only so that the connection can serve the next request; it never changes the answer.

use std::io::Read;
use std::time::{Duration, SystemTime};

use ureq::Body;
use ureq::http::Response;

use super::head;
use super::secrets::Secrets;
use crate::mask::Ends;
use crate::message::{Answer, MAX_EXCERPT};

/// The largest number of bytes of a body that are read. Beyond that, a new connection costs less
/// than the rest of this one.
const MAX_BODY: usize = 64 * 1024;
/// The largest number of bytes of a body that are kept. Secrets are masked before the excerpt is cut, so
/// that none is cut in two; the one that this size cuts is masked as far as it is there.
const MAX_KEPT: usize = 8 * 1024;
/// The longest wait that a partner may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Returns the answer for a head that is not valid, too large, or breaks off: what it says of a wait counts.
pub fn of_broken_head(code: u16, head: &[u8], now: SystemTime) -> Answer {
    answer(code, |name| head::values(head, name), now, Box::default)
}

/// Reads a response to its end, up to [`MAX_BODY`], and returns the answer. Blocks until the
/// deadline of the attempt at most.
pub fn of_response(response: Response<Body>, now: SystemTime, secrets: &Secrets) -> Answer {
    let (parts, mut body) = response.into_parts();
    let start = read(&mut body);
    let values = |name| parts.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    answer(parts.status.as_u16(), values, now, || excerpt(&start, secrets))
}

/// Returns the answer that a status line begins. `values` returns the values of the fields of a name; it and `excerpt`
/// are called for a refusal only.
fn answer<'a, V: Iterator<Item = &'a str>>(
    code: u16,
    values: impl Fn(&'static str) -> V,
    now: SystemTime,
    excerpt: impl FnOnce() -> Box<str>,
) -> Answer {
    if head::accepts(code) {
        return Answer::Accepted;
    }
    let retry_after = retry_after(values("retry-after"), values("date").next(), now);
    Answer::Status { code, retry_after, excerpt: excerpt() }
}

/// Returns up to [`MAX_KEPT`] bytes from the start of a body. The rest is read and dropped, up to [`MAX_BODY`].
fn read(body: &mut Body) -> Vec<u8> {
    let mut start = Vec::new();
    let mut chunk = [0; 4096];
    let mut total = 0;
    let mut reader = body.as_reader();
    while total < MAX_BODY {
        // A body may break off, contradict its headers or take too long. The status line already says
        // everything that counts.
        let Ok(read) = reader.read(&mut chunk) else { break };
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        total += read;
        start.extend(bytes.iter().take(MAX_KEPT - start.len()));
    }
    start
}

/// Returns the start of a body as one line of text: bytes that are not UTF-8 replaced, control characters escaped, and
/// secrets that the partner quotes masked.
fn excerpt(start: &[u8], secrets: &Secrets) -> Box<str> {
    let mut text = String::with_capacity(start.len().min(MAX_EXCERPT));
    let ends = if start.len() < MAX_KEPT { Ends::Whole } else { Ends::CutOff };
    for character in secrets.hide(String::from_utf8_lossy(start).into_owned(), ends).trim().chars() {
        let length = text.len();
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
        if text.len() > MAX_EXCERPT {
            text.truncate(length);
            break;
        }
    }
    text.into()
}

/// Returns how long the partner wants to be left alone. A date in `Retry-After` is by the
/// partner's clock, and so is `Date`, the moment of the answer (RFC 9110, section 6.6.1): with
/// both of them, an error of our clock does not matter. Without a valid `Date`, our clock is used. Of several waits, as
/// an intermediary may add one, the longest counts.
fn retry_after<'a>(waits: impl Iterator<Item = &'a str>, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let answered = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
    waits.filter_map(|wait| retry_after_of(wait, answered)).max()
}

/// Parses `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date, of which the time from `answered` is returned.
/// `None` for an invalid value and for a time that has passed: there is nothing to obey then, and the back-off applies.
fn retry_after_of(value: &str, answered: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit stands for a very long time.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(answered).ok()?
    };
    Some(wait.min(MAX_RETRY_AFTER)).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;
    use crate::sink::testing::http_settings;

    #[test]
    fn retry_after_is_seconds_or_a_date_or_nothing() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let seconds = |value| retry_after_of(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 7 "), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:50:07 GMT"), Some(30));
        assert_eq!(seconds("Sun Nov  6 08:50:07 1994"), Some(30));
        for long in ["86401", "99999999999999999999999999", "Sat, 06 Nov 2094 08:49:37 GMT"] {
            assert_eq!(seconds(long), Some(86_400), "{long}");
        }
        for nothing in ["0", "", "-5", "1.5", "soon", "120 s", "Sun, 06 Nov 1994 08:49:07 GMT", "+5"] {
            assert_eq!(seconds(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn an_excerpt_is_one_line_of_text_of_at_most_a_kibibyte() {
        let settings = http_settings("http://h/?key=QSECRET2");
        let excerpt = |start: &[u8]| excerpt(start, &Secrets::of(&settings));
        assert_eq!(&*excerpt(b"  no such\r\n\taccount \x1b[31m\xff\n"), "no such\\r\\n\\taccount \\u{1b}[31m\u{fffd}");
        let long = excerpt("é\n".repeat(1000).as_bytes());
        assert!(long.len() <= MAX_EXCERPT && long.len() > MAX_EXCERPT - 4, "{}", long.len());
        let quotes = excerpt(format!("{}QSECRET2", "x".repeat(MAX_EXCERPT - 4)).as_bytes());
        assert!(quotes.ends_with("x***"), "one that the cut would have split: {quotes}");
    }

    #[test]
    fn a_secret_that_is_longer_than_what_is_kept_is_hidden() {
        let token: String = (0..MAX_KEPT).map(|at| char::from(b'a' + u8::try_from(at * at * at % 9_973 % 26).unwrap())).collect();
        let shown = |token: &str, body: String| {
            let mut settings = http_settings("http://h/?key=uvwxyz");
            settings.headers.insert("authorization".into(), Secret::new(format!("Bearer {token}")));
            excerpt(&body.as_bytes()[..MAX_KEPT], &Secrets::of(&settings))
        };
        assert_eq!(&*shown(&token, format!("no {token}")), "no ***");
        let half = &token[..MAX_KEPT / 2];
        assert_eq!(&*shown(half, format!("no {half}, no {half}")), "no ***, no ***", "one that is quoted twice");
    }
}
