//! `Retry-After` is understood in both of its forms.

use std::time::{Duration, SystemTime};

use octoconf::config::settings::Deliver;
use octoconf::message::Answer;
use octoconf::sink::{Clock, Limits, Sinks};
use partner::{Partner, batch, everyone, http};

#[path = "support/partner.rs"]
mod partner;

/// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
const NOW: u64 = 784_111_777;

#[test]
fn seconds_and_dates_are_told_and_nonsense_is_not() {
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
        let partner = Partner::answering(format!("HTTP/1.1 429 Slow\r\nRetry-After: {value}\r\ncontent-length: 4\r\n\r\nslow"));
        let clock = Clock::with_wall(|| SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
        let sinks = Sinks::with_clock(&everyone(Deliver::Http(http(partner.url()))), Limits::of(16), "1", clock).unwrap();
        let retry_after = seconds.map(Duration::from_secs);
        assert_eq!(
            sinks.deliver(&batch("acme", &["1"])),
            Answer::Status { code: 429, retry_after, excerpt: "slow".into() },
            "{value}"
        );
    }
}
