//! Shows times in the form of RFC 3339, in UTC.
//!
//! Many times are not ours: they come from a message, a letter or an answer, and any program may have written them. The
//! form has four digits for the year, so a time outside the years 1970 to 9999 is shown as the nearest within them.
//! `humantime` itself makes `to_string` panic there.
//!
//! Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::Rfc3339Timestamp;

/// The time from 1970 to the last millisecond of the year 9999.
const LAST: Duration = Duration::from_millis(253_402_300_799_999);

/// Displays the time without fractions of a second, such as `2026-01-02T03:04:05Z`.
#[expect(clippy::disallowed_methods, reason = "the time is within what the form can show")]
pub fn seconds(at: SystemTime) -> Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(shown(at))
}

/// Displays the time with milliseconds, such as `2026-01-02T03:04:05.678Z`.
#[expect(clippy::disallowed_methods, reason = "the time is within what the form can show")]
pub fn millis(at: SystemTime) -> Rfc3339Timestamp {
    humantime::format_rfc3339_millis(shown(at))
}

fn shown(at: SystemTime) -> SystemTime {
    at.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_outside_four_digits_of_years_is_the_nearest_within() {
        let at = UNIX_EPOCH + Duration::from_millis(1_767_323_045_678);
        assert_eq!(
            (seconds(at).to_string().as_str(), millis(at).to_string().as_str()),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678Z")
        );
        for late in [LAST, LAST + Duration::from_nanos(1), LAST + Duration::from_millis(1), Duration::from_millis(u64::MAX)] {
            assert_eq!(seconds(UNIX_EPOCH + late).to_string(), "9999-12-31T23:59:59Z");
            assert_eq!(millis(UNIX_EPOCH + late).to_string(), "9999-12-31T23:59:59.999Z");
        }
        let early = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(
            (seconds(early).to_string(), millis(UNIX_EPOCH).to_string()),
            ("1970-01-01T00:00:00Z".into(), "1970-01-01T00:00:00.000Z".into())
        );
    }
}
