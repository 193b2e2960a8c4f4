//! `Retry-After` is understood in both of its forms.

use std::time::{Duration, SystemTime};

use crate::support::partner::{Partner, batch, everyone, http};
use octoconf::message::Answer;
use octoconf::settings::Deliver;
use octoconf::sink::{Clocks, Limits, Sink, Sinks};

/// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
const NOW: u64 = 784_111_777;

#[test]
fn seconds_and_dates_are_read_and_nonsense_is_ignored() {
    for (value, seconds) in [
        ("120", Some(120)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("86400", Some(86_400)),
        // A year, in both forms: the wait is limited to a day.
        ("31536000", Some(86_400)),
        ("Mon, 06 Nov 1995 08:49:37 GMT", Some(86_400)),
        ("999999999", Some(86_400)),
        ("-5", None),
        ("1e3", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:00 GMT", None),
    ] {
        let headers = format!("Retry-After: {value}");
        assert_eq!(answer(&headers), slow(seconds), "{value}");
    }
}

#[test]
fn a_date_counts_from_the_date_of_the_answer() {
    for (date, retry_after, seconds) in [
        // Our clock is an hour slow, or an hour fast: the wait is the same.
        ("Sun, 06 Nov 1994 09:49:37 GMT", "Sun, 06 Nov 1994 09:49:42 GMT", Some(5)),
        ("Sun, 06 Nov 1994 07:49:37 GMT", "Sun, 06 Nov 1994 07:49:42 GMT", Some(5)),
        ("Sunday, 06-Nov-94 07:49:37 GMT", "Sun Nov  6 07:49:42 1994", Some(5)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 06 Nov 1995 08:49:37 GMT", Some(86_400)),
        // By the partner's clock, that moment has come.
        ("Sun, 06 Nov 1994 09:49:37 GMT", "Sun, 06 Nov 1994 09:49:37 GMT", None),
        ("Sun, 06 Nov 1994 09:49:37 GMT", "Sun, 06 Nov 1994 08:50:37 GMT", None),
        // `Date` is not a date, so our clock decides.
        ("yesterday", "Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("", "Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        // Seconds count from the answer, whenever that was.
        ("Sun, 06 Nov 1994 07:49:37 GMT", "120", Some(120)),
    ] {
        let headers = format!("Date: {date}\r\nRetry-After: {retry_after}");
        assert_eq!(answer(&headers), slow(seconds), "{headers}");
    }
}

#[test]
fn the_longest_of_several_counts() {
    for headers in ["Retry-After: 5\r\nRetry-After: 7", "Retry-After: 7\r\nRetry-After: 5", "Retry-After: soon\r\nRetry-After: 7"]
    {
        assert_eq!(answer(headers), slow(Some(7)), "{headers}");
    }
}

#[test]
fn it_is_read_in_a_head_that_cannot_be_read_as_a_whole() {
    let many = "x: y\r\n".repeat(200);
    let large = format!("x: {}\r\n", "y".repeat(20_000));
    for (headers, seconds) in [
        ("bad field: x\r\nRetry-After: 120".to_owned(), Some(120)),
        ("Retry-After: 120\r\nx: y\r\n folded: z".to_owned(), Some(120)),
        ("Retry-After: 120\r\n\u{1}: x".to_owned(), Some(120)),
        (format!("{many}Retry-After: 120"), Some(120)),
        (format!("Date: Sun, 06 Nov 1994 09:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 09:49:42 GMT\r\n{large}x: y"), Some(5)),
        ("bad field: x".to_owned(), None),
    ] {
        let answer = answer(&headers);
        let Answer::Status { code: 429, retry_after, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(retry_after, seconds.map(Duration::from_secs), "{}", headers.get(..60).unwrap_or(&headers));
    }
}

/// Returns the answer that a partner's reply with these headers leads to, if our clock shows [`NOW`].
#[expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]
fn answer(headers: &str) -> Answer {
    let partner = Partner::answering(format!("HTTP/1.1 429 Slow\r\n{headers}\r\ncontent-length: 4\r\n\r\nslow"));
    let clock = Clocks::with_wall(|| SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    let sinks = Sinks::with_clocks(&everyone(Deliver::Http(http(partner.url()))), Limits::of(16), "1", clock).unwrap();
    sinks.deliver(&batch("acme", &["1"]))
}

fn slow(seconds: Option<u64>) -> Answer {
    Answer::Status { code: 429, retry_after: seconds.map(Duration::from_secs), excerpt: "slow".into() }
}
